// SPDX-License-Identifier: Apache-2.0
// Xendit as documented: invoices v2, refunds, payouts v2, callbacks told by a fixed token.
import { randomUUID } from "node:crypto";
import { Gateway, hex, iso, Refusal } from "./kit.mjs";

const no = (status, error_code, message = error_code) => new Refusal(status, { error_code, message });

export class Xendit extends Gateway {
  constructor({ key = "xnd_development_THROWAWAY", token = "THROWAWAY_" + hex(20) } = {}) {
    super([
      ["POST", /^\/v2\/invoices\/?$/, (m, q) => (this.#auth(q), this.#create(q.body()))],
      ["GET", /^\/v2\/invoices\/?$/, (m, q) => (this.#auth(q), [...this.invoices.values()].filter(i => i.external_id === q.query.get("external_id")))],
      ["GET", /^\/v2\/invoices\/(\w+)$/, (m, q) => (this.#auth(q), this.#find(m[1]))],
      ["POST", /^\/invoices\/(\w+)\/expire!$/, (m, q) => (this.#auth(q), this.#close(this.#find(m[1])))],
      ["POST", /^\/refunds$/, (m, q) => this.#post(q, b => this.#refund(b))],
      ["GET", /^\/refunds\/?$/, (m, q) => (this.#auth(q), { data: this.#refunds(q.query.get("invoice_id")), has_more: false })],
      ["GET", /^\/refunds\/([\w-]+)$/, (m, q) => (this.#auth(q), this.refunds.get(m[1]) ?? this.#missing())],
      ["GET", /^\/credit_card_charges\/(\w+)$/, (m, q) => (this.#auth(q), this.charges.get(m[1]) ?? this.#missing())],
      ["POST", /^\/v2\/payouts$/, (m, q) => this.#post(q, b => this.#payout(b))],
      ["GET", /^\/v2\/payouts$/, (m, q) => (this.#auth(q), { data: [...this.payouts.values()].filter(p => p.reference_id === q.query.get("reference_id")), has_more: false })],
      ["GET", /^\/v2\/payouts\/([\w-]+)$/, (m, q) => (this.#auth(q), this.payouts.get(m[1]) ?? this.#missing())],
      ["POST", /^\/v2\/payouts\/([\w-]+)\/cancel$/, (m, q) => (this.#auth(q), this.#cancel(this.payouts.get(m[1]) ?? this.#missing()))],
    ]);
    Object.assign(this, { key, token, invoices: new Map(), refunds: new Map(), payouts: new Map(), charges: new Map() });
  }
  #auth(q) { this.demand(q, this.basic(this.key), { error_code: "INVALID_API_KEY", message: "API key is not authorized for this API service" }); }
  #post(q, fn) {
    this.#auth(q);
    const key = q.headers["idempotency-key"];
    if (!key) throw no(400, "API_VALIDATION_ERROR", "Idempotency-key header is required");
    return this.once(key, q, no(409, "DUPLICATE_ERROR"), () => structuredClone(fn(q.body())));
  }
  #missing() { throw no(404, "DATA_NOT_FOUND", "not found"); }
  #find(id) { return this.invoices.get(id) ?? no_invoice(); }

  #create(b) {
    if (!b.external_id || !(b.amount > 0)) throw no(400, "API_VALIDATION_ERROR");
    if (b.currency && !["IDR", "PHP", "THB", "MYR", "VND"].includes(b.currency)) throw no(400, "UNSUPPORTED_CURRENCY");
    const currency = b.currency ?? "IDR", amount = currency === "IDR" ? Math.floor(b.amount) : b.amount; // decimals of rupiah are cut off
    const i = { id: hex(12), external_id: b.external_id, user_id: "5781d19b2e2385880609791c", status: "PENDING", merchant_name: "X",
      merchant_profile_picture_url: "https://du8nwjtfkinx.cloudfront.net/xendit.png", amount, currency,
      payer_email: b.payer_email, description: b.description, expiry_date: iso(Date.now() + (b.invoice_duration ?? 86400) * 1000), available_banks: [],
      available_retail_outlets: [], available_ewallets: [], available_qr_codes: [], available_direct_debits: [], available_paylaters: [],
      should_exclude_credit_card: false, should_send_email: false, created: iso(), updated: iso(), success_redirect_url: b.success_redirect_url,
      failure_redirect_url: b.failure_redirect_url, items: b.items, metadata: b.metadata };
    i.invoice_url = `https://checkout-staging.xendit.co/web/${i.id}`;
    this.invoices.set(i.id, i);
    return i;
  }
  #close(i) {
    if (i.status !== "PENDING") throw no(400, "INVOICE_NOT_ACTIVE_ERROR");
    i.status = "EXPIRED";
    this.notify(this.#flat(i));
    return i;
  }
  #refunds(invoice) { return [...this.refunds.values()].filter(r => r.invoice_id === invoice); }
  #refund(b) {
    const i = this.#find(b.invoice_id);
    if (this.irrevocable) throw no(400, "REFUND_NOT_SUPPORTED", "The channel cannot refund");
    const before = this.#refunds(i.id).filter(r => r.status !== "FAILED").reduce((n, r) => n + r.amount, 0);
    if (!i.paid_amount || before + b.amount > i.paid_amount) throw no(400, "INELIGIBLE_TRANSACTION");
    const r = { id: "rfd-" + randomUUID(), payment_id: i.payment_id, invoice_id: i.id, payment_method_type: "EWALLET", amount: b.amount, channel_code: "OVO",
      currency: i.currency, status: this.instant ? "SUCCEEDED" : "PENDING", reason: b.reason, reference_id: b.reference_id, failure_code: null, refund_fee_amount: null,
      created: iso(), updated: iso(), metadata: null };
    this.refunds.set(r.id, r);
    return r;
  }
  #payout(b) {
    if (!b.reference_id || !b.channel_code || !b.channel_properties?.account_number || !(b.amount > 0)) throw no(400, "API_VALIDATION_ERROR");
    const p = { ...b, id: "disb-" + randomUUID(), business_id: "5785e6334d7b410667d355c4", status: "ACCEPTED", created: iso(), updated: iso(), estimated_arrival_time: iso() };
    this.payouts.set(p.id, p);
    return p;
  }
  #cancel(p) {
    if (p.status !== "ACCEPTED") throw no(409, "INVALID_PAYOUT_STATUS");
    p.status = "CANCELLED";
    return p;
  }
  #flat(i) {
    const { id, external_id, user_id, status, amount, paid_amount, currency, paid_at, payment_method, payment_channel, payment_id } = i;
    return { id, external_id, user_id, is_high: false, status, merchant_name: "X", amount, paid_amount, currency, paid_at, payment_method, payment_channel, payment_id,
      created: i.created, updated: i.updated };
  }
  signed(event, { token = this.token, id } = {}) {
    return { body: JSON.stringify(event), headers: { "x-callback-token": token, ...(id ? { "webhook-id": id } : {}) } };
  }

  // ---- what buyers and banks do ----

  /** sum: what was really paid. -> the message */
  pay(id, sum) {
    const i = this.#find(id);
    Object.assign(i, { status: "PAID", paid_amount: sum ?? i.amount, paid_at: iso(), payment_method: "EWALLET", payment_channel: "OVO", payment_id: "ewc_" + randomUUID(), fees_paid_amount: 0 });
    return this.notify(this.#flat(i), { id: hex(12) });
  }
  /** The invoice was paid with a card. */
  card(id, masked) {
    const i = this.#find(id);
    i.payment_method = "CREDIT_CARD";
    i.credit_card_charge_id = hex(12);
    this.charges.set(i.credit_card_charge_id, { id: i.credit_card_charge_id, status: "CAPTURED", masked_card_number: masked });
  }
  expire(id) { this.#close(this.#find(id)); return this.deliveries.at(-1); }
  settled(id) { const i = this.#find(id); i.status = "SETTLED"; return this.notify(this.#flat(i), { id: hex(12) }); }
  /** Money given back in the dashboard. -> the message */
  give_back(id, sum) {
    const left = this.#find(id).paid_amount - this.#refunds(id).reduce((n, r) => n + r.amount, 0);
    this.#refund({ invoice_id: id, amount: sum ?? left, reference_id: "desk-" + hex(4) });
    return this.refunded(id);
  }
  refunded(id, status = "SUCCEEDED") {
    const r = this.#refunds(id).at(-1);
    r.status = status;
    return this.notify({ event: `refund.${status.toLowerCase()}`, business_id: "5785e6334d7b410667d355c4", created: iso(), data: r });
  }
  pay_out(id, status = "SUCCEEDED") {
    const p = this.payouts.get(id);
    p.status = status;
    if (status === "FAILED") p.failure_code = "INVALID_DESTINATION";
    return this.notify({ event: `payout.${status.toLowerCase()}`, business_id: p.business_id, created: iso(), data: p });
  }
  no_refunds() { this.irrevocable = true; }
}

function no_invoice() { throw no(404, "INVOICE_NOT_FOUND_ERROR", "Could not find invoice"); }
