// SPDX-License-Identifier: Apache-2.0
// Small pictures over the seek bar: what the film shows there, for pointers, fingers and arrow keys.
import { clock, fill, h } from "./ui.js";

const seconds = (text) => text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);

// WebVTT of the server -> [{from, to, sheet, x, y, w, h}]
export function parse(text) {
  return [...text.matchAll(/(\S+) --> (\S+)\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)/g)].map(([, from, to, sheet, ...box]) => {
    const [x, y, width, height] = box.map(Number);
    return { from: seconds(from), to: seconds(to), sheet, x, y, width, height };
  });
}

// seek: the range input; controls: what the picture is put into; playlist() -> address of the session's master playlist;
// name(second) -> what else there is to say about the moment, or "".
export function storyboard(seek, controls, playlist, name = () => "") {
  const picture = h("div", { class: "picture" }), text = h("div", { class: "small" });
  const box = h("div", { class: "glimpse", hidden: true, "aria-hidden": "true" }, picture, text);
  let tiles = null;
  controls.append(box);

  const near = (file) => playlist().replace(/[^/]*$/, file);
  async function load() {
    tiles = [];
    const response = await fetch(near("tiles.vtt"), { credentials: "same-origin" }).catch(() => null);
    if (response?.ok) tiles = parse(await response.text());
  }
  function show(at) {
    if (!tiles) load();
    const tile = tiles?.find((t) => at < t.to) || tiles?.at(-1), max = Number(seek.max) || 1;
    picture.hidden = !tile;
    if (tile) {
      Object.assign(picture.style, { width: tile.width + "px", height: tile.height + "px", backgroundImage: `url("${near(tile.sheet)}")`,
        backgroundPosition: `-${tile.x}px -${tile.y}px` });
    }
    fill(text, [clock(at), name(at)].filter(Boolean).join(" · "));
    box.hidden = false;
    const wide = controls.clientWidth, half = box.offsetWidth / 2;
    box.style.left = Math.max(half, Math.min(wide - half, seek.offsetLeft + (at / max) * seek.offsetWidth)) + "px";
  }
  const hide = () => { box.hidden = true; };
  seek.addEventListener("pointermove", (e) => {
    const r = seek.getBoundingClientRect();
    show(Math.max(0, Math.min(1, (e.clientX - r.left) / r.width)) * Number(seek.max));
  });
  seek.addEventListener("input", () => show(Number(seek.value)));
  for (const event of ["pointerleave", "blur", "pointerup", "pointercancel"]) seek.addEventListener(event, hide);
}
