// SPDX-License-Identifier: Apache-2.0
// Where films' segments are kept: settings and their test, migrations, the files of one.
import { get, post } from "../api.js";
import { $, busy, checkbox, confirmButton, failToast, field, fill, formError, h, load, notice, onSubmit, progress, size, stateBadge, table, tile, time, toast, values } from "../ui.js";
import { requireAdmin, small } from "./common.js";

await requireAdmin();
const NAMES = { local: "This machine only", s3: "Amazon S3", minio: "MinIO, Ceph and others", r2: "Cloudflare R2", b2: "Backblaze B2" };
const LIVE = ["pending", "running"], RESUMABLE = ["failed", "cancelled", "completed_with_errors"];

// ---- settings ----

function settings({ desired: s, backends, keep_local, deliver }) {
  const text = (name, extra = {}) => h("input", { name, value: s[name], autocomplete: "off", spellcheck: false, maxlength: 300, ...extra });
  const choice = h("select", { name: "backend" }, backends.map((b) => h("option", { value: b, selected: b === s.backend }, NAMES[b] || b)));
  const remote = h("div", {},
    field("Bucket", text("bucket")), field("Address of the service", text("endpoint", { type: "url", placeholder: "https://" }), "Blank for Amazon S3: the region's."),
    field("Region", text("region")), field("Access key", text("access_key")),
    field("Secret key", h("input", { name: "secret_key", type: "password", autocomplete: "new-password" }), s.has_secret_key ? "Leave empty to keep the stored one." : null),
    field("The bucket's name is in the path", checkbox("path_style", s.path_style), "https://host/bucket instead of https://bucket.host"),
    field("Players fetch films from it", checkbox("deliver", deliver), "Otherwise it is a second copy only."),
    field("Public address", text("public_url", { type: "url", placeholder: "https://" }), "Of a network in front of the bucket, or of the bucket if anybody may read it. Blank: signed addresses."),
    field("Keep copies on this machine", checkbox("keep_local", keep_local), "When off, segments are removed here some thirteen hours after they were copied."));
  const said = h("div", { role: "status" });
  const test = h("button", { type: "button", class: "btn btn-outline-secondary", id: "test", onclick: () => {
    form.querySelector(".form-problem")?.remove();
    fill(said);
    busy(test, async () => {
      const r = await post("/admin/storage_settings/test", values(form), { timeout: 60000 });
      fill(said, notice(r.warning || r.message, r.warning ? "warning" : "success"));
    }, (e) => formError(form, e));
  } }, "Test");
  const form = h("form", { novalidate: true }, field("Storage", choice), remote, said,
    h("div", { class: "form-actions d-flex gap-2" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save"), test));
  const show = () => { remote.hidden = test.hidden = choice.value === "local"; };
  choice.addEventListener("change", show);
  show();
  onSubmit(form, async (v) => {
    await post("/admin/storage_settings", v);
    form.elements.secret_key.value = "";
    toast("Saved.");
    refresh();
  });
  return form;
}

// ---- films and migrations ----

function films(f, s) {
  return [h("div", { class: "row g-3" },
    tile("Films in the storage", `${f.copied} of ${f.total}`, size(f.bytes)), tile("Waiting to be copied", String(f.waiting)),
    tile("Only in the storage", String(f.remote_only), f.remote_only ? "their segments were removed here" : null)),
  f.error && h("div", { class: "mt-3" }, notice(`The last copy failed: ${f.error} It is tried again.`, "warning")),
  s.backend !== "local" && !s.configured && h("div", { class: "mt-3" }, notice(`Not complete: ${s.missing_fields.join(", ").replaceAll("_", " ")}.`, "danger"))];
}

async function start(resume) {
  await post("/admin/storage_migrations", { include_media: true, ...(resume ? { resume_from_job_id: resume } : {}) });
  toast("The migration was started.");
  await refresh();
}

async function items(id) {
  const filter = h("select", { class: "form-select form-select-sm w-auto", "aria-label": "Which files" }, [["", "All files"], ["failed", "Failed"], ["copied", "Copied"], ["skipped", "Skipped"]]
    .map(([v, text]) => h("option", { value: v }, text)));
  const t = table([
    { head: "File", class: "wrap", cell: (i) => h("code", {}, i.object_key) },
    { head: "State", cell: (i) => [stateBadge(i.status), i.error_message && h("div", { class: "small wrap" }, i.error_message)] },
    { head: "Further tries", end: true, cell: (i) => i.retry_attempts },
    { head: "When", cell: (i) => time(i.created_at) }], "Files of the migration");
  const list = h("div", {});
  const draw = () => load(list, () => get(`/admin/storage_migrations/${id}/items`, { status: filter.value }), (r) => {
    t.body.replaceChildren(...(r.items.length ? r.items.map(t.row) : [t.none("No files", "Nothing fits, or nothing was done yet.")]));
    return h("div", { class: "card" }, t.el);
  });
  filter.addEventListener("change", draw);
  fill($("#items"), h("div", { class: "d-flex justify-content-between align-items-center mt-4 mb-2 gap-2 flex-wrap" }, h("h2", { class: "h5 mb-0", tabindex: "-1" }, "The newest 200 files of the migration"), filter), list);
  await draw();
  $("#items h2").focus();
}

const t = table([
  { head: "Started", cell: (j) => [time(j.created_at), j.resumed_from_job_id && h("div", { class: "small text-body-secondary" }, "resumed")] },
  { head: "To", class: "wrap", cell: (j) => [j.bucket, j.endpoint && h("div", { class: "small text-body-secondary wrap" }, j.endpoint)] },
  { head: "State", cell: (j) => [stateBadge(j.status), j.last_error && h("div", { class: "small wrap" }, j.last_error)] },
  { head: "Files", cell: (j) => {
    const done = j.copied_files + j.skipped_files + j.failed_files;
    return [LIVE.includes(j.status) && progress(j.total_files ? done / j.total_files : 0, "Migration"),
      h("div", { class: "small" }, `${j.copied_files} copied, ${j.skipped_files} there already, ${j.failed_files} failed, of ${j.total_files}`),
      j.retry_attempts > 0 && h("div", { class: "small" }, `${j.retry_attempts} further tries`)];
  } },
  { head: "", end: true, cell: (j) => h("span", { class: "d-inline-flex flex-wrap gap-2 justify-content-end" }, small("Files", () => items(j.id)),
    LIVE.includes(j.status) && confirmButton("Cancel", { question: "Cancel it?", yes: async () => { await post(`/admin/storage_migrations/${j.id}/cancel`); refresh(); } }),
    RESUMABLE.includes(j.status) && small("Resume", () => start(j.id))) }], "Migrations");

let drawn = "";
function draw(r) {
  drawn = JSON.stringify([r.jobs, r.films]);
  fill($("#films"), films(r.films, r.desired));
  const go = h("button", { type: "button", class: "btn btn-brand", id: "migrate", disabled: r.desired.backend === "local" || !r.desired.configured || !!r.running_job,
    onclick: () => busy(go, () => start(), failToast) }, "Copy all films");
  fill($("#start"), go, h("div", { class: "form-text" }, r.desired.backend === "local" ? "Set a storage first." : r.running_job ? "One is running." : r.keep_local ? "Copies what is missing there, and fetches what is missing here." : "Copies what is missing there."));
  t.body.replaceChildren(...(r.jobs.length ? r.jobs.map(t.row) : [t.none("No migrations", "New films are copied by themselves; a migration copies the older ones.")]));
  fill($("#jobs"), h("div", { class: "card" }, t.el));
}
async function refresh() { draw(await get("/admin/storage_settings")); }

await load($("#settings"), () => get("/admin/storage_settings"), (r) => { draw(r); return settings(r); });
// Redraws only when something moved, and never under somebody's fingers.
setInterval(async () => {
  if (document.hidden || $("#jobs").contains(document.activeElement)) return;
  try {
    const r = await get("/admin/storage_settings");
    if (JSON.stringify([r.jobs, r.films]) !== drawn) draw(r);
  } catch { /* the next round tries again */ }
}, 5000);
