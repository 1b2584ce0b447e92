// SPDX-License-Identifier: Apache-2.0
import { field, h, invalid, onSubmit, toast } from "../ui.js";

const MAX = 600;

function draw(v, page) {
  if (v.state === "deleted") return null;
  const input = h("input", { name: "seconds", inputmode: "numeric", autocomplete: "off", value: String(Math.round(v.preview_ms / 1000)) });
  const form = h("form", { novalidate: true },
    field("Seconds that everybody may watch", input, `From the beginning, without paying. 0 = no preview, at most ${MAX}.`),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (values) => {
    if (!/^\d{1,3}$/.test(values.seconds.trim()) || Number(values.seconds) > MAX) { invalid(input, `A whole number from 0 to ${MAX}.`); return; }
    await page.save({ preview_ms: Number(values.seconds) * 1000 });
    toast("Saved.");
  });
  return form;
}

export default { id: "preview", title: "Preview", draw };
