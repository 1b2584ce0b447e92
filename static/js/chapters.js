// SPDX-License-Identifier: Apache-2.0
// Chapters in the player: where they begin on the seek bar, which one a moment belongs to, and a menu.
import { clock, h } from "./ui.js";

// list: [[ms, title], ...] in order of time -> {name(second), items(video, jump), draw(length)}
export function chapters(list, controls, seek) {
  const marks = h("div", { class: "chapter-marks", "aria-hidden": "true" });
  if (list.length) seek.after(marks);
  const index = (second) => list.findLastIndex(([ms]) => ms / 1000 <= second + 0.05);
  let drawn = 0;
  return {
    name: (second) => list[index(second)]?.[1] || "",
    items: (video, jump) => list.map(([ms, title], i) => ({ text: `${clock(ms / 1000)} ${title}`, on: index(video.currentTime) === i, data: { chapter: String(i) },
      run: () => jump(ms / 1000) })),
    // The thumb's middle goes from half its width to half its width before the end; so do the marks (styles.css).
    draw(length) {
      if (!length || length === drawn) return;
      drawn = length;
      marks.replaceChildren(...list.filter(([ms]) => ms > 0 && ms / 1000 < length).map(([ms]) => h("i", { style: { left: `${(ms / 10 / length)}%` } })));
    },
  };
}
