// SPDX-License-Identifier: Apache-2.0
// Stripe as documented: checkout sessions, refunds, disputes, idempotency keys, signed events.
import { createHmac } from "node:crypto";
import { form, Gateway, hex, Refusal } from "./kit.mjs";

const VERSION = "2026-10-28.endive";
const no = (status, message, more) => new Refusal(status, { error: { type: "invalid_request_error", message, ...more } });
const now = () => Math.floor(Date.now() / 1000);
const list = (data, url) => ({ object: "list", data, has_more: false, url });

export class Stripe extends Gateway {
  constructor({ key = "sk_test_throwaway", secret = "whsec_throwaway_" + hex(12), live = false, notify } = {}) {
    super([
      ["POST", /^\/v1\/checkout\/sessions$/, (m, q) => this.#post(q, f => this.#create(f))],
      ["GET", /^\/v1\/checkout\/sessions\/(\w+)$/, (m, q) => (this.#auth(q), this.#shown(this.#find(m[1]), q))],
      ["POST", /^\/v1\/checkout\/sessions\/(\w+)\/expire$/, (m, q) => this.#post(q, () => this.#close(this.#find(m[1])))],
      ["POST", /^\/v1\/refunds$/, (m, q) => this.#post(q, f => this.#refund(f))],
      ["GET", /^\/v1\/refunds$/, (m, q) => (this.#auth(q), list([...this.refunds.values()].filter(r => r.payment_intent === q.query.get("payment_intent")).reverse(), "/v1/refunds"))],
      ["GET", /^\/v1\/refunds\/(\w+)$/, (m, q) => (this.#auth(q), this.refunds.get(m[1]) ?? this.#missing("refund", m[1]))],
      ["GET", /^\/v1\/disputes$/, (m, q) => (this.#auth(q), list([...this.disputes.values()].filter(d => d.payment_intent === q.query.get("payment_intent")), "/v1/disputes"))],
      ["GET", /^\/v1\/disputes\/(\w+)$/, (m, q) => (this.#auth(q), this.disputes.get(m[1]) ?? this.#missing("dispute", m[1]))],
      ["POST", /^\/v1\/disputes\/(\w+)$/, (m, q) => this.#post(q, f => this.#evidence(this.disputes.get(m[1]) ?? this.#missing("dispute", m[1]), f))],
      ["GET", /^\/v1\/events\/(\w+)$/, (m, q) => (this.#auth(q), this.events.get(m[1]) ?? this.#missing("event", m[1]))],
    ]);
    Object.assign(this, { key, secret, live, notify_url: notify, sessions: new Map(), intents: new Map(), refunds: new Map(), disputes: new Map(), events: new Map() });
  }
  #auth(q) {
    this.demand(q, `Bearer ${this.key}`, { error: { type: "invalid_request_error", message: `Invalid API Key provided: ${q.headers.authorization}` } });
    if (q.headers["stripe-version"] !== VERSION) throw no(400, "Invalid Stripe API version");
  }
  #post(q, fn) {
    this.#auth(q);
    if (q.raw && !/^application\/x-www-form-urlencoded/.test(q.headers["content-type"] ?? "")) throw no(400, "Invalid request format");
    const clash = no(400, "Keys for idempotent requests can only be used with the same parameters they were first used with.", { type: "idempotency_error" });
    return this.once(q.headers["idempotency-key"], q, clash, () => structuredClone(fn(form(q.raw))));
  }
  #missing(what, id) { throw no(404, `No such ${what}: '${id}'`, { code: "resource_missing" }); }
  unknown(q) { return { error: { type: "invalid_request_error", message: `Unrecognized request URL (${q.method}: ${q.path}).` } }; }
  #find(id) { return this.sessions.get(id) ?? this.#missing("checkout.session", id); }

  #create(f) {
    const item = f.line_items?.[0], price = item?.price_data, amount = Number(price?.unit_amount);
    if (f.mode !== "payment" || !price?.product_data?.name || !/^[a-z]{3}$/.test(price.currency ?? "")) throw no(400, "Missing required param.");
    if (!/^\d+$/.test(price.unit_amount) || amount < 1) throw no(400, `Invalid integer: ${price.unit_amount}`, { param: "line_items[0][price_data][unit_amount]" });
    if (!/^https?:\/\//.test(f.success_url ?? "")) throw no(400, "Not a valid URL", { code: "url_invalid", param: "success_url" });
    const until = Number(f.expires_at ?? now() + 86400);
    if (until < now() + 1800 || until > now() + 86400) throw no(400, "The `expires_at` timestamp must be at least 30 minutes and less than 24 hours from Checkout Session creation.", { param: "expires_at" });
    const id = `cs_${this.live ? "live" : "test"}_${hex(12)}`, total = amount * Number(item.quantity);
    const s = { id, object: "checkout.session", mode: "payment", status: "open", payment_status: "unpaid", amount_subtotal: total, amount_total: total,
      currency: price.currency, livemode: this.live, created: now(), expires_at: until, url: `https://checkout.stripe.com/c/pay/${id}`,
      success_url: f.success_url, cancel_url: f.cancel_url ?? null, client_reference_id: f.client_reference_id ?? null,
      metadata: f.metadata ?? {}, payment_intent: null, customer_email: f.customer_email ?? null };
    this.sessions.set(id, s);
    Object.defineProperty(s, "inner", { value: f.payment_intent_data ?? {} });
    return s;
  }
  #shown(s, q) {
    const out = structuredClone(s), deep = [...q.query].filter(([k]) => k.startsWith("expand")).map(([, v]) => v);
    const pi = this.intents.get(s.payment_intent);
    if (pi && deep.some(p => p.startsWith("payment_intent"))) {
      out.payment_intent = structuredClone(pi);
      if (!deep.some(p => p.startsWith("payment_intent.latest_charge"))) out.payment_intent.latest_charge = pi.latest_charge?.id ?? null;
      else if (pi.latest_charge && !deep.includes("payment_intent.latest_charge.balance_transaction")) out.payment_intent.latest_charge.balance_transaction = pi.latest_charge.balance_transaction.id;
    }
    return out;
  }
  #close(s) {
    if (s.status !== "open") throw no(400, `Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of "${s.status}".`);
    return this.#expired(s);
  }
  #expired(s) {
    Object.assign(s, { status: "expired", url: null });
    this.notify(this.#event("checkout.session.expired", s));
    return s;
  }
  #refund(f) {
    const pi = this.intents.get(f.payment_intent) ?? this.#missing("payment_intent", f.payment_intent), c = pi.latest_charge;
    if (!c) throw no(400, "This PaymentIntent does not have a successful charge to refund.");
    const amount = f.amount === undefined ? c.amount - c.amount_refunded : Number(f.amount);
    if (c.amount_refunded === c.amount) throw no(400, "Charge has already been refunded.", { code: "charge_already_refunded" });
    if (!(amount > 0) || c.amount_refunded + amount > c.amount) throw no(400, "Refund amount is greater than unrefunded amount on charge", { param: "amount" });
    c.amount_refunded += amount;
    c.refunded = c.amount_refunded === c.amount;
    const r = { id: "re_" + hex(10), object: "refund", amount, currency: c.currency, charge: c.id, payment_intent: pi.id, reason: f.reason ?? null,
      status: "succeeded", created: now(), metadata: f.metadata ?? {} };
    this.refunds.set(r.id, r);
    this.notify(this.#event("charge.refunded", c));
    return r;
  }
  #evidence(d, f) {
    Object.assign(d.evidence, f.evidence);
    if (f.submit === "true") Object.assign(d, { status: "under_review", evidence_details: { ...d.evidence_details, submission_count: d.evidence_details.submission_count + 1 } });
    return d;
  }
  #event(type, object) {
    const e = { id: "evt_" + hex(12), object: "event", api_version: VERSION, created: now(), livemode: this.live, type, pending_webhooks: 1,
      request: { id: null, idempotency_key: null }, data: { object: structuredClone(object) } };
    this.events.set(e.id, e);
    return e;
  }
  signed(event, { t = now(), secret = this.secret } = {}) {
    const body = JSON.stringify(event, null, 2);
    return { body, headers: { "stripe-signature": `t=${t},v1=${createHmac("sha256", secret).update(`${t}.${body}`).digest("hex")}` } };
  }

  // ---- what buyers and banks do ----

  /** how: "now" | "later" (a delayed method: nothing is paid yet). -> the message */
  pay(id, how = "now") {
    const s = this.#find(id);
    if (s.status !== "open") throw new Error("session is " + s.status);
    const pi = { id: "pi_" + hex(12), object: "payment_intent", amount: s.amount_total, currency: s.currency, status: "processing", livemode: this.live,
      metadata: s.inner.metadata ?? {}, latest_charge: null };
    this.intents.set(pi.id, pi);
    Object.assign(s, { status: "complete", payment_intent: pi.id, url: null });
    if (how === "now") this.#charged(s, pi);
    return this.notify(this.#event("checkout.session.completed", s));
  }
  #charged(s, pi) {
    const fee = Math.round(pi.amount * 0.029) + 30, id = "ch_" + hex(12);
    pi.status = "succeeded";
    pi.latest_charge = { id, object: "charge", amount: pi.amount, amount_refunded: 0, refunded: false, disputed: false, currency: pi.currency, paid: true,
      status: "succeeded", livemode: this.live, payment_intent: pi.id, metadata: pi.metadata,
      payment_method_details: { type: "card", card: { brand: "visa", fingerprint: "fp_" + pi.id, last4: "4242" } },
      balance_transaction: { id: "txn_" + hex(12), object: "balance_transaction", amount: pi.amount, fee, net: pi.amount - fee, currency: pi.currency } };
    s.payment_status = "paid";
  }
  settle(id, good = true) {
    const s = this.#find(id), pi = this.intents.get(s.payment_intent);
    if (good) this.#charged(s, pi); else pi.status = "requires_payment_method";
    return this.notify(this.#event(`checkout.session.async_payment_${good ? "succeeded" : "failed"}`, s));
  }
  /** Money given back at Stripe's own desk. -> the message */
  give_back(id, amount) { this.#refund({ payment_intent: this.#find(id).payment_intent, amount }); return this.deliveries.at(-1); }
  expire(id) { this.#expired(this.#find(id)); return this.deliveries.at(-1); }
  dispute(id) {
    const s = this.#find(id), c = this.intents.get(s.payment_intent).latest_charge;
    const d = { id: "dp_" + hex(12), object: "dispute", amount: c.amount, currency: c.currency, charge: c.id, payment_intent: c.payment_intent, reason: "fraudulent",
      status: "needs_response", livemode: this.live, metadata: {}, evidence: {}, evidence_details: { due_by: now() + 7 * 86400, has_evidence: false, past_due: false, submission_count: 0 } };
    c.disputed = true;
    this.disputes.set(d.id, d);
    return this.notify(this.#event("charge.dispute.created", d));
  }
  judge(id, won) {
    const d = [...this.disputes.values()].find(x => x.payment_intent === this.#find(id).payment_intent);
    d.status = won ? "won" : "lost";
    return this.notify(this.#event("charge.dispute.closed", d));
  }
}
