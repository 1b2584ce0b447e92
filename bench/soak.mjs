// SPDX-License-Identifier: Apache-2.0
// The ledger for a long time: everything that moves money, mixed, through HTTP and straight on the functions that HTTP calls, while web
// workers and PostgreSQL are killed. Afterwards every invariant, and the proof that what was acknowledged is there, once.
//   nice node bench/soak.mjs         TXNS=1000000 SQL_LANES=6 HTTP_LANES=8 KILL_S=20; the default, 60000, takes some minutes
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { Server, call, check, fresh_ip, main, note, show, until } from "../spec/live/lib.mjs";

const env = (name, def) => Number(process.env[name] ?? def);
const TXNS = env("TXNS", 60000), LANES = env("SQL_LANES", 4), HTTP = Math.max(2, env("HTTP_LANES", 6)), KILL_S = env("KILL_S", 15), MINUTES = env("MINUTES", 600);
const PEOPLE = 400, CREATORS = 40, PRICE = 999, BATCH = 25; // people of each lane; steps between two acknowledgements

/** A step: two sales, two transfers, and in turn deposits, refunds, withdrawals, disputes, odd payments. One database transaction under
 *  the key soak/lane-n; its reply says how many ledger transactions it made. Steps of two lanes share a creator's wallet only. */
const STEP = `
create table soak_people (lane int, n int, id bigint, primary key (lane, n));
create table soak_films (n int primary key, id uuid);
create function soak_step(l int, n int, admin bigint) returns void language plpgsql as $$
#variable_conflict use_variable
declare
  key text := l || '-' || n;
  who bigint[] := array(select id from soak_people p where p.lane = l and p.n in ((2 * n) % ${PEOPLE}, (2 * n + 1) % ${PEOPLE}, (2 * n + 2) % ${PEOPLE}, (2 * n + 3) % ${PEOPLE}) order by (p.n - 2 * n % ${PEOPLE} + ${PEOPLE}) % ${PEOPLE});
  film uuid := (select id from soak_films f where f.n = (soak_step.n / ${PEOPLE / 2}) * ${LANES} + l);
  payees jsonb := case when n % 4 = 0 then jsonb_build_array(jsonb_build_object('to', who[3], 'amount', 99, 'memo', 'soak')) else '[]' end;
  tax jsonb := case when n % 6 = 0 then '[{"code": "ppn", "amount": 99, "title": "PPN"}]' else '[]' end;
  sold jsonb; started jsonb; r jsonb; made int := 4; o orders;
begin
  if ppv_idem_begin('soak', key, '') is not null then return; end if;
  perform ppv_transfer(who[4], who[3], 100 + n % 50, 'USD', '', 't-' || key, '');
  perform ppv_transfer(who[1], who[2], 100 + n % 70, 'USD', '', 'u-' || key, '');
  sold := ppv_sale(who[1], film, ${PRICE}, 1000, payees, 10, 's-' || key, '', 'soak', tax);
  started := ppv_order_start(who[2], film, jsonb_build_object('method', 'stripe', 'price', ${PRICE}, 'fee_bp', 1000, 'payees', payees, 'pct', 10, 'rule', 'soak', 'tax', tax));
  perform ppv_order_opened((started->>'order_id')::bigint, 'cs-' || key, null, '{}', '{}', null);
  r := jsonb_build_object('state', 'paid', 'amount', ${PRICE}, 'currency', 'USD', 'live', true, 'ref', 'cs-' || key, 'payment_ref', 'pi-' || key);
  perform ppv_order_facts((started->>'order_id')::bigint, r, 'webhook');
  if n % 3 = 0 then perform ppv_order_facts((started->>'order_id')::bigint, r, 'poll'); end if; -- again: nothing
  if n % 13 = 0 then -- a second payment, credited
    perform ppv_order_facts((started->>'order_id')::bigint, r || jsonb_build_object('payment_ref', 'pj-' || key), 'webhook');
    perform ppv_payment_decide(admin, (select id from payments where payment_ref = 'pj-' || key), 'credit', '');
    made := made + 1;
  end if;
  if n % 2 = 0 then
    r := ppv_deposit_request(who[1], 1500, 'USD', '', 'd-' || key, '');
    perform ppv_deposit_approve(admin, (r->>'deposit_id')::bigint, '', 'e-' || key, '');
    made := made + 1;
  end if;
  if n % 3 = 1 then -- in parts, the last of which ends the access
    perform ppv_refund_begin(admin, (sold->>'order_id')::bigint, 333, '', 'r-' || key, '');
    made := made + 1;
    if n % 2 = 0 then
      perform ppv_refund_begin(admin, (sold->>'order_id')::bigint, null, '', 'q-' || key, '');
      made := made + 1;
    end if;
  end if;
  if n % 5 = 0 then
    r := ppv_refund_begin(admin, (started->>'order_id')::bigint, 500, '', 'p-' || key, '');
    perform ppv_refund_finish((r->>'refund_id')::bigint, 'sent', null);
    perform ppv_refund_finish((r->>'refund_id')::bigint, case when n % 10 = 0 then 'done' else 'failed' end, 're-' || key);
    if n % 10 = 0 then made := made + 1; end if;
  end if;
  if n % 7 = 0 then
    r := ppv_payout_request(who[2], 5000, 'USD', '', 'w-' || key, '');
    perform ppv_payout_decide(admin, (r->>'payout_id')::bigint, case when n % 28 = 21 then 'reject' else 'pay' end, 'bank', '', 'x-' || key, '');
    if n % 28 <> 21 then made := made + 1; end if;
    if n % 28 = 14 then
      perform ppv_payout_decide(admin, (r->>'payout_id')::bigint, 'reverse', '', 'back', 'y-' || key, '');
      made := made + 1;
    end if;
  end if;
  if n % 11 = 0 then
    r := jsonb_build_object('state', 'pending', 'dispute', jsonb_build_object('ref', 'dp-' || key, 'state', 'open', 'amount', ${PRICE}));
    perform ppv_order_facts((started->>'order_id')::bigint, r, 'webhook');
    perform ppv_order_facts((started->>'order_id')::bigint, jsonb_set(r, '{dispute,state}', to_jsonb(case when n % 2 = 0 then 'lost' else 'won' end)), 'webhook');
    if n % 2 = 0 then made := made + 1; end if;
  end if;
  perform ppv_idem_end('soak', key, '', jsonb_build_object('made', made));
end $$;
create procedure soak_run(l int, first int, n int, admin bigint) language plpgsql as $$
begin
  for i in first .. first + n - 1 loop
    loop -- several calls in one transaction may lock in another order than a single one does
      begin
        perform soak_step(l, i, admin);
        exit;
      exception when deadlock_detected then null;
      end;
    end loop;
    commit;
  end loop;
end $$;`;

/** One connection that works its steps in order, and goes on after the last acknowledged one whenever it breaks. */
async function sql_lane(s, lane, admin, state) {
  let next = 0;
  while (!state.enough()) {
    await new Promise(done => {
      const p = spawn("psql", ["-XqAt", "-v", "ON_ERROR_STOP=1", `host=${join(s.var, "pgrun")} user=ppv dbname=ppv`], { stdio: ["pipe", "pipe", "pipe"] });
      // The log is waited for once a batch, by a commit that says so; what comes before it in the log is on disk then, too.
      const ask = () => p.stdin.write(`set synchronous_commit = off; call soak_run(${lane}, ${next}, ${BATCH}, ${admin}); set synchronous_commit = on;
        select 'ack' from pg_logical_emit_message(true, 'soak', '');\n`);
      p.stdin.on("error", () => {});
      let said = "";
      p.stderr.on("data", d => { said += d; });
      p.stdout.on("data", d => {
        for (const _ of d.toString().matchAll(/ack/g)) {
          next += BATCH;
          state.acked[lane] = next;
          if (state.enough()) p.stdin.end(); else ask();
        }
      });
      p.on("close", () => {
        if (/ERROR/.test(said)) state.errors.push(said.slice(0, 300));
        done();
      });
      ask();
    });
    if (state.errors.length > 5) return;
    if (!state.enough()) await until("the database answers", async () => (await s.sql("select 1")).length === 1, 120);
  }
}

/** People at the site's doors: purchases and transfers, each repeated with its key until it is answered. */
async function http_lane(s, who, others, films, state) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (let n = 0; !state.enough(); n++) {
    const key = `http-${who.username}-${n}`, sale = n % 5 < 2 && films.length > 0;
    const [path, body] = sale ? ["/api/wallet/pay", { video_id: films.pop() }] : ["/api/wallet/transfer", { to_username: others[n % others.length].username, amount_cents: 100 + n % 50 }];
    for (let r; ;) {
      try { r = await who.post(path, body, { agent, ip: fresh_ip(), timeout: 10000, headers: { "idempotency-key": key } }); } catch (e) { r = { status: e.code ?? e.message }; }
      if (r.status === 200) break;
      if (r.status === 402 || r.status === 409) { state.errors.push(`${path}: ${r.status} ${r.text}`); return; }
      state.repeats++;
      await until("the server answers", async () => (await call(s.port, "GET", "/ready", { timeout: 1000 })).status === 200, 120);
    }
    state.told.push(key);
  }
}

async function killer(s, state) {
  for (let turn = 0; !state.enough() && KILL_S > 0; turn++) {
    const end = performance.now() + KILL_S * 1000;
    await until("the next kill", () => state.enough() || performance.now() > end, KILL_S + 30);
    if (state.enough()) return;
    try {
      const pid = turn % 2 ? Number(readFileSync(join(s.var, "pg/postmaster.pid"), "utf8").split("\n")[0]) : (await s.status()).workers.find(w => w.kind === "web" && w.pid > 1).pid;
      process.kill(pid, "SIGKILL");
      state.kills[turn % 2]++;
    } catch { /* it is just coming up */ }
  }
}

await main(async () => {
  const s = await new Server({ web_workers: 2, log_level: "error" }).start();
  const people = [];
  await s.admin();
  for (let i = 0; i < HTTP; i++) people.push(await s.user("p"));
  const [[admin]] = await s.sql("select id from users where is_admin order by id limit 1");
  for (const [k, v] of [["wallet.transfer_day", 9e12], ["wallet.withdraw_day", 9e12], ["payment.hold_days", 1]])
    await s.sql(`insert into settings (key, value) values ('${k}', '${v}') on conflict (key) do update set value = excluded.value`);
  const steps = Math.ceil(TXNS / 5.2), films = Math.ceil(steps / (PEOPLE / 2)) + 2 * LANES;
  await s.sql(STEP);
  await s.sql(`insert into users (username, email, password_hash) select 'soak' || i, 'soak' || i || '@example.org', 'x' from generate_series(1, ${LANES * PEOPLE + CREATORS}) i;
    insert into soak_people select (i - 1) / ${PEOPLE}, (i - 1) % ${PEOPLE}, u.id from generate_series(1, ${LANES * PEOPLE}) i join users u on u.username = 'soak' || i;
    with f as (insert into videos (owner_id, title, price, currency, state, visibility, duration_ms, title_secret, ready_at)
      select u.id, 'Film ' || i, ${PRICE}, 'USD', 'ready', 'published', 8000, 'none', now() from generate_series(1, ${films}) i join users u on u.username = 'soak' || (${LANES * PEOPLE + 1} + i % ${CREATORS}) returning id)
      insert into soak_films select row_number() over () - 1, id from f;
    insert into affiliate_programs (video_id, pct, enabled) select id, 10, true from soak_films;
    analyze users, videos, soak_people, soak_films;
    select ppv_post('deposit', null, null, 'soak', '{}', (select jsonb_agg(l) from (select jsonb_build_array(ppv_account('user', id, 'wallet', 'USD'), 1000000000, 'soak') l
      from users where username like 'soak%' or id in (${people.map(p => p.id)}) union all select jsonb_build_array(ppv_account('clearing', null, 'deposits', 'USD'),
      -1000000000::bigint * (select count(*) from users where username like 'soak%' or id in (${people.map(p => p.id)})), 'soak')) x))`);
  const own = await Promise.all(people.map(() => s.sql(`insert into videos (owner_id, title, price, currency, state, visibility, duration_ms, title_secret, ready_at)
    select id, 'Own', 100, 'USD', 'ready', 'published', 8000, 'none', now() from users, generate_series(1, ${Math.ceil(TXNS / 20 / CREATORS)}) where username in (${Array.from({ length: CREATORS }, (_, i) => `'soak${LANES * PEOPLE + 1 + i}'`)}) returning id`)));

  const began = performance.now(), state = { acked: Array(LANES).fill(0), told: [], errors: [], repeats: 0, kills: [0, 0] };
  const done = () => state.acked.reduce((a, n) => a + n, 0) * 5.2 + state.told.length;
  state.enough = () => state.errors.length > 5 || done() >= TXNS || performance.now() - began > MINUTES * 60000;
  const timer = setInterval(() => note(`${Math.round((performance.now() - began) / 1000)} s: about ${Math.round(done())} transactions, kills ${state.kills}`), 60000);
  await Promise.all([killer(s, state), ...Array.from({ length: LANES }, (_, l) => sql_lane(s, l, admin, state)),
    ...people.map((p, i) => http_lane(s, p, people.filter(x => x !== p), own[i].map(r => r[0]), state))]);
  clearInterval(timer);
  const seconds = (performance.now() - began) / 1000;
  check("nothing was refused", state.errors.length === 0, state.errors.slice(0, 3).join("; "));
  await until("the database answers", async () => (await s.sql("select 1")).length === 1, 120);

  const lost = [];
  for (const [l, n] of state.acked.entries()) {
    const [[there]] = await s.sql(`select count(*) from idempotency where scope = 'soak' and key like '${l}-%' and split_part(key, '-', 2)::int < ${n} and reply is not null`);
    if (Number(there) !== n) lost.push(`lane ${l}: ${n} acknowledged, ${there} there`);
  }
  const kept = new Set((await s.sql("select key from idempotency where key like 'http-%' and reply is not null")).map(r => r[0]));
  for (const key of state.told) if (!kept.has(key)) lost.push(key);
  check("every acknowledged transaction is there", lost.length === 0, lost.slice(0, 5).join("; "));
  const [[booked, made, entries]] = await s.sql(`select (select count(*) from ledger_txns) - 1, (select sum((reply->>'made')::bigint) from idempotency where scope = 'soak')
    + (select count(*) from idempotency where key like 'http-%' and reply is not null), (select count(*) from ledger_entries)`);
  check("and none twice", booked === made, `${booked} booked, ${made} made`);
  const kinds = Object.fromEntries(await s.sql("select kind, count(*) from ledger_txns group by kind order by 2 desc"));
  note(`${booked} ledger transactions (${entries} entries: ${show(kinds)}), ${state.told.length} of them through HTTP (${state.repeats} repeated), in ${seconds.toFixed(0)} s: `
    + `${(Number(booked) / seconds).toFixed(0)} a second; web workers killed ${state.kills[0]} times, PostgreSQL ${state.kills[1]} times`);
  const sealed = await s.ppv("ledger", "seal");
  check("all of it can be sealed", sealed.code === 0, sealed.out + sealed.err);
  await s.check_books("after the kills");
});
