// SPDX-License-Identifier: Apache-2.0
// How well leaks are traced: real titles go in through the product, accounts watch them, their copies are attacked by the ffmpeg
// command line and traced by `ppv trace clip`, which is given nothing but the file.
//   node bench/trace/study.mjs WORK TITLE.mp4...    options (key=value): users=1 candidates=10000 jobs=2 only=REGEX
//        mode=attacks | collude | controls (unmarked) | prepare (attacked files only)
//        seconds=3600 (of a copy that are attacked) resume=1 (keep the rows of an earlier run) lines=480 strength=0.95
// WORK keeps server, copies and attacked files, so that a second run only traces again; with another mark take another directory.
// Result: a table on stdout (cpu: seconds of processor; speed: seconds of clip for each of them; MiB: the largest process), every reading in WORK/<mode>.json (score.mjs goes on from there).
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { Server, fresh_ip, pause, until } from "../../spec/live/lib.mjs";
import { attacks, collusions, limit, two_pass } from "./attacks.mjs";

const option = Object.fromEntries(process.argv.slice(2).filter(a => /^\w+=/.test(a)).map(a => a.split(/=(.*)/s)));
const [where, ...titles] = process.argv.slice(2).filter(a => !/^\w+=/.test(a)).map(a => resolve(a));
if (!titles.length) {
  console.error("usage: node bench/trace/study.mjs WORK TITLE.mp4... [users=1] [candidates=10000] [jobs=2] [only=REGEX] [mode=attacks|collude|controls|prepare]");
  process.exit(2);
}
const { users = 1, candidates = 10000, jobs = 2, only = "", mode = "attacks", strength = "", lines = 480, colluders = 2, seconds = 3600, resume = "" } = option;
const wanted = new RegExp(only), state_path = join(where, "state.json");
mkdirSync(where, { recursive: true });
const state = existsSync(state_path) ? JSON.parse(readFileSync(state_path)) : { titles: {} };
const save = () => writeFileSync(state_path, JSON.stringify(state, null, 1));

const run = (file, args) => new Promise((done, failed) => execFile(file, args, { maxBuffer: 64 << 20 },
  (e, out, err) => e ? failed(new Error(`${file} ${args.join(" ")}\n${err}`)) : done(out)));
const ffmpeg = (...args) => run("ffmpeg", ["-nostdin", "-v", "error", "-y", ...args]);
/** Makes a file once; half a file never has its name. */
async function made(path, make) {
  if (existsSync(path)) return path;
  const part = path.replace(/(\.\w+)$/, ".part$1");
  await make(part);
  renameSync(part, path);
  return path;
}
async function parallel(list, fn) {
  const todo = [...list.entries()], out = [];
  await Promise.all(Array.from({ length: +jobs }, async () => {
    for (let next; (next = todo.shift());) out[next[0]] = await fn(next[1]);
  }));
  return out;
}

const result_path = join(where, `${mode}.json`), rows = resume && existsSync(result_path) ? JSON.parse(readFileSync(result_path)).rows : [];
function note(row) {
  rows.push(row);
  const titles = Object.fromEntries(Object.entries(state.titles).map(([n, t]) => [n, { copies: t.copies.map(({ user, truth, seconds }) => ({ user, truth, seconds })) }]));
  writeFileSync(result_path, JSON.stringify({ at: new Date().toISOString(), option, titles, rows }));
}

// ---- titles and copies ----

function send(who, url, path, fields) {
  const mark = "----ppv" + Math.random().toString(36).slice(2);
  const head = Object.entries(fields).map(([k, v]) => `--${mark}\r\ncontent-disposition: form-data; name="${k}"\r\n\r\n${v}\r\n`).join("")
    + `--${mark}\r\ncontent-disposition: form-data; name="file"; filename="film.mp4"\r\ncontent-type: video/mp4\r\n\r\n`;
  return who.request("POST", url, { body: Buffer.concat([Buffer.from(head), readFileSync(path), Buffer.from(`\r\n--${mark}--\r\n`)]),
    ip: fresh_ip(), timeout: 120000, headers: { "content-type": `multipart/form-data; boundary=${mark}` } });
}

async function ingest(s, maker, path) {
  const name = basename(path).replace(/\.\w+$/, "");
  if (state.titles[name]) return name;
  const up = await send(maker, "/api/upload", path, { title: name, price_cents: 0 });
  if (up.status !== 201) throw new Error(up.text);
  const id = up.json.video_id;
  if (strength) await s.sql(`update videos set mark = mark || '{"strength":${+strength}}' where id = '${id}'`);
  await until(`${name} is ready`, async () => {
    const { status } = (await maker.get(`/api/videos/${id}/status`)).json;
    if (status === "failed") throw Object.assign(new Error(`${name} could not be prepared: ${s.log().slice(-2000)}`), { fatal: true });
    await pause(500);
    return status === "ready";
  }, 7200);
  // Accounts that might have leaked it: enough of them that guessing does not help.
  await s.sql(`insert into users(username, email, password_hash) select 'viewer' || n, 'viewer' || n || '@example.org', 'none'
    from generate_series(1, ${+candidates}) n on conflict do nothing`);
  await s.sql(`insert into entitlements(user_id, video_id, kind) select id, '${id}', 'grant' from users where username like 'viewer%' limit ${+candidates} on conflict do nothing`);
  state.titles[name] = { id, source: path, copies: [] };
  save();
  return name;
}

/** An account watches the whole title; truth[n] is the variant that it was served as segment n. */
async function watch(s, name, number) {
  const t = state.titles[name], dir = join(where, name), file = join(dir, `${number}.mp4`);
  if (t.copies[number]) return;
  mkdirSync(dir, { recursive: true });
  const who = await s.user("leaker"), start = await who.get(`/api/request_play?video_id=${t.id}`);
  if (start.status !== 200) throw new Error(start.text);
  const master = (await who.get(start.json.playlist)).text;
  const best = [...master.matchAll(/#EXT-X-STREAM-INF:.*RESOLUTION=(\d+)x(\d+).*\n(.+)/g)]
    .map(m => ({ w: +m[1], h: +m[2], side: Math.min(+m[1], +m[2]), url: new URL(m[3], s.url + start.json.playlist) }))
    .filter(m => m.side <= +lines).sort((a, b) => b.side - a.side)[0];
  const list = (await who.get(best.url.pathname + best.url.search)).text;
  const index = JSON.parse(readFileSync(join(s.var, "media", t.id, "index.json")));
  const track = index.renditions.find(r => r.w === best.w && r.h === best.h), b = new Set(track.segments_b.map(x => x.name));
  const truth = [...list.matchAll(/^[^#].*$/gm)].map(m => b.has(basename(m[0].split("?")[0])) ? "b" : "a").join("");
  await made(file, part => ffmpeg("-headers", `Cookie: ${who.cookie()}\r\nX-Forwarded-For: ${fresh_ip()}\r\n`, "-allowed_extensions", "ALL",
    "-i", best.url.href, "-map", "0:v:0", "-c", "copy", part));
  t.copies[number] = { user: who.id, truth, w: best.w, h: best.h, fps: index.fps_num / index.fps_den, seconds: index.duration, file };
  save();
}

async function attacked(copy, name, to) {
  const short = ["-t", `${seconds}`], args = attacks[name](copy), input = args[0] === "-ss" ? args.splice(0, 4) : short;
  return made(to, async part => {
    if (two_pass(name)) await ffmpeg(...input, "-i", copy.file, "-an", ...args, "-pass", "1", "-passlogfile", part, "-f", "null", "-");
    await ffmpeg(...input, "-i", copy.file, "-an", ...args, ...(two_pass(name) ? ["-pass", "2", "-passlogfile", part] : []), part);
  });
}

// ---- tracing ----

async function trace(s, clip) {
  const evidence = clip + ".json", usage = clip + ".time", began = performance.now();
  const code = await new Promise(done => execFile("/usr/bin/time", ["-o", usage, "-f", "%U %S %M", s.bin, ...s.args("trace", "clip", clip, evidence)],
    { cwd: s.dir, maxBuffer: 64 << 20 }, (e, out, err) => done(e ? [0, 3, 4].includes(e.code) ? 0 : out + err : 0)));
  if (code) return { failed: code };
  const [user, system, kb] = readFileSync(usage, "utf8").trim().split("\n").at(-1).split(" ");
  const report = JSON.parse(JSON.parse(readFileSync(evidence)).evidence);
  return { ...report, wall: (performance.now() - began) / 1000, cpu: +user + +system, mib: kb / 1024 };
}

/** Readings against the truth. */
function judge(report, title, truth, guilty) {
  const seg = report.title?.title === title ? report.reading?.segments ?? [] : [];
  const z = seg.map(x => x[3] * (truth[x[0]] === "a" ? 1 : -1));
  const named = (report.suspects ?? []).filter(x => x.accused).map(x => x.user_id);
  return { segments: seg.length, wrong: z.filter(v => v <= 0).length, z: z.reduce((a, b) => a + b, 0) / (z.length || 1), worst: Math.min(...z),
    first: guilty.includes(report.suspects?.[0]?.user_id), bound: report.suspects?.[0]?.log10_bound ?? 0, named,
    innocent: named.filter(u => !guilty.includes(u)).length, match: report.title?.match, registration: report.reading?.registration,
    map: report.reading?.map, used: report.reading?.used, wall: report.wall, cpu: report.cpu, mib: report.mib,
    speed: report.clip?.duration / report.cpu, failed: report.failed, readings: seg };
}

const pad = (x, n) => String(x).padEnd(n), left = (x, n) => String(x).padStart(n);
function show(row) {
  console.log(pad(`${row.title}/${row.user}`, 12), pad(row.attack.slice(0, 46), 47), left(row.segments, 4), left(row.wrong, 4),
    left(row.segments ? (row.wrong / row.segments).toFixed(3) : "-", 6), left(row.z.toFixed(1), 6), left(row.worst === Infinity ? "-" : row.worst.toFixed(1), 6),
    left(row.bound.toFixed(1), 6), row.first ? " yes" : "  no", left(row.innocent, 3), left((row.registration ?? 0).toFixed(2), 6), left(row.cpu?.toFixed(1), 6), left(row.speed?.toFixed(1), 5), left(row.mib?.toFixed(0), 5), row.failed ?? "");
}

async function attack_all(s, names) {
  const todo = [];
  for (const attack of Object.keys(attacks).filter(a => wanted.test(a)))
    for (const name of names)
      for (let u = 0; u < +users; u++)
        if (!rows.some(r => r.title === name && r.user === u && r.attack === attack)) todo.push({ name, u, attack });
  return parallel(todo, async ({ name, u, attack }) => {
    const t = state.titles[name], copy = mode === "controls" ? { ...t.copies[u], file: t.source } : t.copies[u], slug = attack.replace(/\W+/g, "-");
    const clip = await attacked(copy, attack, join(where, name, `${mode === "controls" ? "unmarked" : u}-${slug}.${slug.startsWith("VP9") ? "webm" : "mp4"}`));
    if (mode === "prepare") return;
    const row = { title: name, user: u, attack, ...judge(await trace(s, clip), name, copy.truth, mode === "controls" ? [] : [copy.user]) };
    show(row);
    note(row);
  });
}

async function collude_all(s, names) {
  const todo = [], n = +colluders;
  for (const name of names)
    for (let k = 0; k + n <= +users; k += n)
      for (const how of Object.keys(collusions)) if (wanted.test(how)) todo.push({ name, k, how });
  return parallel(todo, async ({ name, k, how }) => {
    const t = state.titles[name], copies = t.copies.slice(k, k + n);
    const clip = await made(join(where, name, `${k}+${n}-${how.replace(/\W+/g, "-")}-${seconds}.mp4`), part => ffmpeg(...copies.flatMap(c => ["-t", `${seconds}`, "-i", c.file]),
      "-filter_complex", collusions[how](n, 12345 + k), "-map", "[out]", "-an", "-c:v", "libx264", "-preset", "superfast", "-crf", "26", part));
    const report = await trace(s, clip), guilty = copies.map(c => c.user);
    const row = { title: name, user: k, attack: `${n}, ${how}`, guilty, truths: copies.map(c => c.truth), ...judge(report, name, copies[0].truth, guilty) };
    row.found = row.named.filter(u => guilty.includes(u)).length;
    show(row);
    console.log(`    accused ${row.named.length}, of them guilty ${row.found}`);
    note(row);
  });
}

function sums(rows) {
  console.log("\n" + pad("attack", 62), "segments  wrong  share    z   named innocents");
  for (const attack of new Set(rows.map(r => r.attack))) {
    const of = rows.filter(r => r.attack === attack), n = of.reduce((a, r) => a + r.segments, 0), wrong = of.reduce((a, r) => a + r.wrong, 0);
    console.log(pad(attack, 62), left(n, 8), left(wrong, 6), left((wrong / n).toFixed(3), 6), left((of.reduce((a, r) => a + r.z * r.segments, 0) / n).toFixed(1), 5),
      left(`${of.filter(r => r.first && r.bound < -6).length}/${of.length}`, 6), left(of.reduce((a, r) => a + r.innocent, 0), 9), mode === "attacks" && (wrong / n > limit(attack) || !n) ? "  MISS" : "");
  }
}

const s = new Server({ web_workers: 1, job_workers: 1, });
s.var = join(where, "v");
try {
  await s.start();
  await s.sql("insert into settings(key, value) values ('playback.seek_s', '7200') on conflict do nothing").catch(e => console.error(e.message));
  const fresh = titles.some(t => !state.titles[basename(t).replace(/\.\w+$/, "")]);
  const maker = fresh && await s.user("maker"), names = [];
  for (const t of titles) names.push(await ingest(s, maker, t));
  for (const name of names) for (let u = 0; u < +users; u++) await watch(s, name, u);
  console.log(pad("title/user", 12), pad("attack", 47), " seg wrong share      z  worst  bound first inn   reg   cpu speed   MiB");
  await (mode === "collude" ? collude_all : attack_all)(s, names);
  if (mode !== "prepare") sums(rows);
} finally {
  await s.remove();
}
process.exit(0);
