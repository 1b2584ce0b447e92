// SPDX-License-Identifier: Apache-2.0
import { field, h, onSubmit, toast } from "../ui.js";

const LEVELS = [[0, "Off: a leaked copy cannot be traced by it"], [60, "Weak"], [95, "Normal"], [110, "Strong"], [120, "Strongest: may be seen in plain areas"]];

function draw(v, page) {
  if (v.state === "deleted") return null;
  const now = LEVELS.some(([n]) => n === v.strength_pct) ? LEVELS : [...LEVELS, [v.strength_pct, `${v.strength_pct} %`]];
  const about = h("p", {}, "Every viewer gets slightly different pictures, invisibly, so that a copy leads to the account it came from.");
  if (!v.strength_open) {
    return [about, h("p", { class: "mb-0" }, h("strong", {}, now.find(([n]) => n === v.strength_pct)[1].split(":")[0]), ". It is part of the film's files and can be changed only before a film is prepared.")];
  }
  const form = h("form", { novalidate: true },
    field("Strength", h("select", { name: "strength_pct" }, now.map(([n, text]) => h("option", { value: String(n), selected: n === v.strength_pct }, text)))),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (values) => {
    await page.save({ strength_pct: Number(values.strength_pct) });
    toast("Saved. It counts from the next preparation on.");
  });
  return [about, form];
}

export default { id: "strength", title: "Invisible mark", draw };
