// SPDX-License-Identifier: Apache-2.0
// The buyer's consent to immediate delivery, shown before paying where the site asks for it.
import { get, post } from "./api.js";
import { field, h, invalid } from "./ui.js";

// -> null when the site asks for none, else {el, agree(): false = not ticked, else recorded for the video}.
export async function consentBox(video) {
  const r = await get("/api/consent");
  if (!r.required) return null;
  const box = h("input", { type: "checkbox", class: "form-check-input", id: "consent" });
  return { el: field(r.text, box), agree: async () => {
    invalid(box, box.checked ? null : "Please agree first: the video starts at once.");
    if (box.checked) await post("/api/consent", { video_id: video, version: r.version });
    return box.checked;
  } };
}
