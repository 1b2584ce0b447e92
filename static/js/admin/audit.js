// SPDX-License-Identifier: Apache-2.0
import { get } from "../api.js";
import { $, fill, h, paged, table, time } from "../ui.js";
import { filters, requireAdmin } from "./common.js";

await requireAdmin();

function detail(d) {
  const entries = Object.entries(d || {}).filter(([, v]) => v !== "" && v !== null);
  return entries.map(([k, v]) => h("div", { class: "small wrap" }, h("span", { class: "text-body-secondary" }, k + ": "), typeof v === "object" ? JSON.stringify(v) : String(v)));
}
const t = table([
  { head: "When", cell: (a) => time(a.at) },
  { head: "Who", class: "wrap", cell: (a) => a.actor || "system" },
  { head: "What", cell: (a) => h("code", {}, a.action) },
  { head: "On", class: "wrap", cell: (a) => a.target },
  { head: "Detail", cell: (a) => detail(a.detail) },
  { head: "From", cell: (a) => a.ip || "" },
], "Audit log");
fill($("#list"), h("div", { class: "card" }, t.el));
const read = filters($("#filter"), () => list.reload());
const list = paged(t.body, {
  fetchPage: async (cursor) => { const r = await get("/admin/audit", { limit: 50, cursor, ...read() }); return { rows: r.items, next: r.next_cursor }; },
  row: t.row, skeleton: t.skeleton, none: () => t.none("Nothing found", "No entry fits this filter."),
});
