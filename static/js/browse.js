// SPDX-License-Identifier: Apache-2.0
// The catalogue: search, sort, more. Used by browse.html and index.html.
import { get } from "./api.js";
import "./nav.js";
import { card } from "./film.js";
import { $, empty, h, paged, params, skeletonCards } from "./ui.js";

const grid = $("#films"), form = $("#search"), ref = params.get("ref");
form.elements.q.value = params.get("q") || "";
if (params.get("sort")) form.elements.sort.value = params.get("sort");
if (!form.elements.sort.value) form.elements.sort.value = "newest";

const list = paged(grid, {
  fetchPage: async (cursor) => {
    const r = await get("/api/videos", { limit: 24, cursor, q: form.elements.q.value.trim(), sort: form.elements.sort.value });
    $("#found").textContent = cursor ? "" : r.videos.length === 0 ? "No videos found." : `${r.videos.length}${r.next_cursor ? " or more" : ""} videos.`;
    return { rows: r.videos, next: r.next_cursor };
  },
  row: (v) => card(v, { ref }),
  skeleton: () => skeletonCards(8),
  none: () => h("div", { class: "col-12 flex-fill w-100" }, form.elements.q.value.trim()
    ? empty("Nothing found", "Try fewer or other words.", h("button", { type: "button", class: "btn btn-outline-secondary", onclick: () => {
      form.elements.q.value = "";
      refresh();
    } }, "Show all videos"))
    : empty("No videos yet", "The first one could be yours.", h("a", { class: "btn btn-brand", href: "/public/upload.html" }, "Upload a video"))),
});

function refresh() {
  const q = new URLSearchParams();
  if (form.elements.q.value.trim()) q.set("q", form.elements.q.value.trim());
  if (form.elements.sort.value !== "newest") q.set("sort", form.elements.sort.value);
  if (ref) q.set("ref", ref);
  const text = q.toString();
  history.replaceState(null, "", location.pathname + (text ? "?" + text : ""));
  list.reload();
}

let timer;
form.addEventListener("submit", (e) => { e.preventDefault(); clearTimeout(timer); refresh(); });
form.elements.q.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(refresh, 300); });
form.elements.sort.addEventListener("change", refresh);
