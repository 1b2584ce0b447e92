// SPDX-License-Identifier: Apache-2.0
// Withdrawal in two steps: the form, then the summary with the confirming button. Needs no account.
import { me, post } from "./api.js";
import "./nav.js";
import { $, busy, fill, field, h, notice, onSubmit, params, problem } from "./ui.js";

const step = $("#step"), user = await me();

function form(old = {}) {
  const el = h("form", { novalidate: true, id: "withdraw" },
    field("Your name", h("input", { name: "name", required: true, maxlength: 200, autocomplete: "name", value: old.name || "" })),
    field("E-mail address of the purchase", h("input", { name: "email", type: "email", required: true, autocomplete: "email", value: old.email || user?.email || "" }), "The proof is sent there."),
    field("Number of the receipt or the order", h("input", { name: "reference", required: true, maxlength: 200, value: old.reference || params.get("order") || "" }), "If you have none: the title and the day."),
    field("Reason (optional)", h("textarea", { name: "reason", rows: 3, maxlength: 2000, value: old.reason || "" })),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Continue")));
  fill(step, el);
  onSubmit(el, async (v) => summary(await post("/api/withdrawal", v)));
}

function summary(r) {
  const error = h("div", {});
  const yes = h("button", { type: "button", class: "btn btn-brand", id: "confirm", onclick: () => busy(yes, async () => {
    const done = await post("/api/withdrawal/confirm", { token: r.token });
    fill(step, notice(done.message, "success"), h("p", {}, h("a", { href: "/public/browse.html" }, "To the videos")));
  }, (e) => fill(error, problem(e))) }, "Confirm withdrawal");
  const row = (name, text) => text && [h("dt", { class: "col-sm-4" }, name), h("dd", { class: "col-sm-8 wrap" }, text)];
  fill(step, h("h2", { class: "h5" }, "Please check and confirm"), h("p", {}, "I hereby withdraw from the purchase named here."),
    h("dl", { class: "row" }, row("Name", r.name), row("E-mail", r.email), row("Purchase", r.reference), row("Reason", r.reason)), error,
    h("div", { class: "d-flex gap-2 flex-wrap" }, yes, h("button", { type: "button", class: "btn btn-outline-secondary", onclick: () => form(r) }, "Change")));
  yes.focus();
}

form();
