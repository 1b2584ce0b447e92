// SPDX-License-Identifier: Apache-2.0
// Balance, top-up requests, transfers, history.
import { get, newKey, pay, requireUser, rupiah, safeReturn } from "./api.js";
import "./nav.js";
import { payoutsTab } from "./payouts.js";
import { plot } from "./plot.js";
import { $, badge, field, fill, h, invalid, load, money, onSubmit, paged, params, parseMoney, plainMoney, skeletonLines, stateBadge, table, time, toast } from "./ui.js";

const TYPES = { deposit: "Top-up", withdrawal: "Withdrawal", transfer_in: "Received", transfer_out: "Sent", payment: "Bought a video",
  sale: "Sold a video", commission: "Commission", refund: "Refund", reversal: "Correction" };

let currency = "USD", history = null;
const user = await requireUser();
const balanceBox = $("#balance");

async function balance() {
  const b = await get("/api/wallet/balance");
  currency = b.currency || "USD";
  return b;
}
async function drawBalance(b) {
  const inRupiah = await rupiah(Number(b.available_cents ?? b.balance_cents), currency);
  return [h("div", { class: "text-body-secondary" }, "Available"), h("div", { class: "balance", id: "available" }, money(b.available_cents ?? b.balance_cents, currency)),
    (b.others || []).map((o) => h("div", { class: "balance", data: { currency: o.currency } }, money(o.available_cents, o.currency))),
    inRupiah && h("div", { class: "small text-body-secondary amount" }, `about ${inRupiah}`), b.held_cents > 0 && h("div", { class: "small text-body-secondary" }, `${money(b.held_cents, currency)} on hold`)];
}
const refresh = () => { load(balanceBox, balance, drawBalance, [skeletonLines(1)]); history?.reload(); drawPlot(); };

// One key per filled form: pressing twice, or again after a broken connection, moves money once.
function moneyForm(form, path, bodyOf, done, unit = () => currency) {
  let key = null, sent = null;
  onSubmit(form, async (v) => {
    const cents = parseMoney(v.amount, unit());
    if (cents === null || cents <= 0) { invalid(form.elements.amount, "Write an amount like 25.00."); return; }
    const body = bodyOf(v, cents);
    if (!body) return;
    const text = JSON.stringify(body);
    if (text !== sent) { key = newKey(); sent = text; }
    const r = await pay(path, body, key);
    key = sent = null;
    form.reset();
    await done(r, body);
    refresh();
  });
}

function amountField(label, value, help) {
  const input = h("input", { name: "amount", inputmode: "decimal", autocomplete: "off", required: true, class: "form-control", id: "amount-" + label.length, value });
  return h("div", { class: "mb-3" }, h("label", { class: "form-label", for: input.id }, label),
    h("div", { class: "input-group" }, h("span", { class: "input-group-text" }, currency), input), help && h("div", { class: "form-text" }, help));
}
const noteField = () => field("Note (optional)", h("input", { name: "note", maxlength: 500, autocomplete: "off" }));

function depositTab(el) {
  const wanted = Number(params.get("amount")), back = safeReturn(params.get("return"), null);
  const form = h("form", { novalidate: true, id: "deposit" }, amountField("How much to add", wanted > 0 ? plainMoney(wanted, currency) : ""),
    field("Note (optional)", h("input", { name: "note", maxlength: 500, autocomplete: "off" }), "For example the reference of your bank transfer."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Ask for the top-up")));
  const result = h("div", { role: "status" });
  fill(el, h("p", {}, "An administrator adds the money once the payment is there."), form, result);
  moneyForm(form, "/api/wallet/deposit", (v, cents) => ({ amount_cents: cents, note: v.note.trim() }), (r, body) => {
    fill(result, h("div", { class: "alert alert-success mt-3" }, `Asked for ${money(body.amount_cents, currency)}. It is added as soon as an administrator approves it.`,
      back && h("div", { class: "mt-2" }, h("a", { class: "alert-link", href: back }, "Back to the video"))));
  });
}

function transferTab(el) {
  const to = h("input", { name: "to_username", autocomplete: "off", list: "people", required: true, maxlength: 40 });
  const people = h("datalist", { id: "people" });
  let timer;
  to.addEventListener("input", () => {
    clearTimeout(timer);
    const q = to.value.trim();
    if (q.length < 2) return;
    timer = setTimeout(async () => {
      try { fill(people, (await get("/api/user_lookup", { q })).users.filter((u) => u.id !== user.id).map((u) => h("option", { value: u.username }))); } catch { /* only a help */ }
    }, 250);
  });
  const form = h("form", { novalidate: true, id: "transfer" }, field("To (user name)", to), people, amountField("How much", ""), noteField(),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Send")));
  fill(el, h("p", {}, "Send money to another member. It arrives at once and cannot be taken back."), form);
  moneyForm(form, "/api/wallet/transfer", (v, cents) => {
    if (!v.to_username.trim()) { invalid(to, "Who is to get it?"); return null; }
    return { to_username: v.to_username.trim(), amount_cents: cents, note: v.note.trim() };
  }, (r, body) => toast(`Sent ${money(body.amount_cents, currency)} to ${r.transferred_to}.`));
}

function historyTab(el) {
  const t = table([
    { head: "When", cell: (x) => time(x.created_at) },
    { head: "What", cell: (x) => h("span", {}, TYPES[x.txn_type] || x.txn_type, x.ref_username && h("span", { class: "text-body-secondary" }, ` · ${x.ref_username}`)) },
    { head: "Note", class: "wrap", cell: (x) => [x.note, x.admin_note && h("div", { class: "small text-body-secondary" }, x.admin_note)] },
    { head: "State", cell: (x) => (x.status === "completed" || x.status === "approved" ? badge("Done", "success") : stateBadge(x.status)) },
    { head: "Amount", end: true, cell: (x) => {
      const n = Number(x.signed_cents) || x.amount_cents;
      return h("span", { class: "amount fw-semibold" + (n > 0 && x.status !== "rejected" ? " in" : "") }, (n > 0 ? "+" : "") + money(n, x.currency || currency));
    } },
    { head: "Balance", end: true, cell: (x) => (x.status === "pending" || x.status === "rejected" ? "" : h("span", { class: "amount" }, money(x.balance_after, x.currency || currency))) },
  ], "History of your wallet");
  fill(el, h("div", { class: "card" }, t.el));
  history = paged(t.body, {
    fetchPage: async (cursor) => {
      const r = await get("/api/wallet/transactions", { limit: 25, cursor });
      return { rows: r.items, next: r.next_cursor };
    },
    row: t.row, skeleton: t.skeleton, none: () => t.none("Nothing yet", "What comes in and goes out of your wallet appears here."),
  });
}

async function drawPlot() {
  const box = $("#plot");
  try {
    const [now, r] = await Promise.all([balance(), get("/api/wallet/transactions", { limit: 200 })]);
    // Backwards from the balance of today: a top-up is listed when it was asked for, not when it was approved.
    let at = Number(now.balance_cents);
    const points = [];
    for (const x of r.items) {
      if (x.status === "pending" || x.status === "rejected") continue;
      points.push([Math.floor(new Date(x.created_at).getTime() / 1000), at]);
      at -= Number(x.signed_cents) || 0;
    }
    const rows = points.reverse().filter((p) => isFinite(p[0]));
    const distinct = rows.filter((p, i) => i === rows.length - 1 || p[0] < rows[i + 1][0]);
    box.hidden = distinct.length < 3;
    if (!box.hidden) plot($("#plot-body"), { points: distinct, label: "Balance over time", show: (v) => money(v, currency) });
  } catch { box.hidden = true; }
}

await load(balanceBox, balance, drawBalance, [skeletonLines(1)]);
depositTab($("#tab-deposit"));
transferTab($("#tab-transfer"));
payoutsTab($("#tab-payouts"), { moneyForm, amountField, noteField, refresh });
historyTab($("#tab-history"));
drawPlot();
const tab = params.get("tab");
const opener = tab && document.querySelector(`[data-bs-target="#tab-${CSS.escape(tab)}"]`);
if (opener) window.bootstrap.Tab.getOrCreateInstance(opener).show();
for (const b of document.querySelectorAll("[data-bs-toggle=tab]")) {
  b.addEventListener("shown.bs.tab", () => {
    const q = new URLSearchParams(location.search);
    q.set("tab", b.dataset.bsTarget.slice(5));
    window.history.replaceState(null, "", location.pathname + "?" + q);
  });
}
