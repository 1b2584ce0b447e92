// SPDX-License-Identifier: Apache-2.0
// The checkout of the practice gateway: the visitor decides how the payment ends.
import { get, post, signInUrl } from "./api.js";
import { nav } from "./nav.js";
import { $, badge, busy, fill, h, notice, params, problem, sentence, toast } from "./ui.js";

const ref = params.get("ref") || "", order = params.get("order") || "";
const box = $("#practice");
const back = "/public/order.html?id=" + encodeURIComponent(order);

const ENDS = [
  ["pay", "Pay", "The payment succeeds.", "brand"], ["decline", "Decline", "The bank says no."], ["hold", "Hold", "The provider wants to look at it first."],
  ["underpay", "Pay too little", "1.00 is missing."], ["overpay", "Pay too much", "1.00 more than asked."],
];
const AFTER = [["again", "Pay a second time", "The same order is paid twice."], ["refund", "Refund", "At the provider's own desk."], ["dispute", "Dispute", "The buyer's bank takes the money back for now."],
  ["win", "Dispute won", "The bank decides for the creator."], ["lose", "Dispute lost", "The bank decides for the buyer."]];

function act([name, label, text, kind], more = {}) {
  const button = h("button", { type: "button", class: `btn btn-${kind || "outline-secondary"}`, id: more.silent ? name + "-silent" : name, onclick: () => busy(button, async () => {
    await post("/api/pay/desk/" + encodeURIComponent(ref), { act: name, ...more });
    location.assign(back);
  }, (error) => toast(sentence(error), "danger")) }, label);
  return h("div", { class: "d-grid mb-2" }, button, h("small", { class: "text-body-secondary" }, text));
}

async function show() {
  try {
    const d = await get("/api/pay/desk/" + encodeURIComponent(ref));
    fill(box, notice("This is the practice gateway: no money moves. Choose how the payment ends.", "info"),
      h("div", { class: "card mb-3" }, h("div", { class: "card-body" }, h("h2", { class: "h5 wrap" }, d.title), h("p", { class: "amount" }, d.amount_display, " ", badge(d.state, "secondary")),
        d.state === "paid" ? AFTER.map((a) => act(a)) : [...ENDS.map((a) => act(a)), act(["pay", "Pay, and lose the message", "The provider never tells us; your return does."], { silent: true })])),
      h("a", { href: back }, "Back to the order"));
  } catch (error) {
    if (error.needsSignIn) return location.assign(signInUrl(location.pathname + location.search));
    return fill(box, problem(error, show));
  }
}
await nav();
show();
