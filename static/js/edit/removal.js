// SPDX-License-Identifier: Apache-2.0
import { post } from "../api.js";
import { busy, confirmButton, date, h, toast } from "../ui.js";

const people = (n) => (n === 1 ? "the one who bought it" : `each of the ${n} who bought it`);

function draw(v, page) {
  if (v.state === "deleted") {
    const back = h("button", { type: "button", class: "btn btn-brand", id: "undelete", onclick: () => busy(back, async () => {
      await post("/api/video_undelete", { id: v.id });
      toast("The video is back.");
      await page.reload();
    }) }, "Take the deletion back");
    return [h("p", {}, `This video is deleted: nobody can watch it${v.sales ? `, not even ${people(v.sales)}` : ""}. `,
      `Until ${date(v.undelete_until)} you can bring it back as it was.`), h("div", {}, back)];
  }
  return [h("p", {}, `A deleted video disappears from the catalogue; ${v.sales ? people(v.sales) : "whoever had it"} cannot watch it any more and is told why. `,
    `You can take it back within ${v.undelete_days} days; later its files are removed for good.`),
  h("div", {}, confirmButton("Delete this video", { className: "btn btn-outline-danger", question: "Delete it now?", yes: async () => {
    await post("/api/video_delete", { id: v.id });
    toast("The video is deleted.");
    await page.reload();
  } }))];
}

export default { id: "removal", title: "Deletion", draw };
