// SPDX-License-Identifier: Apache-2.0
// The ledger under load: purchases a second through HTTP, durable, against pgbench calling the same function; then transfers and
// purchases while web workers and PostgreSQL are killed, and the proof that nothing acknowledged was lost or done twice.
//   node bench/ledger.mjs            TXNS=1000000 KILL_S=20 LANES=32 SECS=20: the long run; the default takes about two minutes
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, call, check, fresh_ip, main, note, until } from "../spec/live/lib.mjs";

const env = (name, def) => Number(process.env[name] ?? def);
const TXNS = env("TXNS", 5000), KILL_S = env("KILL_S", 6), LANES = env("LANES", 32), SECS = env("SECS", 10), PRICE = 100;

/** All pairs of people and films once, each a purchase that nobody made yet. */
function* pairs(people, films) { for (const film of films) for (const p of people) yield { p, film }; }

// Repeats the call with its key until it is answered; the key makes that harmless. A refusal is a fault of this script.
async function insist(s, told, p, path, body, key) {
  for (;;) {
    let r;
    try { r = await p.post(path, body, { ip: fresh_ip(), timeout: 10000, headers: { "idempotency-key": key } }); } catch (e) { r = { status: e.code ?? e.message }; }
    if (r.status === 200) { told.push(key); return; }
    if (r.status === 402 || r.status === 409) throw new Error(`${path}: ${r.status} ${r.text}`);
    await until("the server answers", async () => (await call(s.port, "GET", "/health", { timeout: 1000 })).status === 200, 120);
  }
}

await main(async () => {
  const s = await new Server({ web_workers: 2, log_level: "warn" }).start();
  const maker = await s.user("maker"), people = [];
  for (let i = 0; i < LANES; i++) people.push(await s.user("p"));
  await s.sql(`update settings set value = value; insert into settings (key, value) values ('wallet.transfer_day', '9000000000000') on conflict (key) do update set value = excluded.value;
    select ppv_post('deposit', null, null, 'bench', '{}', (select jsonb_agg(l) from (
      select jsonb_build_array(ppv_account('clearing', null, 'deposits', 'USD'), -${LANES}::bigint * 1000000000, 'bench') l
      union all select jsonb_build_array(ppv_account('user', id, 'wallet', 'USD'), 1000000000, 'bench') from users where id in (${people.map(p => p.id)})) x))`);
  const films = n => s.films(maker, PRICE, n);

  // 1. purchases a second
  const list = pairs(people, await films(Math.ceil(SECS * 1500 / LANES))), until_ms = performance.now() + SECS * 1000;
  let bought = 0;
  await Promise.all(people.map(async () => {
    for (const { p, film } of list) {
      if (performance.now() > until_ms) return;
      const r = await p.buy(film);
      if (r.status !== 200) throw new Error(`${r.status} ${r.text}`);
      bought++;
    }
  }));
  const http = bought / SECS;
  await films(Math.ceil(SECS * 4000 / LANES));
  await s.sql(`create sequence bench_turn; create table bench_films as select row_number() over () - 1 as n, id from videos where id not in (select video_id from orders);
    create unique index on bench_films (n); create table bench_people as select row_number() over () - 1 as n, id from users where id in (${people.map(p => p.id)});
    create function bench_buy() returns jsonb language plpgsql as $$ declare t bigint := nextval('bench_turn'); begin
      return ppv_sale((select id from bench_people where n = t % ${LANES}), (select id from bench_films where n = t / ${LANES}), ${PRICE}, 1000, null, null, 'bench-' || t, ''); end $$`);
  writeFileSync(join(s.dir, "buy.sql"), "select bench_buy();\n");
  const out = execFileSync("pgbench", ["-n", "-h", join(s.var, "pgrun"), "-U", "ppv", "-c", "16", "-j", "2", "-T", String(SECS), "-M", "prepared", "-f", join(s.dir, "buy.sql"), "ppv"],
    { stdio: ["ignore", "pipe", "pipe"] }).toString();
  const pg = Number(out.match(/tps = ([\d.]+)/)[1]);
  note(`purchases a second, durable: ${http.toFixed(0)} through HTTP, ${pg.toFixed(0)} by pgbench calling the same function: ratio ${(http / pg).toFixed(2)}`);
  await s.check_books("after the rates");

  // 2. mixed load with kills
  const sales = pairs(people, await films(Math.ceil(TXNS * 0.4 / LANES) + 1)), told = [];
  let next = 0, on = true, kills = 0;
  const killer = (async () => {
    for (let turn = 0; on && KILL_S > 0; turn++) {
      const end = performance.now() + KILL_S * 1000;
      await until("the next kill", () => !on || performance.now() > end, KILL_S + 30);
      if (!on) return;
      try {
        const pid = turn % 2 ? Number(readFileSync(join(s.var, "pg/postmaster.pid"), "utf8").split("\n")[0]) : (await s.status()).workers.find(w => w.kind === "web" && w.pid > 1).pid;
        process.kill(pid, "SIGKILL");
        kills++;
      } catch { /* it is just coming up */ }
    }
  })();
  const from = performance.now();
  await Promise.all(people.map(async (p, lane) => {
    while (next < TXNS) {
      const n = next++, key = `load-${n}`;
      if (n % 5 < 2) {
        const { value } = sales.next();
        await insist(s, told, value.p, "/api/wallet/pay", { video_id: value.film }, key);
      } else await insist(s, told, p, "/api/wallet/transfer", { to_username: people[(lane + 1 + n % (LANES - 1)) % LANES].username, amount_cents: 100 + n % 50 }, key);
    }
  }));
  on = false;
  const seconds = (performance.now() - from) / 1000;
  await killer;
  await until("the database answers", async () => (await s.sql("select 1")).length === 1, 120);
  note(`${TXNS} transactions with ${kills} kills in ${seconds.toFixed(0)} s: ${(TXNS / seconds).toFixed(0)} a second`);
  const kept = new Set((await s.sql("select key from idempotency where key like 'load-%' and reply is not null")).map(r => r[0]));
  check("every acknowledged transaction is there", told.every(k => kept.has(k)), `${told.length} told, ${kept.size} kept`);
  const booked = Number((await s.sql(`select count(*) from ledger_txns where kind = 'transfer'
    or kind = 'sale' and order_id > (select coalesce(max(o.id), 0) from orders o join idempotency i on i.key like 'bench-%' and (i.reply ->> 'order_id')::bigint = o.id)`))[0][0]);
  check("and none twice", booked === TXNS, `${booked} of ${TXNS}`);
  const sealed = await s.ppv("ledger", "seal");
  check("all of it can be sealed", sealed.code === 0, sealed.out + sealed.err);
  await s.check_books("after the kills");
});
