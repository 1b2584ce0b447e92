// SPDX-License-Identifier: Apache-2.0
import { get, post } from "../api.js";
import { field, h, load, onSubmit, toast } from "../ui.js";

function draw(v) {
  if (v.state === "deleted") return null;
  const text = h("textarea", { name: "text", rows: 6, maxlength: 30000, spellcheck: "true", autocomplete: "off", placeholder: "0:00 The beginning\n12:30 The island" });
  const form = h("form", { novalidate: true },
    field("One line each: where it begins, and its title", text, "Viewers see them on the seek bar and in a menu. Leave it empty for none."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save chapters")));
  const box = h("div", {});
  load(box, () => get(`/api/videos/${v.id}/chapters`), (r) => { text.value = r.text; return form; });
  onSubmit(form, async (values) => {
    const r = await post(`/api/videos/${v.id}/chapters`, { text: values.text });
    text.value = r.text;
    toast(r.count ? `Saved. ${r.count} ${r.count === 1 ? "chapter" : "chapters"}.` : "Saved. There are no chapters.");
  });
  return box;
}

export default { id: "chapters", title: "Chapters", draw };
