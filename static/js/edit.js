// SPDX-License-Identifier: Apache-2.0
// One title, edited by its creator, in sections. A section is a file of edit/ that exports {id, title, draw(video, page)}:
// draw answers the nodes of its card, or null to leave it out; video is what GET /api/my_videos/:id says.
// page.save(fields) changes these fields only and keeps the video up to date; page.reload() asks for it again and draws all.
import { get, post, requireUser } from "./api.js";
import "./nav.js";
import { film } from "./film.js";
import chapters from "./edit/chapters.js";
import details from "./edit/details.js";
import embed from "./edit/embed.js";
import marks from "./edit/marks.js";
import offers from "./edit/offers.js";
import preview from "./edit/preview.js";
import poster from "./edit/poster.js";
import removal from "./edit/removal.js";
import strength from "./edit/strength.js";
import subtitles from "./edit/subtitles.js";
import { $, empty, fill, h, load, params, skeletonLines } from "./ui.js";

const SECTIONS = [details, offers, poster, subtitles, chapters, preview, embed, marks, strength, removal];
const box = $("#sections"), id = params.get("video_id") || "";

const page = {
  async save(fields) {
    await post("/api/video_update", { id, ...fields });
    Object.assign(page.video, fields);
    head();
  },
  reload: () => load(box, () => get("/api/my_videos/" + encodeURIComponent(id)), draw, [skeletonLines(6)]),
};

function head() {
  $("#name").textContent = page.video.title;
  document.title = `Edit: ${page.video.title}`;
}

function card(section) {
  const content = section.draw(page.video, page);
  return content && h("section", { class: "card card-body mb-3", id: section.id, "aria-labelledby": section.id + "-title" },
    h("h2", { class: "h5", id: section.id + "-title" }, section.title), content);
}

function draw({ video }) {
  page.video = film(video);
  head();
  return SECTIONS.map(card);
}

await requireUser();
if (id) await page.reload();
else fill(box, empty("Which video?", "Choose one in the list of your videos.", h("a", { class: "btn btn-brand", href: "/public/dashboard.html" }, "My videos")));
