// SPDX-License-Identifier: Apache-2.0
// Reloads under load, a third of them broken: no request fails, a refused one names file and line and changes nothing, a
// good one is visible at once, old generations are freed. Then plugins that run away: stopped in time, others unharmed.
//   node spec/live/reload.mjs         RELOADS=300 for the full run
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import { Server, call, check, fresh_ip, main, note, show, until } from "./lib.mjs";

const RELOADS = Number(process.env.RELOADS ?? 60);

// Budgets are CPU time; on a machine that does other things, too, the same takes longer.
const limit_ms = () => Math.round(1500 * Math.max(1, loadavg()[0] / availableParallelism()));

const manifest = (name, o = {}) => `return { name = "${name}", kind = "${o.kind ?? "route"}", api = "${o.api ?? "1.0"}", ` +
  `version = "1.0.0", title = "${name}" }\n`;
const route = (path, body, more = "") => `local M = { routes = {} }\n${more}\nM.routes[1] = { method = "GET", path = "${path}", ` +
  `auth = "public", summary = "test",\n  handler = function(ctx)\n${body}\n  end }\nreturn M\n`;
const version = n => route("/api/livetest", `    return ctx:ok { n = ${n} }`);

// Broken plugins: files, and the file and line the refusal has to name (line null = any).
const BROKEN = [
  { what: "syntax error", at: ["handler.lua", 3], handler: "local M = {}\n\nlocal x = = 1\nreturn M\n" },
  { what: "runtime error at load", at: ["handler.lua", 4], handler: "local M = {}\n\nlocal t\nt.x = 1\nreturn M\n" },
  { what: "error() at load", at: ["handler.lua", 2], handler: "local M = {}\nerror('boom')\nreturn M\n" },
  { what: "missing function", at: ["handler.lua", null], kind: "affiliate", handler: "return {}\n" },
  { what: "missing routes", at: ["handler.lua", null], handler: "return {}\n" },
  { what: "no handler in a route", at: ["handler.lua", null],
    handler: "return { routes = { { method = 'GET', path = '/api/x', auth = 'public' } } }\n" },
  { what: "missing manifest field", at: ["manifest.lua", null], manifest: 'return { name = "broken", kind = "route", api = "1.0" }\n' },
  { what: "route conflict", at: ["handler.lua", null], handler: route("/api/videos", "    return ctx:ok {}") },
  { what: "route conflict by parameter", at: ["handler.lua", null], handler: route("/api/videos/:other", "    return ctx:ok {}") },
  { what: "wrong api", at: ["manifest.lua", null], manifest: manifest("broken", { api: "9.0" }) },
  { what: "infinite loop at load", at: ["handler.lua", 2], handler: "local M = {}\nwhile true do end\nreturn M\n" },
  { what: "infinite pcall loop at load", at: ["handler.lua", null],
    handler: "while true do pcall(function() while true do end end) end\n" },
  { what: "memory without end at load", at: ["handler.lua", null],
    handler: "local t = {}\nwhile true do t[#t + 1] = ('x'):rep(1000) .. #t end\n" },
  { what: "syntax error in the manifest", at: ["manifest.lua", 2], manifest: "return {\n  name = = }\n" },
  { what: "infinite loop in the manifest", at: ["manifest.lua", null], manifest: "while true do end\nreturn {}\n" },
  { what: "unknown module", at: ["handler.lua", 2], handler: "local M = { routes = {} }\nlocal x = require 'ppv.nothing'\nreturn M\n" },
  { what: "a module it has no right to", at: ["handler.lua", 2],
    handler: "local M = { routes = {} }\nlocal x = require 'ppv.ledger'\nreturn M\n" },
  { what: "bytecode", at: ["handler.lua", null], handler: "\x1bLJ\x02\n" },
  { what: "empty file", at: ["handler.lua", null], handler: "" },
  { what: "an unknown way to authorise", at: ["handler.lua", null],
    handler: "return { routes = { { method = 'GET', path = '/api/x', auth = 'anyone', handler = function() end } } }\n" },
];

class Load {
  constructor(server, paths) { Object.assign(this, { server, paths, sent: 0, bad: [], slowest: 0, on: true }); }
  start(lanes) {
    this.lanes = Array.from({ length: lanes }, (_, i) => this.lane(i));
    return this;
  }
  async lane(i) {
    const keep = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let n = i; this.on; n++) {
      const path = this.paths[n % this.paths.length];
      this.sent++;
      try {
        const r = await call(this.server.port, "GET", path, { ip: fresh_ip(), agent: n % 5 ? keep : false });
        if (r.status !== 200) this.bad.push(`${path}: ${r.status} ${r.text.slice(0, 200)}`);
        if (r.ms > this.slowest) this.slowest = r.ms;
      } catch (e) { this.bad.push(`${path}: ${e.message}`); }
    }
    keep.destroy();
  }
  async stop() {
    this.on = false;
    await Promise.all(this.lanes);
    return this;
  }
}

function put(s, name, files) {
  const dir = join(s.root, "plugins", name);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir);
  for (const [file, text] of Object.entries(files)) writeFileSync(join(dir, file), text, "latin1");
}
const drop = (s, name) => rmSync(join(s.root, "plugins", name), { recursive: true, force: true });
const put_version = (s, n) => put(s, "livetest", { "manifest.lua": manifest("livetest"), "handler.lua": version(n) });

async function seen(s) {
  const got = await Promise.all(Array.from({ length: 8 }, () => call(s.port, "GET", "/api/livetest")));
  return [...new Set(got.map(r => r.json?.n ?? r.status))];
}
const states = async s => Number((await call(s.port, "GET", "/metrics")).text.match(/^ppv_lua_states (\d+)/m)?.[1]);
const proc = pid => Object.fromEntries(readFileSync(`/proc/${pid}/status`, "utf8").split("\n").map(line => line.split(/:\s+/)));
/** The master's child of that name: the process that builds on trial. undefined = there is none. */
const canary = s => readdirSync("/proc").filter(n => /^\d+$/.test(n)).find(pid => {
  try {
    const p = proc(pid);
    return p.Name === "canary" && p.PPid === String(s.child.pid);
  } catch { return false; }
});
const rss = async s => [...(await s.status()).workers.map(w => w.pid), canary(s)].map(pid => parseInt(proc(pid).VmRSS) >> 10);

async function reloads(s) {
  const load = new Load(s, ["/api/videos", "/api/livetest", "/health", "/public/browse.html"]).start(8);
  const wrong = { good: [], refused: [], named: [] };
  let current = 1, memory = null, broken = 0, took = [];
  put(s, "thrower", { "manifest.lua": manifest("thrower"), "handler.lua": route("/api/thrower", "    local t\n    t.x = 1") });
  for (let i = 0; i < RELOADS; i++) {
    if (i % 3 === 2) {
      const b = BROKEN[broken++ % BROKEN.length];
      put(s, "broken", { "manifest.lua": b.manifest ?? manifest("broken", b), "handler.lua": b.handler ?? route("/api/broken", "    return ctx:ok {}") });
      const r = await s.ppv("reload");
      const st = await s.status();
      const named = (st.refused ?? []).find(p => p.file === `plugins/broken/${b.at[0]}` && (b.at[1] ? p.line === b.at[1] : p.line >= 1));
      if (r.code === 0) wrong.refused.push(`${b.what}: accepted`);
      if (!named) wrong.named.push(`${b.what}: ${show(st.refused)} ${r.out.slice(0, 300)}`);
      drop(s, "broken");
    } else {
      put_version(s, ++current);
      const t = performance.now(), r = await s.ppv("reload");
      took.push(performance.now() - t);
      if (r.code !== 0) wrong.good.push(`reload ${i}: ${r.out}${r.err}`);
    }
    const now = await seen(s);
    if (now.length !== 1 || now[0] !== current) wrong.good.push(`reload ${i}: serves ${now}, expected ${current}`);
    if (i === Math.floor(RELOADS / 3)) memory = await rss(s);
  }
  const thrown = await call(s.port, "GET", "/api/thrower");
  check("a plugin that stayed the same over all reloads still fails with file and line",
    thrown.status === 500 && s.log().includes("plugins/thrower/handler.lua:6: "), `${thrown.status} ${thrown.text}`);
  drop(s, "thrower");
  took.sort((a, b) => a - b);
  check("a good reload is served by all workers when it is answered", wrong.good.length === 0, wrong.good.slice(0, 3).join("; "));
  check("every broken plugin is refused", wrong.refused.length === 0, wrong.refused.slice(0, 5).join("; "));
  check("a refusal names file and line in ppv status", wrong.named.length === 0, wrong.named.slice(0, 5).join("; "));
  let freed = true;
  await until("old generations are freed", async () => await states(s) === 3).catch(e => { freed = e.message; });
  check("old generations are freed, under load", freed === true, `${freed}; states ${await states(s)}`);
  const end = await rss(s);
  check("memory of workers and canary does not grow with reloads", end.every((m, i) => m < memory[i] * 1.5 + 32), `MiB ${memory} -> ${end}`);
  await load.stop();
  note(`${load.sent} requests during ${RELOADS} reloads, slowest ${load.slowest.toFixed(0)} ms; reload median ` +
    `${took[took.length >> 1].toFixed(0)} ms, longest ${took[took.length - 1].toFixed(0)} ms; MiB ${end}`);
  check(`no request of ${load.sent} failed`, load.bad.length === 0, `${load.bad.length}: ` + load.bad.slice(0, 3).join("; "));
  const web = (await s.status()).workers;
  check("no worker was restarted by reloads", web.every(w => w.restarts === 0), show(web));
  const first = await s.ppv("rollback");
  const back = await seen(s);
  check("rollback serves what was before", first.code === 0 && back.length === 1 && back[0] === current - 1, `${first.out} serves ${back}`);
  put_version(s, current + 1);
  check("and a reload goes forward again", (await s.ppv("reload")).code === 0 && (await seen(s))[0] === current + 1, "");
  await trials(s, current + 1);
}

/** The process that builds on trial stays over reloads; one that is lost, at whatever moment, costs no more than a refusal. */
async function trials(s, current) {
  const lost = [], put_broken = () => put(s, "broken", { "manifest.lua": manifest("broken"), "handler.lua": BROKEN[0].handler });
  const was = canary(s);
  process.kill(was, "SIGKILL");
  put_broken();
  const bad = await s.ppv("reload"), st = await s.status();
  drop(s, "broken");
  check("without a canary the next reload has another, and its refusals",
    bad.code !== 0 && st.refused?.[0]?.line === 3 && canary(s) && canary(s) !== was, show(st.refused));
  check("it has no more rights than a worker", proc(canary(s)).Uid === proc(st.workers[0].pid).Uid, proc(canary(s)).Uid);
  for (let i = 0; i < 3; i++) {
    const work = route("/api/later", `    return ctx:ok { n = ${i} }`, "local x = 0\nfor i = 1, 5e6 do x = x + i end");
    put(s, "later", { "manifest.lua": manifest("later"), "handler.lua": work });
    const pid = canary(s);
    let done = false;
    const answer = s.ppv("reload").finally(() => { done = true; });
    await until("it builds", () => done || proc(pid).State[0] === "R");
    try { process.kill(pid, "SIGKILL"); } catch { /* it ended */ }
    const r = await answer, now = await seen(s);
    drop(s, "later");
    const back = await s.ppv("reload");
    if (r.code !== 0 && !r.out.includes("without an answer") || now.length !== 1 || now[0] !== current || back.code !== 0)
      lost.push(`${r.out}${r.err} serves ${now}; ${back.out}`);
  }
  check("one killed while it builds refuses, and the next reload is taken", lost.length === 0, lost.slice(0, 3).join("; "));
}

// name -> [body of the handler, code before it]
const RUNAWAY = {
  loop: ["    while true do end"],
  pcall_loop: ["    while true do pcall(function() while true do end end) end"],
  xpcall_loop: ["    while true do xpcall(function() while true do end end, function() while true do end end) end"],
  pattern_bomb: ["    return ctx:ok { n = string.find(('a'):rep(30000), ('a-'):rep(30) .. 'b') }"],
  gsub_bomb: ["    local s = 'aa' while true do s = s:gsub('a', 'aa') end"],
  rep_bomb: ["    return ctx:ok { n = #string.rep('x', 1e10) }"],
  rep_loop: ["    local s = 'x' while true do s = s:rep(10) end"],
  leak: ["    local t = {} while true do t[#t + 1] = { #t } end"],
  leak_caught: ["    local t = {} while true do pcall(function() while true do t[#t + 1] = { #t } end end) end"],
  recursion: ["    local function f() return 1 + f() end return ctx:ok { n = f() }"],
  pcall_depth: ["    local function f() pcall(f) pcall(f) end while true do f() end"],
  sort: ["    local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() while true do end end) return ctx:ok {}"],
  error_object: ["    error(setmetatable({}, { __tostring = function() while true do end end }))"],
  answer_object: ["    return setmetatable({}, { __index = function() while true do end end })"],
  iterator: ["    for _ in function() return 1 end do end"],
};

async function runaways(s) {
  for (const [name, [body, more]] of Object.entries(RUNAWAY))
    put(s, "run_" + name, { "manifest.lua": manifest("run_" + name), "handler.lua": route("/api/run/" + name, body, more) });
  const r = await s.ppv("reload");
  if (!check("the runaway plugins are accepted", r.code === 0, r.out + r.err)) return;
  for (const name of Object.keys(RUNAWAY)) {
    const load = new Load(s, ["/health", "/api/livetest"]).start(4), bad = [], took = [];
    for (let i = 0; i < 2; i++) {
      const a = await call(s.port, "GET", "/api/run/" + name, { timeout: 60000 }).catch(e => ({ status: e.message, ms: 0, text: "" }));
      took.push(Math.round(a.ms));
      if (!(a.status >= 500 && a.status < 600)) bad.push(`${a.status} after ${Math.round(a.ms)} ms ${a.text.slice(0, 150)}`);
    }
    await load.stop();
    if (load.bad.length) bad.push(`${load.bad.length} of ${load.sent} other requests failed: ${load.bad[0]}`);
    const limit = limit_ms();
    if (Math.min(...took) > limit) bad.push(`took ${took} ms`);
    if (load.slowest > limit + Math.max(...took)) bad.push(`another request took ${Math.round(load.slowest)} ms`);
    check(`runaway ${name}: ended by 5xx within ${limit} ms (${took}), others fine`, bad.length === 0, bad.join("; "));
  }
  const workers = (await s.status()).workers;
  check("no worker had to be killed", workers.every(w => w.restarts === 0), show(workers));

  const load = new Load(s, ["/health", "/api/livetest"]).start(4);
  await call(s.port, "GET", "/api/run/loop");
  let off = true;
  await until("the third strike switches the plugin off", async () => (await call(s.port, "GET", "/api/run/loop")).status === 404)
    .catch(e => { off = e.message; });
  check("three strikes switch a plugin off", off === true, off);
  check("and status says so", (await s.status()).disabled.split(",").includes("run_loop"), (await s.status()).disabled);
  const on = await s.ppv("plugin", "enable", "run_loop");
  const again = await call(s.port, "GET", "/api/run/loop");
  check("it can be switched on again", on.code === 0 && again.status >= 500, `${on.out}${on.err} ${again.status}`);
  await load.stop();
  check("no other request failed meanwhile", load.bad.length === 0, load.bad.slice(0, 3).join("; "));
}

const NOSY = port => `local fetch, db = require "ppv.fetch", require "ppv.db"
local M = { routes = {} }
local function where(o)
  o.url = o.url or "http://127.0.0.1:${port}/"
  local r, err = fetch.request(o)
  return r and r.body or err.code
end
M.routes[1] = { method = "GET", path = "/api/nosy", auth = "public", summary = "test", handler = function(ctx)
  local has, got = {}, {}
  for _, n in ipairs { "io", "os", "debug", "ffi", "package", "load", "loadstring", "loadfile", "dofile", "getfenv", "setfenv", "newproxy",
    "collectgarbage", "module", "jit", "coroutine" } do if _G[n] ~= nil then has[#has + 1] = n end end
  for _, n in ipairs { "ffi", "ppv.ledger", "ppv.blob", "ppv.media", "ppv.host", "../livetest/handler", "io" } do
    if pcall(require, n) then got[#got + 1] = n end
  end
  string.nosy, table.nosy = true, true
  fetch.nosy = true
  local users, err = db.read "select password_hash from users"
  return ctx:ok { has = has, got = got, meta = type(getmetatable("")), dump = type(string.dump), users = users and "read" or err.code,
    up = where { upload = { root = "upload", path = "nosy.txt" } }, down = where { download = { root = "upload", path = "nosy.out" } },
    other = where { url = "http://127.0.0.2:${port}/" }, file = where { url = "file:///etc/passwd" }, plain = where {} }
end }
return M
`;

/** A plugin that reaches for what is not its own gets nothing, and leaves nothing behind for its neighbours. */
async function bounds(s) {
  const heard = [], peer = http.createServer((q, a) => {
    const parts = [];
    q.on("data", d => parts.push(d)).on("end", () => { heard.push(q.method + " " + Buffer.concat(parts)); a.end("peer"); });
  });
  await new Promise(ok => peer.listen(0, "127.0.0.1", ok));
  const port = peer.address().port, dir = join(s.var, "upload");
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "nosy.txt"), "a secret");
  put(s, "nosy", { "manifest.lua": `return { name = "nosy", kind = "route", api = "1.0", version = "1.0.0", title = "nosy", ` +
    `caps = { "db", "fetch", "fetch:127.0.0.1", "fetch:private" } }\n`, "handler.lua": NOSY(port) });
  put(s, "livetest", { "manifest.lua": manifest("livetest"), "handler.lua": route("/api/livetest",
    "    return ctx:ok { n = tostring(string.nosy) .. tostring(table.nosy) .. tostring(('').nosy) }") });
  const r = await s.ppv("reload"), a = await call(s.port, "GET", "/api/nosy");
  peer.close();
  if (!check("the nosy plugin runs", r.code === 0 && a.status === 200, r.out + a.text)) return;
  const j = a.json;
  check("no way out of Lua is there", show([Object.values(j.has), Object.values(j.got), j.meta, j.dump]) === show([[], [], "nil", "nil"]), a.text);
  check("its role may not read accounts", j.users !== "read", j.users);
  check("hosts that it did not name, and files, are refused", j.other === "net.refused" && j.file === "net.refused", a.text);
  check("it sends no file and writes none", j.plain === "peer" && j.up === "peer" && j.down === "peer"
    && show(heard) === show(["GET ", "GET ", "GET "]) && !existsSync(join(dir, "nosy.out")), show(heard));
  check("what it changed, only it sees", show(await seen(s)) === show(["nilnilnil"]), show(await seen(s)));
}

async function edits(s) {
  put_version(s, 1000);
  const file = join(s.root, "plugins/livetest/handler.lua");
  const serves = n => until(`version ${n} is served`, async () => show(await seen(s)) === show([n]));
  const load = new Load(s, ["/api/livetest", "/api/videos"]).start(4), bad = [];
  for (let n = 1001; n <= 1005; n++) {
    writeFileSync(file, version(n));
    await serves(n).catch(e => bad.push(e.message));
  }
  writeFileSync(file, "local x = = 1\n");
  await until("the refusal is shown", async () => (await s.status()).refused?.some(p => p.file === "plugins/livetest/handler.lua" && p.line === 1))
    .catch(e => bad.push(e.message));
  await serves(1005).catch(e => bad.push(e.message));
  writeFileSync(file, version(1006));
  await serves(1006).catch(e => bad.push(e.message));
  mkdirSync(join(s.root, "plugins/later"));
  writeFileSync(join(s.root, "plugins/later/manifest.lua"), manifest("later"));
  writeFileSync(join(s.root, "plugins/later/handler.lua"), route("/api/later", "    return ctx:ok {}"));
  await until("a new folder is noticed", async () => (await call(s.port, "GET", "/api/later")).status === 200).catch(e => bad.push(e.message));
  await load.stop();
  check("saving a file reloads it, a broken one is refused", bad.length === 0, bad.join("; "));
  check(`no request of ${load.sent} failed`, load.bad.length === 0, load.bad.slice(0, 3).join("; "));
}

await main(async () => {
  const s = new Server();
  put_version(s, 1);
  await s.start();
  await reloads(s);
  await runaways(s);
  await bounds(s);
  await s.remove();
  const d = new Server({ development: "true" });
  put_version(d, 1);
  await d.start();
  await edits(d);
  await d.remove();
});
