// SPDX-License-Identifier: Apache-2.0
// How a video looks in lists.
import { query } from "./api.js";
import { badge, clock, h, icon, money } from "./ui.js";

// One shape for what the routes call things.
export function film(v) {
  return { ...v, state: v.state || v.processing_state || (v.hls_ready ? "ready" : "processing"),
    poster: v.poster_url || v.poster || null, seconds: v.duration ?? v.duration_sec ?? (v.duration_ms ? v.duration_ms / 1000 : null), currency: v.currency || "USD" };
}

export function price(v) {
  if (v.from_cents) return `from ${money(v.from_cents, v.currency)}`;
  return v.price_cents > 0 ? money(v.price_cents, v.currency) : "Free";
}

export function watchUrl(id, ref) { return "/public/watch.html" + query({ video_id: id, ref }); }

export function editUrl(id) { return "/public/edit.html" + query({ video_id: id }); }

export function poster(v, ...more) {
  const box = h("div", { class: "poster" }, icon("film", 36));
  if (v.poster) {
    const img = h("img", { src: v.poster, alt: "", loading: "lazy", decoding: "async" });
    img.addEventListener("error", () => img.remove());
    box.append(img);
  }
  if (v.seconds) box.append(h("span", { class: "corner" }, clock(v.seconds)));
  box.append(...more.filter(Boolean));
  return box;
}

export function card(raw, { ref, extra, seen } = {}) {
  const v = film(raw);
  const bar = seen > 0 && v.seconds ? h("span", { class: "bar", style: { width: Math.min(100, (seen / v.seconds) * 100) + "%" } }) : null;
  return h("div", { class: "col" }, h("article", { class: "card film" }, poster(v, bar),
    h("div", { class: "card-body" },
      h("a", { class: "stretched-link title", href: watchUrl(v.id, ref) }, v.title),
      h("div", { class: "text-body-secondary small mb-2 wrap" }, v.owner_name),
      extra || h("div", { class: "d-flex flex-wrap gap-2 align-items-center" }, h("strong", { class: "amount" }, price(v)),
        v.state !== "ready" && badge("Being prepared", "secondary"),
        v.has_affiliate && badge(`${v.commission_pct}% affiliate`, "light")))));
}
