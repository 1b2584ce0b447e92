// SPDX-License-Identifier: Apache-2.0
// What the live tests share: a server of their own in a scratch directory, clients with cookies, waiting by condition,
// the database through psql, and the counting of results. Plain node; real peers come from package.json.
import { execFile, spawn, execFileSync } from "node:child_process";
import { accessSync, chmodSync, constants, cpSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");

// ---- results ----

let passed = 0, failed = 0;

export function check(name, good, why = "") {
  if (good) passed++; else failed++;
  console.log(good ? `ok - ${name}` : `not ok - ${name}: ${why}`);
  return good;
}

export const note = text => console.log(`# ${text}`);

// ---- waiting ----

export const pause = ms => new Promise(r => setTimeout(r, ms));

/** Waits until fn() is truthy and answers it; fails after `seconds`, which say when to give up on a slow machine and never what is
 *  fast enough. Errors of fn count as "not yet". Asks ever more seldom, at most 120 times in the first minute: no rate limit of a
 *  route that is waited for is reached. */
export async function until(what, fn, seconds = 300) {
  const started = Date.now();
  let last;
  for (;;) {
    try {
      last = await fn();
      if (last) return last;
    } catch (e) {
      if (e.fatal) throw e;
      last = e.message;
    }
    const waited = Date.now() - started;
    if (waited > seconds * 1000) throw new Error(`not within ${seconds} s: ${what}; last: ${last}`);
    await pause(Math.min(20 + waited / 20, 1000));
  }
}

// ---- HTTP ----

/** One request. o: {json, body, headers, ip, agent, timeout}. Answers {status, headers, body, text, json, ms}; rejects when
 *  no complete answer arrives. The path is sent as it is. */
export function call(port, method, path, o = {}) {
  const headers = { host: `127.0.0.1:${port}`, accept: "application/json", ...(o.ip ? { "x-forwarded-for": o.ip } : {}), ...o.headers };
  let body = o.body;
  if (o.json !== undefined) {
    body = JSON.stringify(o.json);
    headers["content-type"] ??= "application/json";
  }
  if (body !== undefined) headers["content-length"] = Buffer.byteLength(body);
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const req = http.request({ host: "127.0.0.1", port, method, path, headers, agent: o.agent ?? false }, res => {
      const parts = [];
      res.on("data", d => parts.push(d));
      res.on("error", reject);
      res.on("aborted", () => reject(new Error("answer cut off")));
      res.on("end", () => {
        const r = { status: res.statusCode, headers: res.headers, body: Buffer.concat(parts), ms: performance.now() - started };
        r.text = r.body.toString("latin1");
        if ((r.headers["content-type"] ?? "").includes("json")) try { r.json = JSON.parse(r.body.toString()); } catch { /* stays undefined */ }
        resolve(r);
      });
    });
    req.setTimeout(o.timeout ?? 60000, () => req.destroy(new Error("no answer in time")));
    req.on("error", reject);
    req.end(body);
  });
}

let addresses = 0;
/** A client address of its own, because limits are per address; the server trusts our X-Forwarded-For. */
export function fresh_ip() {
  addresses++;
  return `10.${(addresses >> 16) & 255}.${(addresses >> 8) & 255}.${addresses & 255}`;
}

export class Client {
  constructor(server) { this.server = server; this.jar = {}; this.ip = fresh_ip(); }
  cookie() { return Object.entries(this.jar).map(([k, v]) => `${k}=${v}`).join("; "); }
  async request(method, path, o = {}) {
    const headers = { origin: this.server.url, ...o.headers };
    if (Object.keys(this.jar).length) headers.cookie = this.cookie();
    const r = await call(this.server.port, method, path, { ip: this.ip, ...o, headers });
    for (const line of r.headers["set-cookie"] ?? []) {
      const m = line.match(/^([^=]+)=([^;]*)/);
      if (m[2] === "" || /max-age=0/i.test(line)) delete this.jar[m[1]]; else this.jar[m[1]] = m[2];
    }
    return r;
  }
  get(path, o) { return this.request("GET", path, o); }
  post(path, json = {}, o = {}) { return this.request("POST", path, { ...o, json }); }
}

/** A form with fields and a file (its path or its bytes), from an address of its own. */
export function send(who, url, file, fields = {}, name = typeof file === "string" ? basename(file) : "film.mp4") {
  const edge = "----ppv" + Math.random().toString(36).slice(2);
  const parts = Object.entries(fields).map(([k, v]) => `--${edge}\r\ncontent-disposition: form-data; name="${k}"\r\n\r\n${v}\r\n`);
  const head = `--${edge}\r\ncontent-disposition: form-data; name="file"; filename="${name}"\r\ncontent-type: video/mp4\r\n\r\n`;
  const body = Buffer.concat([Buffer.from(parts.join("") + head), typeof file === "string" ? readFileSync(file) : file, Buffer.from(`\r\n--${edge}--\r\n`)]);
  return who.request("POST", url, { body, ip: fresh_ip(), timeout: 300000, headers: { "content-type": `multipart/form-data; boundary=${edge}` } });
}

// ---- packages ----

/** A package of spec/live/package.json; the first use on a machine installs them all. */
export async function package_of(name) {
  const here = join(ROOT, "spec/live");
  if (!existsSync(join(here, "node_modules", name))) {
    const r = await run("npm", ["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: here });
    if (r.code) throw new Error("npm ci: " + r.err);
  }
  return import(name);
}

// ---- a server ----

export function free_port() {
  return new Promise(resolve => {
    const s = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
}

/** A psql that stays, for starting one takes longer than most statements: one statement after the other, of those that leave nothing
 *  behind in a session. The directory of the socket is not among its arguments, where a test looks for a site's own processes. */
class Psql {
  static takes = text => text.split(";").every(part => /^\s*((select|insert|update|delete|with)\b|$)/i.test(part));
  constructor(dir) {
    this.child = spawn("psql", ["-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1"], { env: { ...process.env, PGHOST: dir, PGUSER: "ppv", PGDATABASE: "ppv" } });
    this.err = "";
    this.child.stdin.on("error", () => {});
    this.child.stderr.on("data", d => { this.err += d; });
    this.child.stdout.setEncoding("utf8").on("data", d => {
      this.out += d;
      if (this.out.endsWith("\x01\n")) this.#end({ code: 0, out: this.out.slice(0, -2) });
    });
    this.child.on("close", () => { this.gone = true; this.#end({ code: 1, out: "" }); });
  }
  #end(r) {
    this.done?.({ ...r, err: this.err });
    this.done = null;
  }
  get idle() { return !this.gone && !this.done; }
  /** Answers {code, out, err}; after an error it is gone. */
  ask(text) {
    this.out = "";
    return new Promise(done => {
      this.done = done;
      this.child.stdin.write(text + "\n;\n\\echo \x01\n");
    });
  }
  end() { this.gone = true; this.child.stdin.end(); }
}

const servers = new Set();
const run = (file, args, opts = {}) => new Promise(resolve =>
  execFile(file, args, { maxBuffer: 64 << 20, ...opts }, (e, out, err) =>
    resolve({ code: e ? (typeof e.code === "number" ? e.code : 1) : 0, out, err })));

export class Server {
  /** sets: {key: value}. Environment: PPV = another program, CODE = another tree. The code is a copy, so that editing it or the working tree disturbs nobody. */
  constructor(sets = {}) {
    const made = process.env.TEMPLATE; // of run.sh: a cluster that is brought up to date, which takes some seconds of computing
    this.dir = mkdtempSync(join(tmpdir(), "ppv-live-"));
    servers.add(this);
    chmodSync(this.dir, 0o755); // the database runs as another user
    this.root = join(this.dir, "root");
    this.var = join(this.dir, "v");
    this.bin = join(this.dir, "ppv");
    const sql = dir => readdirSync(dir).map(f => readFileSync(join(dir, f), "utf8")).join("");
    if (made && !("database_url" in sets) && sql(join(made, "sql")) === sql(join(process.env.CODE ?? ROOT, "sql"))) {
      mkdirSync(this.var);
      execFileSync("cp", ["-a", join(made, "pg"), this.var]);
    }
    for (const d of ["scripts", "plugins", "sql", "static"]) cpSync(join(process.env.CODE ?? ROOT, d), join(this.root, d), { recursive: true, filter: f => basename(f) !== "node_modules" });
    this.sets = { web_workers: 2, development: "false", admin_totp: "false", trusted_proxies: "127.0.0.1", log_format: "json", ...sets };
  }
  args(...rest) {
    const sets = { ...this.sets, var_dir: this.var, listen: `127.0.0.1:${this.port}` };
    return ["--root", this.root, ...Object.entries(sets).flatMap(([k, v]) => ["--set", `${k}=${v}`]), ...rest];
  }
  async start() {
    const built = process.env.PPV ?? join(ROOT, "build/ppv");
    if (!existsSync(this.bin)) { // executable = the linker is done with it
      await until("the program is built", () => (accessSync(built, constants.X_OK), true));
      cpSync(built, this.bin);
    }
    this.port ??= await free_port();
    this.url = `http://127.0.0.1:${this.port}`;
    this.log_path = join(this.dir, "log");
    const fd = openSync(this.log_path, "a");
    this.child = spawn(this.bin, this.args("serve"), { cwd: this.dir, stdio: ["ignore", fd, fd] });
    this.exited = new Promise(r => this.child.once("exit", (code, signal) => { this.gone = true; r({ code, signal }); }));
    this.gone = false;
    await until("the server is ready", async () => {
      if (this.gone) throw Object.assign(new Error(this.log().slice(-2000)), { fatal: true });
      return (await call(this.port, "GET", "/ready", { timeout: 2000 })).status === 200;
    });
    return this;
  }
  log() { return existsSync(this.log_path) ? readFileSync(this.log_path, "utf8") : ""; }
  /** A subcommand of the program. */
  ppv(...args) { return run(this.bin, this.args(...args), { cwd: this.dir }); }
  async status() {
    const r = await this.ppv("status");
    if (r.code) throw new Error("ppv status: " + r.err + r.out);
    return JSON.parse(r.out);
  }
  /** Rows of a statement, as arrays of text. */
  async sql(text) {
    const dir = join(this.var, "pgrun");
    let r;
    if (Psql.takes(text) && (!this.psql || this.psql.gone || this.psql.idle)) {
      if (!this.psql?.idle) this.psql = new Psql(dir);
      r = await this.psql.ask(text);
    }
    if (!r || /server closed the connection|terminating connection|could not (send|receive)/.test(r.err))
      r = await run("psql", ["-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", `host=${dir} user=ppv dbname=ppv`, "-c", text]);
    if (r.code) throw new Error("psql: " + r.err);
    return r.out.split("\n").filter(Boolean).map(l => l.split("\t"));
  }
  async breaches() { return (await this.sql("select * from ppv_invariants()")).map(r => r.join(" ")); }
  async check_books(name) {
    const bad = await this.breaches();
    check(`${name}: no invariant is broken`, bad.length === 0, bad.slice(0, 5).join("; "));
    const v = await this.ppv("ledger", "verify");
    check(`${name}: ppv ledger verify`, v.code === 0, v.out + v.err);
  }
  async stop() {
    this.psql?.end();
    if (!this.child) return;
    if (!this.gone) {
      this.child.kill("SIGTERM");
      const timer = setTimeout(() => this.child.kill("SIGKILL"), 45000);
      await this.exited;
      clearTimeout(timer);
    }
  }
  async remove() {
    await this.stop();
    servers.delete(this);
    // A statement that PostgreSQL refuses as wrong (class 42: rights, names, syntax) is our mistake wherever it runs, also where nobody waits for it.
    const wrong = this.log().split("\n").find(l => l.includes("SQLSTATE 42"));
    if (wrong) check("no statement of the site is wrong", false, wrong);
    if (process.env.KEEP) note("kept " + this.dir); else rmSync(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  // ---- people, money, films ----

  async user(name) {
    const c = new Client(this);
    c.username = name + Math.random().toString(36).slice(2, 8);
    c.email = c.username + "@example.org";
    c.password = "quite a long pass phrase " + c.ip;
    let r = await c.post("/auth/register", { username: c.username, email: c.email, password: c.password });
    if (r.status >= 300) throw new Error(`register: ${r.status} ${r.text}`);
    await c.login();
    c.id = (await c.get("/api/me")).json.user.id;
    return c;
  }
  async admin() {
    const made = await this.ppv("admin", "create", "boss" + Math.random().toString(36).slice(2, 8));
    const c = new Client(this);
    c.email = made.out.match(/^e-mail\s+(\S+)/m)?.[1];
    c.password = made.out.match(/^password\s+(\S+)/m)?.[1];
    if (!c.password) throw new Error("admin create: " + made.out + made.err);
    const r = await c.post("/admin/login", { email: c.email, password: c.password });
    if (r.status !== 200) throw new Error(`admin login: ${r.status} ${r.text}`);
    return c;
  }
  /** Site settings as their page sends them, {consent_required: true}: in force for every worker when this returns, which a row that is
   *  put into the table is not (workers believe their copy for some seconds). */
  async set(admin, values) {
    const r = await admin.post("/admin/settings", values);
    if (r.status !== 200) throw new Error(`settings: ${r.status} ${r.text}`);
  }
  async fund(admin, who, amount) {
    // More at once would need a second administrator.
    for (let left = amount; left > 0; left -= 1000000) {
      let r = await who.post("/api/wallet/deposit", { amount_cents: Math.min(left, 1000000) }, { ip: fresh_ip() });
      if (r.status !== 200) throw new Error(`deposit: ${r.status} ${r.text}`);
      r = await admin.post(`/admin/wallet/transactions/${r.json.txn_id}/approve`);
      if (r.status !== 200) throw new Error(`approve: ${r.status} ${r.text}`);
    }
  }
  /** Uploads a film through the form and waits until it can be played: its id. path: also the bytes themselves. */
  async film(who, path, fields = {}, seconds = 900) {
    const r = await send(who, "/api/upload", path, { title: "A film", price_cents: 0, ...fields });
    if (r.status !== 201) throw new Error(`upload: ${r.status} ${r.text}`);
    await until("the film is ready", async () => {
      const state = (await who.get(`/api/videos/${r.json.video_id}/status`)).json;
      if (state.status === "failed") throw Object.assign(new Error(show(state)), { fatal: true });
      return state.status === "ready";
    }, seconds);
    return r.json.video_id;
  }
  /** Films that are on sale but have no files. */
  async films(owner, price, count) {
    return (await this.sql(`insert into videos(owner_id, title, price, currency, state, visibility, duration_ms, title_secret, ready_at)
      select ${owner.id}, 'Film ' || n, ${price}, 'USD', 'ready', 'published', 8000, 'none', now() from generate_series(1, ${count}) n
      returning id`)).map(r => r[0]);
  }
}

Client.prototype.login = async function () {
  const r = await this.post("/auth/login", { email: this.email, password: this.password }, { ip: fresh_ip() });
  if (r.status !== 200) throw new Error(`login: ${r.status} ${r.text}`);
};
Client.prototype.balance = async function () {
  const r = await this.get("/api/wallet/balance");
  if (!r.json) throw new Error(`balance: ${r.status} ${r.text}`);
  return r.json.balance_cents;
};
Client.prototype.buy = function (video, key, o = {}) {
  return this.post("/api/wallet/pay", { video_id: video }, { ip: fresh_ip(), ...o, headers: { ...(key ? { "idempotency-key": key } : {}), ...o.headers } });
};

export const count_by = (list, f) => list.reduce((m, x) => (m[f(x)] = (m[f(x)] ?? 0) + 1, m), {});
export const show = x => JSON.stringify(x);

// ---- the frame of a test ----

for (const sig of ["SIGINT", "SIGTERM", "SIGHUP"])
  process.once(sig, async () => {
    await Promise.all([...servers].map(s => s.remove().catch(() => {})));
    process.exit(130);
  });

/** Runs the test, cleans up, prints the sum, sets the exit code. */
export async function main(fn) {
  try {
    await fn();
  } catch (e) {
    check("the test ran to its end", false, e.stack);
    for (const s of servers) note("end of the server's log:\n" + s.log().slice(-3000));
  }
  for (const s of [...servers]) await s.remove().catch(e => note("clean-up: " + e.message));
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
