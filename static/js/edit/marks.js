// SPDX-License-Identifier: Apache-2.0
// The viewer's name in the picture: how often, and what happens when the server cannot keep up.
import { busy, field, h, toast } from "../ui.js";

const words = (n) => (n === 0 ? "Never: only the invisible mark protects the film."
  : n === 100 ? "All the time but for the first four seconds." : `About ${Math.round(n * 3 / 5)} seconds of every minute, in moments nobody can foresee.`);

function draw(v, page) {
  if (v.state === "deleted") return null;
  const said = h("output", { class: "form-text", for: "mark-share", id: "mark-said" });
  const share = h("input", { type: "range", class: "form-range", id: "mark-share", min: 0, max: 100, step: 5, value: v.mark_visible,
    oninput: () => tell() });
  const fail = h("select", { class: "form-select", id: "mark-fail" },
    h("option", { value: "open", selected: v.mark_fail !== "wait" }, "Play on without the name"),
    h("option", { value: "wait", selected: v.mark_fail === "wait" }, "Wait for the name"));
  const save = h("button", { type: "button", class: "btn btn-brand", onclick: () => busy(save, async () => {
    await page.save({ mark_visible: Number(share.value), mark_fail: fail.value });
    toast(Number(share.value) ? "Saved. It counts from each viewer's next start." : "Saved. New starts show no name.");
  }) }, "Save");
  function tell() {
    said.textContent = `${share.value} %. ${words(Number(share.value))}`;
    fail.disabled = share.value === "0";
  }
  tell();
  return h("div", {},
    h("p", {}, "The viewer's name and the date can be burned into the picture itself, where no browser extension removes it."),
    field("Share of the time", share), said,
    h("div", { class: "mt-3" }, field("When the server is busy", fail)),
    h("div", { class: "form-actions" }, save));
}

export default { id: "marks", title: "Name in the picture", draw };
