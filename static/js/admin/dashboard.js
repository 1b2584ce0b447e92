// SPDX-License-Identifier: Apache-2.0
// Totals, what waits for a decision, sales over time.
import { get, site } from "../api.js";
import { perDay, plot } from "../plot.js";
import { $, empty, h, load, money, skeletonLines, stateBadge, table, time } from "../ui.js";
import { requireAdmin } from "./common.js";

await requireAdmin();
const { currency = "USD" } = await site();

load($("#stats"), () => get("/admin/stats"), ({ stats: s }) => {
  const wrong = s.affiliate_problem;
  const tile = (name, n, href, warn) => h("div", { class: "col-6 col-md-4 col-xl-3" }, h("div", { class: "tile" + (warn ? " border-warning" : "") },
    h("div", { class: "small text-body-secondary" }, name), h("div", { class: "n" }, href ? h("a", { class: "text-reset", href }, n) : n)));
  return [
    tile("Deposits to decide", s.pending_deposits, "/public/admin/wallet.html", s.pending_deposits > 0),
    tile("Payouts to decide", s.pending_payouts, "/public/admin/payouts.html", s.pending_payouts > 0 || s.unknown_payouts > 0),
    tile("Failed jobs", s.dead_jobs, "/public/admin/jobs.html?state=dead", s.dead_jobs > 0),
    tile("Watching now", s.watching), tile("Jobs at work", s.live_jobs, "/public/admin/jobs.html"),
    tile("Sales", s.sales), tile("Paid by viewers", s.gross_display || money(s.gross_cents, currency)), tile("Our share", s.revenue_display || money(s.revenue_cents, currency)),
    tile("Owed to wallets", s.wallets_display || money(s.wallets_cents, currency)), tile("Users", s.users, "/public/admin/users.html"),
    tile("Videos", `${s.videos_ready} of ${s.videos} ready`, "/public/admin/videos.html"),
    tile("Commissions refused", s.affiliate_refused, "/public/admin/affiliates.html?tab=rules", s.affiliate_refused > 0),
    tile("Taxes refused", s.tax_refused, "/public/admin/affiliates.html?tab=rules", s.tax_refused > 0),
    tile("Commissions to decide", s.waiting_commissions, "/public/admin/affiliates.html?tab=reviews", s.waiting_commissions > 0),
    wrong && h("div", { class: "col-12" }, h("div", { class: "alert alert-warning mb-0 wrap", id: "affiliate-problem" }, "The affiliate rule ", h("strong", {}, wrong.rule || "?"), " was wrong on ", time(wrong.at), ": ", wrong.why,
      ". Its commission was not paid, the sale stands.")),
  ];
}, [skeletonLines(4)]);

const t = table([
  { head: "When", cell: (x) => time(x.created_at) },
  { head: "Video", class: "wrap", cell: (x) => x.video_title },
  { head: "Buyer", cell: (x) => x.buyer_username },
  { head: "Creator", cell: (x) => x.creator_username },
  { head: "State", cell: (x) => stateBadge(x.status) },
  { head: "Amount", end: true, cell: (x) => h("strong", { class: "amount" }, money(x.amount, x.currency || currency)) },
], "Latest orders");
load($("#orders"), () => get("/admin/payments", { limit: 500 }), ({ items }) => {
  const paid = items.filter((x) => x.status === "paid");
  const days = perDay(paid, (x) => x.paid_at || x.created_at, (x) => x.amount);
  $("#plot").hidden = days.length < 2;
  if (days.length >= 2) plot($("#plot-body"), { points: days, label: "Sales per day", bars: true, show: (v) => money(Math.round(v), paid[0].currency || currency) });
  if (!items.length) return empty("No orders yet", "Sales appear here.");
  t.body.replaceChildren(...items.slice(0, 10).map(t.row));
  return h("div", { class: "card" }, t.el);
}, [skeletonLines(4)]);
