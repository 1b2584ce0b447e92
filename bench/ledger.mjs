// SPDX-License-Identifier: Apache-2.0
// Purchases a second through HTTP (wrk), durable, against pgbench sending the same two statements over as many connections; the two take
// turns. Beside the rates the CPU time of a purchase. The long run with kills is bench/soak.mjs.
//   node bench/ledger.mjs            PEOPLE=32 MAKERS=8 SECS=10 ROUNDS=3; the default takes about two minutes
// MAKERS=1 is the worst case: all sales are one creator's and queue for that wallet.
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { Server, check, main, note } from "../spec/live/lib.mjs";
import { cpu, median } from "./proc.mjs";

const env = (name, def) => Number(process.env[name] ?? def);
const PEOPLE = env("PEOPLE", 32), MAKERS = env("MAKERS", 8), SECS = env("SECS", 10), ROUNDS = env("ROUNDS", 3), PRICE = 100, CONNECTIONS = 8; // as the two web workers have
const run = promisify(execFile);

/** wrk's script: every person buys every film, each purchase from an address of its own, because limits are per address. */
const BUYER = (cookies, films) => `local cookies, films = { "${cookies.join('", "')}" }, { "${films.join('", "')}" }
local n, headers = 0, { ["content-type"] = "application/json" }
function request()
  local p, f = n % #cookies + 1, math.floor(n / #cookies) + 1
  n = n + 1
  headers.cookie, headers["x-forwarded-for"] = cookies[p], ("10.%d.%d.%d"):format(n / 65536, n / 256 % 256, n % 256)
  return wrk.format("POST", "/api/wallet/pay", headers, '{"video_id":"' .. films[f] .. '"}')
end
`;

await main(async () => {
  const s = await new Server({ web_workers: 2, log_level: "warn" }).start();
  const makers = [], people = [];
  for (let i = 0; i < MAKERS; i++) makers.push(await s.user("maker"));
  for (let i = 0; i < PEOPLE; i++) people.push(await s.user("p"));
  const ids = people.map(p => p.id), [[users]] = await s.sql("select count(*) from users");
  await s.sql(`select ppv_post('deposit', null, null, 'bench', '{}', (select jsonb_agg(l) from (
      select jsonb_build_array(ppv_account('clearing', null, 'deposits', 'USD'), -${PEOPLE}::bigint * 1000000000, 'bench') l
      union all select jsonb_build_array(ppv_account('user', id, 'wallet', 'USD'), 1000000000, 'bench') from users where id in (${ids})) x));
    create table bench_films (n bigint primary key, id uuid); create sequence bench_turn minvalue 0;
    create table bench_people as select row_number() over (order by id) - 1 as n, id from users where id in (${ids});
    create function bench_buy() returns jsonb language plpgsql as $$ declare t bigint := nextval('bench_turn'); begin
      return ppv_sale((select id from bench_people where n = t % ${PEOPLE}), (select id from bench_films where n = t / ${PEOPLE}), ${PRICE}, 1000, null, null, 'bench-' || t, ''); end $$`);
  const some = Math.ceil((SECS + 2) * 3000 / PEOPLE);
  const sold = async () => Number((await s.sql("select count(*) from orders where paid_at is not null"))[0][0]);

  /** New films of all makers in turn. */
  async function films() {
    const lists = await Promise.all(makers.map(m => s.films(m, PRICE, Math.ceil(some / MAKERS))));
    return Array.from({ length: some }, (_, i) => lists[i % MAKERS][Math.floor(i / MAKERS)]);
  }
  // one way for so long: {rate, server, db} (CPU ms of a purchase)
  async function measure(go) {
    const n = await sold(), a = cpu(s.child.pid), t = performance.now();
    await go();
    const ms = performance.now() - t, b = cpu(s.child.pid), bought = await sold() - n;
    return { rate: bought / ms * 1000, server: (b.server - a.server) / 1000 / bought, db: (b.db - a.db) / 1000 / bought, bought };
  }
  let turn = 0;
  async function through_http(secs) {
    const script = join(s.dir, `buy${turn++}.lua`);
    writeFileSync(script, BUYER(people.map(p => p.cookie()), await films()));
    return measure(async () => {
      const { stdout } = await run("wrk", ["-t1", "-c32", `-d${secs}s`, "-s", script, s.url]);
      if (/Non-2xx|Socket errors/.test(stdout)) check("every purchase was answered", false, stdout);
    });
  }
  const statements = join(s.dir, "buy.sql");
  writeFileSync(statements, "select bench_buy(), set_config('synchronous_commit', 'off', true);\nselect pg_logical_emit_message(true, 'ppv', '');\n");
  async function by_pgbench(secs) {
    await s.sql("truncate bench_films; select setval('bench_turn', 0, false)");
    await s.sql(`insert into bench_films select o - 1, f from unnest('{${await films()}}'::uuid[]) with ordinality x(f, o)`);
    await s.sql(`update bench_people set n = n; analyze bench_films, bench_people, videos, users; delete from idempotency where key like 'bench-%'`);
    return measure(() => run("pgbench", ["-n", "-h", join(s.var, "pgrun"), "-U", "ppv", "-c", String(CONNECTIONS), "-j", "1", "-T", String(secs), "-M", "prepared",
      "-f", statements, "ppv"]));
  }

  await through_http(2);
  const http = [], pg = [];
  for (let i = 0; i < ROUNDS; i++) {
    http.push(await through_http(SECS));
    pg.push(await by_pgbench(SECS));
  }
  const of = (list, f) => median(list.map(f)), cost = of(http, r => r.server + r.db), alone = of(pg, r => r.db);
  note(`purchases a second of ${MAKERS} creators' films, durable: ${of(http, r => r.rate).toFixed(0)} through HTTP (CPU of one: ${of(http, r => r.server).toFixed(2)} ms engine + ${
    of(http, r => r.db).toFixed(2)} ms database), ${of(pg, r => r.rate).toFixed(0)} by pgbench with the same statements (${alone.toFixed(2)} ms database): ratio ${
    median(http.map((h, i) => h.rate / pg[i].rate)).toFixed(2)}, CPU ${(cost / alone).toFixed(2)}`);
  check("people bought", http.every(r => r.bought > 0) && Number(users) > PEOPLE);
  await s.check_books("after the rates");
});
