// SPDX-License-Identifier: Apache-2.0
// Are the imitated payment services honest? The vendors' own libraries work with them: every call our plugins make, answers read into the
// libraries' own types, errors seen as errors, and signatures that the libraries accept.
//   node spec/live/gateways_sdk.mjs
import { createRequire } from "node:module";
import { check, main, package_of, show } from "./lib.mjs";
import { Midtrans } from "../support/gateways/midtrans.mjs";
import { PayPal } from "../support/gateways/paypal.mjs";
import { Stripe } from "../support/gateways/stripe.mjs";
import { Xendit } from "../support/gateways/xendit.mjs";

const require = createRequire(import.meta.url);
/** The error that fn throws; undefined when it does not. */
const fails = async fn => { try { await fn(); } catch (e) { return e; } };

async function stripe() {
  const { default: Library } = await package_of("stripe");
  const fake = await new Stripe().listen();
  const sdk = new Library(fake.key, { host: "127.0.0.1", port: fake.port, protocol: "http", telemetry: false, maxNetworkRetries: 0 });
  const order = { mode: "payment", success_url: "https://shop.example/ok", cancel_url: "https://shop.example/no", client_reference_id: "o1",
    line_items: [{ quantity: 1, price_data: { currency: "usd", unit_amount: 499, product_data: { name: "A film" } } }], metadata: { invoice_uid: "o1" },
    payment_intent_data: { metadata: { invoice_uid: "o1" } }, expires_at: Math.floor(Date.now() / 1000) + 3600 };
  const key = { idempotencyKey: "o1" };
  let s = await sdk.checkout.sessions.create(order, key);
  check("stripe: a session is made, once for a key", s.status === "open" && s.url.startsWith("https://") && (await sdk.checkout.sessions.create(order, key)).id === s.id, show(s));
  let e = await fails(() => sdk.checkout.sessions.create({ ...order, mode: "payment", client_reference_id: "other" }, key));
  check("stripe: the same key with another request is an idempotency error", e instanceof Library.errors.StripeIdempotencyError, e);
  e = await fails(() => sdk.checkout.sessions.create({ ...order, expires_at: order.expires_at - 3000 }));
  check("stripe: a life that is too short is refused", e instanceof Library.errors.StripeInvalidRequestError && e.param === "expires_at", e);
  const message = fake.pay(s.id);
  const event = sdk.webhooks.constructEvent(message.body, message.headers["stripe-signature"], fake.secret);
  check("stripe: our signature is one to the library", event.type === "checkout.session.completed" && event.data.object.id === s.id, show(event));
  check("stripe: and is none with another secret", !!await fails(() => sdk.webhooks.constructEvent(message.body, message.headers["stripe-signature"], "whsec_other")));
  const t = Math.floor(Date.now() / 1000), theirs = sdk.webhooks.generateTestHeaderString({ payload: message.body, secret: fake.secret, timestamp: t });
  check("stripe: the library signs like us", theirs === fake.signed(event, { t }).headers["stripe-signature"], theirs);
  s = await sdk.checkout.sessions.retrieve(s.id, { expand: ["payment_intent.latest_charge.balance_transaction"] });
  check("stripe: a paid session has its charge and fee", s.payment_status === "paid" && s.payment_intent.latest_charge.balance_transaction.fee === 44, show(s));
  e = await fails(() => sdk.checkout.sessions.expire(s.id));
  check("stripe: a paid session cannot be closed", e instanceof Library.errors.StripeInvalidRequestError, e);
  const r = await sdk.refunds.create({ payment_intent: s.payment_intent.id, amount: 100, reason: "requested_by_customer", metadata: { refund_id: "7" } }, { idempotencyKey: "r1" });
  const listed = await sdk.refunds.list({ payment_intent: s.payment_intent.id });
  check("stripe: a refund is made and listed", r.status === "succeeded" && listed.data[0].metadata.refund_id === "7" && (await sdk.refunds.retrieve(r.id)).amount === 100);
  fake.dispute(s.id);
  const [d] = (await sdk.disputes.list({ payment_intent: s.payment_intent.id, limit: 1 })).data;
  check("stripe: a dispute takes evidence", (await sdk.disputes.update(d.id, { evidence: { access_activity_log: "seen" }, submit: true })).status === "under_review");
  check("stripe: an event can be read again", (await sdk.events.retrieve(event.id)).id === event.id);
  const open = await sdk.checkout.sessions.create(order);
  check("stripe: an open session can be closed", (await sdk.checkout.sessions.expire(open.id)).status === "expired");
  e = await fails(() => new Library("sk_test_wrong", { host: "127.0.0.1", port: fake.port, protocol: "http", maxNetworkRetries: 0 }).events.retrieve("evt_1"));
  check("stripe: a wrong key is an authentication error", e instanceof Library.errors.StripeAuthenticationError, e);
  await fake.close();
}

async function paypal() {
  const library = await package_of("@paypal/paypal-server-sdk");
  const fake = await new PayPal().listen();
  // The library knows PayPal's own addresses only: its HTTP client is told another one.
  const axios = require(require.resolve("axios", { paths: [require.resolve("@apimatic/axios-client-adapter", { paths: [require.resolve("@paypal/paypal-server-sdk")] })] }));
  const create = (axios.default ?? axios).create;
  (axios.default ?? axios).create = function (...a) {
    const made = create.apply(this, a);
    made.interceptors.request.use(c => Object.assign(c, { url: c.url.replace(/^https:\/\/[^/]+/, fake.url) }));
    return made;
  };
  const { Client, Environment, OrdersController, PaymentsController } = createRequire(import.meta.url)("@paypal/paypal-server-sdk") ?? library;
  const client = new Client({ environment: Environment.Sandbox, timeout: 5000, clientCredentialsAuthCredentials: { oAuthClientId: fake.client, oAuthClientSecret: fake.secret } });
  const orders = new OrdersController(client), payments = new PaymentsController(client), amount = value => ({ currencyCode: "USD", value });
  const body = { intent: "CAPTURE", purchaseUnits: [{ referenceId: "default", customId: "o1", invoiceId: "o1", amount: { ...amount("4.99"), breakdown: { itemTotal: amount("4.99") } },
    items: [{ name: "A film", quantity: "1", unitAmount: amount("4.99"), category: "DIGITAL_GOODS" }] }],
  paymentSource: { paypal: { experienceContext: { returnUrl: "https://shop.example/r", cancelUrl: "https://shop.example/c", userAction: "PAY_NOW" } } } };
  const wanted = { paypalRequestId: "o1", prefer: "return=representation", body };
  const { result: o } = await orders.createOrder(wanted);
  check("paypal: an order waits for the payer, once for an id", o.status === "PAYER_ACTION_REQUIRED" && o.links.some(l => l.rel === "payer-action")
    && (await orders.createOrder(wanted)).result.id === o.id, show(o));
  let e = await fails(() => orders.captureOrder({ id: o.id, paypalRequestId: "early" }));
  check("paypal: nothing is captured before approval", e?.statusCode === 422 && /ORDER_NOT_APPROVED/.test(e.body), e?.body);
  fake.approve(o.id);
  const { result: done } = await orders.captureOrder({ id: o.id, paypalRequestId: "cap-o1", prefer: "return=representation" });
  const c = done.purchaseUnits[0].payments.captures[0];
  check("paypal: the capture is complete", done.status === "COMPLETED" && c.status === "COMPLETED" && c.sellerReceivableBreakdown.paypalFee.value === "0.66", show(done));
  e = await fails(() => orders.captureOrder({ id: o.id, paypalRequestId: "again" }));
  check("paypal: a second capture is refused", /ORDER_ALREADY_CAPTURED/.test(e?.body), e?.body);
  check("paypal: order and capture can be read", (await orders.getOrder({ id: o.id })).result.purchaseUnits[0].customId === "o1" && (await payments.getCapturedPayment({ captureId: c.id })).result.id === c.id);
  const { result: r } = await payments.refundCapturedPayment({ captureId: c.id, paypalRequestId: "rf-1", prefer: "return=representation", body: { amount: amount("1.00"), customId: "o1" } });
  check("paypal: a refund is made and read", r.status === "COMPLETED" && (await payments.getRefund({ refundId: r.id })).result.amount.value === "1.00"
    && (await payments.getCapturedPayment({ captureId: c.id })).result.status === "PARTIALLY_REFUNDED", show(r));
  e = await fails(() => payments.refundCapturedPayment({ captureId: c.id, paypalRequestId: "rf-2", body: { amount: amount("5.00") } }));
  check("paypal: more than was captured is not refunded", e?.statusCode === 422, e?.body);
  e = await fails(() => orders.createOrder({ body: { ...body, purchaseUnits: [{ ...body.purchaseUnits[0], amount: { ...amount("5.00"), breakdown: { itemTotal: amount("4.99") } } }] } }));
  check("paypal: items must add up", e?.statusCode === 422, e?.body);
  await fake.close();
}

async function midtrans() {
  const { default: library } = await package_of("midtrans-client");
  const fake = await new Midtrans().listen();
  const config = require("midtrans-client/lib/apiConfig.js");
  config.SNAP_SANDBOX_BASE_URL = fake.url + "/snap/v1";
  config.CORE_SANDBOX_BASE_URL = fake.url;
  const keys = { isProduction: false, serverKey: fake.key, clientKey: "CK" }, snap = new library.Snap(keys), core = new library.CoreApi(keys);
  const order = { transaction_details: { order_id: "o1", gross_amount: 75000 }, item_details: [{ id: "v", price: 75000, quantity: 1, name: "A film" }] };
  const page = await snap.createTransaction(order);
  check("midtrans: a page is made", page.redirect_url.startsWith("https://") && page.token.length > 10, show(page));
  check("midtrans: an id is good for one page", (await fails(() => snap.createTransaction(order)))?.httpStatusCode == 406);
  check("midtrans: before a way to pay is chosen there is no transaction", (await fails(() => core.transaction.status("o1")))?.ApiResponse?.status_code === "404");
  check("midtrans: items must add up", !!await fails(() => snap.createTransaction({ ...order, transaction_details: { order_id: "o2", gross_amount: 1 } })));
  const message = JSON.parse(fake.pay("o1", "capture", "challenge", "credit_card").body);
  const read = await core.transaction.notification(message);
  check("midtrans: the library follows a notification to its status", read.fraud_status === "challenge" && read.status_code === "201", show(read));
  await core.transaction.approve("o1");
  check("midtrans: a challenged card can be approved", (await core.transaction.status("o1")).fraud_status === "accept");
  const refund = await core.transaction.refund("o1", { refund_key: "r1", amount: 5000, reason: "x" });
  check("midtrans: a refund is made and listed", refund.status_code === "200" && (await core.transaction.status("o1")).refunds[0].refund_key === "r1", show(refund));
  check("midtrans: its key is good for once", (await fails(() => core.transaction.refund("o1", { refund_key: "r1", amount: 5000 })))?.ApiResponse?.status_code === "406");
  await snap.createTransaction({ transaction_details: { order_id: "o3", gross_amount: 1 } });
  fake.pay("o3", "pending");
  check("midtrans: an open payment expires", (await core.transaction.expire("o3")).transaction_status === "expire");
  check("midtrans: a wrong key is refused", (await fails(() => new library.Snap({ ...keys, serverKey: "SB-wrong" }).createTransaction(order)))?.httpStatusCode == 401);
  await fake.close();
}

async function xendit() {
  const { Xendit: Library } = (await package_of("xendit-node")).default ?? await package_of("xendit-node");
  const fake = await new Xendit().listen();
  const sdk = new Library({ secretKey: fake.key, xenditURL: fake.url });
  const i = await sdk.Invoice.createInvoice({ data: { externalId: "o1", amount: 75000, currency: "IDR", invoiceDuration: "1800", description: "A film" } });
  check("xendit: an invoice is made", i.status === "PENDING" && i.invoiceUrl.startsWith("https://") && i.expiryDate instanceof Date, show(i));
  check("xendit: and found by our id", (await sdk.Invoice.getInvoices({ externalId: "o1" })).map(x => x.id).join() === i.id);
  fake.pay(i.id);
  check("xendit: what is paid is read", (await sdk.Invoice.getInvoiceById({ invoiceId: i.id })).status === "PAID");
  check("xendit: a paid invoice cannot be closed", (await fails(() => sdk.Invoice.expireInvoice({ invoiceId: i.id })))?.status === 400);
  const r = await sdk.Refund.createRefund({ idempotencyKey: "r1", data: { invoiceId: i.id, referenceId: "r1", amount: 5000, reason: "REQUESTED_BY_CUSTOMER" } });
  fake.refunded(i.id);
  const again = await sdk.Refund.getRefund({ refundID: r.id }); // the library's type leaves the status out
  check("xendit: a refund is made and read", r.amount === 5000 && again.id === r.id && again.referenceId === "r1", show(again));
  const open = await sdk.Invoice.createInvoice({ data: { externalId: "o2", amount: 1000 } });
  check("xendit: an open invoice can be closed", (await sdk.Invoice.expireInvoice({ invoiceId: open.id })).status === "EXPIRED");
  const data = { referenceId: "p1", channelCode: "ID_BCA", channelProperties: { accountHolderName: "A", accountNumber: "1" }, amount: 67500, currency: "IDR" };
  const p = await sdk.Payout.createPayout({ idempotencyKey: "p1", data });
  check("xendit: a payout is made once for a key", p.status === "ACCEPTED" && (await sdk.Payout.createPayout({ idempotencyKey: "p1", data })).id === p.id, show(p));
  fake.pay_out(p.id, "FAILED");
  check("xendit: and its end is read", (await sdk.Payout.getPayoutById({ id: p.id })).failureCode === "INVALID_DESTINATION" && (await sdk.Payout.getPayouts({ referenceId: "p1" })).data.length === 1);
  check("xendit: a wrong key is refused", (await fails(() => new Library({ secretKey: "xnd_wrong", xenditURL: fake.url }).Invoice.getInvoices({})))?.status === 401);
  await fake.close();
}

await main(async () => {
  for (const vendor of [stripe, paypal, midtrans, xendit]) await vendor();
});
