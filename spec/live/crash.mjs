// SPDX-License-Identifier: Apache-2.0
// kill -9 of every kind of process while people buy: what was acknowledged is there afterwards, the books are right, and
// the service answers again by itself (only a killed master has to be started again).
//   node spec/live/crash.mjs          KILLS=10 for more rounds of each
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Server, call, check, count_by, fresh_ip, main, note, show, until } from "./lib.mjs";

const KILLS = Number(process.env.KILLS ?? 2), BUYERS = 6, PRICE = 100, FILMS = 4000;

const alive = pid => { try { process.kill(pid, 0); return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8")); } catch { return false; } };
const worker = (s, kind, i = 0) => until(`${kind} worker ${i} runs`, async () => {
  const w = (await s.status()).workers.filter(x => x.kind === kind)[i];
  return w.ready && w.pid > 1 && w;
});
const postmaster = s => Number(readFileSync(join(s.var, "pg/postmaster.pid"), "utf8").split("\n")[0]);

/** Processes whose working directory or arguments name our scratch directory. */
function ours(s) {
  const out = [];
  for (const pid of readdirSync("/proc").filter(n => /^\d+$/.test(n))) {
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(s.dir) && alive(Number(pid))) out.push(Number(pid));
    } catch { /* it ended */ }
  }
  return out;
}

/** People who buy one film after the other and remember what they were told. */
class Shoppers {
  constructor(s, people, films) { Object.assign(this, { s, people, films, next: 0, told: [], unsure: [], answers: {}, on: true }); }
  start() {
    this.lanes = this.people.map(p => this.lane(p));
    return this;
  }
  async lane(p) {
    while (this.on) {
      const film = this.films[this.next++ % this.films.length], key = `${p.username}-${film}-${this.next}`;
      let r;
      try { r = await p.buy(film, key, { timeout: 8000 }); } catch (e) { r = { status: e.code ?? e.message }; }
      this.answers[r.status] = (this.answers[r.status] ?? 0) + 1;
      if (r.status === 200) this.told.push({ p, film, order: r.json.order_id });
      else {
        this.unsure.push({ p, film, key });
        await until("the server answers", async () => (await call(this.s.port, "GET", "/health", { timeout: 1000 })).status === 200 || !this.on);
      }
    }
  }
  /** Waits until purchases are acknowledged again. */
  async flowing() {
    const from = this.told.length, started = performance.now();
    await until("purchases are acknowledged again", () => this.told.length >= from + 20);
    return performance.now() - started;
  }
  async stop() {
    this.on = false;
    await Promise.all(this.lanes);
    return this;
  }
}

async function owned(p, film) {
  const r = await p.get(`/api/pay/all_options?video_id=${film}`, { ip: fresh_ip() });
  return r.json?.already_purchased;
}

async function all_there(name, shop) {
  const lost = [];
  for (const t of shop.told) if (await owned(t.p, t.film) !== true) lost.push(`${t.p.username} ${t.film} ${t.order}`);
  check(`${name}: every acknowledged purchase of ${shop.told.length} is there`, lost.length === 0, `${lost.length} lost: ` + lost.slice(0, 3).join("; "));
  // The same key again after a lost answer: done once, whatever had become of the first attempt.
  const again = [];
  for (const u of shop.unsure.slice(-60)) {
    const r = await until("an answer other than try again", async () => { const a = await u.p.buy(u.film, u.key); return a.status !== 503 && a; });
    if (r.status !== 200 && r.status !== 409 || await owned(u.p, u.film) !== true) again.push(`${r.status} ${r.text}`);
  }
  check(`${name}: an unanswered purchase can be repeated with its key`, again.length === 0, again.slice(0, 3).join("; "));
  note(`${name}: ${show(shop.answers)}`);
}

async function round(s, people, films, name, kill) {
  const shop = new Shoppers(s, people, films).start();
  await shop.flowing();
  const took = [];
  let fine = true;
  try {
    for (let i = 0; i < KILLS; i++) {
      const pid = await kill(i);
      await until("the process is gone", () => !alive(pid));
      took.push(Math.round(await shop.flowing()));
      await until("the site is ready", async () => (await call(s.port, "GET", "/ready")).status === 200);
    }
  } catch (e) { fine = e.message; }
  await shop.stop();
  check(`${name}: service goes on by itself (${took.map(t => t + " ms").join(", ")})`, fine === true, fine);
  await all_there(name, shop);
  await s.check_books(name);
}

function kill9(pid) {
  if (!(pid > 1)) throw new Error(`no process: ${pid}`); // 0 would be ourselves
  process.kill(pid, "SIGKILL");
  return pid;
}

await main(async () => {
  const s = await new Server({ drain_timeout: "5s" }).start();
  const admin = await s.admin(), creator = await s.user("maker");
  const people = await Promise.all(Array.from({ length: BUYERS }, () => s.user("shopper")));
  for (const p of people) await s.fund(admin, p, PRICE * FILMS * 5);
  const lists = [];
  for (let i = 0; i < 4; i++) lists.push(await s.films(creator, PRICE, FILMS));

  await round(s, people, lists[0], "web worker killed", async i => kill9((await worker(s, "web", i % 2)).pid));
  await round(s, people, lists[0], "web worker hangs", async i => {
    const { pid } = await worker(s, "web", i % 2);
    process.kill(pid, "SIGSTOP");
    await until("the hanging worker is removed", () => !alive(pid));
    return pid;
  });
  await round(s, people, lists[1], "job worker killed", async () => kill9((await worker(s, "job")).pid));
  const job = await worker(s, "job");
  check("the job worker is back", job.restarts >= KILLS, show(job));
  await round(s, people, lists[2], "database killed", async () => kill9(postmaster(s)));

  // The master, last: everything of it must end, and a start by hand finds it all.
  const shop = new Shoppers(s, people, lists[3]).start();
  await shop.flowing();
  const before = ours(s);
  kill9(s.child.pid);
  await s.exited;
  shop.on = false;
  let left = true;
  await until("all children of a killed master end", () => before.every(pid => !alive(pid))).catch(e => { left = e.message; });
  check("all processes of a killed master end", left === true, `${left}: ${before.filter(alive)}`);
  const t = performance.now();
  await s.start();
  note(`started again in ${Math.round(performance.now() - t)} ms`);
  await shop.stop();
  await all_there("master killed", shop);
  await s.check_books("master killed");
  const r = await people[0].get("/api/me");
  check("people are still signed in", r.status === 200, r.text);

  // The master again, and a start before the rest has ended.
  kill9(s.child.pid);
  await s.exited;
  let early = true;
  await s.start().catch(e => { early = e.message; });
  if (!check("a start right after the kill works", early === true, early)) return;
  await s.check_books("started at once");
  const by = count_by(s.log().split("\n").filter(l => l.includes('"event":"worker.ended"')), l => l.match(/"kind":"(\w+)"/)?.[1]);
  note(`workers that ended: ${show(by)}`);
});
