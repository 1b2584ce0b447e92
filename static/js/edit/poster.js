// SPDX-License-Identifier: Apache-2.0
import { get, post, postForm } from "../api.js";
import { field, h, invalid, load, onSubmit, toast } from "../ui.js";

function draw(v) {
  if (v.state !== "ready") return null;
  const items = h("div", { class: "row row-cols-2 row-cols-md-4 g-2 mb-3" });
  const form = h("form", { novalidate: true }, h("fieldset", {}, h("legend", { class: "visually-hidden" }, "Still picture"), items),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Use this picture")));
  const name = (p) => (p.own ? "My own picture" : `Picture ${p.choice}`);
  const show = () => load(items, () => get(`/api/videos/${v.id}/posters`), (r) => r.items.map((p) => h("div", { class: "col" }, h("label", { class: "d-block" },
    h("input", { type: "radio", class: "form-check-input me-2", name: "choice", value: p.choice, checked: p.chosen }), name(p),
    h("img", { src: p.own ? `${p.url}?at=${Date.now()}` : p.url, alt: p.own ? "The picture you sent" : `${name(p)} from the film`, class: "img-fluid rounded d-block mt-1" })))));
  const sending = h("form", { novalidate: true, class: "mt-3" },
    field("A picture of your own", h("input", { type: "file", name: "file", accept: "image/jpeg,image/png,image/webp", class: "form-control" }),
      "JPEG, PNG or WebP, up to 16 MB. It is made smaller, and what the camera wrote into the file is left out."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-outline-secondary" }, "Send and use it")));
  onSubmit(sending, async () => {
    if (!sending.elements.file.files.length) { invalid(sending.elements.file, "Choose a picture."); return; }
    await postForm(`/api/videos/${v.id}/posters`, new FormData(sending));
    sending.reset();
    toast("The picture is changed.");
    await show();
  });
  show();
  onSubmit(form, async () => {
    const chosen = form.querySelector("[name=choice]:checked");
    if (!chosen) return;
    await post(`/api/videos/${v.id}/poster`, { choice: Number(chosen.value) });
    toast("The picture is changed.");
  });
  return [form, sending];
}

export default { id: "poster", title: "Poster", draw };
