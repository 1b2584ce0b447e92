// SPDX-License-Identifier: Apache-2.0
// Running plugins, their settings, reload and rollback with what was wrong.
import { get, post } from "../api.js";
import { $, badge, busy, checkbox, confirmButton, empty, failToast, field, fill, h, load, onSubmit, stateBadge, toast } from "../ui.js";
import { requireAdmin } from "./common.js";

await requireAdmin();

function problems(list) {
  if (!list || !list.length) return null;
  return h("div", { class: "alert alert-warning", role: "alert" }, h("strong", {}, list.length === 1 ? "One problem" : `${list.length} problems`),
    h("ul", { class: "mb-0" }, list.map((p) => h("li", { class: "wrap" }, typeof p === "string" ? p
      : [p.file && h("code", {}, p.file + (p.line ? ":" + p.line : "")), " ", p.message || p.error || p.text || ""]))));
}

function control(s) {
  const name = s.key;
  if (s.type === "bool") return field(s.title, checkbox(name, s.value), s.help);
  if (s.type === "enum") return field(s.title, h("select", { name }, (s.values || []).map((v) => h("option", { value: v, selected: v === s.value }, v))), s.help);
  if (s.type === "secret") {
    return field(s.title, h("input", { name, type: "password", autocomplete: "new-password", placeholder: s.value === "set" ? "Stored. Leave empty to keep it." : "" }), s.help);
  }
  if (s.type === "list") return field(s.title, h("textarea", { name, rows: 3, value: Array.isArray(s.value) ? s.value.join("\n") : s.value ?? "" }), (s.help ? s.help + " " : "") + "One per line.");
  const number = ["int", "bps", "money"].includes(s.type);
  return field(s.title, h("input", { name, type: number ? "number" : s.type === "url" ? "url" : "text", step: number ? 1 : null, value: s.value ?? "" }), s.help);
}

function settingsForm(p) {
  const form = h("form", { novalidate: true }, p.settings.map(control), h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (values) => {
    const out = {};
    for (const s of p.settings) {
      const v = values[s.key];
      if (s.type === "bool") out[s.key] = v;
      else if (s.type === "list") out[s.key] = v.split("\n").map((x) => x.trim()).filter(Boolean);
      else if (v !== "") out[s.key] = ["int", "bps", "money"].includes(s.type) ? Number(v) : v;
    }
    await post(`/admin/plugins/${encodeURIComponent(p.name)}/settings`, { settings: out });
    toast("Saved. It holds from now on.");
  });
  return form;
}

function pluginCard(p) {
  return h("article", { class: "card mb-3", data: { plugin: p.name } }, h("div", { class: "card-body" },
    h("div", { class: "d-flex flex-wrap gap-2 align-items-center mb-1" }, h("h2", { class: "h5 mb-0 wrap" }, p.title || p.name), stateBadge(p.state || "loaded"), badge(p.kind), h("span", { class: "small text-body-secondary" }, p.version)),
    h("p", { class: "small text-body-secondary mb-2" }, h("code", {}, `plugins/${p.name}/`), p.caps?.length ? ` may use: ${p.caps.join(", ")}` : " needs no rights"),
    p.errors?.length ? problems(p.errors) : null,
    p.settings?.length ? h("details", {}, h("summary", {}, "Settings"), h("div", { class: "pt-3" }, settingsForm(p))) : null));
}

function show() {
  return load($("#list"), () => get("/admin/plugins"), (r) => {
    fill($("#bundle"), r.bundle?.id !== undefined && r.bundle?.id !== null ? ["Running code no. ", h("strong", {}, r.bundle.id), " ", h("code", {}, String(r.bundle.hash || "").slice(0, 12))] : null);
    return [problems(r.problems), r.plugins.length ? r.plugins.map(pluginCard) : empty("No plugins", "Put one into the plugins folder and reload.")];
  });
}

const result = $("#result");
function refused(error) {
  if (!error.body?.problems?.length) { failToast(error); return; }
  fill(result, h("div", { class: "alert alert-danger", role: "alert" }, error.message), problems(error.body.problems));
}
const reload = $("#reload");
reload.addEventListener("click", () => busy(reload, async () => {
  fill(result);
  const r = await post("/admin/plugins/reload", undefined, { timeout: 60000 });
  fill(result, h("div", { class: "alert alert-success", role: "status" }, "The new code is running."), problems(r.problems));
  await show();
}, refused));
fill($("#rollback"), confirmButton("Go back", { question: "Go back to the code before?", className: "btn btn-outline-danger", yes: async () => {
  try {
    await post("/admin/plugins/rollback");
    fill(result, h("div", { class: "alert alert-success", role: "status" }, "The code before is running again."));
    await show();
  } catch (e) { refused(e); }
} }));
show();
