// SPDX-License-Identifier: Apache-2.0
// Purchases a second through HTTP, durable, against pgbench calling the same function. The long run with kills is bench/soak.mjs.
//   node bench/ledger.mjs            LANES=32 SECS=20; the default takes about half a minute
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, main, note } from "../spec/live/lib.mjs";

const env = (name, def) => Number(process.env[name] ?? def);
const LANES = env("LANES", 32), SECS = env("SECS", 10), PRICE = 100;

/** All pairs of people and films once, each a purchase that nobody made yet. */
function* pairs(people, films) { for (const film of films) for (const p of people) yield { p, film }; }

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
});
