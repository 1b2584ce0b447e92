// SPDX-License-Identifier: Apache-2.0
// Payouts to approve, pay, refuse; files for the bank and their results; sending by a provider.
import { get, newKey, pay, post } from "../api.js";
import { $, badge, busy, failToast, fill, h, money, paged, stateBadge, table, time, toast } from "../ui.js";
import { ask, filters, requireAdmin, small } from "./common.js";

const me = await requireAdmin();
let provider = "";

const VERBS = {
  approve: { title: "Approve this payout?", button: "Approve", label: "Note to the payee (optional)" },
  pay: { title: "It was paid?", button: "Note it as paid", label: "The bank's reference", required: true, field: "reference" },
  reject: { title: "Refuse this payout?", button: "Refuse", label: "Why (the payee reads it)", required: true, danger: true },
  reverse: { title: "Did this payout come back?", button: "Book it back", label: "Why (the payee reads it)", required: true, danger: true },
};
function decide(x, verb) {
  const v = VERBS[verb], key = newKey(), out = ["sent", "unknown"].includes(x.state);
  ask({ ...v, title: verb === "reject" && out ? "Did this payout not arrive?" : v.title, button: verb === "reject" && out ? "It did not arrive" : v.button,
    text: [h("strong", {}, money(x.amount_cents, x.currency)), " to ", h("strong", {}, x.username), `, ${x.destination || "as their note says"}.`, x.note && h("div", { class: "mt-2" }, `Their note: ${x.note}`),
      x.state === "unknown" && h("div", { class: "mt-2" }, "The provider has not said what became of it. Ask the provider first: what was done must not be paid twice.")],
    go: async (text) => {
      const r = await pay(`/admin/payouts/${x.id}/${verb}`, { [v.field || "admin_note"]: text }, key);
      toast(r.approvals_missing ? "Noted. A second administrator has to approve it too." : `It is ${r.status} now.`);
      rows.reload();
    } });
}
async function send(x) {
  const r = await post(`/admin/payouts/${x.id}/send`);
  toast(`It is ${r.status} now. ${r.failure || ""}`);
  rows.reload();
}

function actions(x) {
  const own = x.user_id === me.id, list = [];
  if (own) return h("span", { class: "small text-body-secondary" }, "yours");
  if (x.state === "pending" && !x.waits) list.push(small("Approve", () => decide(x, "approve"), { kind: "success" }));
  if (x.state === "approved" && provider && x.destination) list.push(small(`Send by ${provider}`, () => send(x), { kind: "success" }));
  if (x.provider && ["sent", "unknown", "paid"].includes(x.state)) list.push(small("Ask the provider", () => send(x)));
  const byHand = x.state === "approved" || x.state === "unknown" || (x.state === "sent" && x.batch_id);
  if (byHand) list.push(small("Paid", () => decide(x, "pay")));
  if (byHand || x.state === "pending") list.push(small(x.state === "pending" || x.state === "approved" ? "Refuse" : "Failed", () => decide(x, "reject"), { kind: "outline-danger" }));
  if (x.state === "paid") list.push(small("Came back", () => decide(x, "reverse"), { kind: "outline-danger" }));
  return h("span", { class: "d-inline-flex flex-wrap gap-2 justify-content-end", data: { payout: x.id } }, list);
}

const t = table([
  { head: "When", cell: (x) => time(x.created_at) },
  { head: "Payee", class: "wrap", cell: (x) => [h("strong", {}, x.username), h("div", { class: "small" }, x.destination || "no account"),
    x.shared_with > 0 && badge(`${x.shared_with} other accounts are paid there`, "warning"), x.note && h("div", { class: "small text-body-secondary" }, x.note)] },
  { head: "State", class: "wrap", cell: (x) => [stateBadge(x.state), x.waits && h("div", { class: "small" }, x.reason, " Until ", time(x.not_before)),
    x.approved_by && h("div", { class: "small text-body-secondary" }, `Approved by ${x.approved_by}${x.second_by ? " and " + x.second_by : ""}`),
    x.approvals === 2 && !x.second_by && ["pending"].includes(x.state) && h("div", { class: "small" }, "Needs two administrators"), x.failure && h("div", { class: "small text-danger" }, x.failure),
    x.reference && h("div", { class: "small text-body-secondary" }, x.reference)] },
  { head: "Amount", end: true, cell: (x) => h("strong", { class: "amount" }, money(x.amount_cents, x.currency)) },
  { head: "", end: true, cell: actions },
], "Payouts");
fill($("#list"), h("div", { class: "card" }, t.el));

// The file comes by a request, not a link, so that it can be asked for who is there.
async function download(id) {
  const head = { Accept: "text/csv", "X-PPV": "1" };
  let r = await fetch(`/admin/payouts/batch/${id}`, { headers: head });
  if (!r.ok) {
    await get(`/admin/payouts/batch/${id}`); // asks for a proof, or says why not
    r = await fetch(`/admin/payouts/batch/${id}`, { headers: head });
  }
  const url = URL.createObjectURL(await r.blob());
  h("a", { href: url, download: `payouts-${id}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
const result = h("div", { role: "status" }); // stays when the list is drawn again
function batches(list, approved) {
  const file = h("input", { type: "file", accept: ".csv,text/csv", class: "form-control", id: "results", onchange: async () => {
    if (!file.files[0]) return;
    try {
      const r = await post("/admin/payouts/import", { csv: await file.files[0].text() });
      fill(result, h("div", { class: `alert alert-${r.refused ? "warning" : "success"} mt-3` }, `${r.done} lines booked, ${r.refused} refused.`,
        h("ul", { class: "mb-0" }, r.items.filter((x) => !x.ok).slice(0, 50).map((x) => h("li", {}, `${x.id ? "Payout " + x.id : "Line " + x.line}: ${x.error}`)))));
      rows.reload();
    } catch (e) { failToast(e); }
    file.value = "";
  } });
  const make = h("button", { type: "button", class: "btn btn-brand", id: "make", disabled: !approved, onclick: () => busy(make, async () => {
    const r = await post("/admin/payouts/batch");
    toast(`${r.count} payouts are in the file.`);
    await download(r.batch_id);
    rows.reload();
  }, failToast) }, "Make a file");
  fill($("#batches"), h("div", { class: "row g-3 align-items-end mb-3" }, h("div", { class: "col-auto" }, make), h("div", { class: "col-sm-6" }, h("label", { class: "form-label", for: "results" }, "Results of the bank (CSV)"), file)), result,
    list.length > 0 && h("ul", { class: "list-group" }, list.map((b) => h("li", { class: "list-group-item d-flex flex-wrap justify-content-between gap-2 align-items-center" },
      h("span", {}, `File ${b.id}, ${b.count} payouts, ${b.open} without a result, by ${b.username}, `, time(b.created_at)), small("Download", () => download(b.id))))));
}

const read = filters($("#filter"), () => rows.reload());
const rows = paged(t.body, { fetchPage: async () => {
  const r = await get("/admin/payouts", { limit: 500, ...read() });
  provider = r.provider;
  const n = r.totals;
  fill($("#totals"), `${n.pending} to approve, ${n.approved} to pay, ${n.sent} on their way, ${n.unknown} with an unknown outcome.`,
    n.conflicts > 0 && [" ", h("a", { href: "/public/admin/audit.html?action=payout.conflict" }, `${n.conflicts} contradictions of providers`)]);
  batches(r.batches, n.approved > 0);
  return { rows: r.items, next: null };
}, row: t.row, skeleton: t.skeleton, none: () => t.none("Nothing here", "No payout fits this filter.") });
