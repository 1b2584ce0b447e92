// SPDX-License-Identifier: Apache-2.0
// The free preview in a frame on another site. Buying happens on our own page, in a tab of its own.
import { film, price, watchUrl } from "./film.js";
import { createPlayer } from "./player.js";
import { ask, previewOf } from "./preview.js";
import { $, fill, h, icon, params, sentence } from "./ui.js";

const stage = $("#stage"), id = location.pathname.split("/")[2];
let video = null;

const buy = (text, className) => h("a", { class: className, href: watchUrl(id, params.get("ref") || ""), target: "_blank", rel: "noopener" }, text);
const goOn = () => (video.price_cents > 0 ? `Buy for ${price(video)}` : "Watch it for free");

function offer() {
  return h("div", { class: "offer" }, h("p", { class: "mb-2" }, "This was the free preview."), buy(goOn(), "btn btn-brand"));
}

function cover(...content) {
  const img = video?.poster && h("img", { class: "cover", src: video.poster, alt: "" });
  img?.addEventListener("error", () => img.remove());
  fill(stage, img, h("div", { class: "veil" }, content), bar());
}
function bar() {
  return video && h("div", { class: "bar" }, h("span", { class: "text-truncate" }, video.title), buy(goOn(), "btn btn-sm btn-brand flex-shrink-0"));
}

async function play() {
  try {
    const player = createPlayer(stage, { ...await previewOf(video), finished: offer });
    stage.append(bar());
    await player.start(true);
  } catch (error) { cover(h("p", { class: "mb-0", role: "alert" }, sentence(error))); }
}

try {
  video = film((await ask("/api/videos/" + encodeURIComponent(id))).video);
  document.title = video.title;
  if (video.preview_ms > 0 && video.state === "ready") {
    cover(h("button", { type: "button", class: "bigplay", id: "play", "aria-label": `Play the preview of ${video.title}`, onclick: play }, icon("play", 44)));
  } else cover();
} catch (error) { cover(h("p", { class: "mb-0", role: "alert" }, sentence(error))); }
