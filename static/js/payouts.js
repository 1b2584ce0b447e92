// SPDX-License-Identifier: Apache-2.0
// The payouts part of the wallet: what is pending, payable and paid, why something waits, asking for a withdrawal, the account.
import { get, post } from "./api.js";
import { $, badge, confirmButton, date, empty, field, fill, h, load, money, onSubmit, params, paged, skeletonLines, stateBadge, table, time, toast } from "./ui.js";

const METHODS = { bank: "Bank account", ewallet: "E-wallet", paypal: "PayPal" };
const HELP = { bank: "Bank code", ewallet: "Code of the wallet" };

const waits = (reason, until, next) => h("div", { class: "small" }, reason, until && [" Until ", time(until), "."], next && h("div", { class: "text-body-secondary" }, "Next: ", next));
const proof = (evidence) => {
  const list = Object.entries(evidence || {}).filter(([, v]) => v !== null && typeof v !== "object");
  return list.length > 0 && h("details", { class: "small" }, h("summary", {}, "What this rests on"),
    h("dl", { class: "mb-0" }, list.map(([k, v]) => [h("dt", {}, k.replaceAll("_", " ")), h("dd", { class: "wrap" }, /_at$|_from$/.test(k) ? date(v) : String(v))])));
};

function accountForm(current, done) {
  const method = h("select", { name: "method" }, Object.entries(METHODS).map(([v, t]) => h("option", { value: v, selected: v === current?.method }, t)));
  const fields = h("div", {});
  const draw = () => fill(fields, method.value === "paypal"
    ? field("E-mail address at PayPal", h("input", { name: "receiver", type: "email", maxlength: 254, autocomplete: "off", required: true }))
    : [field(HELP[method.value], h("input", { name: "channel_code", maxlength: 40, autocomplete: "off", required: true }), "For example ID_BCA or a BIC."),
      field("Account number", h("input", { name: "account_number", maxlength: 40, autocomplete: "off", required: true })),
      field("Name of its holder", h("input", { name: "account_holder_name", maxlength: 100, autocomplete: "name", required: true }))]);
  method.addEventListener("change", draw);
  draw();
  const form = h("form", { id: "account", novalidate: true }, field("Kind", method), fields,
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save the account")));
  onSubmit(form, async (v) => {
    await post("/api/payout/destination", Object.fromEntries(Object.entries(v).filter(([, x]) => x)));
    toast("Saved. You get a mail about it.");
    done();
  });
  return form;
}

const tile = (name, n, id) => h("div", { class: "col-6 col-md-3" }, h("div", { class: "tile auto" }, h("div", { class: "small text-body-secondary" }, name), h("div", { class: "n", id }, n)));

/** Draws into el. tools: {moneyForm, amountField, noteField, refresh} of the wallet page. */
export function payoutsTab(el, { moneyForm, amountField, noteField, refresh }) {
  const top = h("div", { id: "earnings" }), account = h("div", { class: "mb-4" }), list = h("div", {});
  const open = params.get("edit") === "account";
  const form = h("form", { novalidate: true, id: "withdraw" }, amountField("How much to withdraw", ""), noteField(),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Ask for the withdrawal")));
  let currency; // of the earnings that are shown and withdrawn
  const unit = h("div", {});
  form.prepend(unit);
  const closed = h("p", { hidden: true }, "Withdrawals are switched off at the moment.");
  fill(el, top, h("h2", { class: "h5 mt-4" }, "Withdraw"), closed, form, h("h2", { class: "h5 mt-4" }, "Where it goes"), account, h("h2", { class: "h5 mt-4" }, "Payouts"), list);

  function drawAccount(r) {
    const d = r.destination, box = h("div", { hidden: !(open || !d) });
    const edit = h("button", { type: "button", class: "btn btn-sm btn-outline-secondary", "aria-expanded": String(!box.hidden), onclick: () => {
      box.hidden = !box.hidden;
      edit.setAttribute("aria-expanded", String(!box.hidden));
    } }, "Change it");
    fill(box, accountForm(d, redraw));
    fill(account, d ? h("p", {}, h("strong", {}, `${METHODS[d.method]}: ${d.hint} `), edit,
      d.waits && h("span", { class: "d-block small text-body-secondary" }, "It is new: nothing is sent to it before ", time(d.usable_from), ".")) : h("p", {}, "You have not said yet where your money is to go."), box);
  }
  const draw = (r) => {
    const e = r.earnings;
    form.hidden = !r.withdraw_enabled;
    closed.hidden = r.withdraw_enabled;
    drawAccount(r);
    currency = r.currency;
    form.querySelector(".input-group-text").textContent = currency;
    fill(unit, r.currencies.length > 1 && field("Currency", h("select", { name: "currency", onchange: (x) => { currency = x.target.value; overview(); } },
      r.currencies.map((c) => h("option", { value: c, selected: c === currency }, c)))));
    return [h("p", {}, "Earnings of sales and recommendations.", r.schedule !== "off" && ` From ${money(r.schedule_minimum_cents, r.currency)} on they are paid out ${r.schedule} by themselves.`),
      h("div", { class: "row g-3" }, tile("On hold", money(e.pending, r.currency), "e-pending"), tile("Payable", money(e.payable, r.currency), "e-payable"),
        tile("On its way", money(e.reserved, r.currency)), tile("Paid out", money(e.paid, r.currency), "e-paid")),
      r.holds.length > 0 && [h("h2", { class: "h5 mt-4" }, "Why money is on hold"), h("ul", { class: "list-group", id: "holds" }, r.holds.map((x) => h("li", { class: "list-group-item" },
        h("div", { class: "d-flex justify-content-between gap-2" }, h("span", { class: "wrap" }, x.video_title || "Hold"), h("strong", { class: "amount" }, money(x.amount_cents, x.currency))),
        waits(x.reason, x.until, x.next_step), proof(x.evidence))))]];
  };
  const t = table([
    { head: "When", cell: (x) => time(x.created_at) },
    { head: "To", class: "wrap", cell: (x) => [x.destination || "as agreed", x.note && h("div", { class: "small text-body-secondary" }, x.note)] },
    { head: "State", class: "wrap", cell: (x) => [x.state === "paid" ? badge("Paid", "success") : stateBadge(x.state), x.waits ? waits(x.reason, x.not_before, x.next_step) : waits(x.failure || x.admin_note, null, x.state !== "paid" && x.next_step),
      proof(x.evidence), x.reference && h("div", { class: "small text-body-secondary" }, "Reference: ", x.reference)] },
    { head: "Amount", end: true, cell: (x) => h("strong", { class: "amount" }, money(x.amount_cents, x.currency)) },
    { head: "", end: true, cell: (x) => x.state === "pending" && !x.automatic && confirmButton("Take back", { question: "Take this withdrawal back?", yes: async () => {
      await post(`/api/payouts/${x.id}/cancel`);
      redraw();
      refresh();
    } }) },
  ], "Your payouts");
  fill(list, h("div", { class: "card" }, t.el));
  const rows = paged(t.body, { fetchPage: async (cursor) => {
    const r = await get("/api/payouts", { limit: 25, cursor });
    return { rows: r.payouts, next: r.next_cursor };
  }, row: t.row, skeleton: t.skeleton, none: () => t.none("No payouts yet", "What you withdraw, and what is paid out to you, appears here.") });
  const overview = () => load(top, () => get("/api/payouts", { limit: 1, currency }), draw, [skeletonLines(2)]);
  function redraw() { overview(); rows.reload(); }
  moneyForm(form, "/api/wallet/withdraw", (v, cents) => ({ amount_cents: cents, currency, note: v.note.trim() }), (r, body) => {
    toast(`${money(body.amount_cents, r.currency || "USD")} set aside. ${r.message}`);
    redraw();
  }, () => currency);
  overview();
}
