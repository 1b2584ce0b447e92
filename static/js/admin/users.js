// SPDX-License-Identifier: Apache-2.0
import { get, post } from "../api.js";
import { $, badge, fill, h, money, paged, stateBadge, table, time, toast } from "../ui.js";
import { ask, filters, requireAdmin, small } from "./common.js";

const admin = await requireAdmin();
const t = table([
  { head: "Name", class: "wrap", cell: (u) => [h("strong", {}, u.username), " ", u.is_admin && badge("Admin", "danger")] },
  { head: "E-mail", class: "wrap", cell: (u) => u.email },
  { head: "Joined", cell: (u) => time(u.created_at) },
  { head: "Last sign-in", cell: (u) => (u.last_login_at ? time(u.last_login_at) : "never") },
  { head: "Videos", end: true, cell: (u) => u.videos },
  { head: "Bought", end: true, cell: (u) => u.purchases },
  { head: "Wallet", end: true, cell: (u) => h("span", { class: "amount" }, money(u.balance_cents)) },
  { head: "State", cell: (u) => stateBadge(u.suspended ? "suspended" : "active") },
  { head: "", end: true, cell: (u) => (u.id === admin.id ? "" : u.suspended
    ? small("Lift", async () => { await post(`/admin/users/${u.id}/unsuspend`, {}); toast(`${u.username} may sign in again.`); list.reload(); }, { "aria-label": `Lift the suspension of ${u.username}` })
    : small("Suspend", () => ask({ title: `Suspend ${u.username}?`, text: "They are signed out everywhere and cannot sign in again until you lift it.", button: "Suspend", danger: true,
      go: async (reason) => { await post(`/admin/users/${u.id}/suspend`, { reason }); toast(`${u.username} is suspended.`); list.reload(); } }), { kind: "outline-danger", "aria-label": `Suspend ${u.username}` })) },
], "Users");
fill($("#list"), h("div", { class: "card" }, t.el));
const read = filters($("#filter"), () => list.reload());
const list = paged(t.body, {
  fetchPage: async (cursor) => { const r = await get("/admin/users", { limit: 50, cursor, ...read() }); return { rows: r.users, next: r.next_cursor }; },
  row: t.row, skeleton: t.skeleton, none: () => t.none("Nobody found", "Try another name."),
});
