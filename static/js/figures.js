// SPDX-License-Identifier: Apache-2.0
// What affiliates bring, in plots and tables: for themselves, creators and administrators.
import { query } from "./api.js";
import { plot } from "./plot.js";
import { badge, h, money, table } from "./ui.js";

export const percent = (bp) => `${(bp / 100).toFixed(bp % 100 ? 1 : 0)} %`;
export const cash = (n, currency) => h("span", { class: "amount" }, currency ? money(n, currency) : "");

// A choice of days that calls show(days) now and at each change, and keeps it in the address.
export function period(select, show) {
  const q = new URLSearchParams(location.search);
  if (q.has("days") && [...select.options].some((o) => o.value === q.get("days"))) select.value = q.get("days");
  const run = () => show(Number(select.value));
  select.addEventListener("change", () => {
    const now = new URLSearchParams(location.search);
    now.set("days", select.value);
    history.replaceState(null, "", location.pathname + "?" + now);
    run();
  });
  run();
}

// Days without anything are zero. rows: {day (unix s), ...}
function filled(rows, days, value) {
  const by = new Map(), today = Math.floor(Date.now() / 86400000) * 86400, out = [];
  for (const r of rows) by.set(r.day, (by.get(r.day) || 0) + value(r));
  for (let t = today - (days - 1) * 86400; t <= today; t += 86400) out.push([t, by.get(t) || 0]);
  return out;
}

// Clicks, sales and commission by day. -> {el, draw}: draw() when el is in the page.
export function plots(daily, days) {
  const draws = [], whole = (v) => (Number.isInteger(v) ? String(v) : "");
  const one = (title, points, show) => {
    const box = h("div", {});
    draws.push(() => plot(box, { points, label: `${title} per day`, show, bars: true }));
    return h("section", { class: "col-12 col-lg-4" }, h("h3", { class: "h6" }, title), h("div", { class: "card card-body" }, box));
  };
  // A day with sales in two currencies has two rows with the same clicks.
  const seen = new Set(), clicks = daily.filter((r) => !seen.has(r.day) && seen.add(r.day));
  const currencies = [...new Set(daily.map((r) => r.currency).filter(Boolean))];
  const el = h("div", { class: "row g-3 mb-4" }, one("Clicks", filled(clicks, days, (r) => r.clicks), whole), one("Sales", filled(daily, days, (r) => r.sales), whole),
    (currencies.length ? currencies : ["USD"]).map((c) => one(`Commission, ${c}`, filled(daily.filter((r) => r.currency === c), days, (r) => r.net), (v) => money(Math.round(v), c))));
  return { el, draw: () => draws.forEach((d) => d()) };
}

// rows of a report. first: {head, cell}; more: columns at the end.
export function figures(rows, first, caption, more = []) {
  const t = table([first, { head: "Clicks", end: true, cell: (r) => String(r.clicks) }, { head: "Visitors", end: true, cell: (r) => String(r.visitors) },
    { head: "Sales", end: true, cell: (r) => String(r.sales) }, { head: "Conversion", end: true, cell: (r) => (r.visitors ? percent(r.conversion_bp) : "–") },
    { head: "Sold for", end: true, cell: (r) => cash(r.gross, r.currency) }, { head: "Commission", end: true, cell: (r) => h("strong", {}, cash(r.net, r.currency)) },
    { head: "Refunded", end: true, cell: (r) => (r.refunded ? String(r.refunded) : "") }, ...more], caption);
  t.body.replaceChildren(...rows.map(t.row));
  return h("div", { class: "card mb-4" }, t.el);
}

export function csvLink(path, days) { return h("p", { class: "text-end" }, h("a", { class: "btn btn-sm btn-outline-secondary", href: path + query({ days }), download: "" }, "Save as CSV")); }

const STATE = { open: ["Waits", "warning"], refused: ["Refused", "danger"], released: ["Released", "success"] };
export const reviewBadge = (r) => badge(...(STATE[r.state] || [r.state]));
