// SPDX-License-Identifier: Apache-2.0
// Identical purchases at the same time: exactly one sale each, whatever the keys; transfers, withdrawals and purchases on one wallet.
//   node spec/live/sales.mjs          ROUNDS=200 for the full run
import { Server, check, count_by, fresh_ip, main, note, show } from "./lib.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 20), PARALLEL = 20, PRICE = 700, BUYERS = 5;
const times_list = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const times = (n, f) => Promise.all(times_list(n, f));

await main(async () => {
  const s = await new Server().start();
  const admin = await s.admin();
  const creator = await s.user("maker");
  const buyers = await times(BUYERS, () => s.user("buyer"));
  for (const b of buyers) await s.fund(admin, b, PRICE * (Math.ceil(ROUNDS / BUYERS) + 3));
  const films = await s.films(creator, PRICE, ROUNDS);

  const bad = [];
  const started = Date.now();
  for (let r = 0; r < ROUNDS; r++) {
    const buyer = buyers[r % BUYERS], film = films[r], same = r % 2 === 1;
    const before = await buyer.balance();
    const answers = await times(PARALLEL, i => buyer.buy(film, same ? `round-${r}` : `round-${r}-${i}`));
    const by = count_by(answers, a => a.status);
    const good = answers.filter(a => a.status === 200);
    const orders = new Set(good.map(a => a.json.order_id));
    const problem = text => bad.push(`round ${r} (${same ? "same key" : "own keys"}): ${text} ${show(by)}`);
    if (orders.size !== 1) problem(`${orders.size} orders`);
    if (same ? good.length !== PARALLEL : good.length !== 1 || by[409] !== PARALLEL - 1)
      problem("answers " + answers.find(a => a.status !== 200 && a.status !== 409)?.text);
    const spent = before - await buyer.balance();
    if (spent !== PRICE) problem(`the wallet lost ${spent}`);
    if (good[0] && (await buyer.buy(film, same ? `round-${r}` : `late-${r}`)).status !== (same ? 200 : 409)) problem("late answer");
  }
  note(`${ROUNDS} rounds of ${PARALLEL} in ${Date.now() - started} ms`);
  check(`${ROUNDS} rounds of ${PARALLEL} identical purchases are one sale each`, bad.length === 0, bad.slice(0, 5).join("; "));
  const [[sold, entitled, posted]] = await s.sql(`select (select count(*) from orders where state = 'paid'),
    (select count(*) from entitlements where kind = 'purchase'), (select count(*) from ledger_txns where kind = 'sale')`);
  check("as many orders, entitlements and postings as films", [sold, entitled, posted].every(n => Number(n) === ROUNDS),
    `${sold} orders, ${entitled} entitlements, ${posted} postings for ${ROUNDS} films`);
  const earned = await creator.balance();
  check("the creator earned the share of each sale once", earned === ROUNDS * (PRICE - PRICE / 10), `${earned}`);
  const web = (await s.status()).workers.filter(w => w.kind === "web");
  check("two web workers, none restarted", web.length === 2 && web.every(w => w.restarts === 0), show(web));
  await s.check_books("identical purchases");

  await poor_wallet(s, admin, creator);
  await crossing(s, admin, creator);
  await other_keys(s, admin, creator);
  await all_at_once(s, admin);
  await offers_at_once(s, admin, creator);
  await s.check_books("mixed load");
  check("nothing was written as an error of ours", !/"event":"request\.failed"/.test(s.log()), s.log().match(/.*request\.failed.*/)?.[0]);
});

// Money for about half of what is asked: what succeeds adds up, the rest is refused politely.
async function poor_wallet(s, admin, creator) {
  const rounds = Math.max(2, Math.round(ROUNDS / 10)), bad = [];
  const friend = await s.user("friend");
  for (let r = 0; r < rounds; r++) {
    const one = await s.user("mixed"), films = await s.films(creator, 500, 10);
    await s.fund(admin, one, 3300);
    const before = await friend.balance();
    const buys = films.map((f, i) => one.buy(f, `poor-${r}-${i}`));
    const sends = Array.from({ length: 10 }, (_, i) => one.post("/api/wallet/transfer", { to_username: friend.username, amount_cents: 130 },
      { ip: fresh_ip(), headers: { "idempotency-key": `send-${r}-${i}` } }));
    const [b, t] = [await Promise.all(buys), await Promise.all(sends)];
    const ok = l => l.filter(a => a.status === 200).length;
    const left = await one.balance();
    if (left !== 3300 - 500 * ok(b) - 130 * ok(t) || left < 0) bad.push(`left ${left} after ${ok(b)} buys, ${ok(t)} transfers`);
    if (left >= 500 && ok(b) < 10) bad.push(`a purchase was refused although ${left} was left`);
    if (await friend.balance() - before !== 130 * ok(t)) bad.push("the friend has another sum");
    const odd = [...b, ...t].find(a => ![200, 402].includes(a.status));
    if (odd) bad.push(`${odd.status} ${odd.text}`);
  }
  check(`transfers and purchases on one poor wallet add up (${rounds} rounds)`, bad.length === 0, bad.slice(0, 3).join("; "));
}

// Two people send to each other and buy from each other at once: no deadlock, no lost cent.
async function crossing(s, admin, creator) {
  const rounds = Math.max(2, Math.round(ROUNDS / 10)), bad = [];
  const a = await s.user("ann"), b = await s.user("ben");
  for (const who of [a, b]) await s.fund(admin, who, 100000);
  for (let r = 0; r < rounds; r++) {
    const [fa, fb] = [await s.films(a, 300, 5), await s.films(b, 300, 5)];
    const send = (from, to, i) => from.post("/api/wallet/transfer", { to_username: to.username, amount_cents: 100 + i },
      { ip: fresh_ip(), headers: { "idempotency-key": `x-${r}-${i}` } });
    const answers = await Promise.all([...times_list(5, i => send(a, b, i)), ...times_list(5, i => send(b, a, i)),
      ...fa.map(f => b.buy(f)), ...fb.map(f => a.buy(f))]);
    const odd = answers.find(x => x.status !== 200);
    if (odd) bad.push(`round ${r}: ${odd.status} ${odd.text}`);
  }
  const sum = await a.balance() + await b.balance(), expected = 200000 - rounds * 10 * 30;
  if (sum !== expected) bad.push(`together ${sum}, expected ${expected}`);
  check(`crossing transfers and purchases (${rounds} rounds)`, bad.length === 0, bad.slice(0, 3).join("; "));
}

// Rent, buy and buy the bundle of one film at once: what is worth most is what counts, nothing is paid for nothing. The first play at once
// starts one clock; a rental that ran out ends, and can be rented again.
async function offers_at_once(s, admin, creator) {
  const bad = [];
  for (let r = 0; r < 5; r++) {
    const who = await s.user("renter"), films = await s.films(creator, 500, 2), [film] = films;
    await s.fund(admin, who, 5000);
    await creator.post("/api/offers/rental", { video_id: film, price_cents: 200, window_hours: 24, play_hours: 2 });
    const bundle = (await creator.post("/api/offers/bundle", { title: "Both", price_cents: 800, videos: films })).json.offer;
    const pay = offer => who.post("/api/wallet/pay", { video_id: film, offer }, { ip: fresh_ip() });
    const answers = await Promise.all(["rental", "purchase", "rental", bundle, "purchase", bundle].map(pay));
    const paid = answers.filter(a => a.status === 200), odd = answers.find(a => ![200, 409].includes(a.status));
    if (odd) bad.push(`${odd.status} ${odd.text}`);
    const [[live, kind, orders, spent]] = await s.sql(`select count(*), min(kind), (select count(*) from orders where buyer_id = ${who.id}),
      (select sum(price) from orders where buyer_id = ${who.id}) from entitlements where user_id = ${who.id} and video_id = '${film}' and revoked_at is null`);
    if (live !== "1" || kind === "rental") bad.push(`${live} live, ${kind}`);
    if (Number(orders) !== paid.length || 5000 - await who.balance() !== Number(spent)) bad.push(`${orders} orders for ${paid.length} answers`);

    const other = await s.user("starter");
    await s.fund(admin, other, 1000);
    await other.post("/api/wallet/pay", { video_id: film, offer: "rental" });
    const play = () => other.get(`/api/request_play?video_id=${film}`, { ip: fresh_ip() });
    const ends = await Promise.all([play(), play(), play(), play()]);
    if (new Set(ends.map(x => x.json.access_ends_at)).size !== 1) bad.push(`clocks: ${show(ends.map(x => x.json.access_ends_at))}`);
    const over = `update entitlements set expires_at = now() - interval '1 second' where user_id = ${other.id} and revoked_at is null`;
    await s.sql(over);
    const late = await play(), again = await other.post("/api/wallet/pay", { video_id: film, offer: "rental" });
    if (late.status !== 403 || !/rental has ended/.test(late.text) || again.status !== 200) bad.push(`ended: ${late.text} ${again.text}`);
    await s.sql(over); // in time not started
    const unused = await play(), bought = await other.post("/api/wallet/pay", { video_id: film });
    if (unused.status !== 403 || bought.status !== 200) bad.push(`not started: ${unused.text} ${bought.text}`);
  }
  check("renting, buying and bundles of one film at once; clocks of rentals", bad.length === 0, bad.slice(0, 3).join("; "));
}

// A key is one request: another body or another person never gets the first one's answer.
async function other_keys(s, admin, creator) {
  const [one, two] = [await s.user("keya"), await s.user("keyb")];
  for (const who of [one, two]) await s.fund(admin, who, 5000);
  const films = await s.films(creator, 500, 2);
  const both = await Promise.all([...times_list(10, i => one.buy(films[i % 2], "shared-key"))]);
  const by = count_by(both, x => x.status + "");
  check("one key for two films buys one of them", await one.balance() === 4500 && by[200] === 5 && by[409] === 5,
    show(by) + " balance " + await one.balance());
  const mine = await two.buy(films[0], "shared-key");
  check("the same key of another person is another key", mine.status === 200 && await two.balance() === 4500, mine.text);
}

// F1: purchases, withdrawals and transfers of one wallet at once, each twice under its key.
async function all_at_once(s, admin) {
  const [busy, other, maker] = [await s.user("busy"), await s.user("other"), await s.user("seller")], films = await s.films(maker, 5000, 20);
  await s.fund(admin, busy, 150000);
  const keyed = (path, body, key) => times_list(2, () => busy.post(path, body, { ip: fresh_ip(), headers: { "idempotency-key": key } }).then(r => ({ key, r })));
  const all = await Promise.all(films.flatMap((f, i) => [...keyed("/api/wallet/pay", { video_id: f }, `b${i}`), ...keyed("/api/wallet/withdraw", { amount_cents: 5000 }, `w${i}`),
    ...keyed("/api/wallet/transfer", { to_username: other.username, amount_cents: 5000 }, `t${i}`)]));
  check("each is done or refused for want of money", all.every(x => [200, 402].includes(x.r.status)), show(count_by(all, x => x.r.status)));
  const good = count_by([...new Set(all.filter(x => x.r.status === 200).map(x => x.key))], k => k[0]), { b = 0, w = 0, t = 0 } = good;
  check("exactly what the wallet had is spent", b + w + t === 30, show(good));
  const now = (await busy.get("/api/wallet/balance")).json;
  check("withdrawals are on hold, the rest is gone", now.balance_cents === 5000 * w && now.held_cents === now.balance_cents, show(now));
  check("the other side has it", await other.balance() === 5000 * t && await maker.balance() === 4500 * b);
}
