// SPDX-License-Identifier: Apache-2.0
// PayPal as documented: tokens, orders v2 with payer action, captures, refunds, disputes, payouts, events signed with a certificate.
import { execFileSync } from "node:child_process";
import { createSign, randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Gateway, hex, iso, merge, Refusal } from "./kit.mjs";

/** As of zlib, unsigned. */
export function crc32(text) {
  let c = ~0;
  for (const b of Buffer.from(text)) {
    c ^= b;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  }
  return ~c >>> 0;
}

const id = n => hex(n).toUpperCase().slice(0, n);
const no = (status, issue, description = "") => new Refusal(status, {
  name: status === 404 ? "RESOURCE_NOT_FOUND" : status === 422 ? "UNPROCESSABLE_ENTITY" : "INVALID_REQUEST", message: "The requested action could not be performed.",
  debug_id: hex(6), details: [{ issue, description }], links: [] });
const cents = v => { if (!/^\d+\.\d\d$/.test(v)) throw no(422, "DECIMAL_PRECISION"); return Number(v.replace(".", "")); };
const usd = n => ({ currency_code: "USD", value: `${Math.floor(n / 100)}.${String(n % 100).padStart(2, "0")}` });

/** A root, one below it, and a certificate for PayPal's name, as files made once. -> {root, chain (PEM), key (PEM)} */
export function certificates() {
  const dir = mkdtempSync(join(tmpdir(), "ppv-ca-"));
  const ssl = (...args) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  const text = f => readFileSync(join(dir, f), "utf8");
  const ca = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n";
  writeFileSync(join(dir, "ca.ext"), ca);
  writeFileSync(join(dir, "leaf.ext"), "subjectAltName=DNS:messageverificationcerts.sandbox.paypal.com\nkeyUsage=digitalSignature\n");
  const make = (name, subject, by, ext) => {
    ssl("req", "-new", ...(ext === "ca.ext" ? ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] : ["-newkey", "rsa:2048"]), "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj", subject);
    ssl("x509", "-req", "-in", name + ".csr", "-days", "30", "-extfile", ext, "-out", name + ".pem", ...(by ? ["-CA", by + ".pem", "-CAkey", by + ".key", "-CAcreateserial"] : ["-signkey", name + ".key"]));
  };
  try {
    make("root", "/CN=Throw-away root", null, "ca.ext");
    make("middle", "/CN=Throw-away intermediate", "root", "ca.ext");
    make("leaf", "/CN=messageverificationcerts.sandbox.paypal.com/O=Throw-away", "middle", "leaf.ext");
    return { root: text("root.pem"), chain: text("leaf.pem") + text("middle.pem"), key: text("leaf.key") };
  } finally { rmSync(dir, { recursive: true }); }
}

export class PayPal extends Gateway {
  constructor({ client = "CID", secret = "CSECRET", webhook_id = id(17), certs = certificates() } = {}) {
    super([
      ["POST", /^\/v1\/oauth2\/token$/, (m, q) => this.#token(q)],
      ["GET", /^\/v1\/notifications\/certs\/(CERT-[\w-]+)$/, () => this.certs.chain],
      ["POST", /^\/v2\/checkout\/orders$/, (m, q) => this.#post(q, b => ({ status: 201, body: this.#create(b) }))],
      ["GET", /^\/v2\/checkout\/orders\/(\w+)$/, (m, q) => (this.#auth(q), this.#order(m[1]))],
      ["POST", /^\/v2\/checkout\/orders\/(\w+)\/capture$/, (m, q) => this.#post(q, () => ({ status: 201, body: this.#capture(this.#order(m[1])) }))],
      ["GET", /^\/v2\/payments\/captures\/(\w+)$/, (m, q) => (this.#auth(q), this.#taken(m[1]))],
      ["POST", /^\/v2\/payments\/captures\/(\w+)\/refund$/, (m, q) => this.#post(q, b => ({ status: 201, body: this.#refund(this.#taken(m[1]), b) }))],
      ["GET", /^\/v2\/payments\/refunds\/(\w+)$/, (m, q) => (this.#auth(q), this.refunds.get(m[1]) ?? this.#missing())],
      ["GET", /^\/v1\/customer\/disputes$/, (m, q) => (this.#auth(q), { items: [...this.disputes.values()].filter(d => d.disputed_transactions[0].seller_transaction_id === q.query.get("disputed_transaction_id")), links: [] })],
      ["GET", /^\/v1\/customer\/disputes\/([\w-]+)$/, (m, q) => (this.#auth(q), this.disputes.get(m[1]) ?? this.#missing())],
      ["POST", /^\/v1\/customer\/disputes\/([\w-]+)\/provide-evidence$/, (m, q) => (this.#auth(q), this.#evidence(this.disputes.get(m[1]) ?? this.#missing(), q))],
      ["POST", /^\/v1\/payments\/payouts$/, (m, q) => (this.#auth(q), this.#payout(q.body()))],
      ["GET", /^\/v1\/payments\/payouts\/(\w+)$/, (m, q) => (this.#auth(q), this.batches.get(m[1]) ?? this.#missing())],
    ]);
    Object.assign(this, { client, secret, webhook_id, certs, tokens: new Set(), orders: new Map(), captures: new Map(), refunds: new Map(), disputes: new Map(), batches: new Map() });
  }
  #token(q) {
    this.demand(q, this.basic(this.client, this.secret), { error: "invalid_client", error_description: "Client Authentication failed" });
    if (q.raw !== "grant_type=client_credentials") throw new Refusal(400, { error: "unsupported_grant_type" });
    const t = "A21" + hex(20);
    this.tokens.add(t);
    return { scope: "https://uri.paypal.com/services/payments/payment", access_token: t, token_type: "Bearer", app_id: "APP-80W284485P519543T", expires_in: 32400, nonce: iso() };
  }
  #auth(q) {
    if (!this.tokens.has((q.headers.authorization ?? "").replace(/^Bearer /, "")))
      throw new Refusal(401, { name: "AUTHENTICATION_FAILURE", error: "invalid_token", error_description: "The token passed in was not found in the system" });
  }
  forget_tokens() { this.tokens.clear(); }
  #post(q, fn) {
    this.#auth(q);
    return this.once(q.headers["paypal-request-id"], q, no(422, "DUPLICATE_REQUEST_ID"), () => structuredClone(fn(q.body())));
  }
  #missing() { throw no(404, "INVALID_RESOURCE_ID", "Specified resource ID does not exist."); }
  #order(i) { return this.orders.get(i) ?? this.#missing(); }
  #taken(i) { return this.captures.get(i) ?? this.#missing(); }

  #create(b) {
    const u = b.purchase_units?.[0], item = u?.items?.[0], x = b.payment_source?.paypal?.experience_context;
    if (b.intent !== "CAPTURE" || !u) throw no(400, "MISSING_REQUIRED_PARAMETER");
    if (u.amount.currency_code !== "USD") throw no(422, "CURRENCY_NOT_SUPPORTED");
    const total = cents(u.amount.value);
    if (item && (cents(u.amount.breakdown?.item_total?.value ?? "x") !== total || cents(item.unit_amount.value) * Number(item.quantity) !== total)) throw no(422, "ITEM_TOTAL_MISMATCH");
    if (!/^https?:/.test(x?.return_url ?? "") || !/^https?:/.test(x?.cancel_url ?? "")) throw no(400, "INVALID_PARAMETER_SYNTAX");
    const o = { id: id(17), intent: "CAPTURE", status: "PAYER_ACTION_REQUIRED", create_time: iso(), payment_source: { paypal: {} }, purchase_units: [structuredClone(u)] };
    o.links = [["self", "GET", `${this.url}/v2/checkout/orders/${o.id}`], ["payer-action", "GET", `https://www.sandbox.paypal.com/checkoutnow?token=${o.id}`]]
      .map(([rel, method, href]) => ({ href, rel, method }));
    this.orders.set(o.id, o);
    return o;
  }
  #capture(o) {
    if (o.status === "COMPLETED") throw no(422, "ORDER_ALREADY_CAPTURED");
    if (o.status !== "APPROVED") throw no(422, "ORDER_NOT_APPROVED");
    const u = o.purchase_units[0], total = cents(u.amount.value), fee = Math.round(total * 0.0349) + 49, state = this.outcome ?? "COMPLETED";
    if (state === "REFUSED") throw no(422, "INSTRUMENT_DECLINED");
    const c = { id: id(17), status: state, amount: u.amount, final_capture: true, custom_id: u.custom_id, invoice_id: u.invoice_id, create_time: iso(),
      seller_receivable_breakdown: { gross_amount: usd(total), paypal_fee: usd(fee), net_amount: usd(Math.max(0, total - fee)) },
      supplementary_data: { related_ids: { order_id: o.id } } };
    c.amount = { currency_code: u.amount.currency_code, value: u.amount.value };
    if (state === "PENDING") c.status_details = { reason: "ECHECK" };
    c.links = [{ href: `${this.url}/v2/payments/captures/${c.id}`, rel: "self", method: "GET" }];
    this.captures.set(c.id, c);
    o.status = "COMPLETED";
    o.payer = { payer_id: "P" + o.id };
    u.payments = { captures: [c] };
    this.#event(`PAYMENT.CAPTURE.${state}`, "capture", c);
    return o;
  }
  #refund(c, b) {
    if (!["COMPLETED", "PARTIALLY_REFUNDED"].includes(c.status)) throw no(422, "CAPTURE_FULLY_REFUNDED");
    const unit = this.orders.get(c.supplementary_data.related_ids.order_id).purchase_units[0], all = cents(c.amount.value);
    const before = (unit.payments.refunds ?? []).reduce((n, r) => n + cents(r.amount.value), 0), sum = b.amount ? cents(b.amount.value) : all - before;
    if (!sum || before + sum > all) throw no(422, "REFUND_AMOUNT_EXCEEDED");
    const r = { id: id(17), status: "COMPLETED", amount: usd(sum), custom_id: b.custom_id, note_to_payer: b.note_to_payer, create_time: iso(),
      seller_payable_breakdown: { gross_amount: usd(sum), total_refunded_amount: usd(before + sum) },
      links: [{ href: `${this.url}/v2/payments/captures/${c.id}`, rel: "up", method: "GET" }] };
    (unit.payments.refunds ??= []).push(r);
    this.refunds.set(r.id, r);
    c.status = before + sum === all ? "REFUNDED" : "PARTIALLY_REFUNDED";
    this.#event("PAYMENT.CAPTURE.REFUNDED", "refund", r);
    return r;
  }
  #evidence(d, q) {
    const edge = /^multipart\/form-data; boundary=([\w-]+)$/.exec(q.headers["content-type"])?.[1];
    const part = edge && q.raw.toString().split("--" + edge).find(p => /name="input"/.test(p) && /content-type: application\/json/i.test(p));
    if (!part) throw no(400, "INVALID_REQUEST");
    const { evidences } = JSON.parse(part.split("\r\n\r\n")[1]);
    if (d.status !== "WAITING_FOR_SELLER_RESPONSE" || evidences.some(e => !/^[A-Z_]+$/.test(e.evidence_type) || !e.notes || e.notes.length > 2000)) throw no(422, "UNPROCESSABLE_ENTITY");
    Object.assign(d, { status: "UNDER_REVIEW", evidences: (d.evidences ?? []).concat(evidences) });
    return { links: [{ href: `${this.url}/v1/customer/disputes/${d.dispute_id}`, rel: "self", method: "GET" }] };
  }
  #payout(b) {
    const key = b.sender_batch_header?.sender_batch_id, item = b.items?.[0];
    const twin = [...this.batches.values()].find(x => x.batch_header.sender_batch_header.sender_batch_id === key);
    if (twin) throw new Refusal(400, { name: "USER_BUSINESS_ERROR", message: "User business error.", debug_id: hex(6), details: [{ field: "SENDER_BATCH_ID",
      issue: "Batch with given sender_batch_id already exists" }], links: [{ href: `${this.url}/v1/payments/payouts/${twin.batch_header.payout_batch_id}`, rel: "self", method: "GET" }] });
    if (!key || !/@/.test(item?.receiver ?? "")) throw no(400, "VALIDATION_ERROR");
    cents(item.amount.value);
    const batch = { batch_header: { payout_batch_id: id(13), batch_status: "PENDING", sender_batch_header: b.sender_batch_header },
      items: [{ payout_item_id: id(13), transaction_status: "PENDING", payout_item: item }] };
    this.batches.set(batch.batch_header.payout_batch_id, batch);
    return { status: 201, body: { batch_header: batch.batch_header, links: [] } };
  }

  #event(event_type, resource_type, resource) {
    return this.notify({ id: "WH-" + id(17), event_version: "1.0", create_time: iso(), resource_type, resource_version: "2.0", event_type, summary: event_type,
      resource: structuredClone(resource), links: [] });
  }
  signed(event, { time = iso().replace(/\.\d+/, ""), tid = randomUUID(), key = this.certs.key } = {}) {
    const body = JSON.stringify(event), sign = createSign("RSA-SHA256").update(`${tid}|${time}|${this.webhook_id}|${crc32(body)}`);
    return { body, headers: { "paypal-transmission-id": tid, "paypal-transmission-time": time, "paypal-transmission-sig": sign.sign(key, "base64"),
      "paypal-auth-algo": "SHA256withRSA", "paypal-cert-url": `${this.url}/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77` } };
  }

  // ---- what buyers and PayPal do ----

  approve(i) { const o = this.#order(i); o.status = "APPROVED"; return this.#event("CHECKOUT.ORDER.APPROVED", "checkout-order", o); }
  /** What becomes of the next captures: COMPLETED, PENDING, DECLINED; REFUSED = the wallet says no before anything is taken. */
  become(state) { this.outcome = state; }
  settle(i, state) { const c = this.#order(i).purchase_units[0].payments.captures[0]; c.status = state; return this.#event(`PAYMENT.CAPTURE.${state}`, "capture", c); }
  /** Money given back at PayPal's own desk. -> the message */
  give_back(i, sum) { this.#refund(this.#order(i).purchase_units[0].payments.captures[0], sum ? { amount: usd(sum) } : {}); return this.deliveries.at(-1); }
  dispute(i) {
    const c = this.#order(i).purchase_units[0].payments.captures[0];
    const d = { dispute_id: "PP-D-" + id(5), create_time: iso(), status: "WAITING_FOR_SELLER_RESPONSE", reason: "UNAUTHORISED", dispute_amount: c.amount,
      disputed_transactions: [{ seller_transaction_id: c.id, custom: c.custom_id, invoice_number: c.invoice_id }], seller_response_due_date: iso(Date.now() + 864e6) };
    this.disputes.set(d.dispute_id, d);
    return this.#event("CUSTOMER.DISPUTE.CREATED", "dispute", d);
  }
  judge(i, won) {
    const c = this.#order(i).purchase_units[0].payments.captures[0].id, d = [...this.disputes.values()].find(x => x.disputed_transactions[0].seller_transaction_id === c);
    merge(d, { status: "RESOLVED", dispute_outcome: { outcome_code: won ? "RESOLVED_SELLER_FAVOUR" : "RESOLVED_BUYER_FAVOUR" } });
    return this.#event("CUSTOMER.DISPUTE.RESOLVED", "dispute", d);
  }
  pay_out(batch, state = "SUCCESS") {
    const b = this.batches.get(batch);
    b.batch_header.batch_status = "SUCCESS";
    b.items[0].transaction_status = state;
    return this.#event(`PAYMENT.PAYOUTS-ITEM.${state === "SUCCESS" ? "SUCCEEDED" : state}`, "payouts_item", { ...b.items[0], payout_batch_id: batch });
  }
}
