// SPDX-License-Identifier: Apache-2.0
// Affiliates of the whole site: figures, suspicious ones, commissions to decide, rules that were wrong, dry run of a changed rule.
import { get, post } from "../api.js";
import { cash, csvLink, figures, period, plots, reviewBadge } from "../figures.js";
import { badge, checkbox, empty, field, fill, h, invalid, load, notice, onSubmit, skeletonLines, table, tabsInAddress, time, toast } from "../ui.js";
import { $, ask, requireAdmin, small } from "./common.js";

await requireAdmin();
let days = 30;
const rows = (t, list, title, text) => { t.body.append(...(list.length ? list.map(t.row) : [t.none(title, text)])); return h("div", { class: "card mb-4" }, t.el); };

async function affiliates(el) {
  let drawn = null;
  await load(el, () => get("/admin/affiliate/report", { days }), (r) => {
    if (!r.affiliates.length) return empty("No affiliates yet", "Who shares a link that somebody follows appears here.");
    const odd = r.affiliates.filter((x) => x.suspicion);
    drawn = plots(r.daily, days);
    return [odd.length > 0 && h("div", { class: "alert alert-warning wrap", id: "suspicious" }, "Worth a look: ", odd.map((x) => `${x.name} (${x.suspicion})`).join(", "), "."), drawn.el,
      figures(r.affiliates, { head: "Affiliate", cell: (x) => x.name }, "All affiliates", [{ head: "Buyers", end: true, cell: (x) => String(x.buyers) },
        { head: "", cell: (x) => x.suspicion && badge(x.suspicion, "warning") }]), csvLink("/admin/affiliate/report.csv", days)];
  }, [skeletonLines(6)]);
  drawn?.draw();
}

function reviews(el) {
  const decide = (x, decision) => ask({ title: decision === "release" ? "Release the commission?" : "Give it back to the creator?", danger: decision === "refuse", label: "Note, the affiliate reads it",
    button: decision === "release" ? "Release" : "Refuse", text: `${x.amount_display} for ${x.affiliate_username}. ${x.reason}`,
    go: async (note) => { await post(`/admin/affiliate/reviews/${x.commission_id}`, { decision, note }); toast("Decided."); reviews(el); } });
  return load(el, () => get("/admin/affiliate/reviews"), (r) => {
    const t = table([{ head: "When", cell: (x) => time(x.created_at) }, { head: "Affiliate", cell: (x) => x.affiliate_username }, { head: "Buyer", cell: (x) => x.buyer_username },
      { head: "Creator", cell: (x) => x.owner_username }, { head: "Video", class: "wrap", cell: (x) => x.video_title }, { head: "Why", class: "wrap", cell: (x) => [x.reason, x.note && h("div", { class: "small" }, x.note)] },
      { head: "Amount", end: true, cell: (x) => x.amount_display }, { head: "State", cell: reviewBadge },
      { head: "", cell: (x) => x.state === "open" && h("div", { class: "d-flex gap-2" }, small("Release", () => decide(x, "release")), small("Refuse", () => decide(x, "refuse"), { kind: "outline-danger" })) }], "Commissions refused or waiting");
    return rows(t, r.items, "Nothing refused", "Commissions between tied accounts are listed here.");
  }, [skeletonLines(4)]);
}

function rules(el) {
  return load(el, () => get("/admin/affiliate/report", { days }), (r) => {
    const t = table([{ head: "When", cell: (x) => time(x.at) }, { head: "Rule", cell: (x) => [badge(x.kind), " ", x.rule] }, { head: "What was wrong", class: "wrap", cell: (x) => x.why },
      { head: "What happened", class: "wrap", cell: (x) => (x.kind === "tax" ? "Nothing was sold, no money moved." : "No commission was paid, the sale stands.") }], "Answers of rules that were refused");
    return rows(t, r.refused_rules, "No rule was wrong", "An answer that cannot be booked is refused and listed here.");
  }, [skeletonLines(4)]);
}

function trial(el) {
  load(el, () => Promise.all([get("/admin/plugins"), get("/admin/settings")]), ([p, s]) => {
    const list = p.plugins.filter((x) => x.kind === "affiliate" && x.state === "active"), out = h("div", { id: "trial-out", "aria-live": "polite" });
    const rule = h("select", { name: "rule" }, list.map((x) => h("option", { value: x.name, selected: x.name === s.settings.affiliate_plugin }, `${x.title} (${x.name})`))), own = h("div", { class: "row g-3" });
    const pct = h("input", { type: "number", name: "pct", min: 0, max: 90, step: 1, placeholder: "as it was" });
    const controls = () => fill(own, (list.find((x) => x.name === rule.value)?.settings || []).map((f) => h("div", { class: "col-md-4" }, field(f.title,
      f.type === "bool" ? checkbox("set_" + f.key, f.value) : h("input", { name: "set_" + f.key, type: "number", value: f.value ?? "" }), f.help))));
    rule.addEventListener("change", controls);
    controls();
    const form = h("form", { novalidate: true, id: "trial" }, h("div", { class: "row g-3" }, h("div", { class: "col-md-6" }, field("Rule", rule)), h("div", { class: "col-6 col-md-3" }, field("Percent of every sale", pct)),
      h("div", { class: "col-6 col-md-3" }, field("Sales of the last days", h("input", { type: "number", name: "days", min: 1, max: 1100, value: 30 })))), own,
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Try it")));
    onSubmit(form, async (v) => {
      const body = { rule: v.rule, days: Number(v.days), settings: {} };
      if (pct.value !== "") body.pct = Number(pct.value);
      if (body.pct !== undefined && !(Number.isInteger(body.pct) && body.pct >= 0 && body.pct <= 90)) { invalid(pct, "A whole number from 0 to 90."); return; }
      for (const c of own.querySelectorAll("[name^=set_]")) if (c.type === "checkbox" || c.value !== "") body.settings[c.name.slice(4)] = c.type === "checkbox" ? c.checked : Number(c.value);
      fill(out, result(await post("/admin/affiliate/dry_run", body)));
    });
    return [h("p", {}, "What a changed rule or percentage would have made of past sales. Nothing is booked."), form, out];
  }, [skeletonLines(4)]);
}

function result(r) {
  const sums = table([{ head: "Currency", cell: (x) => x.currency }, { head: "Sales", end: true, cell: (x) => String(x.sales) }, { head: "Changed", end: true, cell: (x) => String(x.changed) },
    { head: "Errors", end: true, cell: (x) => (x.errors ? badge(String(x.errors), "danger") : "0") }, { head: "Paid then", end: true, cell: (x) => cash(x.old, x.currency) }, { head: "By this rule", end: true, cell: (x) => cash(x.new, x.currency) },
    { head: "Difference", end: true, cell: (x) => h("strong", {}, cash(x.new - x.old, x.currency)) }], "Totals");
  const t = table([{ head: "Sold", cell: (x) => time(x.paid_at) }, { head: "Video", class: "wrap", cell: (x) => x.title }, { head: "Price", end: true, cell: (x) => cash(x.price, x.currency) }, { head: "Paid then", end: true, cell: (x) => cash(x.old, x.currency) },
    { head: "By this rule", end: true, cell: (x) => (x.error ? badge("error", "danger") : h("strong", {}, cash(x.new, x.currency))) },
    { head: "", class: "wrap", cell: (x) => x.error || x.lines.map((l) => l.memo).filter(Boolean).join(", ") }], "Sales that change");
  return h("div", { class: "mt-4" }, r.cut && notice("More than 20,000 sales: only the newest were tried."), rows(sums, r.totals, "No sales", "Nothing was sold in these days."),
    h("h2", { class: "h5" }, "Sales that change"), rows(t, r.items, "None changes", "Every sale of these days would have paid the same."));
}

const open = { affiliates, reviews, rules, trial };
period($("#days"), (n) => {
  const first = days === n;
  days = n;
  if (!first) for (const name of ["affiliates", "rules"]) if ($("#tab-" + name).children.length) open[name]($("#tab-" + name));
});
tabsInAddress(open);
