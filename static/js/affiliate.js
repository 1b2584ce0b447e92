// SPDX-License-Identifier: Apache-2.0
// Earnings by recommending, links, and the terms of one's own videos.
import { get, post, query, requireUser } from "./api.js";
import "./nav.js";
import { film, price } from "./film.js";
import { cash, csvLink, figures, period, plots, reviewBadge } from "./figures.js";
import { $, checkbox, copyText, empty, failToast, field, fill, h, invalid, load, money, onSubmit, paged, params, skeletonLines, table, tile, time, toast } from "./ui.js";

const user = await requireUser();

// ---- what the links bring
let days = 30;
function money_tiles(r, s) {
  const sums = r.money.length ? r.money : [{ currency: s.currency || "USD", earned: 0, back: 0, pending: 0, payable: 0, paid: 0 }];
  return h("div", { class: "row row-cols-2 row-cols-md-3 row-cols-xl-6 g-3" }, sums.map((m) => [
    tile("Earned in all", money(m.earned, m.currency), m.back ? `${money(m.back, m.currency)} taken back` : null),
    tile("Pending", money(m.pending, m.currency), "Can still be refunded, or waits"),
    tile("Payable", money(m.payable, m.currency), "With what you earn as a creator"), tile("Paid out", money(m.paid, m.currency))]),
  tile("Sales brought", String(s.total_referrals ?? 0)), tile("Visits brought", String(s.total_clicks ?? 0)));
}
async function show_figures() {
  let drawn = null;
  await load($("#figures"), () => Promise.all([get("/api/affiliate/report", { days }), get("/api/affiliate/summary")]), ([r, s]) => {
    fill($("#summary"), money_tiles(r, s));
    if (!r.links.length) return null;
    drawn = plots(r.daily, days);
    return [drawn.el, h("h2", { class: "h5" }, "By link"), figures(r.links, { head: "Video", class: "wrap", cell: (x) => x.name }, "What each link brought"), csvLink("/api/affiliate/report.csv", days)];
  }, [skeletonLines(4)]);
  drawn?.draw();
}
async function show_sellers() {
  let drawn = null;
  await load($("#sellers"), () => get("/api/creator/affiliates", { days }), (r) => {
    if (!r.affiliates.length) return empty("Nobody yet", "When somebody follows a link to one of your videos, it shows here who shared it.");
    drawn = plots(r.daily, days);
    return [drawn.el, figures(r.affiliates, { head: "Affiliate", cell: (x) => x.name }, "What each affiliate brought"), csvLink("/api/creator/affiliates.csv", days)];
  }, [skeletonLines(4)]);
  drawn?.draw();
}
let sellers = false;
$("[data-bs-target='#tab-sellers']").addEventListener("shown.bs.tab", () => { if (!sellers) { sellers = true; show_sellers(); } });
period($("#days"), (n) => { days = n; show_figures(); if (sellers) show_sellers(); });

get("/api/affiliate/refused").then(({ items }) => {
  if (!items.length) return;
  const list = table([{ head: "When", cell: (x) => time(x.created_at) }, { head: "Video", class: "wrap", cell: (x) => x.video_title }, { head: "State", cell: reviewBadge },
    { head: "Why", class: "wrap", cell: (x) => [x.reason, x.note && h("div", { class: "small" }, "The administration says: ", x.note)] },
    { head: "Amount", end: true, cell: (x) => cash(x.amount, x.amount == null ? null : x.currency) }], "Commissions that were refused or wait");
  list.body.replaceChildren(...items.map(list.row));
  fill($("#refused-body"), h("div", { class: "card" }, list.el));
  $("#refused").hidden = false;
}).catch(failToast);

const t = table([
  { head: "When", cell: (x) => time(x.created_at) },
  { head: "Video", class: "wrap", cell: (x) => x.video_title },
  { head: "Buyer", cell: (x) => x.buyer_username },
  { head: "Price", end: true, cell: (x) => h("span", { class: "amount" }, money(x.purchase_price_cents, x.currency || "USD")) },
  { head: "You earned", end: true, cell: (x) => h("strong", { class: "amount in" }, money(x.commission_cents, x.currency || "USD")) },
], "Your commissions");
fill($("#earnings"), h("div", { class: "card" }, t.el));
paged(t.body, {
  fetchPage: async (cursor) => {
    const r = await get("/api/affiliate/earnings", { limit: 100, cursor });
    const rows = r.items || r.earnings;
    return { rows, next: r.next_cursor };
  },
  row: t.row, skeleton: t.skeleton, none: () => t.none("No earnings yet", "Share a link: when somebody buys through it, you earn."),
});

function linkRow(raw) {
  const v = film(raw);
  const url = location.origin + "/public/watch.html" + query({ video_id: v.id, ref: user.username });
  const input = h("input", { class: "form-control", readonly: true, value: url, "aria-label": `Link to ${v.title}`, onfocus: (e) => e.target.select() });
  const copy = h("button", { type: "button", class: "btn btn-outline-secondary", onclick: () => copyText(url, copy) }, "Copy");
  return h("li", { class: "list-group-item" }, h("div", { class: "d-flex flex-wrap justify-content-between gap-2 mb-2" },
    h("span", { class: "wrap" }, h("strong", {}, v.title), h("span", { class: "text-body-secondary" }, ` by ${v.owner_name}`)),
    h("span", {}, `${v.commission_pct}% of ${price(v)} = `, h("strong", { class: "amount" }, money(Math.floor((v.price_cents * v.commission_pct) / 100), v.currency)))),
  h("div", { class: "input-group" }, input, copy));
}
const links = $("#links-list");
paged(links, {
  fetchPage: async (cursor) => {
    const r = await get("/api/videos", { limit: 100, cursor });
    const rows = r.videos.filter((v) => v.has_affiliate && v.owner_id !== user.id && v.price_cents > 0);
    return { rows, next: r.next_cursor };
  },
  row: linkRow, skeleton: () => skeletonLines(4),
  none: () => h("li", { class: "list-group-item" }, empty("No programmes yet", "No creator pays a commission at the moment. Come back later.")),
});

const percent = (value) => h("input", { type: "number", name: "commission_pct", min: 0, max: 90, step: 1, value });
// A form of terms: percentage and switch; scope = the choice beside them, send(values) stores.
function termsForm(s, scope, send) {
  const pct = percent(s.commission_pct);
  const form = h("form", { class: "row g-2 align-items-end", novalidate: true }, scope && h("div", { class: "col-12 col-md-4" }, field("Terms", scope)),
    h("div", { class: scope ? "col-sm-5 col-md-3" : "col-sm-5" }, field("Others may earn on it", checkbox("is_enabled", s.is_enabled))), h("div", { class: "col-8 col-sm-4 col-md-3" }, field("Percent", pct)),
    h("div", { class: "col-4 col-sm-3 col-md-2" }, h("button", { type: "submit", class: "btn btn-brand w-100 mb-3" }, "Save")));
  const own = () => { for (const name of ["is_enabled", "commission_pct"]) form.elements[name].disabled = scope?.value === "general"; };
  scope?.addEventListener("change", own);
  own();
  onSubmit(form, async () => {
    const n = Number(pct.value);
    if (!Number.isInteger(n) || n < 0 || n > 90) { invalid(pct, "A whole number from 0 to 90."); return; }
    await send({ commission_pct: n, is_enabled: form.elements.is_enabled.checked });
    toast("Saved.");
  });
  return form;
}
function termsRow(raw) {
  const v = film(raw), box = h("div", {});
  const li = h("li", { class: "list-group-item" }, h("div", { class: "d-flex justify-content-between gap-2 mb-2" }, h("strong", { class: "wrap" }, v.title), h("span", { class: "amount" }, price(v))), box);
  load(box, () => get("/api/affiliate/settings", { video_id: v.id }), (s) => {
    const scope = h("select", { name: "scope" }, [["general", "As for all my videos"], ["own", "Its own"]].map(([value, text]) => h("option", { value, selected: (value === "general") === s.inherited }, text)));
    return termsForm(s, scope, (terms) => post("/api/affiliate/settings", { video_id: v.id, ...terms, inherit: scope.value === "general" }));
  }, [skeletonLines(1)]);
  return li;
}
let termsDrawn = false;
function drawTerms() {
  if (termsDrawn) return;
  termsDrawn = true;
  load($("#terms-general"), () => get("/api/affiliate/creator_settings"), (s) => termsForm(s, null, (terms) => post("/api/affiliate/creator_settings", terms)), [skeletonLines(1)]);
  paged($("#terms-list"), {
    fetchPage: async (cursor) => {
      const r = await get("/api/my_videos", { limit: 20, cursor });
      return { rows: r.videos.filter((v) => v.price_cents > 0 && !v.deleted), next: r.next_cursor };
    },
    row: termsRow, skeleton: () => skeletonLines(4),
    none: () => h("li", { class: "list-group-item" }, empty("Nothing to set", "You have no paid videos.", h("a", { class: "btn btn-brand", href: "/public/upload.html" }, "Upload a video"))),
  });
}
$("[data-bs-target='#tab-terms']").addEventListener("shown.bs.tab", drawTerms);
const tab = params.get("tab"), opener = tab && document.querySelector(`[data-bs-target="#tab-${CSS.escape(tab)}"]`);
if (opener) window.bootstrap.Tab.getOrCreateInstance(opener).show();
