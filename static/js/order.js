// SPDX-License-Identifier: Apache-2.0
// Where a buyer comes back to: asks how the payment stands until it is decided, then plays. Bank transfers show where to pay.
import { get, post, query, signInUrl } from "./api.js";
import { nav } from "./nav.js";
import { $, badge, busy, empty, fill, h, notice, params, problem, sentence, toast } from "./ui.js";

const id = params.get("id") || "";
const box = $("#order");
// What the provider put into the address goes back to it, nothing else.
const given = Object.fromEntries([...params].filter(([k]) => k !== "id" && k !== "cancelled"));
let timer = null, tries = 0;

const watch = (o) => "/public/watch.html" + query({ video_id: o.video_id });

async function ask(o) {
  const r = await post(`/api/pay/${encodeURIComponent(o.provider)}/confirm`, { invoice_id: o.order_id, params: given });
  if (!r.asked && r.message) box.querySelector("#say")?.replaceChildren(r.message);
}

// Often at first, then every half a minute; not while nobody looks.
function again(o) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    if (document.hidden) return again(o);
    try { await ask(o); } catch (e) { console.debug("confirm", e); }
    return show();
  }, tries++ < 10 ? 2500 : 30000);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden && timer) show(); });

function proofForm(o) {
  const input = h("input", { class: "form-control", type: "file", id: "proof", accept: "image/png,image/jpeg,image/webp,application/pdf", required: true });
  const button = h("button", { class: "btn btn-outline-secondary", type: "submit" }, "Send the proof");
  return h("form", { class: "mt-3", onsubmit: (e) => { e.preventDefault(); busy(button, async () => {
    const r = await fetch(`/api/pay/desk/${encodeURIComponent(o.ref)}/proof`, { method: "POST", body: input.files[0], headers: { accept: "application/json" } });
    const answer = await r.json();
    if (!answer.ok) throw Object.assign(new Error(answer.error), answer);
    toast("The proof has arrived. We will confirm the payment soon.");
    input.value = "";
  }, (error) => toast(sentence(error), "danger")); } },
  h("label", { class: "form-label", for: "proof" }, "Proof of the transfer (picture or PDF, optional)"), h("div", { class: "d-flex flex-wrap gap-2" }, input, button));
}

// Seen on its chain, and how many blocks it still takes to be certain.
function confirming(c) {
  return [h("p", { id: "say" }, `Your payment was seen on ${c.chain} and is confirming.`),
    h("div", { class: "progress mb-2", role: "progressbar", "aria-label": "Confirmations", "aria-valuemin": 0, "aria-valuemax": c.need, "aria-valuenow": c.have }, bar(c)),
    h("p", { class: "small", id: "confirming" }, `confirming ${c.have} of ${c.need}`, c.url && [" · ", h("a", { href: c.url, rel: "noreferrer" }, "the transaction")])];
}
function bar(c) {
  const el = h("div", { class: "progress-bar" });
  el.style.width = `${Math.min(100, Math.round(100 * c.have / c.need))}%`;
  return el;
}

function waiting(o) {
  if (o.confirming) return confirming(o.confirming);
  const parts = [h("p", { id: "say" }, o.message)];
  if (o.lines.length) {
    parts.push(h("dl", { class: "mb-0" }, [["Amount", o.amount_display], ...o.lines].map(([k, v]) => [h("dt", {}, k), h("dd", { class: "user-select-all" }, v)])));
  } else {
    parts.unshift(h("span", { class: "spinner-border mb-3", "aria-hidden": "true" }));
    if (o.payment_url) parts.push(h("a", { class: "btn btn-brand me-2", href: o.payment_url }, "Go to the payment page"));
  }
  if (o.upload) parts.push(proofForm(o));
  const stop = h("button", { type: "button", class: "btn btn-outline-secondary mt-3", id: "cancel", onclick: () => busy(stop, async () => {
    await post("/api/pay/order/cancel", { id: o.order_id });
    await show();
  }, (error) => toast(sentence(error), "danger")) }, "Cancel the order");
  return [...parts, h("div", {}, stop)];
}

const LOOK = { paid: "success", partially_refunded: "info", review: "warning", disputed: "warning" };

function ended(o) {
  if (o.gift && o.paid) return [notice(o.message, LOOK[o.state] || "secondary"), h("a", { class: "btn btn-brand", id: "code", href: "/public/gift.html?bought=1" }, "The code of your gift")];
  return [notice(o.message, LOOK[o.state] || "secondary"), h("a", { class: "btn btn-brand", id: "watch", href: watch(o) },
    o.paid && !["refunded", "chargeback_lost"].includes(o.state) ? "Watch now" : "Back to the video")];
}

async function show() {
  try {
    const { order: o } = await get("/api/pay/order", { id });
    const mail = user?.guest && o.paid && !o.gift && h("p", { class: "wrap mt-3 mb-0" }, `Your receipt is on its way to ${user.email}. Its link plays the film on your other devices.`);
    fill(box, h("div", { class: "card" }, h("div", { class: "card-body", data: { state: o.state } }, h("h2", { class: "h5 wrap" }, o.title),
      h("p", { class: "amount" }, o.amount_display, " ", badge(o.provider, "secondary")), o.state === "pending" ? waiting(o) : ended(o), mail)));
    if (o.state === "pending") again(o);
    else if (o.state === "review" && o.why === "hold") again(o);
    else timer = null;
    return o;
  } catch (error) {
    if (error.needsSignIn) return location.assign(signInUrl(location.pathname + location.search));
    if (error.status === 404 || error.status === 422) return fill(box, empty("No such order", "It belongs to another account, or the link is incomplete.", h("a", { class: "btn btn-brand", href: "/public/orders.html" }, "My orders")));
    return fill(box, problem(error, show));
  }
}

const user = await nav();
const o = await show();
if (o?.state === "pending") {
  try { await ask(o); await show(); } catch (e) { console.debug("confirm", e); }
}
