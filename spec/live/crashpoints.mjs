// SPDX-License-Identifier: Apache-2.0
// The engine dies at every named point of purchase, order, settlement, refund, withdrawal and payout (crash.at in scripts/), and the
// database's answer is lost before and after it has committed. Whoever asked asks again with the same key; then nothing is lost,
// nothing is doubled, every invariant holds, and the books of the imitated services say the same as ours.
//   node spec/live/crashpoints.mjs 20        so many times at each point
import { createServer } from "node:http";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { call, check, fresh_ip, main, note, pause, ROOT, Server, show, until } from "./lib.mjs";
import { Gateway } from "../support/gateways/kit.mjs";
import { Stripe } from "../support/gateways/stripe.mjs";

const ROUNDS = Number(process.argv[2] ?? 1), PRICE = 999, PART = 333, WITHDRAW = 5000, EARNS = 10000;
const POINTS = [...new Set(readdirSync(join(ROOT, "scripts"), { recursive: true }).filter(f => f.endsWith(".lua") && f !== "lib/crash.lua").sort()
  .flatMap(f => [...readFileSync(join(ROOT, "scripts", f), "utf8").matchAll(/crash\.at "([^"]+)"/g)].map(m => m[1])))];

// Pays out; remembers how often it was asked under which key, as a service with idempotency keys counts.
const sent = new Map();
const payer = createServer((q, r) => {
  const key = q.url.split("/").pop();
  if (q.method === "POST") sent.set(key, (sent.get(key) ?? 0) + 1);
  r.writeHead(200, { "content-type": "application/json" });
  r.end(JSON.stringify({ state: sent.has(key) ? "paid" : "none", ref: "R-" + key }));
});
const HANDLER = `
local fetch, json = require "ppv.fetch", require "ppv.json"
local M = {}
local function ask(ctx, method, item)
  local r, err = fetch.request { method = method, url = ctx.settings.base_url .. "/" .. item.key, body = method == "POST" and "{}" or nil, allow_private = true }
  if not r then return nil, ctx:err("payment.gateway_down", tostring(err.message), true) end
  local j = json.decode(r.body)
  if j.state == "none" then return nil, ctx:err("payment.gateway_down", "not known", true) end
  return { state = method == "POST" and "sent" or j.state, ref = j.ref }
end
function M.start(ctx) return nil, ctx:err("payment.not_configured", "only pays out") end
M.confirm, M.fetch, M.verify, M.webhook = M.start, M.start, M.start, M.start
function M.payout(ctx, item) return ask(ctx, "POST", item) end
function M.payout_fetch(ctx, item)
  local r, err = ask(ctx, "GET", item)
  if not r and err.message == "not known" then return ask(ctx, "POST", item) end
  return r, err
end
return M
`;

/** Between the engine and PostgreSQL's socket. arm(sql, when) loses the next answer to a statement that matches: "before" it reaches
 *  the database, or "after" the database has done and committed it. */
class Wire {
  constructor(dir) { Object.assign(this, { path: join(dir, ".s.PGSQL.5432"), real: join(dir, ".s.PGSQL.5431"), armed: null, cuts: 0, on: false }); }
  async open() {
    if (!this.on) return;
    renameSync(this.path, this.real);
    this.server = net.createServer(c => this.#serve(c));
    await new Promise(r => this.server.listen(this.path, r));
    chmodSync(this.path, 0o777);
    await s.sql("select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'");
  }
  close() {
    if (!this.on) return;
    this.server.close(); // and with it the file
    renameSync(this.real, this.path);
  }
  arm(sql, when) { this.armed = { sql, when }; }
  #serve(c) {
    const db = net.connect(this.real), names = new Map();
    let doomed = false, started = false, up = Buffer.alloc(0), down = Buffer.alloc(0);
    const end = () => { c.destroy(); db.destroy(); };
    for (const x of [c, db]) x.on("error", end).on("close", end);
    const text = (b, i) => b.toString("utf8", i, b.indexOf(0, i));
    const statement = m => {
      if (m[0] === 0x51) return text(m, 5); // Query
      if (m[0] === 0x50) { const n = text(m, 5); names.set(n, text(m, 6 + Buffer.byteLength(n))); } // Parse
      if (m[0] === 0x42) return names.get(text(m, 6 + Buffer.byteLength(text(m, 5)))); // Bind
    };
    c.on("data", d => {
      up = Buffer.concat([up, d]);
      while (up.length >= (started ? 5 : 4)) {
        const n = started ? 1 + up.readUInt32BE(1) : up.readUInt32BE(0);
        if (up.length < n) return;
        const m = up.subarray(0, n);
        up = up.subarray(n);
        if (!started) started = n > 8; // a request for encryption comes before the start
        else if (this.armed?.sql.test(statement(m) ?? "")) {
          const { when } = this.armed;
          this.armed = null;
          this.cuts++;
          if (when === "before") return end();
          doomed = true;
        } else statement(m);
        db.write(m);
      }
    });
    db.on("data", d => {
      if (!doomed) return c.write(d);
      down = Buffer.concat([down, d]);
      while (down.length >= 5 && down.length > down.readUInt32BE(1)) {
        if (down[0] === 0x5a) return end(); // ReadyForQuery: committed, and nobody hears of it
        down = down.subarray(1 + down.readUInt32BE(1));
      }
    });
  }
}

let s, admin, buyer, maker, stripe, crash_dir, wire, serial = 0;
const spent = { buyer: 0, maker: 0 }; // what their wallets must have lost and earned by now
const FUNDS = 300000 + 200000 * ROUNDS;

/** Repeats work() until its answer is good; no answer at all is an answer to repeat, too. */
const again = (what, work, good = r => r.status === 200) => until(what, async () => {
  const r = await work();
  if (good(r)) return r;
  throw new Error(`${r.status} ${r.text}`);
});
const keyed = (who, path, body, key, headers = {}) => who.post(path, body, { ip: fresh_ip(), timeout: 8000, headers: { "idempotency-key": key, ...headers } });
const one = async sql => (await s.sql(sql))[0];
/** What would come after a while comes now: leases of dead workers end, and messages, refunds and payouts are due. */
const hurry = () => s.sql(`update jobs set run_at = now(), lease_until = case when lease_until is not null then now() - interval '1 second' end where kind = 'payment_event' and state in ('ready', 'running');
  update refunds set created_at = created_at - interval '2 minutes', asked_at = asked_at - interval '2 minutes' where state in ('pending', 'sent', 'unknown');
  update payouts set checked_at = checked_at - interval '2 minutes' where state in ('sent', 'unknown')`);
/** The regular work begins anew with the processes. */
async function restart() {
  wire.close();
  await s.stop();
  await s.start();
  await wire.open();
}

async function purchase(key) {
  const [film] = await s.films(maker, PRICE, 1);
  await again("the purchase is acknowledged", () => keyed(buyer, "/api/wallet/pay", { video_id: film }, key));
  spent.buyer += PRICE;
  spent.maker += PRICE - Math.ceil(PRICE / 10);
}

async function order(key, by_return) {
  const [film] = await s.films(maker, PRICE, 1);
  const r = await again("the checkout is open", () => keyed(buyer, "/api/pay/stripe/start", { video_id: film }, key));
  const uid = r.json.order_id, [ref] = await one(`select provider_ref from orders where uid = '${uid}'`), message = stripe.pay(ref);
  if (!by_return) await again("the message is taken", async () => ({ status: await Gateway.post(`${s.url}/api/pay/stripe/webhook`, message) }));
  await until("the order is paid", async () => {
    if (by_return) await call(s.port, "POST", "/api/pay/stripe/confirm", { json: { invoice_id: uid }, ip: fresh_ip() });
    else await hurry();
    return (await one(`select state from orders where uid = '${uid}'`))[0] === "paid";
  }, 900);
  spent.maker += PRICE - Math.ceil(PRICE / 10);
  return uid;
}

async function refund(key) {
  const uid = await order(key, false);
  await again("the refund is acknowledged", () => keyed(admin, `/admin/orders/${uid}/refund`, { amount_cents: PART, reason: "spec" }, key));
  const done = async () => (await one(`select count(*) from refunds where state <> 'done'`))[0] === "0";
  if (!await done()) {
    await hurry();
    await restart();
    await until("the refund is done", async () => (await pause(300), await hurry(), done()), 900);
  }
  const [creator] = await one(`select sum(r.creator) from refunds r join orders o on o.id = r.order_id where o.uid = '${uid}'`);
  spent.maker -= Number(creator);
}

async function paid_out(id, key) {
  await again("it is approved", () => keyed(admin, `/admin/payouts/${id}/approve`, {}, key));
  await until("it is paid", async () => {
    if ((await one(`select state from payouts where id = ${id}`))[0] === "paid") return true;
    await keyed(admin, `/admin/payouts/${id}/send`, {}, key);
  }, 900);
}

async function withdrawal(key) {
  const r = await again("the withdrawal is acknowledged", () => keyed(buyer, "/api/wallet/withdraw", { amount_cents: WITHDRAW }, key));
  spent.buyer += WITHDRAW;
  await paid_out(r.json.payout_id, key);
}

// A creator whose earnings are due; the payout is made by the schedule, which begins with the processes.
async function scheduled(key) {
  const who = await s.user("due"), [film] = await s.films(who, EARNS, 1);
  await account(who, serial);
  await again("a sale", () => keyed(buyer, "/api/wallet/pay", { video_id: film }, key));
  spent.buyer += EARNS;
  await s.set(admin, { payout_schedule: "monthly" });
  await restart();
  const id = await until("the schedule has made the payout", async () => (await pause(300), (await one(`select id from payouts where user_id = ${who.id}`))?.[0]), 900);
  await s.set(admin, { payout_schedule: "off" });
  await paid_out(id, key);
  check("the period is paid out once", (await one(`select count(*) from payouts where user_id = ${who.id}`))[0] === "1");
}

const SCENES = [[/^purchase\./, purchase], [/^(order|webhook|event)\./, key => order(key)], [/^settle\./, (key, n) => order(key, n % 2 === 0)], [/^refund\./, refund],
  [/^payout\.schedule\./, scheduled], [/^(withdraw|payout)\./, withdrawal]];

const account = async (who, n) => {
  const r = await who.post("/api/payout/destination", { method: "bank", channel_code: "X", account_number: `1234-${n}`, account_holder_name: "P" }, { ip: fresh_ip() });
  if (r.status !== 200) throw new Error(r.text);
};

/** Our books against themselves, against what people were told, and against what the services did. */
async function agree(name) {
  const bad = await s.breaches();
  const [b, m] = [await buyer.balance(), await maker.balance()];
  if (b !== FUNDS - spent.buyer || m !== spent.maker) bad.push(`wallets: ${show([b, m, spent])}`);
  const charges = [...stripe.intents.values()].map(i => i.latest_charge).filter(Boolean), sum = f => charges.reduce((a, c) => a + f(c), 0);
  const theirs = [stripe.sessions.size, charges.length, sum(c => c.amount), sum(c => c.amount_refunded), stripe.refunds.size, sent.size].map(String);
  const ours = await one(`select (select count(*) from orders where method = 'stripe'), (select count(*) from payments where state = 'booked'),
    (select coalesce(sum(amount), 0) from payments where state = 'booked'), (select coalesce(sum(charge), 0) from refunds where state = 'done'),
    (select count(*) from refunds where state = 'done'), (select count(*) from payouts where state = 'paid')`);
  if (show(ours) !== show(theirs)) bad.push(`ours ${show(ours)}, theirs ${show(theirs)}`);
  check(`${name}: nothing lost or doubled, every invariant, the services' books agree`, bad.length === 0, bad.slice(0, 4).join("; "));
}

async function crashes() {
  for (let round = 0; round < ROUNDS; round++) {
    for (const point of POINTS) {
      const scene = SCENES.find(([name]) => name.test(point))?.[1], file = join(crash_dir, point);
      if (!scene) { check(`${point} has a scene`, false); continue; }
      writeFileSync(file, "");
      chmodSync(file, 0o666);
      const t = performance.now();
      await scene(`${point}-${round}`, serial++);
      // What the scene waits for may come about another way first; the point is reached all the same.
      const died = await until("the engine dies there", () => !existsSync(file)).catch(() => false);
      if (!check(`${point}: the engine died there and the work was done`, died)) unlinkSync(file);
      await agree(point);
      if (process.env.TIMES) note(`${point}: ${Math.round(performance.now() - t)} ms`);
    }
    await restart(); // and with it the pauses between starts of a process that keeps dying
  }
  note(`${POINTS.length} points, ${ROUNDS} times each; payouts sent ${[...sent.values()].reduce((a, n) => a + n, 0)} times under ${sent.size} keys`);
}

async function lost_answers() {
  wire.on = true;
  await wire.open();
  const lost = [[/ppv_sale\(/, purchase], [/ppv_order_start\(/, key => order(key)], [/ppv_order_opened\(/, key => order(key)], [/ppv_payment_event_add\(/, key => order(key)],
    [/ppv_order_facts\(/, (key, n) => order(key, n % 2 === 0)],
    [/ppv_refund_begin\(/, refund], [/ppv_refund_finish\(/, refund], [/ppv_payout_request\(/, withdrawal], [/ppv_payout_decide\(/, withdrawal],
    [/ppv_payout_begin\(/, withdrawal], [/ppv_payout_result\(/, withdrawal]];
  try {
    for (let round = 0; round < ROUNDS; round++)
      for (const when of ["after", "before"])
        for (const [sql, scene] of lost) {
          const cuts = wire.cuts, name = `answer to ${sql.source.slice(0, -2)} lost ${when} it was done`;
          wire.arm(sql, when);
          await scene(`${name}-${round}`.replaceAll(" ", "."), round);
          check(`${name}: it happened`, wire.cuts === cuts + 1);
          await agree(name);
        }
  } finally {
    wire.close();
    wire.on = false;
  }
}

await main(async () => {
  await new Promise(ok => payer.listen(0, "127.0.0.1", ok));
  stripe = await new Stripe({ notify: "" }).listen();
  s = new Server({ web_workers: 3, job_workers: 2, fetch_allow_private: "true" });
  const plugin = join(s.root, "plugins/spec_payer"), port = payer.address().port;
  mkdirSync(plugin, { recursive: true });
  writeFileSync(join(plugin, "manifest.lua"), `return { name = "spec_payer", kind = "payment", api = "1.0", version = "1.0.0", title = "Payer of a spec",
    currencies = { "USD" }, caps = { "fetch", "fetch:127.0.0.1:${port}" }, settings = { { key = "base_url", type = "url", title = "Where", default = "http://127.0.0.1:${port}" } } }`);
  writeFileSync(join(plugin, "handler.lua"), HANDLER);
  crash_dir = process.env.PPV_CRASH_DIR = join(s.dir, "crash");
  mkdirSync(crash_dir);
  chmodSync(crash_dir, 0o777); // the workers are another user
  await s.start();
  wire = new Wire(join(s.var, "pgrun"));
  [admin, buyer, maker] = [await s.admin(), await s.user("buyer"), await s.user("maker")];
  await s.set(admin, { payout_destination_hold_hours: 0, payout_new_payee_days: 0, payout_provider: "spec_payer", wallet_withdraw_day: 1e11 });
  await s.fund(admin, buyer, FUNDS);
  await account(buyer, "00");
  const r = await admin.post("/admin/plugins/stripe/settings", { settings: { secret_key: stripe.key, webhook_secret: stripe.secret, base_url: stripe.url } });
  if (r.status !== 200) throw new Error(r.text);
  await crashes();
  await lost_answers();
  await s.check_books("at the end");
  await stripe.close();
});
payer.close();
