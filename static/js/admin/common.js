// SPDX-License-Identifier: Apache-2.0
// What the admin pages share: who may see them, and asking for a reason before something hard happens.
import { me, query } from "../api.js";
import { nav } from "../nav.js";
import { $, busy, failToast, field, fill, h, problem } from "../ui.js";

// Only with an administrator's session; others go to the admin sign-in.
export async function requireAdmin() {
  const user = await me();
  await nav();
  if (!user || !user.is_admin || !user.admin_session) {
    location.replace("/public/admin/login.html" + query({ return: location.pathname + location.search }));
    await new Promise(() => {});
  }
  return user;
}

// Opens a dialog; go(values) runs on the button, the dialog closes when it succeeds.
export function ask({ title, text, label = "Reason", required = false, button, danger = false, value = "", go }) {
  const input = h("textarea", { rows: 3, maxlength: 500, value });
  const error = h("div", {});
  const yes = h("button", { type: "submit", class: `btn ${danger ? "btn-danger" : "btn-brand"}` }, button);
  const form = h("form", { class: "modal-content", novalidate: true },
    h("div", { class: "modal-header" }, h("h2", { class: "modal-title h5", id: "ask-title" }, title),
      h("button", { type: "button", class: "btn-close", "data-bs-dismiss": "modal", "aria-label": "Close" })),
    h("div", { class: "modal-body" }, text && h("div", { class: "mb-3 wrap" }, text), field(label, input), error),
    h("div", { class: "modal-footer" }, h("button", { type: "button", class: "btn btn-outline-secondary", "data-bs-dismiss": "modal" }, "Cancel"), yes));
  const el = h("div", { class: "modal", tabindex: "-1", "aria-labelledby": "ask-title" }, h("div", { class: "modal-dialog modal-dialog-centered" }, form));
  document.body.append(el);
  const modal = new window.bootstrap.Modal(el);
  el.addEventListener("shown.bs.modal", () => input.focus());
  el.addEventListener("hidden.bs.modal", () => { modal.dispose(); el.remove(); });
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    if (required && !input.value.trim()) { input.classList.add("is-invalid"); input.focus(); return; }
    busy(yes, async () => { await go(input.value.trim()); modal.hide(); }, (e2) => fill(error, problem(e2)));
  });
  modal.show();
}

export function small(text, run, { kind = "outline-secondary", ...rest } = {}) {
  const b = h("button", { type: "button", class: `btn btn-sm btn-${kind}`, onclick: () => busy(b, run, failToast), ...rest }, text);
  return b;
}

// A search form whose fields live in the address. changed() runs after each change.
export function filters(form, changed) {
  const q = new URLSearchParams(location.search);
  for (const el of form.elements) if (el.name && q.has(el.name)) el.value = q.get(el.name);
  let timer;
  const run = () => {
    const now = new URLSearchParams();
    for (const el of form.elements) if (el.name && el.value) now.set(el.name, el.value);
    history.replaceState(null, "", location.pathname + (now.toString() ? "?" + now : ""));
    changed();
  };
  form.addEventListener("submit", (e) => { e.preventDefault(); run(); });
  form.addEventListener("change", (e) => { if (e.target.tagName === "SELECT") run(); });
  form.addEventListener("input", (e) => { if (e.target.tagName === "INPUT") { clearTimeout(timer); timer = setTimeout(run, 300); } });
  return () => Object.fromEntries(new FormData(form));
}

export { $ };
