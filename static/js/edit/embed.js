// SPDX-License-Identifier: Apache-2.0
import { copyText, field, h, onSubmit, toast } from "../ui.js";

function draw(v, page) {
  if (v.state === "deleted") return null;
  const code = `<iframe src="${location.origin}/embed/${v.id}" width="640" height="360" style="border:0" allow="autoplay; fullscreen; picture-in-picture" allowfullscreen></iframe>`;
  const copy = h("button", { type: "button", class: "btn btn-outline-secondary btn-sm", onclick: () => copyText(code, copy) }, "Copy");
  const form = h("form", { novalidate: true },
    field("Sites that may show the free preview", h("textarea", { name: "embed_origins", rows: 3, maxlength: 2000, spellcheck: false, autocapitalize: "off",
      value: v.embed_origins.split(" ").join("\n"), placeholder: "https://example.org" }), "One address a line, such as https://example.org. Empty: no site may."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (values) => {
    await page.save({ embed_origins: values.embed_origins });
    await page.reload();
    toast("Saved.");
  });
  return [h("p", {}, "Others see the free preview there and a way to buy; never the film."), form,
    h("p", { class: "mt-3 mb-1" }, "For the page of such a site: ", copy), h("pre", { class: "border rounded p-2 small mb-0 pre" }, h("code", {}, code))];
}

export default { id: "embed", title: "On other sites", draw };
