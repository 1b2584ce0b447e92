// SPDX-License-Identifier: Apache-2.0
// Payments that need a person: each queue with what can be done, empty ones in a line.
import { get, newKey, pay, post } from "../api.js";
import { $, busy, fill, h, money, problem, sentence, stateBadge, table, time, toast } from "../ui.js";
import { ask, requireAdmin, small } from "./common.js";

await requireAdmin();
const cash = (x) => h("strong", { class: "amount" }, x.amount_display ?? "");
const WHY = { underpaid: "less than asked", overpaid: "more than asked", late: "late, and the price has changed", duplicate: "a second payment", owned: "the buyer has the video already",
  mode: "not the provider's mode we asked in", currency: "another currency", object: "another checkout", not_for_sale: "the video is not for sale any more" };

function decide(x, what, title, text, danger) {
  ask({ title, label: "Note (optional)", button: title, danger, text: [text], go: async (note) => {
    await post(`/admin/payments/${x.id}/decide`, { what, note });
    toast("Done.");
    load();
  } });
}
function transfer(x, paid) {
  ask({ title: paid ? "Confirm this transfer?" : "Refuse this transfer?", label: "Note (optional)", button: paid ? "The money is in the bank" : "Refuse", danger: !paid,
    text: [h("strong", {}, x.amount_display), ` by ${x.buyer} for ${x.title}. Purpose: `, h("code", {}, x.ref)], go: async (note) => {
      const r = await post(`/admin/desk/${encodeURIComponent(x.ref)}/decide`, { paid, note });
      toast(`The order is ${r.state}.`);
      load();
    } });
}
function refund(x) {
  const key = newKey();
  ask({ title: "Refund this order?", label: "Reason", button: "Refund all that is left", danger: true, text: [x.what || `${x.title}, bought by ${x.buyer}.`], go: async (reason) => {
    const r = await pay(`/admin/orders/${x.order_id}/refund`, { reason }, key);
    toast(`Refund of ${r.amount_display}: ${r.state}.`);
    load();
  } });
}
function evidence(x) {
  ask({ title: "Send the evidence?", label: "", button: "Send", text: [`${x.provider} gets what the key log says of ${x.title}: when it was played, how much, and from where. Read it first: it can be sent for good only.`], go: async () => {
    await post(`/admin/disputes/${x.id}/evidence`);
    toast("The evidence was sent.");
    load();
  } });
}
const asking = (x) => { const b = small("Ask the provider", () => busy(b, async () => {
  const r = await post(`/admin/orders/${x.order_id}/ask`);
  toast(`The order is ${r.state}.`);
  load();
}, (error) => toast(sentence(error), "danger"))); return b; };
const buttons = (...list) => h("span", { class: "d-inline-flex flex-wrap gap-2 justify-content-end" }, list);

const WHEN = { head: "When", cell: (x) => time(x.created_at) }, BUYER = { head: "Buyer", cell: (x) => x.buyer }, VIDEO = { head: "Video", class: "wrap", cell: (x) => x.title };
const BY = { head: "By", cell: (x) => x.provider }, AMOUNT = { head: "Amount", end: true, cell: cash };
const QUEUES = [
  ["review", "Payments that do not match", [WHEN, BUYER, VIDEO, BY, { head: "Why", class: "wrap", cell: (x) => [WHY[x.why] || x.why, h("div", { class: "small text-body-secondary" }, `asked ${money(x.asked_cents, x.asked_currency)} · `, h("code", {}, x.payment_ref))] }, AMOUNT,
    { head: "", end: true, cell: (x) => buttons(x.order_state === "review" && small("Grant", () => decide(x, "grant", "Grant access", "The sale is booked at its price. What was paid above it goes to the buyer's wallet; what is missing is the platform's loss."), { kind: "success" }),
      small("Credit", () => decide(x, "credit", "Credit the wallet", `${x.amount_display} goes to the wallet of ${x.buyer}.`)), small("Sent back", () => decide(x, "returned", "It was sent back", "You have returned the money at the provider.", true), { kind: "outline-danger" })) }]],
  ["transfers", "Bank transfers to confirm", [WHEN, BUYER, VIDEO, { head: "Purpose", cell: (x) => h("code", {}, x.ref) }, { head: "Proof", cell: (x) => (x.proof ? h("a", { href: `/admin/desk/${encodeURIComponent(x.ref)}/proof` }, "Download") : "none yet") }, AMOUNT,
    { head: "", end: true, cell: (x) => buttons(small("Confirm", () => transfer(x, true), { kind: "success" }), small("Refuse", () => transfer(x, false), { kind: "outline-danger" })) }]],
  ["checking", "Held by the provider", [WHEN, BUYER, VIDEO, BY, AMOUNT, { head: "", end: true, cell: asking }]],
  ["unanswered", "Providers that do not answer", [WHEN, BUYER, VIDEO, BY, { head: "Asked", end: true, cell: (x) => x.asks }, AMOUNT, { head: "", end: true, cell: asking }]],
  ["events", "Messages not worked yet", [WHEN, BY, { head: "Kind", cell: (x) => x.kind }, { head: "Tries", end: true, cell: (x) => x.attempts }, { head: "Why", class: "wrap", cell: (x) => x.error },
    { head: "", end: true, cell: (x) => small("Replay", async () => { await post(`/admin/payment_events/${x.id}/replay`); toast("Queued."); load(); }) }]],
  ["refunds", "Refunds under way, failed, or taken by a dispute", [WHEN, BUYER, VIDEO, BY, { head: "State", cell: (x) => stateBadge(x.state) }, { head: "Why", class: "wrap", cell: (x) => x.error || x.reason }, AMOUNT]],
  ["disputes", "Disputes", [WHEN, BUYER, VIDEO, BY, { head: "State", cell: (x) => stateBadge(x.state) }, { head: "Answer until", cell: (x) => (x.due ? time(x.due) : "") },
    { head: "Evidence", class: "wrap", cell: (x) => [h("a", { href: `/admin/orders/${x.order_id}/evidence` }, "Download"), x.sent_at ? h("div", { class: "small" }, "sent ", time(x.sent_at)) : x.failed && h("div", { class: "small text-danger" }, x.failed)] },
    AMOUNT, { head: "", end: true, cell: (x) => x.sendable && small(x.sent_at ? "Send again" : "Send evidence", () => evidence(x)) }]],
  ["no_access", "Paid but no access", [WHEN, BUYER, VIDEO, BY, { head: "Why", class: "wrap", cell: (x) => x.why }, { head: "", end: true, cell: (x) => small("Refund", () => refund(x), { kind: "outline-danger" }) }]],
];

async function load() {
  try {
    const r = await get("/admin/payments/queue");
    const waiting = QUEUES.filter(([name]) => r[name].length), clear = QUEUES.filter(([name]) => !r[name].length);
    $("#totals").textContent = waiting.length ? "" : "Nothing waits for you.";
    fill($("#queues"), waiting.map(([name, title, columns]) => {
      const t = table(columns, title);
      t.body.append(...r[name].map(t.row));
      return h("section", { class: "mb-4", id: "queue-" + name }, h("h2", { class: "h5" }, title, " ", h("span", { class: "badge text-bg-secondary" }, r[name].length)), h("div", { class: "card" }, t.el));
    }), clear.length ? h("p", { class: "small text-body-secondary", id: "clear" }, "Empty: ", clear.map(([, title]) => title.toLowerCase()).join(", "), ".") : "");
  } catch (error) { fill($("#queues"), problem(error, load)); }
}
$("#refund").addEventListener("submit", (e) => {
  e.preventDefault();
  const order = e.target.elements.order.value.trim();
  refund({ order_id: order, what: `Order ${order}.` });
});
load();
