// SPDX-License-Identifier: Apache-2.0
// What was watched, in figures and plots: the creator's titles, or all of them for an administrator; ?video_id= one of them.
import { get, query, requireUser } from "./api.js";
import { nav } from "./nav.js";
import { plot } from "./plot.js";
import { $, clock, empty, h, load, params, skeletonLines, table, tile } from "./ui.js";

const admin = location.pathname.startsWith("/public/admin/");
if (admin) await (await import("./admin/common.js")).requireAdmin();
else await requireUser();
await nav();

const video = params.get("video_id"), days = $("#days");
if (params.has("days")) days.value = params.get("days");

function hours(seconds) { return seconds >= 36000 ? `${Math.round(seconds / 3600)} h` : clock(seconds); }
function share(part, whole) { return whole ? `${Math.round((part / whole) * 100)} %` : "–"; }

const drawings = [];
function drawing(title, options, wide) {
  const box = h("div", {});
  drawings.push(() => plot(box, options));
  return h("section", { class: wide ? "col-12" : "col-12 col-lg-6" }, h("h2", { class: "h5" }, title), h("div", { class: "card card-body" }, box));
}
const count = (n) => String(Math.round(n));

// Days nobody watched are zero, not absent.
function filled(rows, step, value) {
  const by = new Map(rows.map((r) => [r.day ?? r.hour, value(r)])), out = [];
  if (!rows.length) return out;
  const first = rows[0].day ?? rows[0].hour, last = rows[rows.length - 1].day ?? rows[rows.length - 1].hour;
  for (let t = first; t <= last && out.length < 10000; t += step) out.push([t, by.get(t) || 0]);
  return out;
}

function titles(rows) {
  const t = table([
    { head: "Title", class: "wrap", cell: (r) => h("a", { href: location.pathname + query({ video_id: r.video_id, days: days.value }) }, r.title) },
    { head: "Starts", end: true, cell: (r) => String(r.plays) }, { head: "People", end: true, cell: (r) => String(r.viewers) },
    { head: "Watched", end: true, cell: (r) => hours(r.watch_seconds) }, { head: "To the end", end: true, cell: (r) => share(r.completions, r.plays) },
  ], "Titles by time watched");
  t.body.replaceChildren(...rows.map(t.row));
  return h("section", { class: "col-12" }, h("h2", { class: "h5" }, "Titles"), h("div", { class: "card" }, t.el));
}

function renditions(rows) {
  const all = rows.reduce((n, r) => n + r.segments, 0);
  return h("section", { class: "col-12 col-lg-6" }, h("h2", { class: "h5" }, "Picture quality"), h("div", { class: "card card-body" },
    rows.map((r) => h("div", { class: "mb-2" }, h("div", { class: "d-flex justify-content-between small" }, h("span", {}, r.name + "p"), h("span", {}, share(r.segments, all))),
      h("div", { class: "progress", role: "img", "aria-label": `${r.name}p: ${share(r.segments, all)} of what was watched` }, h("div", { class: "progress-bar", style: { width: share(r.segments, all).replace(" ", "") } }))))));
}

function draw(r) {
  if (r.title) $("#heading").textContent = r.title;
  if (!r.totals.plays) return empty("Nobody watched yet", "As soon as somebody presses play, it shows here within a minute.");
  drawings.length = 0;
  const t = r.totals, peak = r.concurrent.reduce((n, c) => Math.max(n, c.viewers), 0);
  return [video && h("p", {}, h("a", { href: location.pathname + query({ days: days.value }) }, "All titles")),
    h("div", { class: "row row-cols-2 row-cols-md-3 row-cols-xl-6 g-3 mb-4" }, tile("Starts", count(t.plays)), tile("People", count(t.viewers)),
      tile("Time watched", hours(t.watch_seconds)), tile("To the end", share(t.completions, t.plays), "Nine tenths or more"),
      tile("Most at once", count(peak)), tile("Watching now", count(t.now))),
    h("div", { class: "row g-4" },
      r.retention && drawing("Who is still there", { points: r.retention.map((p) => [p.second, p.percent]), label: "Share of the starts that saw each moment",
        show: (v) => `${Math.round(v)} %`, at: clock }, true),
      drawing("Time watched per day", { points: filled(r.daily, 86400, (d) => d.watch_seconds / 60), label: "Minutes watched per day", show: (v) => `${Math.round(v)} min`, bars: true }),
      drawing("Starts per day", { points: filled(r.daily, 86400, (d) => d.plays), label: "Starts per day", show: count, bars: true }),
      drawing("Viewers at once", { points: filled(r.concurrent, 3600, (c) => c.viewers), label: "Most viewers at one moment of each hour", show: count }),
      r.renditions.length > 0 && renditions(r.renditions), !video && titles(r.titles))];
}

async function show() {
  await load($("#report"), () => get(admin ? "/admin/analytics" : "/api/analytics", { video_id: video, days: days.value }), draw, [skeletonLines(6)]);
  for (const d of drawings) d();
}
days.addEventListener("change", () => {
  history.replaceState(null, "", location.pathname + query({ video_id: video, days: days.value }));
  show();
});
$("#filter").addEventListener("submit", (e) => e.preventDefault());
show();
