// SPDX-License-Identifier: Apache-2.0
// Whose copy is it: upload of a leaked clip, progress, the verdict with its bound, a plot of what was read, the signed evidence.
import { ApiError, get, query, requireUser } from "./api.js";
import { nav } from "./nav.js";
import { plot } from "./plot.js";
import { whole } from "./transfer.js";
import { $, badge, clock, date, empty, failToast, field, fill, h, invalid, load, onSubmit, params, problem, progress, setProgress, skeletonLines, table } from "./ui.js";

const admin = location.pathname.startsWith("/public/admin/");
if (admin) await (await import("./admin/common.js")).requireAdmin();
else await requireUser();
await nav();

const VERDICTS = { accused: ["An account is named", "danger"], suspects: ["Suspects, not certain", "warning"], none: ["Nobody is named", "secondary"] };
const STAGES = { look: "Looking at the clip", search: "Looking for the film", read: "Reading the marks" };
const verdict = (v) => badge(...(VERDICTS[v] || [v, "secondary"]));
// 10^-7.2 as people say it; the exact figure stands beside it.
const chance = (log10) => (log10 <= -1 ? `1 in ${new Intl.NumberFormat(undefined, { notation: "compact" }).format(10 ** -log10)}` : "no bound");

async function follow(job, bar, text) {
  for (;;) {
    const s = await get("/api/trace/" + job);
    setProgress(bar, s.progress);
    text.textContent = s.state === "ready" ? "Waiting for its turn" : STAGES[s.stage] || "";
    if (s.state === "done") return s;
    if (s.state === "dead" || s.state === "cancelled") throw new ApiError(s.error || "The clip could not be traced.", {});
    await new Promise((go) => setTimeout(go, 1000));
  }
}

function upload() {
  const form = $("#clip"), input = h("input", { type: "file", name: "file", accept: "video/*,.mkv,.ts" });
  fill(form, field("The leaked clip", input, "At most 2 GB. It is deleted when it has been traced."), h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Trace it")));
  onSubmit(form, async () => {
    const file = input.files[0];
    if (!file) { invalid(input, "Choose a clip first."); return; }
    const bar = progress(0, "Tracing"), text = h("p", { class: "small text-body-secondary mb-0", role: "status" }, "Sending the clip");
    fill($("#running"), h("div", { class: "card card-body" }, h("strong", { class: "wrap" }, file.name), bar, text));
    fill($("#verdict"));
    try {
      const { job_id: job } = await whole("/api/trace", file, {}, { progress: (sent, all) => setProgress(bar, sent / all), ended: () => {} }).done;
      const done = await follow(job, bar, text);
      fill($("#running"));
      if (done.leak_id) open(done.leak_id);
      else fill($("#verdict"), h("div", { class: "alert alert-secondary" }, done.reason || "The clip shows none of the titles."));
      list();
    } catch (e) {
      fill($("#running"));
      throw e;
    }
  });
}

function suspects(rows) {
  const t = table([
    { head: "Account", class: "wrap", cell: (s) => [s.username || `account ${s.user_id}`, " ", s.accused ? badge("Accused", "danger") : badge("Suspect", "warning")] },
    { head: "Chance of error", end: true, cell: (s) => `at most ${chance(s.log10_bound)} (10^${s.log10_bound.toFixed(1)})` },
    { head: "Marks that agree", end: true, cell: (s) => `${s.agree} of ${s.read}` },
    { head: "Served by us", end: true, cell: (s) => (s.served === null ? "not in the log" : `${s.served} of ${s.segments}`) },
    { head: "Acting with", end: true, cell: (s) => (s.accounts > 1 ? `about ${s.accounts} accounts in all` : "alone") },
  ], "Suspects");
  t.body.replaceChildren(...rows.map(t.row));
  return h("div", { class: "card mb-3" }, t.el);
}

function report(id, r) {
  const read = r.reading?.segments || [], box = h("div", {});
  setTimeout(() => read.length > 1 && plot(box, { points: read.map((s) => [s[0] * 2, Math.abs(s[3])]), label: "How plain the mark is in each segment", show: (v) => v.toFixed(1), at: clock, bars: true }));
  return h("div", { class: "card card-body" }, h("div", { class: "d-flex flex-wrap gap-2 align-items-center mb-2" }, h("h2", { class: "h5 mb-0 wrap" }, r.title ? r.title.title : "No title"), verdict(r.verdict)),
    h("p", { class: "small text-body-secondary wrap" }, `${r.clip.name || "The clip"}, ${clock(r.clip.duration)}. `, r.title && `Likeness to the title ${r.title.match.toFixed(2)}. `,
      `${read.length} segments read, ${r.marked ?? 0} of them plainly marked.`, r.candidates && ` ${r.candidates} accounts could have had it.`),
    r.reason && h("p", {}, r.reason),
    r.suspects.length ? suspects(r.suspects) : h("p", {}, "No account's copy fits what was read. A longer piece may tell more."),
    r.verdict !== "accused" && r.suspects.length > 0 && h("p", { class: "small" }, "Below one in a million nobody is accused. Do not act against a suspect on this alone."),
    read.length > 1 && [h("h3", { class: "h6" }, "What was read"), box],
    h("p", { class: "mb-0 mt-2" }, h("a", { class: "btn btn-outline-secondary btn-sm", href: `/api/leaks/${id}/evidence` }, "Signed evidence"), " ",
      h("a", { class: "btn btn-outline-secondary btn-sm", href: `/api/leaks/${id}/page` }, "The same to read"),
      h("span", { class: "small text-body-secondary ms-2" }, "`ppv trace verify FILE` checks it.")));
}

async function open(id) {
  history.replaceState(null, "", location.pathname + query({ leak: id }));
  await load($("#verdict"), () => get("/api/leaks/" + id), ({ leak }) => report(id, leak), [skeletonLines(4)]);
  $("#verdict").scrollIntoView({ block: "nearest" });
}

function list() {
  return load($("#leaks"), () => get("/api/leaks"), ({ leaks }) => {
    if (!leaks.length) return empty("Nothing traced yet", "What you trace stays here with its evidence.");
    const t = table([
      { head: "Film", class: "wrap", cell: (l) => h("button", { type: "button", class: "btn btn-link p-0 text-start", onclick: () => open(l.id).catch(failToast) }, l.title) },
      { head: "When", cell: (l) => date(l.created_at) }, { head: "Verdict", cell: (l) => verdict(l.verdict) },
    ], "Traced leaks");
    t.body.replaceChildren(...leaks.map(t.row));
    return h("div", { class: "card" }, t.el);
  }, [skeletonLines(3)]);
}

upload();
list();
if (params.get("leak")) open(params.get("leak")).catch((e) => fill($("#verdict"), problem(e)));
