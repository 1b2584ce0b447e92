// SPDX-License-Identifier: Apache-2.0
// Coupons and gifts of one's own videos; with data-admin on the body's main element, of the whole site.
import { get, post, requireUser, site } from "./api.js";
import { requireAdmin } from "./admin/common.js";
import "./nav.js";
import { $, badge, confirmButton, field, fill, h, invalid, load, onSubmit, parseMoney, plainMoney, skeletonLines, table, tile, time, toast } from "./ui.js";

const admin = "admin" in $("#main").dataset;
const BASE = admin ? "/admin" : "/api/creator";
const list = $("#coupons"), gifts = $("#gifts"), made = $("#make");
await (admin ? requireAdmin() : requireUser());
const { currency } = await site();

function limits(x) {
  return [x.max_uses && `${x.max_uses} in all`, x.max_per_buyer && `${x.max_per_buyer} per buyer`, x.min_price_cents && `from ${plainMoney(x.min_price_cents, x.currency)} ${x.currency}`,
    x.videos.length && x.videos.map((v) => v.title).join(", ")].filter(Boolean).join(" · ");
}

function state(x) {
  if (!x.active) return badge("Off", "dark");
  if (x.ends_at && new Date(x.ends_at) <= new Date()) return badge("Ended", "dark");
  if (new Date(x.starts_at) > new Date()) return badge("Not yet", "secondary");
  return badge("On", "success");
}

function draw() {
  const t = table([
    { head: "Code", class: "wrap", cell: (x) => [h("strong", {}, x.code), admin && h("div", { class: "small text-body-secondary" }, x.owner || "whole site"), x.note && h("div", { class: "small" }, x.note)] },
    { head: "Off", cell: (x) => x.off_display },
    { head: "Limits", class: "wrap", cell: (x) => [limits(x), x.ends_at && h("div", { class: "small text-body-secondary" }, "until ", time(x.ends_at))] },
    { head: "Used", end: true, cell: (x) => [String(x.redeemed), x.reserved > 0 && h("div", { class: "small text-body-secondary" }, `${x.reserved} under way`)] },
    { head: "State", cell: state },
    { head: "", end: true, cell: (x) => [h("a", { class: "btn btn-sm btn-outline-secondary me-2", href: `${BASE}/coupons/${x.id}/uses.csv` }, "CSV"),
      x.active && confirmButton("Switch off", { question: "For good?", yes: async () => { await post(`${BASE}/coupons/${x.id}/off`); draw(); } })] },
  ], "Coupons");
  load(list, () => get(`${BASE}/coupons`), ({ items }) => {
    fill(t.body, items.length ? items.map(t.row) : t.none("No coupons yet", "Make one above and pass its code on."));
    return h("div", { class: "card" }, t.el);
  }, [skeletonLines(3)]);
}

const seconds = (text) => (text ? Math.floor(new Date(text).getTime() / 1000) : undefined);
const count = (text) => (text ? Number(text) : undefined);

function makeForm(videos) {
  const kind = h("select", { name: "kind", id: "kind" }, h("option", { value: "percent" }, "percent"), h("option", { value: "amount" }, currency));
  const value = h("input", { name: "value", id: "value", required: true, inputmode: "decimal", maxlength: 15 });
  const titles = videos.length ? h("select", { id: "titles", multiple: true, size: Math.max(2, Math.min(5, videos.length)) }, videos.map((v) => h("option", { value: v.id }, v.title))) : null;
  const min = h("input", { name: "min", inputmode: "decimal", maxlength: 15 });
  const number = (name) => h("input", { name, type: "number", min: 1, max: 1000000 });
  const part = (...x) => h("div", { class: "col-sm-6 col-lg-3" }, ...x);
  const form = h("form", { id: "new-coupon", novalidate: true }, h("div", { class: "row" },
    part(field("Code", h("input", { name: "code", id: "new-code", required: true, minlength: 3, maxlength: 40, autocomplete: "off", autocapitalize: "characters" }), "3 to 40 letters, digits, - and _")),
    part(field("Takes off", value)), part(field("in", kind)), part(field("Smallest price (optional)", min)),
    part(field("Uses in all (optional)", number("max_uses"))), part(field("Uses per buyer (optional)", number("max_per_buyer"))),
    part(field("From (optional)", h("input", { name: "starts", type: "datetime-local" }))), part(field("Until (optional)", h("input", { name: "ends", type: "datetime-local" }))),
    titles && h("div", { class: "col-lg-6" }, field("Only for (none chosen: all)", titles)), h("div", { class: "col-lg-6" }, field("Note for yourself (optional)", h("input", { name: "note", maxlength: 200 })))),
  h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Make the coupon")));
  onSubmit(form, async (v) => {
    const percent = v.kind === "percent", n = percent ? parseMoney(v.value, "USD") : parseMoney(v.value, currency);
    if (!n || (percent && n > 10000)) { invalid(value, percent ? "From 0.01 to 100." : "An amount like 2.50."); return; }
    const least = v.min ? parseMoney(v.min, currency) : undefined;
    if (least === null) { invalid(min, "An amount like 2.50."); return; }
    await post(`${BASE}/coupons`, { code: v.code, [percent ? "percent_bp" : "amount_cents"]: n, min_price_cents: least, max_uses: count(v.max_uses),
      max_per_buyer: count(v.max_per_buyer), starts_at: seconds(v.starts), ends_at: seconds(v.ends), note: v.note,
      video_ids: titles ? [...titles.selectedOptions].map((o) => o.value) : undefined });
    toast("The coupon is made.");
    form.reset();
    draw();
  });
  return form;
}

const GIFT = { open: ["Not redeemed yet", "info"], redeemed: ["Redeemed", "success"], void: ["Taken back", "dark"] };

load(gifts, () => get(`${BASE}/gifts`), ({ items, counts }) => {
  const t = table([
    { head: "When", cell: (x) => time(x.created_at) }, { head: "Video", class: "wrap", cell: (x) => x.title }, { head: "State", cell: (x) => badge(...GIFT[x.state]) },
    { head: "Redeemed", cell: (x) => (x.redeemed_at ? time(x.redeemed_at) : "") }, { head: "Paid", end: true, cell: (x) => h("span", { class: "amount" }, x.paid_display) },
  ], "Gifts");
  fill(t.body, items.length ? items.map(t.row) : t.none("No gifts yet", "Buyers can pay for somebody else on the video's page."));
  return [h("div", { class: "row row-cols-2 row-cols-md-3 g-3 mb-3" }, tile("Not redeemed yet", String(counts.open)), tile("Redeemed", String(counts.redeemed)), tile("Taken back", String(counts.void))),
    h("div", { class: "card" }, t.el), items.length > 0 && h("a", { class: "btn btn-sm btn-outline-secondary mt-2", href: `${BASE}/gifts.csv` }, "CSV")];
}, [skeletonLines(3)]);

load(made, async () => (admin ? [] : (await get("/api/my_videos", { limit: 100 })).videos.filter((v) => v.price_cents > 0 && !v.deleted)), makeForm, [skeletonLines(3)]);
draw();
