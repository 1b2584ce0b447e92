// SPDX-License-Identifier: Apache-2.0
// Profile, password, sessions.
import { get, post, requireUser } from "./api.js";
import "./nav.js";
import { $, badge, busy, confirmButton, field, h, invalid, load, onSubmit, time, toast } from "./ui.js";

const CHAINS = [["", "None"], ["137", "Polygon"], ["80002", "Polygon Amoy (test)"], ["8453", "Base"], ["84532", "Base Sepolia (test)"], ["6342", "MegaETH (test)"], ["31337", "Local (test)"]];
const user = await requireUser();

load($("#profile"), () => get("/api/profile"), ({ profile: p }) => {
  const chain = String(p.wallet_chain_id ?? "");
  const chains = CHAINS.some((c) => c[0] === chain) ? CHAINS : [...CHAINS, [chain, `Chain ${chain}`]];
  const form = h("form", { novalidate: true },
    h("p", {}, h("strong", {}, p.username), h("br", {}), h("span", { class: "text-body-secondary wrap" }, p.email)),
    field("About you", h("textarea", { name: "profile_desc", rows: 3, maxlength: 5000, value: p.profile_desc || "" }), "Shown beside your videos."),
    field("Bank account", h("input", { name: "bank_account", value: p.bank_account, maxlength: 200, autocomplete: "off" }), "Where you want to be paid. Only administrators see it."),
    field("Wallet address", h("input", { name: "wallet_account", value: p.wallet_account, maxlength: 42, autocomplete: "off", spellcheck: "false" }), "0x and 40 hexadecimal digits."),
    field("Chain", h("select", { name: "wallet_chain_id" }, chains.map(([v, text]) => h("option", { value: v, selected: v === chain }, text)))),
    field("WhatsApp", h("input", { name: "whatsapp", type: "tel", value: p.whatsapp, maxlength: 40 })),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (v) => {
    const wallet = v.wallet_account.trim();
    if (wallet && !/^0x[0-9a-fA-F]{40}$/.test(wallet)) { invalid(form.elements.wallet_account, "An address is 0x and 40 hexadecimal digits."); return; }
    await post("/api/profile_update", { profile_desc: v.profile_desc, bank_account: v.bank_account, wallet_account: wallet,
      wallet_chain_id: v.wallet_chain_id ? Number(v.wallet_chain_id) : undefined, whatsapp: v.whatsapp });
    toast("Saved.");
  });
  return form;
});

const address = $("#email");
address.querySelector("[data-now]").textContent = user.email;
onSubmit(address, async (v) => {
  const r = await post("/api/email", { email: v.email, password: v.password });
  address.reset();
  address.querySelector("[role=status]").textContent = r.message;
});

const form = $("#password");
form.elements.username.value = user.email;
onSubmit(form, async (v) => {
  if (v.new_password.length < 8) { invalid(form.elements.new_password, "Use at least 8 characters."); return; }
  if (v.new_password !== v.again) { invalid(form.elements.again, "The two are not the same."); return; }
  await post("/api/change_password", { current_password: v.current_password, new_password: v.new_password });
  form.reset();
  form.elements.username.value = user.email;
  toast("The password is changed. All other sessions are signed out.");
  drawSessions();
});

function device(agent) {
  const a = agent || "";
  const what = /Edg\//.test(a) ? "Edge" : /OPR\//.test(a) ? "Opera" : /Firefox\//.test(a) ? "Firefox" : /Chrom(e|ium)\//.test(a) ? "Chrome" : /Safari\//.test(a) ? "Safari" : a.split(/[\s/]/)[0] || "Unknown program";
  const where = /Android/.test(a) ? "Android" : /iPhone|iPad/.test(a) ? "iOS" : /Windows/.test(a) ? "Windows" : /Mac OS X/.test(a) ? "macOS" : /Linux/.test(a) ? "Linux" : "";
  return where ? `${what} on ${where}` : what;
}

function drawSessions() {
  load($("#sessions"), () => get("/api/sessions"), ({ sessions }) => [h("ul", { class: "list-group mb-3" }, sessions.map((s) => {
    const end = h("button", { type: "button", class: "btn btn-sm btn-outline-danger", "aria-label": `End the session ${device(s.user_agent)}`, onclick: () => busy(end, async () => {
      await post(`/api/sessions/${s.id}/revoke`);
      drawSessions();
    }) }, "End");
    return h("li", { class: "list-group-item d-flex flex-wrap justify-content-between gap-2 align-items-center" },
      h("div", {}, h("strong", {}, device(s.user_agent)), " ", s.kind === "admin" && badge("Admin", "danger"), " ", s.current && badge("This one", "success"),
        h("div", { class: "small text-body-secondary" }, s.ip, " · last seen ", time(s.last_seen_at))), !s.current && end);
  })), sessions.length > 1 && confirmButton("End all other sessions", { question: "Sign out everywhere else?", className: "btn btn-outline-danger", yes: async () => {
    await post("/api/sessions/revoke_others");
    drawSessions();
    toast("All other sessions are ended.");
  } })]);
}
drawSessions();
