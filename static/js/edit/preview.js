// SPDX-License-Identifier: Apache-2.0
import { clock, field, h, invalid, onSubmit, toast } from "../ui.js";

function draw(v, page) {
  if (v.state === "deleted") return null;
  const most = v.seconds ? Math.floor(v.seconds / 2) : null;
  const seconds = h("input", { name: "seconds", inputmode: "numeric", autocomplete: "off", value: Math.round(v.preview_ms / 1000) });
  const form = h("form", { novalidate: true },
    field("Seconds of the beginning anybody may watch", seconds, `0 shows nothing. ${most ? `At most half of the film: ${most}. ` : ""}It ends with a whole segment, so up to two seconds later.`),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (values) => {
    const n = /^\d{1,5}$/.test(values.seconds.trim()) ? Number(values.seconds) : -1;
    if (n < 0) { invalid(seconds, "Write a number of seconds, like 60."); return; }
    if (most !== null && n > most) { invalid(seconds, `At most ${most} seconds: half of the film.`); return; }
    await page.save({ preview_ms: n * 1000 });
    toast(n ? `Saved. The first ${clock(n)} are free.` : "Saved. There is no free preview.");
  });
  return form;
}

export default { id: "preview", title: "Free preview", draw };
