// SPDX-License-Identifier: Apache-2.0
// Deposits to approve or reject, every wallet line, orders, commissions.
import { get, newKey, pay } from "../api.js";
import { $, fill, h, money, paged, params, stateBadge, table, time, toast } from "../ui.js";
import { ask, filters, requireAdmin, small } from "./common.js";

await requireAdmin();
const cash = (n, x) => h("span", { class: "amount" }, money(n, x.currency || "USD"));

function decide(x, verb) {
  const approve = verb === "approve", key = newKey();
  ask({ title: approve ? "Approve this deposit?" : "Reject this deposit?", label: "Note to the user (optional)", button: approve ? "Approve" : "Reject", danger: !approve,
    text: [h("strong", {}, x.username), approve ? " gets " : " does not get ", h("strong", {}, money(x.amount_cents, x.currency || "USD")), ".", x.note && h("div", { class: "mt-2" }, `Their note: ${x.note}`)],
    go: async (note) => {
      const r = await pay(`/admin/wallet/transactions/${x.id}/${verb}`, { admin_note: note }, key);
      toast(r.message ? r.message : approve ? `Approved: ${money(x.amount_cents, x.currency || "USD")} for ${x.username}.` : "Rejected.");
      lines.reload();
    } });
}

const t = table([
  { head: "When", cell: (x) => time(x.created_at) },
  { head: "User", class: "wrap", cell: (x) => x.username },
  { head: "What", cell: (x) => [x.txn_type.replace("_", " "), x.ref_username && h("span", { class: "text-body-secondary" }, ` · ${x.ref_username}`)] },
  { head: "Note", class: "wrap", cell: (x) => [x.note, x.admin_note && h("div", { class: "small text-body-secondary" }, x.admin_note)] },
  { head: "State", cell: (x) => stateBadge(x.status) },
  { head: "Amount", end: true, cell: (x) => h("strong", {}, cash(x.amount_cents, x)) },
  { head: "", end: true, cell: (x) => (x.txn_type === "deposit" && x.status === "pending" ? h("span", { class: "d-inline-flex gap-2", data: { deposit: x.id } },
    small("Approve", () => decide(x, "approve"), { kind: "success" }), small("Reject", () => decide(x, "reject"), { kind: "outline-danger" }))
    : x.txn_type === "withdrawal" && x.status === "pending" ? h("a", { href: "/public/admin/payouts.html" }, "Decide") : "") },
], "Wallet lines");
fill($("#lines"), h("div", { class: "card" }, t.el));
const read = filters($("#filter"), () => lines.reload());
if (!params.has("status") && !params.has("txn_type") && !location.search) $("#filter").elements.status.value = "pending";
const lines = paged(t.body, {
  fetchPage: async () => {
    const r = await get("/admin/wallet/transactions", { limit: 200, ...read() });
    $("#totals").textContent = `${r.totals.pending} to decide, ${r.totals.all} lines in all.`;
    return { rows: r.items, next: null };
  },
  row: t.row, skeleton: t.skeleton, none: () => t.none("Nothing here", read().status === "pending" ? "No deposit waits for you." : "No line fits this filter."),
});

function second(target, box, columns, caption, work, none) {
  const tab = table(columns, caption);
  fill(box, h("div", { class: "card" }, tab.el));
  let started = false;
  $(`[data-bs-target='${target}']`).addEventListener("shown.bs.tab", () => {
    if (started) return;
    started = true;
    paged(tab.body, { fetchPage: async () => ({ rows: (await work()).items, next: null }), row: tab.row, skeleton: tab.skeleton, none: () => tab.none(...none) });
  });
}
second("#tab-orders", $("#orders"), [
  { head: "When", cell: (x) => time(x.created_at) }, { head: "Video", class: "wrap", cell: (x) => x.video_title }, { head: "Buyer", cell: (x) => x.buyer_username },
  { head: "Creator", cell: (x) => x.creator_username }, { head: "By", cell: (x) => x.provider }, { head: "State", cell: (x) => stateBadge(x.status) },
  { head: "Price", end: true, cell: (x) => cash(x.amount, x) }, { head: "Platform", end: true, cell: (x) => cash(x.platform, x) },
  { head: "Creator's share", end: true, cell: (x) => cash(x.creator, x) }, { head: "Commission", end: true, cell: (x) => cash(x.commission, x) },
], "Orders", () => get("/admin/payments", { limit: 500 }), ["No orders yet", "Sales appear here."]);
second("#tab-commissions", $("#commissions"), [
  { head: "When", cell: (x) => time(x.created_at) }, { head: "Video", class: "wrap", cell: (x) => x.video_title }, { head: "Affiliate", cell: (x) => x.affiliate_username },
  { head: "Buyer", cell: (x) => x.buyer_username }, { head: "Creator", cell: (x) => x.owner_username }, { head: "Rule", cell: (x) => x.rule || "" },
  { head: "Price", end: true, cell: (x) => cash(x.purchase_price_cents, x) }, { head: "Commission", end: true, cell: (x) => h("strong", {}, cash(x.commission_cents, x)) },
], "Commissions", () => get("/admin/affiliate/commissions", { limit: 500 }), ["No commissions yet", "They appear with the first sale through a link."]);
