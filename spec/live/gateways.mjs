// SPDX-License-Identifier: Apache-2.0
// Four payment services, imitated, behind the running site: buyers start, pay, come back or do not; messages arrive early, late, twice, in any
// order, forged; services lie and fail. An order is what the service's own books say, and what is not proven grants nothing.
//   node spec/live/gateways.mjs          DELIVERIES=100000 for the full run
import { gzipSync } from "node:zlib";
import { call, check, count_by, fresh_ip, main, note, package_of, Server, show, until } from "./lib.mjs";
import { Gateway } from "../support/gateways/kit.mjs";
import { Midtrans } from "../support/gateways/midtrans.mjs";
import { PayPal } from "../support/gateways/paypal.mjs";
import { Stripe } from "../support/gateways/stripe.mjs";
import { Xendit } from "../support/gateways/xendit.mjs";

const DELIVERIES = Number(process.env.DELIVERIES ?? 400);
const times = (n, f) => Promise.all(Array.from({ length: n }, (_, i) => f(i)));
let s, admin, maker, buyer, SDK;

// read: the request that reads the state of a payment; lies: what to change in that answer, and the reason the site must give.
const SERVICES = {
  stripe: { make: () => new Stripe({ notify: "" }), currency: "USD", price: 499, settings: f => ({ secret_key: f.key, webhook_secret: f.secret }),
    pay: (f, ref) => f.pay(ref), read: ref => "GET /v1/checkout/sessions/" + ref, start: "POST /v1/checkout/sessions",
    lies: [[{ amount_total: 498 }, "underpaid"], [{ amount_total: 500 }, "overpaid"], [{ currency: "eur" }, "currency"], [{ livemode: true }, "mode"], [{ id: "cs_test_x" }, "object"]] },
  paypal: { make: () => new PayPal(), currency: "USD", price: 499, settings: f => ({ client_id: f.client, client_secret: f.secret, webhook_id: f.webhook_id, webhook_ca: f.certs.root.replaceAll("\n", "") }),
    pay: (f, ref) => f.approve(ref), read: ref => "GET /v2/checkout/orders/" + ref, start: "POST /v2/checkout/orders",
    lies: [["4.98", "underpaid"], ["5.00", "overpaid"]].map(([value, why]) => [{ purchase_units: [{ payments: { captures: [{ amount: { value } }] } }] }, why])
      .concat([[{ purchase_units: [{ payments: { captures: [{ amount: { currency_code: "EUR" } }] } }] }, "currency"], [{ id: "OTHER" }, "object"]]) },
  midtrans: { make: () => new Midtrans(), currency: "IDR", price: 7500000, settings: f => ({ server_key: f.key }), pay: (f, ref) => f.pay(ref), read: ref => `GET /v2/${ref}/status`,
    start: "POST /snap/v1/transactions",
    lies: [[{ gross_amount: "74999.00" }, "underpaid"], [{ gross_amount: "75001.00" }, "overpaid"], [{ currency: "USD" }, "currency"], [{ order_id: "other" }, "object"]] },
  xendit: { make: () => new Xendit(), currency: "IDR", price: 7500000, settings: f => ({ secret_key: f.key, callback_token: f.token }), pay: (f, ref) => f.pay(ref),
    read: ref => "GET /v2/invoices/" + ref, start: "POST /v2/invoices",
    lies: [[{ paid_amount: 74999 }, "underpaid"], [{ paid_amount: 75001 }, "overpaid"], [{ currency: "PHP" }, "currency"], [{ id: "other" }, "object"]] },
};

async function films(g, n) {
  const ids = await s.films(maker, g.price, n);
  if (g.currency !== "USD") await s.sql(`update videos set currency = '${g.currency}' where id in (${ids.map(i => `'${i}'`)})`);
  return ids;
}
const start = (name, film) => buyer.post(`/api/pay/${name}/start`, { video_id: film }, { ip: fresh_ip() });
const back = (name, uid) => call(s.port, "POST", `/api/pay/${name}/confirm`, { json: { invoice_id: uid }, ip: fresh_ip() });
const hook = name => `${s.url}/api/pay/${name}/webhook`;
const deliver = (name, message) => Gateway.post(hook(name), message);
const order = async uid => { const [[state, why, paid]] = await s.sql(`select state, why, paid_at is not null from orders where uid = '${uid}'`); return { state, why, paid: paid === "t" }; };
const becomes = (uid, state) => until(`order ${uid} is ${state}`, async () => (await order(uid)).state === state);
/** An order that waits for its payment. -> {uid, ref, film} */
async function waiting(name, film) {
  const r = await start(name, film);
  if (r.status !== 200) throw new Error(`${name} start: ${r.status} ${r.text}`);
  const uid = r.json.order_id, [[ref]] = await s.sql(`select provider_ref from orders where uid = '${uid}'`);
  return { uid, ref, film, url: r.json.invoice.payment_url };
}
const events = async () => Number((await s.sql("select count(*) from payment_events"))[0][0]);
/** Lets messages whose turn comes later come now. */
const hurry = () => s.sql("update jobs set run_at = now() where kind = 'payment_event' and state = 'ready'");

async function settings_page(fakes) {
  let r = await admin.get("/admin/payment_settings");
  const of = name => r.json.providers.find(p => p.provider === name);
  check("settings: nothing is set up, and the page says what is missing", Object.keys(SERVICES).every(n => of(n).configured === false && of(n).missing_env.length > 0
    && r.json.settings[n + "_enabled"] === false), r.text);
  check("settings: such a provider cannot be switched on", (await admin.post("/admin/payment_settings", { stripe_enabled: true })).status === 409);
  check("settings: and offers nothing", (await start("stripe", (await films(SERVICES.stripe, 1))[0])).status >= 400);
  for (const [name, g] of Object.entries(SERVICES)) {
    const unset = await deliver(name, fakes[name].signed({ id: "x" }));
    check(`settings: ${name} takes no message without its secret`, unset >= 400 && unset < 500, `${unset}`);
    r = await admin.post(`/admin/plugins/${name}/settings`, { settings: { ...g.settings(fakes[name]), base_url: fakes[name].url } });
    if (r.status !== 200) throw new Error(r.text);
  }
  r = await admin.get("/admin/payment_settings");
  check("settings: all four are set up and on, at our addresses", Object.keys(SERVICES).every(n => of(n).configured && of(n).enabled && of(n).api_base_url === fakes[n].url
    && of(n).environment === "sandbox" && of(n).webhook_url.endsWith(`/api/pay/${n}/webhook`) && r.json.settings[n + "_enabled"] === true), r.text);
  check("settings: no secret is shown", !Object.values(fakes).some(f => r.text.includes(f.secret ?? f.key)));
  r = await admin.post("/admin/payment_settings", { stripe_enabled: false, default_provider: "paypal" });
  check("settings: one is switched off, another comes first", r.json.settings.stripe_enabled === false && r.json.settings.default_provider === "paypal", r.text);
  r = await admin.post("/admin/payment_settings", { stripe_enabled: true });
}

async function good_ways(name, g, f) {
  const list = await films(g, 7);
  let o = await waiting(name, list[0]);
  check(`${name}: the buyer is sent to the service`, o.url?.startsWith("https://"), o.url);
  check(`${name}: a second start is the same order`, (await waiting(name, list[0])).ref === o.ref);
  let message = g.pay(f, o.ref);
  if (name === "stripe") // signed by the vendor's own library
    message = { body: message.body, headers: { "stripe-signature": SDK.webhooks.generateTestHeaderString({ payload: message.body, secret: f.secret }) } };
  check(`${name}: the message is taken`, await deliver(name, message) === 200);
  await becomes(o.uid, "paid");
  check(`${name}: paid by message, the buyer may watch`, (await buyer.get(`/api/pay/all_options?video_id=${o.film}`)).json.already_purchased === true);
  check(`${name}: coming back later changes nothing`, (await back(name, o.uid)).json.payment.status === "paid");

  o = await waiting(name, list[1]);
  message = g.pay(f, o.ref);
  check(`${name}: paid by coming back, before any message`, (await back(name, o.uid)).json.payment.status === "paid", show(await order(o.uid)));
  await deliver(name, message);

  o = await waiting(name, list[2]);
  message = g.pay(f, o.ref);
  const answers = await times(100, () => deliver(name, message));
  await becomes(o.uid, "paid");
  const [[payments, rows, sold]] = await s.sql(`select (select count(*) from payments p join orders o on o.id = p.order_id where o.uid = '${o.uid}'),
    (select count(*) from payment_events e join orders o on o.id = e.order_id where o.uid = '${o.uid}'),
    (select count(*) from ledger_txns t join orders o on o.id = t.order_id where o.uid = '${o.uid}' and t.kind = 'sale')`);
  check(`${name}: the same message a hundred times is one payment`, answers.every(a => a === 200) && payments === "1" && Number(sold) === 1, show([count_by(answers, a => a), payments, rows, sold]));

  o = await waiting(name, list[3]); // what was said before it was paid comes after it
  const early = f.deliveries.length;
  if (name === "stripe") { f.pay(o.ref, "later"); f.settle(o.ref); }
  else if (name === "midtrans") { f.pay(o.ref, "pending"); f.pay(o.ref, "deny", "deny"); f.pay(o.ref); }
  else if (name === "paypal") { f.become("PENDING"); f.approve(o.ref); await back(name, o.uid); f.become("COMPLETED"); f.settle(o.ref, "COMPLETED"); }
  else { f.pay(o.ref); f.settled(o.ref); }
  for (const m of f.deliveries.slice(early).reverse()) await deliver(name, m);
  await becomes(o.uid, "paid");

  o = await waiting(name, list[4]); // given up by the buyer, paid all the same
  const r = await buyer.post("/api/pay/order/cancel", { id: o.uid }, { ip: fresh_ip() });
  check(`${name}: an order can be given up`, r.status === 200 && ["cancelled", "expired"].includes(r.json.state), r.text);
  if (name === "midtrans" || name === "xendit") {
    message = g.pay(f, o.ref);
    await deliver(name, message);
    await becomes(o.uid, "paid");
  }

  o = await waiting(name, list[5]);
  await deliver(name, g.pay(f, o.ref));
  await becomes(o.uid, "paid");
  const part = Math.floor(g.price / 300) * 100;
  const refund = await admin.post(`/admin/orders/${o.uid}/refund`, { amount_cents: part, reason: "spec" }, { headers: { "idempotency-key": "refund-" + o.uid } });
  check(`${name}: a part is given back`, refund.status === 200 && ["done", "sent"].includes(refund.json.state), refund.text);
  for (const m of f.deliveries.slice(-1)) await deliver(name, m);
  if (name === "xendit") { await deliver(name, f.refunded(o.ref)); } else await becomes(o.uid, "partially_refunded");
}

async function liars(name, g, f) {
  const list = await films(g, g.lies.length + 1);
  for (const [i, [patch, why]] of g.lies.entries()) {
    const o = await waiting(name, list[i]), message = g.pay(f, o.ref);
    f.fault(g.read(o.ref), "lie", { patch, times: 9 });
    await deliver(name, message);
    await becomes(o.uid, "review");
    const now = await order(o.uid), access = (await buyer.get(`/api/pay/all_options?video_id=${o.film}`)).json.already_purchased;
    check(`${name}: another ${why} waits for a person and grants nothing`, now.why === why && !now.paid && access === false, show([now, access]));
    f.faults = [];
  }
  const o = await waiting(name, list.at(-1)), message = g.pay(f, o.ref);
  await deliver(name, message);
  await becomes(o.uid, "paid");
  f.fault(g.read(o.ref), "status", { status: 404, body: { error: "gone" }, times: 9 });
  await deliver(name, f.signed(JSON.parse(message.body)));
  await back(name, o.uid);
  check(`${name}: paid stays paid when the service forgets it`, (await order(o.uid)).state === "paid");
  f.faults = [];
}

async function out_of_order(name, g, f) {
  const list = await films(g, 4);
  f.faults = [];
  f.fault(g.start, "lost", { times: 2 }); // libcurl itself asks again where an old connection broke before an answer
  let r = await start(name, list[0]);
  f.faults = [];
  check(`${name}: a lost answer to the start is told as a failure for now`, r.status === 503 && r.json.code === "payment.gateway_down", `${r.status} ${r.text}`);
  let o = await waiting(name, list[0]);
  await deliver(name, g.pay(f, o.ref));
  await becomes(o.uid, "paid");
  check(`${name}: and the next start leads to one payment`, (await s.sql(`select count(*) from orders where video_id = '${list[0]}'`))[0][0] === "1");
  for (const [i, kind] of ["drop", "garbage", "cut"].entries()) { // each kind has its specification in the plugin; these go through the job
    o = await waiting(name, list[i + 1]);
    f.faults = [];
    f.fault(g.read(o.ref), kind, { times: 6 });
    await deliver(name, g.pay(f, o.ref));
    await until("the job has met the failure", () => f.faults[0].times < 6);
    f.faults = [];
    await until(`${name}: paid after ${kind}`, async () => (await hurry(), (await order(o.uid)).state === "paid"));
  }
  check(`${name}: what failed was asked again until it was paid`, true);
}

/** Stripe signs at every attempt, with the time: a message that waits in a storm is made again when it is sent. */
const fresh = make => ({ ...make(), again: make });
const lasting = (name, f, m) => name === "stripe" ? fresh(() => f.signed(JSON.parse(m.body))) : m;

function forgeries(name, f, message) {
  const h = message.headers, b = message.body, out = [];
  const add = (what, headers, body = b) => out.push([what, { headers, body }]);
  const sig = { stripe: "stripe-signature", paypal: "paypal-transmission-sig", xendit: "x-callback-token" }[name];
  add("body changed by a byte", name === "xendit" ? { ...h, [sig]: f.token.slice(0, -1) + "x" } : h, b.replace(/\d(?=\D*$)/, d => (Number(d) + 1) % 10));
  for (const body of ["", "[]", "null", "\0", "{\0}", "[".repeat(1e6), '{"a":'.repeat(1e5), gzipSync(b)]) add("body " + String(body).slice(0, 8), sig ? { ...h, [sig]: "x" } : {}, body);
  add("gzip", { ...h, "content-encoding": "gzip" }, gzipSync(b));
  if (sig) {
    add("no signature", Object.fromEntries(Object.entries(h).filter(([k]) => k !== sig)));
    for (const v of ["", h[sig].slice(0, 10), h[sig] + "0", h[sig].toUpperCase() + "X"]) add("signature " + v.slice(0, 12), { ...h, [sig]: v });
    add("two signatures", { ...h, [sig]: [h[sig].replace(/.$/, "!"), h[sig].replace(/.$/, "!")] });
  }
  if (name === "stripe") {
    const now = () => Math.floor(Date.now() / 1000), e = JSON.parse(b);
    for (const off of [-302, 302]) out.push([`time ${off}`, fresh(() => f.signed(e, { t: now() + off }))]);
    add("another secret", f.signed(e, { secret: "whsec_other" }).headers);
    out.push(["thin event", f.signed({ ...e, object: "v2.core.event" })], ["live event", f.signed({ ...e, livemode: true })], ["list", f.signed([e])]);
  }
  if (name === "paypal") {
    add("certificate elsewhere", { ...h, "paypal-cert-url": "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1" });
    add("another algorithm", { ...h, "paypal-auth-algo": "SHA1withRSA" });
    out.push(["old", f.signed(JSON.parse(b), { time: "2020-01-01T00:00:00Z" })]);
  }
  if (name === "midtrans") {
    const n = JSON.parse(b);
    for (const over of [{ signature_key: "" }, { signature_key: n.signature_key.toUpperCase() }, { order_id: "inv-1" }, { gross_amount: "1.00" }, { status_code: 200 }, { signature_key: null }])
      add("notification " + show(over), {}, JSON.stringify({ ...n, ...over }));
  }
  return out;
}

async function forged(name, g, f) {
  const [film] = await films(g, 1), o = await waiting(name, film), before = await events(), bad = [];
  const list = forgeries(name, f, name === "paypal" ? f.approve(o.ref) : f.signed(name === "midtrans"
    ? { order_id: o.ref, gross_amount: "75000.00", transaction_status: "settlement", transaction_id: "t" } : { id: "evt_x", object: "event", type: "checkout.session.completed", data: { object: { id: o.ref } }, livemode: false, external_id: o.uid }));
  for (const [what, m] of list) {
    const status = await Gateway.post(hook(name), m).catch(e => e.message);
    if (![400, 401].includes(status)) bad.push(`${what}: ${status}`);
  }
  check(`${name}: ${list.length} forged messages get 400 or 401`, bad.length === 0, bad.join("; "));
  check(`${name}: and leave nothing behind`, await events() === before && (await order(o.uid)).state === "pending");
}

const shuffle = list => {
  for (let i = list.length - 1; i > 0; i--) { const j = Math.floor(Math.random() * (i + 1)); [list[i], list[j]] = [list[j], list[i]]; }
  return list;
};

/** Delivers messages [name, message, wanted status, what] in any order, some of them many times, until there were n. */
async function storm(queue, n, told) {
  const all = queue.slice(), started = performance.now(), wrong = [];
  while (all.length < n) all.push(queue[Math.floor(Math.random() * queue.length)]);
  shuffle(all);
  let next = 0, taken = 0, refused = 0;
  await times(16, async () => {
    while (next < all.length) {
      const [name, m, want, what] = all[next++];
      const got = await Gateway.post(hook(name), m.again?.() ?? m).catch(e => e.message);
      if (want === 200 ? got !== 200 : ![400, 401].includes(got)) wrong.push(`${name} ${what ?? "good"}: ${got}`);
      if (got === 200) taken++; else refused++;
    }
  });
  const ms = performance.now() - started;
  note(`${told}: ${all.length} deliveries in ${(ms / 1000).toFixed(1)} s (${Math.round(all.length / ms * 1000)}/s), ${taken} taken, ${refused} refused`);
  check(`${told}: ${all.length} deliveries are answered as they deserve`, wrong.length === 0, wrong.slice(0, 8).join("; "));
}

/** Every order reaches what is true, and none stays elsewhere. */
async function come_true(all, told, n) {
  const ids = `(${all.map(o => `'${o.uid}'`)})`, off = o => `(uid = '${o.uid}' and state <> '${o.truth}')`;
  await until(`${told}: all messages are worked`, async () => {
    await hurry();
    return (await s.sql(`select count(*) from orders where ${all.map(off).join(" or ")}`))[0][0] === "0";
  }, 120 + n / 20);
  const now = new Map(await s.sql(`select uid, state from orders where uid in ${ids}`)), bad = all.filter(o => now.get(o.uid) !== o.truth);
  check(`${told}: ${all.length} orders are what is true`, bad.length === 0, show(bad.slice(0, 3).map(o => [o.name, o.truth, now.get(o.uid)])));
}

/** Forgeries that cost no time to send; the large ones have had their turn. */
const small_forgeries = (name, f, m) => forgeries(name, f, m).filter(([, x]) => x.body.length < 10000);

/** Many buyers' payments and all that is said about them, twice, in any order, late, among forgeries; then what came back of them. */
async function crowd(fakes) {
  const each = Math.min(250, Math.max(10, Math.round(DELIVERIES / 80))), all = [], queue = [];
  for (const name of Object.keys(SERVICES))
    for (const film of await films(SERVICES[name], each)) all.push({ name, ...await waiting(name, film) });
  let before; // a paid order's message
  const forge = (o, i) => { const list = small_forgeries(o.name, fakes[o.name], before.m), [what, m] = list[i % list.length]; queue.push([o.name, m, 401, what]); };
  for (const [i, o] of all.entries()) {
    o.truth = i % 5 === 4 && before.name === o.name ? "pending" : "paid"; // one in five does not pay: only forgeries speak of it
    if (o.truth === "paid") before = { name: o.name, m: lasting(o.name, fakes[o.name], SERVICES[o.name].pay(fakes[o.name], o.ref)) };
    for (let k = 0; o.truth === "paid" && k < 3; k++) queue.push([o.name, before.m, 200]);
    forge(o, i);
  }
  await storm(queue, DELIVERIES / 2, "payments");
  await come_true(all, "payments", DELIVERIES / 2);
  // The same again, late, and what services tell of refunds at their own desk and of disputes.
  for (const [i, o] of all.filter(x => x.truth === "paid").entries()) {
    const f = fakes[o.name], tell = m => { for (let k = 0; k < 3; k++) queue.push([o.name, lasting(o.name, f, m), 200]); };
    const part = o.name === "stripe" || o.name === "paypal" ? 100 : 10000;
    if (i % 6 === 0) { tell(f.give_back(o.ref, part)); o.truth = "partially_refunded"; }
    else if (i % 6 === 1) { tell(f.give_back(o.ref, part)); tell(f.give_back(o.ref)); o.truth = "refunded"; }
    else if (i % 6 === 2 && f.chargeback) { tell(f.chargeback(o.ref)); o.truth = "chargeback_lost"; }
    else if (i % 6 < 5 && f.dispute) {
      tell(f.dispute(o.ref));
      o.truth = "disputed";
      if (i % 6 > 2) { tell(f.judge(o.ref, i % 6 === 3)); o.truth = i % 6 === 3 ? "paid" : "chargeback_lost"; }
    }
  }
  await storm(queue, DELIVERIES / 2, "reversals");
  await come_true(all, "reversals", DELIVERIES / 2);
}

await main(async () => {
  const { default: Library } = await package_of("stripe");
  SDK = new Library("sk_test_x");
  const fakes = {};
  for (const [name, g] of Object.entries(SERVICES)) fakes[name] = await g.make().listen();
  s = await new Server({ web_workers: 2, job_workers: 1, fetch_allow_private: "true" }).start();
  [admin, maker, buyer] = [await s.admin(), await s.user("maker"), await s.user("buyer")];
  await settings_page(fakes);
  for (const [name, g] of Object.entries(SERVICES)) {
    for (const part of [good_ways, liars, out_of_order, forged])
      await part(name, g, fakes[name]).catch(e => check(`${name}: ${part.name} ran to its end`, false, e.stack));
  }
  await crowd(fakes);
  await s.check_books("gateways");
  check("no process ended", (await s.status()).workers.every(w => w.restarts === 0), show((await s.status()).workers));
  const secrets = Object.values(fakes).flatMap(f => [f.secret, f.key, f.token]).filter(x => typeof x === "string" && x.length > 9);
  check("no secret is in the log", !secrets.some(x => s.log().includes(x)));
  for (const f of Object.values(fakes)) await f.close();
});
