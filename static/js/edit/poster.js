// SPDX-License-Identifier: Apache-2.0
import { get, post } from "../api.js";
import { h, load, onSubmit, toast } from "../ui.js";

function draw(v) {
  if (v.state !== "ready") return null;
  const items = h("div", { class: "row row-cols-2 row-cols-md-4 g-2 mb-3" });
  const form = h("form", { novalidate: true }, h("fieldset", {}, h("legend", { class: "visually-hidden" }, "Still picture"), items),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Use this picture")));
  load(items, () => get(`/api/videos/${v.id}/posters`), (r) => r.items.map((p) => h("div", { class: "col" }, h("label", { class: "d-block" },
    h("input", { type: "radio", class: "form-check-input me-2", name: "choice", value: p.choice, checked: p.chosen }), `Picture ${p.choice}`,
    h("img", { src: p.url, alt: `Picture ${p.choice} from the film`, class: "img-fluid rounded d-block mt-1", loading: "lazy" })))));
  onSubmit(form, async () => {
    const chosen = form.querySelector("[name=choice]:checked");
    if (!chosen) return;
    await post(`/api/videos/${v.id}/poster`, { choice: Number(chosen.value) });
    toast("The picture is changed.");
  });
  return form;
}

export default { id: "poster", title: "Poster", draw };
