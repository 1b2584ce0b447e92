// SPDX-License-Identifier: Apache-2.0
// The own orders: what was paid, what waits, what went back.
import { get, signInUrl } from "./api.js";
import { nav } from "./nav.js";
import { $, fill, h, money, paged, stateBadge, table, time } from "./ui.js";

const user = await nav();
if (!user) location.replace(signInUrl("/public/orders.html"));
const t = table([
  { head: "When", cell: (x) => time(x.created_at) },
  { head: "Video", class: "wrap", cell: (x) => h("a", { href: "/public/order.html?id=" + x.order_id }, x.title) },
  { head: "Paid by", cell: (x) => x.provider },
  { head: "State", cell: (x) => stateBadge(x.state) },
  { head: "Amount", end: true, cell: (x) => [h("span", { class: "amount" }, x.amount_display), x.refunded_cents > 0 && h("div", { class: "small text-body-secondary" }, "back: ", money(x.refunded_cents, x.currency))] },
], "Orders");
fill($("#orders"), h("div", { class: "card" }, t.el));
paged(t.body, {
  fetchPage: async (cursor) => { const r = await get("/api/orders", { cursor: cursor || undefined }); return { rows: r.items, next: r.next_cursor }; },
  row: t.row, skeleton: t.skeleton, none: () => t.none("No orders yet", "What you buy appears here."),
});
