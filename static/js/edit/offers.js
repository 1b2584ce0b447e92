// SPDX-License-Identifier: Apache-2.0
// What else is sold of a title: prices in other currencies, a rental, bundles with other titles.
import { get, post } from "../api.js";
import { hours } from "../offers.js";
import { badge, busy, checkbox, field, h, invalid, load, money, onSubmit, parseMoney, plainMoney, toast } from "../ui.js";

const FIRST = ["IDR", "USD", "EUR"];
const input = (name, value) => h("input", { name, value, inputmode: "decimal", autocomplete: "off" });

// Inputs for a price in every currency but the own one; read(form) -> {IDR: minor units} or null when one is no amount.
function list(prices, own) {
  const codes = [...new Set([...FIRST, ...Object.keys(prices)])].filter((c) => c !== own);
  const inputs = codes.map((c) => [c, input("price_" + c, prices[c] ? plainMoney(prices[c], c) : "")]);
  return { el: h("div", { class: "row g-2" }, inputs.map(([c, el]) => h("div", { class: "col-6 col-md-4" }, field(`Price in ${c}`, el)))),
    read() {
      const out = {};
      for (const [c, el] of inputs) {
        if (!el.value.trim()) continue;
        const n = parseMoney(el.value, c);
        if (!n) { invalid(el, "Write an amount, or nothing."); return null; }
        out[c] = n;
      }
      return out;
    } };
}

function amount(el, currency) {
  const n = parseMoney(el.value, currency);
  if (!n) invalid(el, "Write an amount like 4.99.");
  return n || null;
}

function pricesForm(v, data) {
  const more = list(data.prices, data.currency);
  const form = h("form", { novalidate: true, id: "prices" }, h("h3", { class: "h6" }, "Prices in other currencies"),
    h("p", { class: "form-text" }, `The price in ${data.currency} is set above. Buyers pay what you write here where they can; elsewhere the ${data.currency} price at the rate of the day.`),
    more.el, h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save prices")));
  onSubmit(form, async () => {
    const prices = more.read();
    if (!prices) return;
    await post("/api/offers/prices", { video_id: v.id, prices });
    toast("Saved. New buyers see these prices.");
  });
  return form;
}

function aloneForm(v, data) {
  const form = h("form", { novalidate: true, id: "alone", class: "mt-4" }, h("h3", { class: "h6" }, "The title for good"),
    field("Sell it for good by itself", checkbox("alone", data.alone), "Switched off, it is sold only for rent or in bundles."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (x) => {
    await post("/api/offers/alone", { video_id: v.id, alone: !!x.alone });
    toast(x.alone ? "Saved. It is sold by itself." : "Saved. It is sold only for rent or in bundles.");
  });
  return form;
}

function rentalForm(v, data) {
  const r = data.rental || { prices: {}, window_hours: 720, play_hours: 48, active: false };
  const price = input("price", r.price_cents ? plainMoney(r.price_cents, data.currency) : ""), more = list(r.prices, data.currency);
  const number = (name, value, max) => h("input", { type: "number", name, value, min: 1, max, required: true });
  const form = h("form", { novalidate: true, id: "rental", class: "mt-4" }, h("h3", { class: "h6" }, "Rental"),
    field("Rent it out", checkbox("active", r.active)), field(`Rental price in ${data.currency}`, price),
    h("div", { class: "row g-2" }, h("div", { class: "col-6" }, field("Days to start it", number("days", Math.max(1, Math.round(r.window_hours / 24)), 365))),
      h("div", { class: "col-6" }, field("Hours from the first play", number("play_hours", r.play_hours, 720)))),
    more.el, h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save rental")));
  onSubmit(form, async (x) => {
    const cents = amount(price, data.currency), prices = more.read();
    if (!cents || !prices) return;
    await post("/api/offers/rental", { video_id: v.id, price_cents: cents, prices, window_hours: Number(x.days) * 24, play_hours: Number(x.play_hours), active: !!x.active });
    toast(x.active ? `Saved. Viewers rent it for ${money(cents, data.currency)}, ${hours(Number(x.play_hours))} from the first play.` : "Saved. It is not rented out.");
  });
  return form;
}

function excerptForm(v, data) {
  const e = data.excerpt || { seconds: 300, active: false };
  const price = input("price", e.price_cents ? plainMoney(e.price_cents, data.currency) : "");
  const form = h("form", { novalidate: true, id: "excerpt", class: "mt-4" }, h("h3", { class: "h6" }, "Excerpts for programs"),
    h("p", { class: "form-text" }, "A program that pays with x402 can buy the film bit by bit: each excerpt adds as much, from the beginning."),
    field("Sell excerpts", checkbox("active", e.active)),
    h("div", { class: "row g-2" }, h("div", { class: "col-6" }, field(`Price of one in ${data.currency}`, price)),
      h("div", { class: "col-6" }, field("Seconds of film in one", h("input", { type: "number", name: "seconds", value: e.seconds, min: 5, max: 86400, required: true })))),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save excerpts")));
  onSubmit(form, async (x) => {
    const cents = amount(price, data.currency);
    if (!cents) return;
    await post("/api/offers/excerpt", { video_id: v.id, price_cents: cents, seconds: Number(x.seconds), active: !!x.active });
    toast(x.active ? `Saved. Programs pay ${money(cents, data.currency)} for each ${x.seconds} seconds.` : "Saved. No excerpts are sold.");
  });
  return form;
}

// One bundle; b = null makes a new one, in which this title is.
function bundleForm(v, data, b, changed) {
  const price = input("price", b ? plainMoney(b.price_cents, data.currency) : ""), more = list(b?.prices || {}, data.currency);
  const inside = new Set(b ? b.videos.map((x) => x.id) : [v.id]);
  const boxes = data.titles.map((t) => Object.assign(checkbox("video", inside.has(t.id)), { value: t.id }));
  const sum = h("div", { class: "form-text", "aria-live": "polite" });
  const chosen = () => data.titles.filter((t, i) => boxes[i].checked);
  const tell = () => { sum.textContent = `${chosen().length} titles, one by one ${money(chosen().reduce((n, t) => n + t.price_cents, 0), data.currency)}.`; };
  for (const box of boxes) box.addEventListener("change", tell);
  tell();
  const form = h("form", { novalidate: true }, field("Name of the bundle", h("input", { name: "title", maxlength: 200, value: b?.title || "", autocomplete: "off" })),
    h("fieldset", { class: "mb-3" }, h("legend", { class: "fs-6" }, "Titles"), h("div", { class: "overflow-auto border rounded p-2 bundle-titles" },
      data.titles.map((t, i) => field(`${t.title} (${money(t.price_cents, data.currency)})`, boxes[i]))), sum),
    field(`Price of all in ${data.currency}`, price), more.el, field("Sell it", checkbox("active", b ? b.active : true)),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, b ? "Save bundle" : "Make the bundle")));
  onSubmit(form, async (x) => {
    if (!x.title.trim()) { invalid(form.elements.title, "A name is needed."); return; }
    const cents = amount(price, data.currency), prices = more.read();
    if (!cents || !prices) return;
    await post("/api/offers/bundle", { offer: b?.offer, title: x.title.trim(), price_cents: cents, prices, active: !!x.active, videos: chosen().map((t) => t.id) });
    toast("Saved.");
    await changed();
  });
  return form;
}

function bundlesPart(v, data, changed) {
  const make = h("div", {});
  const add = h("button", { type: "button", class: "btn btn-outline-secondary", id: "new-bundle", onclick: () => busy(add, async () => {
    make.replaceChildren(bundleForm(v, data, null, changed));
    make.querySelector("input").focus();
  }) }, "New bundle");
  return h("div", { class: "mt-4", id: "bundles" }, h("h3", { class: "h6" }, "Bundles"),
    data.bundles.map((b) => h("details", { class: "border rounded p-2 mb-2" }, h("summary", { class: "wrap" }, b.title, " ", h("span", { class: "amount" }, b.price_display), " ",
      badge(...(!b.active ? ["off", "secondary"] : b.videos.every((x) => x.sold) ? ["on sale", "success"] : ["waits for an unpublished title", "warning"])), " ", h("span", { class: "small text-body-secondary" }, `${b.videos.length} titles, ${b.sales} sold`)),
    h("div", { class: "mt-2" }, bundleForm(v, data, b, changed)))),
    data.titles.length > 1 ? add : h("p", { class: "form-text" }, "A bundle needs a second title with a price."), make);
}

function draw(v) {
  if (v.state === "deleted") return null;
  const box = h("div", {});
  const show = () => load(box, () => get(`/api/my_videos/${v.id}/offers`), (data) => (data.price_cents > 0
    ? [pricesForm(v, data), aloneForm(v, data), rentalForm(v, data), excerptForm(v, data), bundlesPart(v, data, show)] : h("p", { class: "mb-0" }, "This title is free. Give it a price first.")));
  show();
  return box;
}

export default { id: "selling", title: "Rental, bundles, currencies", draw };
