// SPDX-License-Identifier: Apache-2.0
// Site settings, payment switches, the exchange rate, the administrator's password.
import { ApiError, get, post } from "../api.js";
import { $, badge, checkbox, field, h, invalid, load, money, onSubmit, parseMoney, plainMoney, table, toast } from "../ui.js";
import { requireAdmin } from "./common.js";

const admin = await requireAdmin();

const CASH = [["wallet_min_deposit", "Smallest deposit"], ["wallet_min_transfer", "Smallest transfer"], ["wallet_min_withdraw", "Smallest withdrawal"], ["payout_minimum", "Smallest payout by itself"],
  ["wallet_transfer_day", "Most to send within 24 hours"], ["wallet_withdraw_day", "Most to withdraw within 24 hours"],
  ["payout_four_eyes_above", "Payouts need two administrators above"], ["wallet_four_eyes_above", "Deposits need two administrators above"]];
const OTHERS = ["IDR", "USD", "EUR"];
load($("#site"), () => get("/admin/settings"), (r) => {
  const s = r.settings, cur = r.currency || "USD";
  const choice = (name, list) => h("select", { name }, [...new Set([s[name], ...(list || [])])].filter(Boolean).map((v) => h("option", { value: v, selected: v === s[name] }, v)));
  const number = (name, min, max) => h("input", { name, type: "number", min, max, value: s[name] });
  const other = (name, c) => `${name}_${c.toLowerCase()}`;
  const cash = (name) => h("input", { name, inputmode: "decimal", value: plainMoney(s[name], cur) });
  const form = h("form", { novalidate: true },
    field("Our share of a sale in percent", h("input", { name: "payment_platform_fee_bp", inputmode: "decimal", value: String(s.payment_platform_fee_bp / 100) }), "Two decimals at most. The creator gets the rest."),
    field("Affiliate rule", choice("affiliate_plugin", r.affiliate_rules)),
    field("Days between a link and the sale it is paid for", number("affiliate_window_days", 1, 400), "The last link that was followed within them counts."), field("Exchange-rate source", choice("rate_plugin", r.rate_sources)), field("Prices of tokens from", h("select", { name: "rate_token_plugin" }, ["", ...r.rate_sources].map((v) => h("option", { value: v, selected: v === s.rate_token_plugin }, v || "the same source")))),
    field("Tax rule", h("select", { name: "tax_plugin" }, r.tax_rules.map((v) => h("option", { value: v, selected: v === s.tax_plugin }, v || "none: prices without tax"))), "Taxes are in the price and taken before it is split."),
    field("Ask buyers to agree to immediate delivery", checkbox("consent_required", s.consent_required), "The consent is kept with its text, time and address. Buyers in the EU otherwise keep their right of withdrawal."),
    field("Seller on receipts", h("textarea", { name: "receipt_seller", rows: 3, maxlength: 500, value: s.receipt_seller }), "Name, address, tax number."),
    CASH.slice(0, 2).map(([name, text]) => field(`${text} in ${cur}`, cash(name))),
    h("h3", { class: "h6 mt-4" }, "Paying out"), CASH.slice(2).map(([name, text, help]) => field(`${text} in ${cur}`, cash(name), help)),
    OTHERS.filter((c) => c !== cur).map((c) => h("details", { class: "mb-3" }, h("summary", {}, `Other limits in ${c}`), h("p", { class: "form-text" }, `Empty: the numbers above count, in ${c}.`),
      CASH.map(([name, text]) => field(`${text} in ${c}`, h("input", { name: other(name, c), inputmode: "decimal", value: s[other(name, c)] === undefined ? "" : plainMoney(s[other(name, c)], c) }))))),
    field("Hours before a new account is used", h("input", { name: "payout_destination_hold_hours", type: "number", min: 0, max: 8760, value: s.payout_destination_hold_hours })),
    field("Days after the first sale before money leaves", h("input", { name: "payout_new_payee_days", type: "number", min: 0, max: 365, value: s.payout_new_payee_days })),
    field("Earnings are paid out by themselves", h("select", { name: "payout_schedule" }, [["off", "never"], ["daily", "daily"], ["weekly", "weekly"], ["monthly", "monthly"]].map(([v, x]) =>
      h("option", { value: v, selected: s.payout_schedule === v }, x)))),
    field("Those need no approval, up to the limit of two", checkbox("payout_auto_approve", s.payout_auto_approve)),
    field("Sent by", h("select", { name: "payout_provider" }, ["", ...(r.payout_providers || [])].map((v) => h("option", { value: v, selected: v === s.payout_provider }, v || "hand, or a file for the bank")))),
    h("h3", { class: "h6 mt-4" }, "Watching and signing in"),
    field("Streams at once per account", number("playback_max_streams", 1, 100)),
    field("Devices at once per account (0 = any number)", number("playback_max_devices", 0, 100)),
    field("Past these limits", h("select", { name: "playback_over_limit" }, [["oldest", "the oldest stream ends"], ["refuse", "the new one is refused"]].map(([v, t]) =>
      h("option", { value: v, selected: s.playback_over_limit === v }, t)))),
    field("Seconds of a film an account may load ahead", number("playback_ahead_s", 30, 43200), "Players read up to a minute ahead."),
    field("Seconds of a film for seeking and changing the quality", number("playback_seek_s", 30, 43200), "On top of that; given back while time passes."),
    field("How fast both are given back, in percent of real time", number("playback_speed_pct", 100, 10000), "At 300 a whole film takes at least a third of its length, less what may be ahead."),
    field("Header with the visitor's country", h("input", { name: "playback_country_header", maxlength: 60, value: s.playback_country_header, autocomplete: "off", spellcheck: false }),
      "Set by your proxy, such as CF-IPCountry. Empty: countries do not matter."),
    field("Countries where nothing plays", h("input", { name: "playback_blocked_countries", maxlength: 1000, value: s.playback_blocked_countries, autocomplete: "off", spellcheck: false }),
      "Two-letter codes with spaces between, such as DE FR."),
    field("Administrators need two-step sign-in", checkbox("security_admin_totp_required", s.security_admin_totp_required)),
    field("Ask again who is there before money moves", h("select", { name: "security_step_up" },
      [["auto", "Accounts with two-step sign-in"], ["on", "Everybody"], ["off", "Nobody"]].map(([v, text]) => h("option", { value: v, selected: v === s.security_step_up }, text))), "After five minutes without a proof."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (v) => {
    const bp = /^\d{1,3}(\.\d{1,2})?$/.test(v.payment_platform_fee_bp.trim()) ? Math.round(Number(v.payment_platform_fee_bp) * 100) : -1;
    if (bp < 0 || bp > 10000) { invalid(form.elements.payment_platform_fee_bp, "A percentage from 0 to 100."); return; }
    const body = { payment_platform_fee_bp: bp, affiliate_plugin: v.affiliate_plugin, rate_plugin: v.rate_plugin, rate_token_plugin: v.rate_token_plugin, tax_plugin: v.tax_plugin, consent_required: v.consent_required,
      receipt_seller: v.receipt_seller.trim(), playback_over_limit: v.playback_over_limit, security_step_up: v.security_step_up,
      playback_country_header: v.playback_country_header.trim(), playback_blocked_countries: v.playback_blocked_countries.trim().toUpperCase().replace(/[\s,;]+/g, " ") };
    for (const name of ["max_streams", "max_devices", "ahead_s", "seek_s", "speed_pct"]) body["playback_" + name] = Number(v["playback_" + name]);
    if (!/^[A-Za-z0-9-]*$/.test(body.playback_country_header)) { invalid(form.elements.playback_country_header, "The name of a header: letters, digits, hyphens."); return; }
    if (!/^([A-Z]{2}( [A-Z]{2})*)?$/.test(body.playback_blocked_countries)) { invalid(form.elements.playback_blocked_countries, "Two-letter codes with spaces between."); return; }
    if (v.security_admin_totp_required !== s.security_admin_totp_required) body.security_admin_totp_required = v.security_admin_totp_required;
    for (const name of ["payout_destination_hold_hours", "payout_new_payee_days", "affiliate_window_days"]) body[name] = Number(v[name]);
    for (const name of ["payout_schedule", "payout_auto_approve", "payout_provider"]) body[name] = v[name];
    for (const [name] of CASH) {
      body[name] = parseMoney(v[name], cur);
      if (!body[name]) { invalid(form.elements[name], `An amount like ${money(1000, cur)}.`); return; }
    }
    for (const c of OTHERS.filter((x) => x !== cur)) for (const [name] of CASH) {
      const key = other(name, c), text = v[key].trim();
      if (!text) continue;
      body[key] = parseMoney(text, c);
      if (!body[key]) { invalid(form.elements[key], `An amount like ${money(100000, c)}.`); return; }
    }
    await post("/admin/settings", body);
    toast("Saved.");
  });
  return form;
});

const NAMES = { guest: "Buying without an account", wallet_payment: "Buying from the wallet", wallet_transfer: "Transfers between members", wallet_deposit: "Top-ups that an administrator approves", wallet_withdraw: "Withdrawals", paypal: "PayPal", stripe: "Stripe", xendit: "Xendit", midtrans: "Midtrans", x402: "Crypto (x402)" };
load($("#payment"), () => get("/admin/payment_settings"), (r) => {
  const known = new Map(r.providers.map((p) => [p.provider, p]));
  const switches = Object.keys(NAMES).map((name) => {
    const own = name.startsWith("wallet"), p = known.get(name), usable = own || p?.configured;
    const box = checkbox(name + "_enabled", r.settings[name + "_enabled"]);
    box.disabled = !usable && !box.checked;
    return field(NAMES[name], box, usable ? null : p ? `Not set up. Missing: ${p.missing_env.join(", ")}` : "No plugin for it is installed.");
  });
  const form = h("form", { novalidate: true }, switches,
    field("First choice", h("select", { name: "default_provider" }, h("option", { value: "" }, "None"), r.providers.map((p) => h("option", { value: p.provider, selected: p.provider === r.settings.default_provider }, p.display_name)))),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (v) => {
    const body = {};
    for (const name of Object.keys(NAMES)) if (!form.elements[name + "_enabled"].disabled) body[name + "_enabled"] = v[name + "_enabled"];
    if (v.default_provider) body.default_provider = v.default_provider;
    await post("/admin/payment_settings", body);
    toast("Saved.");
  });
  const t = table([{ head: "Provider", cell: (p) => p.display_name }, { head: "Mode", cell: (p) => p.environment || "" },
    { head: "State", cell: (p) => (p.enabled ? badge("On", "success") : p.configured ? badge("Off") : badge("Not set up", "warning")) },
    { head: "Missing", class: "wrap", cell: (p) => p.missing_env.join(", ") },
    { head: "Address for its messages", class: "wrap", cell: (p) => p.webhook_url && h("code", { class: "text-break" }, p.webhook_url) }], "Payment providers");
  t.body.replaceChildren(...r.providers.map(t.row));
  return [form, r.providers.length > 0 && h("div", { class: "card mt-4" }, t.el)];
});

load($("#smtp"), () => get("/admin/smtp"), (r) => {
  const s = r.smtp, text = (name, extra = {}) => h("input", { name, value: String(s[name]), ...extra });
  const now = { configuration: "the server of the configuration file", outbox: "files in the outbox directory" }[r.otherwise];
  const form = h("form", { novalidate: true },
    field("Use this server", checkbox("enabled", s.enabled), `While it is off, mails go to ${now}.`),
    field("Host", text("host", { maxlength: 253, autocomplete: "off" })),
    field("Port", text("port", { type: "number", min: 1, max: 65535 }), "587 with STARTTLS, 465 with TLS from the start."),
    field("TLS is a must", checkbox("use_tls", s.use_tls)),
    field("User name", text("username", { autocomplete: "off" })),
    field("Password", h("input", { name: "password", type: "password", autocomplete: "new-password" }), s.has_password ? "Leave empty to keep the stored one." : null),
    field("Sender's address", text("from_email", { type: "email" })), field("Sender's name", text("from_name", { maxlength: 100 })),
    field("Send a test mail to", h("input", { name: "test_email", type: "email" }), "Optional."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (v) => {
    const answer = await post("/admin/smtp", { ...v, port: Number(v.port) }, { timeout: 90000 });
    form.elements.password.value = "";
    if (answer.test_error) throw new ApiError(`Saved, but the test mail was not sent: ${answer.test_error}`);
    toast(answer.test_sent ? "Saved. The test mail is sent." : "Saved.");
  });
  return form;
});

load($("#rate"), () => get("/api/kurs"), (r) => h("p", { class: "mb-0" }, "1 USD = ", h("strong", {}, money(Math.round(r.usd_to_idr * 100), "IDR")), r.source && h("span", { class: "text-body-secondary" }, ` (source: ${r.source})`)));

const form = $("#password");
form.elements.username.value = admin.email;
onSubmit(form, async (v) => {
  if (v.new_password !== v.again) { invalid(form.elements.again, "The two are not the same."); return; }
  await post("/admin/change_password", { current_password: v.current_password, new_password: v.new_password });
  form.reset();
  form.elements.username.value = admin.email;
  toast("The password is changed. All other sessions are signed out.");
});
