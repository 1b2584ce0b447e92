// SPDX-License-Identifier: Apache-2.0
// Midtrans as documented: Snap, the status with its verdict inside a 200, refunds, notifications whose signature leaves out the status.
import { Gateway, hex, Refusal, sha } from "./kit.mjs";
import { randomUUID } from "node:crypto";

const verdict = (status_code, status_message, more) => ({ status_code, status_message, id: randomUUID(), ...more });
const time = () => new Date(Date.now() + 7 * 36e5).toISOString().slice(0, 19).replace("T", " ");
const rp = n => `${n}.00`;

export class Midtrans extends Gateway {
  constructor({ key = "SB-Mid-server-THROWAWAY" } = {}) {
    super([
      ["POST", /^\/snap\/v1\/transactions$/, (m, q) => this.#snap(q)],
      ["GET", /^\/v2\/([\w~.-]+)\/status$/, (m, q) => this.#with(m[1], q, t => this.#shown(t))],
      ["POST", /^\/v2\/([\w~.-]+)\/(expire|cancel|approve|deny)$/, (m, q) => this.#with(m[1], q, t => this.#change(t, m[2]))],
      ["POST", /^\/v2\/([\w~.-]+)\/refund(?:\/online\/direct)?$/, (m, q) => this.#with(m[1], q, t => this.#refund(t, q.body()))],
    ]);
    Object.assign(this, { key, pages: new Map(), payments: new Map() });
  }
  #auth(q) { this.demand(q, this.basic(this.key), { error_messages: ["Access denied, please check client or server key"] }); }
  #snap(q) {
    this.#auth(q);
    const b = q.body(), { order_id: id, gross_amount: sum } = b.transaction_details ?? {};
    if (typeof id !== "string" || !/^[\w~.-]{1,50}$/.test(id)) throw new Refusal(400, { error_messages: ["transaction_details.order_id is invalid"] });
    if (!Number.isInteger(sum) || sum < 1) throw new Refusal(400, { error_messages: ["transaction_details.gross_amount must be a whole number"] });
    if (b.item_details && b.item_details.reduce((n, i) => n + i.price * i.quantity, 0) !== sum) throw new Refusal(400, { error_messages: ["transaction_details.gross_amount is not equal to the sum of item_details"] });
    if (this.pages.has(id)) throw new Refusal(406, { error_messages: ["transaction_details.order_id has already been taken"] });
    const token = randomUUID();
    this.pages.set(id, { id, sum, override: q.headers["x-override-notification"], finish: b.callbacks?.finish });
    return { status: 201, body: { token, redirect_url: `https://app.sandbox.midtrans.com/snap/v4/redirection/${token}` } };
  }
  #with(id, q, fn) {
    this.#auth(q);
    const t = this.payments.get(id) ?? [...this.payments.values()].find(p => p.transaction_id === id);
    return t ? fn(t) : verdict("404", "Transaction doesn't exist.");
  }
  #code(t) {
    const s = t.transaction_status;
    return s === "pending" || t.fraud_status === "challenge" ? "201" : ["deny", "expire", "failure"].includes(s) || t.fraud_status === "deny" ? "202" : "200";
  }
  #shown(t) {
    const code = this.#code(t);
    return { status_code: code, status_message: "Success, transaction is found", ...t, signature_key: sha("sha512", t.order_id + code + t.gross_amount + this.key) };
  }
  #change(t, to) {
    const from = t.transaction_status;
    if (to === "expire" && from === "pending") t.transaction_status = "expire";
    else if (to === "cancel" && ["pending", "capture", "authorize"].includes(from)) t.transaction_status = "cancel";
    else if ((to === "approve" || to === "deny") && t.fraud_status === "challenge") t.fraud_status = to === "approve" ? "accept" : "deny";
    else return verdict("412", "Merchant cannot modify the status of the transaction");
    this.notify(t);
    return this.#shown(t);
  }
  #refund(t, b) {
    if (!["settlement", "capture", "partial_refund"].includes(t.transaction_status) || this.irrevocable) return verdict("412", "Transaction status cannot be updated.");
    const before = (t.refunds ?? []).reduce((n, r) => n + parseInt(r.refund_amount), 0), all = parseInt(t.gross_amount), sum = b.amount ?? all - before;
    if ((t.refunds ?? []).some(r => r.refund_key === b.refund_key)) return verdict("406", "Refund key has been used");
    if (!Number.isInteger(sum) || before + sum > all) return verdict("414", "Refund amount is more than the amount of the transaction");
    (t.refunds ??= []).push({ refund_chargeback_id: parseInt(hex(3), 16), refund_amount: rp(sum), created_at: time(), reason: b.reason, refund_key: b.refund_key });
    Object.assign(t, { refund_amount: rp(before + sum), transaction_status: before + sum === all ? "refund" : "partial_refund" });
    this.notify(t);
    return { ...this.#shown(t), status_message: "Success, refund request is approved", refund_key: b.refund_key };
  }
  signed(t, { key = this.key } = {}) {
    const code = this.#code(t), body = { ...t, status_code: code, status_message: "midtrans payment notification", merchant_id: "M000000",
      signature_key: sha("sha512", t.order_id + code + t.gross_amount + key) };
    return { body: JSON.stringify(body), headers: {} };
  }

  // ---- what buyers and banks do ----

  /** A way to pay is chosen on the page, with this result. status: settlement, capture, pending, deny ... -> the message */
  pay(id, status = "settlement", fraud = "accept", type = "bank_transfer") {
    const p = this.pages.get(id);
    if (!p) throw new Error("no page for " + id);
    const t = this.payments.get(id) ?? { transaction_id: randomUUID(), order_id: id, gross_amount: rp(p.sum), currency: "IDR", transaction_time: time() };
    Object.assign(t, { transaction_status: status, fraud_status: fraud, payment_type: type }, type === "credit_card" && { masked_card: "48111111-1114", bank: "bni" });
    this.payments.set(id, t);
    return this.notify(t);
  }
  decide(id, to) { this.#change(this.payments.get(id), to); return this.deliveries.at(-1); }
  /** Money given back in the dashboard. -> the message */
  give_back(id, sum) { this.#refund(this.payments.get(id), { refund_key: "desk-" + hex(4), amount: sum, reason: "desk" }); return this.deliveries.at(-1); }
  /** The bank took a card payment back. -> the message */
  chargeback(id) { const t = this.payments.get(id); t.transaction_status = "chargeback"; return this.notify(t); }
  no_refunds() { this.irrevocable = true; }
}
