// SPDX-License-Identifier: Apache-2.0
import { get, post } from "../api.js";
import { $, about, confirmButton, fill, h, load, progress, stateBadge, table, time, toast } from "../ui.js";
import { filters, requireAdmin, small } from "./common.js";

await requireAdmin();
const STATE = { ready: "queued" };
const t = table([
  { head: "No.", cell: (j) => j.id },
  { head: "Kind", class: "wrap", cell: (j) => [j.kind, j.subject && h("div", { class: "small text-body-secondary wrap" }, j.subject)] },
  { head: "State", cell: (j) => [stateBadge(STATE[j.state] || j.state), j.error && j.state !== "done" && h("div", { class: "small wrap" }, j.error)] },
  { head: "Progress", cell: (j) => (j.state === "running" ? [progress(j.progress, `Job ${j.id}`), j.info?.eta_s && h("div", { class: "small" }, `${about(j.info.eta_s)} left`)] : "") },
  { head: "Tries", end: true, cell: (j) => `${j.attempts} of ${j.max_attempts}` },
  { head: "Created", cell: (j) => time(j.created_at) },
  { head: "Next or last run", cell: (j) => time(j.finished_at || j.started_at || j.run_at) },
  { head: "", end: true, cell: (j) => [
    (j.state === "dead" || j.state === "cancelled") && small("Run again", async () => { await post(`/admin/jobs/${j.id}/retry`); toast(`Job ${j.id} runs again.`); show(); }),
    (j.state === "ready" || j.state === "running") && confirmButton("Cancel", { question: "Cancel it?", yes: async () => { await post(`/admin/jobs/${j.id}/cancel`); show(); } })] },
], "Jobs");
const read = filters($("#filter"), () => show());
let rows = "";

function draw({ jobs }) {
  rows = JSON.stringify(jobs);
  t.body.replaceChildren(...(jobs.length ? jobs.map(t.row) : [t.none("No jobs", "Nothing fits this filter.")]));
  return h("div", { class: "card" }, t.el);
}
function fetchJobs() { return get("/admin/jobs", { limit: 100, ...read() }); }
function show() { return load($("#list"), fetchJobs, draw); }
await show();
// Redraws only when something moved, and never under somebody's fingers.
setInterval(async () => {
  if (document.hidden || $("#list").contains(document.activeElement)) return;
  try {
    const r = await fetchJobs();
    if (JSON.stringify(r.jobs) !== rows) fill($("#list"), draw(r));
  } catch { /* the next round tries again */ }
}, 5000);
