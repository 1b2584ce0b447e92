// SPDX-License-Identifier: Apache-2.0
// The ways to get a title, side by side: for good, rented, in a bundle. options.offers is what GET /api/pay/all_options says.
import { post } from "./api.js";
import { date, h, money } from "./ui.js";

const DAY = 24;
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
export const hours = (n) => (n % DAY === 0 ? plural(n / DAY, "day") : plural(n, "hour"));

// What is left until a moment: "2 days 4 h", "3 h 12 min", "5 min".
export function left(until) {
  const minutes = Math.max(0, Math.ceil((new Date(until) - Date.now()) / 60000));
  if (minutes >= 2 * DAY * 60) return `${plural(Math.floor(minutes / DAY / 60), "day")} ${Math.floor(minutes / 60) % DAY} h`;
  return minutes >= 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes} min`;
}

// How a rental stands. r: {ends_at, started, play_hours}.
export function rentalText(r) {
  return r.started ? `Your rental ends in ${left(r.ends_at)}, on ${date(r.ends_at)}.`
    : `Rented. Start by ${date(r.ends_at)}; from then on you have ${hours(r.play_hours)}.`;
}

const NAME = { purchase: "Buy", rental: "Rent" };
const name = (o) => (o.kind === "bundle" ? o.title : NAME[o.kind]);
export const verb = (o) => (o.kind === "rental" ? "Rent" : "Buy");

export function terms(o) {
  if (o.kind === "rental") return `Start within ${hours(o.window_hours)}, then ${hours(o.play_hours)} to watch.`;
  if (o.kind !== "bundle") return "Pay once, watch as often as you like.";
  const mine = o.videos.filter((v) => v.have).length;
  return `${plural(o.videos.length, "title")}: ${o.videos.map((v) => v.title).join(", ")}.${mine ? ` You have ${mine} of them already.` : ""}`;
}

// A choice of offers, or null when there is only one. pick(offer) is called with another one.
export function choice(offers, chosen, pick) {
  if (offers.length < 2) return null;
  return h("fieldset", { class: "list-group mb-3", id: "offers" }, h("legend", { class: "visually-hidden" }, "What would you like?"),
    offers.map((o) => h("label", { class: "list-group-item d-flex gap-2" + (o === chosen ? " border-primary" : "") },
      h("input", { type: "radio", class: "form-check-input flex-shrink-0", name: "offer", value: o.offer, checked: o === chosen, data: { kind: o.kind }, onchange: () => pick(o) }),
      h("span", { class: "flex-grow-1 wrap" }, h("span", { class: "d-flex justify-content-between gap-2" }, h("strong", { class: "wrap" }, name(o)),
        h("span", { class: "amount text-nowrap" }, money(o.price_cents, o.currency))), h("span", { class: "small text-body-secondary" }, terms(o))))));
}

// Where the creator set prices in several currencies: which one to see. changed() is called afterwards.
export function currencies(o, changed) {
  const known = Object.keys(o.prices || {}).sort();
  if (known.length < 2) return null;
  return h("label", { class: "small d-flex align-items-center gap-2 mb-2" }, "Prices in", h("select", { class: "form-select form-select-sm w-auto", id: "currency",
    onchange: async (e) => { await post("/api/currency", { currency: e.target.value }); await changed(); } },
  known.map((c) => h("option", { value: c, selected: c === o.currency }, c))));
}
