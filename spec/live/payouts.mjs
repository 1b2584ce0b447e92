// SPDX-License-Identifier: Apache-2.0
// Money that leaves, when the engine dies at a named point, and when everything happens at once on one wallet. The provider is a small
// HTTP server that remembers what it was asked to do; what it did is compared with the books.
//   node spec/live/payouts.mjs        ROUNDS=20 for more crashes at each point
import { createServer } from "node:http";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, check, count_by, fresh_ip, main, note, show, until } from "./lib.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 1);
const POINTS = ["withdraw.before_commit", "withdraw.after_commit", "payout.decide.before_commit", "payout.decide.after_commit", "payout.send.before_commit",
  "payout.send.after_commit", "payout.send.after_call", "payout.result.before_commit", "payout.result.after_commit", "payout.fetch.before_call",
  "payout.fetch.after_call", "payout.schedule.before_commit", "payout.schedule.after_commit"];

const done = new Map(); // key -> times asked to send, as a provider with idempotency keys counts
const provider = createServer((q, r) => {
  const key = q.url.split("/").pop();
  if (q.method === "POST") done.set(key, (done.get(key) ?? 0) + 1);
  const state = done.has(key) ? "paid" : "none";
  r.writeHead(200, { "content-type": "application/json" });
  r.end(JSON.stringify({ state, ref: "R-" + key }));
});
await new Promise(ok => provider.listen(0, "127.0.0.1", ok));

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

await main(async () => {
  const s = new Server({ fetch_allow_private: "true" });
  const dir = join(s.root, "plugins/spec_payer"), port = provider.address().port;
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "manifest.lua"), `return { name = "spec_payer", kind = "payment", api = "1.0", version = "1.0.0", title = "Payer of a spec",
    currencies = { "USD" }, caps = { "fetch", "fetch:127.0.0.1:${port}" }, settings = { { key = "base_url", type = "url", title = "Where", default = "http://127.0.0.1:${port}" } } }`);
  writeFileSync(join(dir, "handler.lua"), HANDLER);
  const marks = join(s.dir, "marks");
  mkdirSync(marks);
  chmodSync(marks, 0o777); // the workers are another user
  await s.start();
  const [admin, payee, maker, other] = [await s.admin(), await s.user("payee"), await s.user("maker"), await s.user("other")];
  const setting = (key, value) => s.sql(`insert into settings (key, value) values ('${key}', '${value}') on conflict (key) do update set value = excluded.value`);
  await setting("payout.destination_hold_hours", 0);
  await setting("payout.new_payee_days", 0);
  await setting("payout.provider", '"spec_payer"');
  await s.fund(admin, payee, 900000);
  const account = await payee.post("/api/payout/destination", { method: "bank", channel_code: "X", account_number: "12345678", account_holder_name: "P" });
  check("an account is named", account.status === 200, account.text);

  // One withdrawal, repeated with its key until it is answered, approved and sent, while the engine dies at the point once.
  const never_fails = async work => { try { return await work(); } catch (e) { return { status: 0, text: e.message }; } };
  let asked = 0;
  async function withdrawal(key) {
    asked++;
    const head = { headers: { "idempotency-key": key } };
    const again = async (name, who, path, body, good) => until(name, async () => {
      const r = await never_fails(() => who.post(path, body, { ip: fresh_ip(), timeout: 5000, ...head }));
      return good(r) && r;
    }, 60);
    const r = await again("the withdrawal is acknowledged", payee, "/api/wallet/withdraw", { amount_cents: 5000 }, x => x.status === 200);
    const id = r.json.payout_id;
    await again("it is approved", admin, `/admin/payouts/${id}/approve`, {}, x => x.status === 200);
    await never_fails(() => admin.post(`/admin/payouts/${id}/send`, {}, { ip: fresh_ip(), timeout: 5000 }));
    await never_fails(() => admin.post(`/admin/payouts/${id}/send`, {}, { ip: fresh_ip(), timeout: 5000 }));
    return id;
  }
  const settled = async id => until(`payout ${id} is paid`, async () => {
    const [state] = (await s.sql(`select state from payouts where id = ${id}`))[0];
    if (state === "paid") return true;
    await never_fails(() => admin.post(`/admin/payouts/${id}/send`, {}, { ip: fresh_ip(), timeout: 5000 }));
  }, 60);

  for (const point of POINTS) {
    for (let round = 0; round < ROUNDS; round++) {
      await s.stop();
      process.env.PPV_CRASH_AT = point;
      const mark = join(marks, `${point}-${round}`);
      process.env.PPV_CRASH_ONCE = mark;
      await s.start();
      await setting("payout.schedule", point.startsWith("payout.schedule") ? '"monthly"' : '"off"');
      const id = await withdrawal(`${point}-${round}`);
      await settled(id);
      delete process.env.PPV_CRASH_AT;
      delete process.env.PPV_CRASH_ONCE;
      await until(`${point}: the engine died there`, () => existsSync(mark), 90);
      const [paid] = (await s.sql(`select count(*) from payouts where state = 'paid'`))[0];
      check(`${point}: paid once, asked for once (by key)`, Number(paid) === asked && done.size === asked, show({ paid, asked, keys: done.size }));
      const b = (await payee.get("/api/wallet/balance")).json;
      check(`${point}: nothing lost or doubled`, b.balance_cents === 900000 - 5000 * asked && b.held_cents === 0, show(b));
      const bad = await s.breaches();
      check(`${point}: no invariant is broken`, bad.length === 0, bad.join("; "));
    }
  }
  note(`${asked} payouts, sent ${[...done.values()].reduce((a, n) => a + n, 0)} times under ${done.size} keys`);

  // F1: purchases, withdrawals and transfers of one wallet at once, each twice under its key.
  await setting("payout.provider", '""');
  const busy = await s.user("busy"), films = await s.films(maker, 5000, 20);
  await s.fund(admin, busy, 150000);
  const keyed = (path, body, key) => [1, 2].map(() => busy.post(path, body, { ip: fresh_ip(), headers: { "idempotency-key": key } }).then(r => ({ path, key, r })));
  const all = await Promise.all(films.flatMap((f, i) => [...keyed("/api/wallet/pay", { video_id: f }, `b${i}`), ...keyed("/api/wallet/withdraw", { amount_cents: 5000 }, `w${i}`),
    ...keyed("/api/wallet/transfer", { to_username: other.username, amount_cents: 5000 }, `t${i}`)]));
  check("each is done or refused for want of money", all.every(x => [200, 402].includes(x.r.status)), show(count_by(all, x => x.r.status)));
  const twin = new Map();
  for (const x of all) twin.set(x.key, [...(twin.get(x.key) ?? []), x.r.status]);
  const good = count_by([...twin].filter(([, v]) => v.includes(200)), ([k]) => k[0]);
  check("exactly what the wallet had is spent", (good.b ?? 0) + (good.w ?? 0) + (good.t ?? 0) === 30, show(good));
  const b = (await busy.get("/api/wallet/balance")).json;
  check("withdrawals are on hold, the rest is gone", b.balance_cents === 5000 * (good.w ?? 0) && b.held_cents === b.balance_cents, show(b));
  check("the other side has it", await other.balance() === 5000 * (good.t ?? 0) && await maker.balance() === 4500 * (good.b ?? 0));
  await s.check_books("all at once");
});
provider.close();
