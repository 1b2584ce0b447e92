// SPDX-License-Identifier: Apache-2.0
// What is booked on the own wallet, line by line with a proof; what the own videos sold; receipts.
import { get, query, requireUser } from "./api.js";
import "./nav.js";
import { plot } from "./plot.js";
import { $, badge, date, empty, field, h, load, money, paged, params, skeletonLines, table, tabsInAddress, time, tile } from "./ui.js";

const TYPES = { deposit: "Top-up", withdrawal: "Withdrawal", transfer_in: "Received", transfer_out: "Sent", payment: "Bought a video",
  sale: "Sold a video", commission: "Commission", refund: "Refund", reversal: "Correction", dispute: "Dispute", adjustment: "Adjustment" };
await requireUser();

const monthName = (m) => new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric", timeZone: "UTC" }).format(new Date(m + "-01T00:00:00Z"));

function download(text, href) { return h("a", { class: "btn btn-outline-secondary", href, download: "" }, text); }

async function lines(el) {
  const first = await load(el, () => get("/api/statement", { limit: 1 }), () => null);
  if (!first) return;
  if (!first.months.length) {
    el.replaceChildren(empty("Nothing booked yet", "Every movement of your wallet appears here, with a signed proof that it is in the books."));
    return;
  }
  const months = [...new Set(first.months.map((m) => m.month))], currencies = [...new Set(first.months.map((m) => m.currency))];
  const month = h("select", { name: "month", class: "form-select" }, h("option", { value: "" }, "All months"), months.map((m) => h("option", { value: m }, monthName(m))));
  const currency = h("select", { name: "currency", class: "form-select" }, h("option", { value: "" }, "All currencies"), currencies.map((c) => h("option", { value: c }, c)));
  if (months.includes(params.get("month"))) month.value = params.get("month");
  const csv = download("Download CSV", "#"), sums = h("div", { class: "row row-cols-2 row-cols-md-3 g-3 mb-3" });
  const t = table([
    { head: "When", cell: (x) => time(x.created_at) },
    { head: "What", class: "wrap", cell: (x) => [TYPES[x.type] || x.type, x.title && h("div", { class: "small text-body-secondary" }, x.title),
      x.note && !x.title && h("div", { class: "small text-body-secondary" }, x.note)] },
    { head: "Amount", end: true, cell: (x) => h("span", { class: "amount fw-semibold" + (x.amount > 0 ? " in" : "") }, (x.amount > 0 ? "+" : "") + money(x.amount, x.currency)) },
    { head: "Balance", end: true, cell: (x) => h("span", { class: "amount" }, money(x.balance_after, x.currency)) },
    { head: "Proof", end: true, cell: (x) => (x.sealed ? h("a", { class: "btn btn-sm btn-outline-secondary", href: "/api/statement/proof" + query({ line: x.id }), download: "",
      "aria-label": `Proof of line ${x.id}` }, "Proof") : badge("sealed within a minute")) },
  ], "Booked lines of your wallet");
  const filter = () => ({ month: month.value || null, currency: currency.value || null });
  function drawSums() {
    csv.href = "/api/statement.csv" + query(filter());
    const rows = first.months.filter((m) => (!month.value || m.month === month.value) && (!currency.value || m.currency === currency.value));
    const per = new Map();
    for (const r of rows) {
      const s = per.get(r.currency) || { credit: 0, debit: 0, balance: r.balance };
      s.credit += r.credit; s.debit += r.debit;
      per.set(r.currency, s);
    }
    sums.replaceChildren(...[...per].flatMap(([c, s]) => [tile("Came in", money(s.credit, c)), tile("Went out", money(s.debit, c)), tile(month.value ? "At the end" : "Balance", money(s.balance, c))]));
  }
  el.replaceChildren(h("div", { class: "row g-2 mb-3 align-items-end" }, h("div", { class: "col-6 col-md-3" }, field("Month", month)), h("div", { class: "col-6 col-md-3" }, field("Currency", currency)),
    h("div", { class: "col-auto mb-3" }, csv)), sums, h("div", { class: "card" }, t.el),
  h("p", { class: "small text-body-secondary mt-3" }, "A proof shows that your line is in the sealed books of this site and says nothing about other people. Check it on any machine with ",
    h("code", {}, "ppv ledger verify --proof FILE --key KEY"), "; the key is at ", h("a", { href: "/api/ledger/key" }, "/api/ledger/key"), "."));
  const list = paged(t.body, {
    fetchPage: async (cursor) => { const r = await get("/api/statement", { ...filter(), limit: 50, cursor }); return { rows: r.items, next: r.next_cursor }; },
    row: t.row, skeleton: t.skeleton, none: () => t.none("Nothing in this month", "Choose another one."),
  });
  for (const s of [month, currency]) s.addEventListener("change", () => { drawSums(); list.reload(); });
  drawSums();
}

function revenue(el) {
  const days = h("select", { class: "form-select" }, [[30, "30 days"], [90, "90 days"], [365, "One year"]].map(([v, t]) => h("option", { value: v, selected: v === 90 }, t)));
  const body = h("div", {});
  el.replaceChildren(h("div", { class: "row" }, h("div", { class: "col-6 col-md-3" }, field("Period", days))), body);
  const show = () => load(body, () => get("/api/creator/revenue", { days: days.value }), (r) => {
    if (!r.daily.length) return empty("No sales in this time", "As soon as somebody buys one of your videos, it shows here.", h("a", { class: "btn btn-brand", href: "/public/upload.html" }, "Upload a video"));
    const parts = [];
    for (const c of [...new Set(r.daily.map((d) => d.currency))]) {
      const rows = r.daily.filter((d) => d.currency === c), sum = (k) => rows.reduce((n, d) => n + d[k], 0), box = h("div", {});
      parts.push(h("div", { class: "row row-cols-2 row-cols-md-4 g-3 mb-3" }, tile("Sales", String(sum("sales"))), tile("Paid by buyers", money(sum("gross"), c)),
        tile("Fee and commission", money(sum("platform") + sum("commission"), c)), tile("Yours", money(sum("net"), c))), h("div", { class: "card card-body mb-3" }, box));
      plotLater(box, { points: [[Math.floor(Date.now() / 1000) - days.value * 86400, 0], ...rows.map((d) => [d.day, d.net])], label: `Yours per day, ${c}`, show: (v) => money(Math.round(v), c), bars: true });
    }
    const t = table([{ head: "Title", class: "wrap", cell: (x) => h("a", { href: "/public/edit.html" + query({ video_id: x.video_id }) }, x.title) }, { head: "Sales", end: true, cell: (x) => String(x.sales) },
      { head: "Refunded", end: true, cell: (x) => String(x.refunded) }, { head: "Paid", end: true, cell: (x) => money(x.gross, x.currency) },
      { head: "Fee", end: true, cell: (x) => money(x.platform, x.currency) }, { head: "Commission", end: true, cell: (x) => money(x.commission, x.currency) },
      { head: "Yours", end: true, cell: (x) => h("span", { class: "fw-semibold" }, money(x.net, x.currency)) }], "Sales by title");
    t.body.append(...r.titles.map(t.row));
    return [parts, h("div", { class: "card" }, t.el)];
  }, [skeletonLines(4)]);
  days.addEventListener("change", show);
  show();
}

// A plot needs a width: it is drawn once its box is in the page and its tab is open.
function plotLater(box, options) {
  const seen = new ResizeObserver(() => { if (box.clientWidth) { seen.disconnect(); plot(box, options); } });
  seen.observe(box);
}

function receipts(el) {
  const t = table([
    { head: "Number", cell: (x) => h("a", { href: `/receipts/${encodeURIComponent(x.number)}` }, x.number) },
    { head: "Date", cell: (x) => date(x.created_at) },
    { head: "For", class: "wrap", cell: (x) => x.title },
    { head: "Kind", cell: (x) => (x.kind === "receipt" ? "Receipt" : "Credit note") },
    { head: "Amount", end: true, cell: (x) => h("span", { class: "amount" }, money(x.amount, x.currency)) },
  ], "Receipts");
  el.replaceChildren(h("p", {}, h("a", { href: "/public/withdraw.html" }, "Withdraw from a purchase or ask for a refund")), h("div", { class: "card" }, t.el));
  paged(t.body, {
    fetchPage: async (cursor) => { const r = await get("/api/receipts", { limit: 50, cursor }); return { rows: r.items, next: r.next_cursor }; },
    row: t.row, skeleton: t.skeleton, none: () => t.none("No receipts yet", "Each purchase gets a numbered receipt."),
  });
}

tabsInAddress({ lines, revenue, receipts });
