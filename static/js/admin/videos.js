// SPDX-License-Identifier: Apache-2.0
import { get, post } from "../api.js";
import { film, price, watchUrl } from "../film.js";
import { $, badge, clock, fill, h, paged, size, stateBadge, table, time, toast } from "../ui.js";
import { ask, filters, requireAdmin, small } from "./common.js";

await requireAdmin();
const t = table([
  { head: "Title", class: "wrap", cell: (v) => (v.state === "ready" ? h("a", { href: watchUrl(v.id) }, v.title) : v.title) },
  { head: "Creator", cell: (v) => v.owner_name },
  { head: "Added", cell: (v) => time(v.created_at) },
  { head: "Length", end: true, cell: (v) => (film(v).seconds ? clock(film(v).seconds) : "") },
  { head: "Original", end: true, cell: (v) => (v.upload_size ? size(v.upload_size) : "") },
  { head: "Price", end: true, cell: (v) => h("span", { class: "amount" }, price(film(v))) },
  { head: "Sales", end: true, cell: (v) => v.sales },
  { head: "State", cell: (v) => [stateBadge(v.state), " ", v.visibility === "draft" && badge("Not listed"), v.error && h("div", { class: "small wrap" }, v.error)] },
  { head: "", end: true, cell: (v) => (v.state === "deleted" ? "" : small("Take down", () => ask({ title: `Take down "${v.title}"?`, button: "Take down", danger: true,
    text: "Nobody can watch or buy it any more. The creator sees it as deleted.",
    go: async (reason) => { await post(`/admin/videos/${v.id}/delete`, { reason }); toast("Taken down."); list.reload(); } }), { kind: "outline-danger", "aria-label": `Take down ${v.title}` })) },
], "Videos");
fill($("#list"), h("div", { class: "card" }, t.el));
const read = filters($("#filter"), () => list.reload());
const list = paged(t.body, {
  fetchPage: async (cursor) => { const r = await get("/admin/videos", { limit: 50, cursor, ...read() }); return { rows: r.videos, next: r.next_cursor }; },
  row: t.row, skeleton: t.skeleton, none: () => t.none("No videos found", "Try another filter."),
});
