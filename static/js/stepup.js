// SPDX-License-Identifier: Apache-2.0
// "Please confirm that it is you", in front of whatever the page shows. A native dialog: it lies above other dialogs.
import { post } from "./api.js";
import { busy, fill, h, problem } from "./ui.js";

// True once the server has accepted the proof, false when the person gave up.
export function stepUp(totp) {
  return new Promise((resolve) => {
    const input = h("input", totp ? { class: "form-control", id: "proof", name: "code", inputmode: "numeric", autocomplete: "one-time-code", maxlength: 40, required: true }
      : { class: "form-control", id: "proof", name: "password", type: "password", autocomplete: "current-password", required: true });
    const wrong = h("div", { class: "mt-3" });
    const yes = h("button", { type: "submit", class: "btn btn-brand" }, "Confirm");
    const form = h("form", { novalidate: true }, h("h2", { class: "h5" }, "Please confirm that it is you"),
      h("label", { class: "form-label", for: "proof" }, totp ? "Code from your authenticator app" : "Your password"), input, wrong,
      h("div", { class: "d-flex gap-2 justify-content-end mt-3" },
        h("button", { type: "button", class: "btn btn-outline-secondary", onclick: () => dialog.close() }, "Cancel"), yes));
    const dialog = h("dialog", { class: "proof", "aria-label": "Confirm that it is you" }, form);
    let proven = false;
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      if (!input.value) { input.focus(); return; }
      busy(yes, async () => {
        await post("/api/step_up", { [input.name]: input.value });
        proven = true;
        dialog.close();
      }, (error) => { fill(wrong, problem(error)); input.select(); });
    });
    dialog.addEventListener("close", () => { dialog.remove(); resolve(proven); });
    document.body.append(dialog);
    dialog.showModal();
  });
}
