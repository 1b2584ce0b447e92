// SPDX-License-Identifier: Apache-2.0
// What the viewer owns and was watching.
import { get, requireUser } from "./api.js";
import "./nav.js";
import { card, film, poster } from "./film.js";
import { rentalText } from "./offers.js";
import { $, badge, clock, date, empty, h, paged, skeletonCards } from "./ui.js";

const WHY = { purchase: "Bought", rental: "Rented", grant: "For free", bundle: "Bundle", free: "Free" };

// Its creator took it away; the purchase stays on record and counts again if it comes back.
function removed(v) {
  return h("div", { class: "col" }, h("article", { class: "card film" }, poster(v), h("div", { class: "card-body" },
    h("span", { class: "title" }, v.title), h("div", { class: "text-body-secondary small mb-2 wrap" }, v.owner_name),
    h("div", { class: "small" }, badge("Removed by its creator", "dark"), h("p", { class: "mt-2 mb-0" }, "Should it come back, it is yours as before.")))));
}

function row(raw) {
  const v = film({ ...raw, id: raw.video_id || raw.id });
  if (v.state === "deleted") return removed(v);
  const seen = (v.position_ms ?? v.resume_ms ?? 0) / 1000 || v.position_sec || 0;
  const left = v.seconds ? v.seconds - seen : 0;
  const rental = v.kind === "rental" && rentalText({ ends_at: v.rental_ends_at, started: v.rental_started, play_hours: v.play_hours });
  return card(v, { seen, extra: h("div", { class: "small d-flex flex-wrap gap-2 align-items-center" }, badge(WHY[v.kind || v.access] || "Yours", "secondary"),
    rental ? h("span", { class: "wrap" }, rental) : v.completed ? h("span", {}, "Watched") : seen > 5 && left > 10 ? h("span", {}, `${clock(left)} left`) : h("span", { class: "text-body-secondary" }, date(v.purchased_at || v.created_at))) });
}

await requireUser();
paged($("#films"), {
  fetchPage: async (cursor) => {
    const r = await get("/api/library", { limit: 24, cursor });
    return { rows: r.videos || r.items, next: r.next_cursor };
  },
  row,
  skeleton: () => skeletonCards(4),
  none: () => h("div", { class: "col-12 flex-fill w-100" }, empty("Your library is empty", "What you buy appears here and stays here.",
    h("a", { class: "btn btn-brand", href: "/public/browse.html" }, "Browse videos"))),
});
