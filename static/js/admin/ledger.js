// SPDX-License-Identifier: Apache-2.0
// The books: trial balance and seals, revenue, what providers owe, taxes, exchange rates, requests of buyers.
import { get, post } from "../api.js";
import { plot } from "../plot.js";
import { badge, date, empty, field, h, load, money, notice, skeletonLines, table, tabsInAddress, tile, time, toast } from "../ui.js";
import { ask, requireAdmin, small } from "./common.js";

await requireAdmin();

const KIND = { user: "Wallets", receivable: "Owed by people", platform: "Platform", clearing: "Provider", tax: "Tax" };
const rows = (t, list, title, text) => { t.body.append(...(list.length ? list.map(t.row) : [t.none(title, text)])); return h("div", { class: "card mb-4" }, t.el); };

function trial(el) {
  load(el, () => Promise.all([get("/admin/ledger/trial"), get("/admin/ledger/breaches")]), ([r, b]) => {
    const t = table([
      { head: "Account", cell: (x) => `${KIND[x.kind] || x.kind} · ${x.name}` }, { head: "Accounts", end: true, cell: (x) => String(x.accounts) },
      { head: "On hold", end: true, cell: (x) => (x.held > 0 ? money(x.held, x.currency) : "") }, { head: "Balance", end: true, cell: (x) => h("span", { class: "amount fw-semibold" }, money(x.balance, x.currency)) },
    ], "Trial balance");
    const off = Object.entries(r.totals).filter(([, sum]) => sum !== 0);
    return [b.breaches.length ? h("div", { class: "alert alert-danger", role: "alert" }, h("strong", {}, `${b.breaches.length} broken invariants`), h("ul", { class: "mb-0 wrap" }, b.breaches.map((x) => h("li", {}, `${x.name}: ${x.detail}`))))
      : notice("Every invariant of the books holds.", "success"),
    off.length ? notice("The ledger does not add up to zero: " + off.map(([c, n]) => money(n, c)).join(", "), "danger") : null,
    rows(t, r.accounts, "Nothing booked yet", "With the first top-up or sale the accounts appear."),
    h("h2", { class: "h5" }, "Seals"), h("div", { class: "row row-cols-2 row-cols-lg-4 g-3 mb-3" }, tile("Transactions", String(r.txns)), tile("Seals", String(r.batch)), tile("Waiting for a seal", String(r.waiting)),
      tile("Newest seal", r.sealed_at ? date(r.sealed_at) : "none")),
    h("p", { class: "small wrap" }, "Key ", h("code", {}, r.key), h("br"), "Head ", h("code", {}, r.head)),
    h("p", { class: "small text-body-secondary" }, "Keep the head elsewhere from time to time: ", h("code", {}, "ppv ledger verify --head HASH"), " then also notices books that were exchanged as a whole.")];
  }, [skeletonLines(6)]);
}

function withSelect(el, label, options, value, show) {
  const select = h("select", { class: "form-select" }, options.map(([v, t]) => h("option", { value: v, selected: v === value }, t))), body = h("div", {});
  el.replaceChildren(h("div", { class: "row" }, h("div", { class: "col-8 col-md-3" }, field(label, select))), body);
  select.addEventListener("change", () => show(body, select.value));
  show(body, select.value);
}

function revenue(el) {
  withSelect(el, "By", [["day", "Day (90 days)"], ["week", "Week (one year)"], ["month", "Month (three years)"]], "day", async (body, period) => {
    const boxes = [];
    const days = { day: 90, week: 366, month: 1096 }[period];
    await load(body, () => get("/admin/ledger/revenue", { period, days }), (r) => {
      if (!r.items.length) return empty("No revenue in this time", "The platform's share of every sale is summed up here.");
      return [...new Set(r.items.map((x) => x.currency))].map((c) => {
        const list = r.items.filter((x) => x.currency === c), box = h("div", {}), sum = (k) => list.reduce((n, x) => n + x[k], 0);
        boxes.push(() => plot(box, { points: [[Math.floor(Date.now() / 1000) - days * 86400, 0], ...list.map((x) => [x.at, x.revenue])], label: `Revenue, ${c}`, show: (v) => money(Math.round(v), c), bars: true }));
        return [h("div", { class: "row row-cols-2 row-cols-md-3 g-3 mb-3" }, tile("Revenue", money(sum("revenue"), c)), tile("Provider fees", money(sum("fees"), c)), tile("Left", money(sum("revenue") + sum("fees"), c))),
          h("div", { class: "card card-body mb-4" }, box)];
      });
    }, [skeletonLines(4)]);
    for (const draw of boxes) draw();
  });
}

function clearing(el) {
  withSelect(el, "Payments", [["true", "Still open"], ["false", "All"]], "true", (body, open) => load(body, () => get("/admin/ledger/clearing", { open }), (r) => {
    const sums = table([{ head: "Provider", cell: (x) => x.provider }, { head: "Open payments", end: true, cell: (x) => `${x.payments} of ${x.all}` }, { head: "Up to 2 days", end: true, cell: (x) => money(x.fresh, x.currency) },
      { head: "3 to 7 days", end: true, cell: (x) => money(x.week, x.currency) }, { head: "Older", end: true, cell: (x) => h("span", { class: x.old ? "text-danger fw-semibold" : "" }, money(x.old, x.currency)) },
      { head: "Open", end: true, cell: (x) => h("span", { class: "amount fw-semibold" }, money(x.open, x.currency)) }], "What providers owe");
    const t = table([{ head: "Provider", cell: (x) => x.provider }, { head: "Payment", class: "wrap", cell: (x) => h("code", {}, x.payment_ref || "–") }, { head: "Since", cell: (x) => time(x.since) },
      { head: "Days", end: true, cell: (x) => String(x.days) }, { head: "Open", end: true, cell: (x) => h("span", { class: "amount" }, money(x.open, x.currency)) }], "Payments by age");
    return [h("p", { class: "text-body-secondary" }, "Negative: the provider owes the platform. A payment closes when the provider's settlement, or a refund, is booked."),
      rows(sums, r.providers, "No provider was used yet", "Payments by gateway appear here."), h("h2", { class: "h5" }, "Payments, oldest first"), rows(t, r.items, "Nothing open", "Everything that was paid has been settled.")];
  }, [skeletonLines(4)]));
}

function tax(el) {
  load(el, () => get("/admin/tax"), (r) => {
    const t = table([{ head: "Month", cell: (x) => x.month }, { head: "Tax", cell: (x) => x.code }, { head: "Sales", end: true, cell: (x) => String(x.lines) },
      { head: "Collected", end: true, cell: (x) => h("span", { class: "amount" }, money(x.amount, x.currency)) }], "Tax by month");
    return [h("p", {}, "Rule: ", h("strong", {}, r.rule || "none"), " ", h("a", { href: "/public/admin/plugins.html" }, "Plugins")),
      r.refused.length ? h("div", { class: "alert alert-danger", role: "alert" }, h("strong", {}, "The rule gave answers that were refused. Nothing was sold."), h("ul", { class: "mb-0 wrap" },
        r.refused.map((x) => h("li", {}, time(x.at), " ", x.why)))) : null,
      rows(t, r.months, "No tax was collected", "Choose a tax rule in the settings (tax.plugin) to collect it with every sale.")];
  }, [skeletonLines(4)]);
}

function rates(el) {
  let draw = null;
  load(el, () => get("/admin/rates"), (r) => {
    const box = h("div", {}), again = () => rates(el);
    draw = r.history.length > 1 && (() => plot(box, { points: r.history.map((x) => [x.at, Number(x.rate)]), label: `${r.base} in ${r.quote}`, show: (v) => String(Math.round(v * 100) / 100) }));
    return [r.waiting && h("div", { class: "alert alert-warning", role: "alert" }, h("p", {}, `The source says 1 ${r.base} = ${r.waiting.rate} ${r.quote}, more than 10 % away from the last rate ${r.rate || "(none)"}. It is not used until an administrator agrees.`),
      small("Use it", async () => { await post("/admin/rates/accept", { rate: r.waiting.rate }); toast("The new rate is in force."); again(); }, { kind: "warning" })),
    r.usable ? h("div", { class: "row row-cols-2 row-cols-md-3 g-3 mb-3" }, tile(`1 ${r.base} in ${r.quote}`, r.rate), tile("Source", r.source), tile("From", date(r.at)))
      : notice(r.problem || "There is no rate that may be used: prices are not converted.", "danger"),
    h("p", {}, small("Ask the source now", async () => { await post("/admin/rates/fetch"); again(); })),
    r.history.length > 1 && h("div", { class: "card card-body mb-4" }, box)];
  }, [skeletonLines(4)]).then(() => draw && draw());
}

const STATE = { open: ["Open", "warning"], accepted: ["Accepted", "success"], refused: ["Refused", "secondary"], refunded: ["Refunded", "success"] };
function requests(el) {
  withSelect(el, "Requests", [["open", "Open"], ["", "All"]], "open", (body, state) => {
    const show = () => load(body, () => get("/admin/withdrawals", { state: state || null }), (r) => {
      const decide = (x, accepted) => ask({ title: accepted ? "Accept the request" : "Refuse the request", text: `${x.email}: ${x.reason || "no reason given"}`, label: accepted ? "Note to the buyer (optional)" : "Why", required: !accepted,
        button: accepted ? "Accept" : "Refuse", danger: !accepted, go: async (note) => { await post(`/admin/withdrawals/${x.id}/decide`, { accept: accepted, note }); toast("Decided; the buyer gets a mail."); show(); } });
      const t = table([{ head: "When", cell: (x) => time(x.confirmed_at) }, { head: "Who", class: "wrap", cell: (x) => [x.email, x.name && h("div", { class: "small text-body-secondary" }, x.name)] },
        { head: "Purchase", class: "wrap", cell: (x) => [x.title || "not found", x.price && h("div", { class: "small text-body-secondary" }, `${money(x.price, x.currency)} · ${date(x.paid_at)}`)] },
        { head: "Consent at checkout", class: "wrap", cell: (x) => (x.consent_at ? `${date(x.consent_at)}, text ${x.consent_version}` : "none") }, { head: "Reason", class: "wrap", cell: (x) => x.reason },
        { head: "State", cell: (x) => badge(...(STATE[x.state] || [x.state])) },
        { head: "", end: true, cell: (x) => (x.state === "open" ? h("div", { class: "d-flex gap-2 justify-content-end" }, small("Accept", () => decide(x, true)), small("Refuse", () => decide(x, false), { kind: "outline-danger" })) : x.note) }], "Withdrawal and refund requests");
      return rows(t, r.items, "No requests", "Buyers can withdraw from a purchase at /public/withdraw.html, also without signing in.");
    }, [skeletonLines(4)]);
    show();
  });
}

tabsInAddress({ trial, revenue, clearing, tax, rates, requests });
