// SPDX-License-Identifier: Apache-2.0
// Resumable uploads with the real tus-js-client: connections cut anywhere, several clients on one upload, kill -9 of the
// worker. Whatever happens, the film on the disk is the file that was sent, and no offset promises more than the disk has.
//   node spec/live/tus.mjs      SIZE=1GB for a large file, SEED= to repeat a run, ROUNDS= uploads with cuts (3), PARTS=cuts for these alone
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, closeSync, openSync, readdirSync, readFileSync, statSync, writeSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { join } from "node:path";
import { check, main, note, package_of, Server, until } from "./lib.mjs";

const { Upload } = await package_of("tus-js-client");
const bytes_of = text => { const [, n, unit] = /^(\d+)([MG]?)B?$/.exec(text); return Number(n) * { "": 1, M: 1e6, G: 1e9 }[unit]; };
const SIZE = bytes_of(process.env.SIZE ?? "6MB"), ROUNDS = Number(process.env.ROUNDS ?? 3);
let seed = Number(process.env.SEED ?? Date.now() % 1e9);
note(`SEED=${seed} SIZE=${SIZE}`);
const random = () => { seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff; return ((seed >>> 8) & 0x7fffff) / 0x800000; };
const RETRY = Array(150).fill(100);

/** A file that begins like a film. */
function source(s, name, size) {
  const path = join(s.dir, name), fd = openSync(path, "w"), hash = createHash("sha256");
  const put = b => { hash.update(b); writeSync(fd, b); };
  put(Buffer.from("\0\0\0\x18ftypisom\0\0\x02\0isomiso2mp41", "latin1"));
  for (let left = size - 28; left > 0;) {
    const block = randomBytes(Math.min(left, 1 << 20));
    put(block);
    left -= block.length;
  }
  closeSync(fd);
  return { path, size, sha256: hash.digest("hex") };
}

async function sha256_of(path) {
  const hash = createHash("sha256");
  for await (const block of createReadStream(path)) hash.update(block);
  return hash.digest("hex");
}

/** Between client and server. plan() gives each connection its bytes until it is cut (Infinity: never); rate: bytes a second. */
async function line(port, plan, rate = Infinity) {
  const l = { cuts: 0, through: 0 };
  const server = net.createServer(a => {
    const b = net.connect(port, "127.0.0.1");
    let left = plan(l);
    const end = () => { a.destroy(); b.destroy(); };
    for (const x of [a, b]) x.on("error", end).on("close", end);
    b.pipe(a);
    a.on("data", d => {
      l.through += Math.min(d.length, left);
      if (d.length >= left) { // the rest of what has come still leaves, then the line is dead
        l.cuts++;
        a.removeAllListeners("data").pause();
        b.write(d.subarray(0, left), end);
        left = 0;
        return;
      }
      left -= d.length;
      const wait = !b.write(d), slow = rate < Infinity ? (d.length / rate) * 1000 : 0;
      if (wait || slow) a.pause();
      if (slow) setTimeout(() => a.resume(), slow); else if (wait) b.once("drain", () => a.resume());
    });
  });
  await new Promise(r => server.listen(0, "127.0.0.1", r));
  l.url = `http://127.0.0.1:${server.address().port}`;
  l.close = () => server.close();
  return l;
}

/** One client. Answers {url, done: promise of null or the error, stop()}. */
function client(who, base, file, o = {}) {
  const c = {};
  c.done = new Promise(resolve => {
    c.upload = new Upload(createReadStream(file.path), { endpoint: `${base}/api/uploads`, retryDelays: RETRY, uploadSize: file.size,
      headers: { cookie: who.cookie(), "x-ppv": "1", "x-forwarded-for": who.ip },
      metadata: { filename: "film.mp4", filetype: "video/mp4", title: "Sent in pieces", price_cents: "500" },
      onError: resolve, onSuccess: () => resolve(null), ...o,
      onUploadUrlAvailable: () => { c.url = c.upload.url; }, onProgress: (n, all) => o.seen?.(n, all, c) });
    c.upload.start();
  });
  return c;
}

const path_of = url => new URL(url).pathname;

async function is_whole(s, who, name, url, file) {
  const r = await who.get(path_of(url));
  if (!check(`${name}: has become a film`, r.json?.state === "done" && r.json.video_id === path_of(url).split("/").pop(), r.text)) return;
  const [row] = await s.sql(`select upload_sha256, upload_size, upload_path, state from videos where id = '${r.json.video_id}'`);
  check(`${name}: size and hash in the table are those of the file`, row[0] === file.sha256 && Number(row[1]) === file.size, row.join(" "));
  check(`${name}: so are the bytes on the disk`, await sha256_of(join(s.var, "upload", row[2])) === file.sha256);
}

/** A raw PATCH that sends `bytes` and then keeps silent. Answers the request; r.status is set when there is an answer. */
function half(s, who, url, offset, length, bytes) {
  const req = http.request({ host: "127.0.0.1", port: s.port, method: "PATCH", path: path_of(url), agent: false, headers: { host: `127.0.0.1:${s.port}`,
    cookie: who.cookie(), "x-ppv": "1", "tus-resumable": "1.0.0", "content-type": "application/offset+octet-stream", "upload-offset": offset,
    "content-length": length } }, res => { req.status = res.statusCode; res.resume(); });
  req.on("error", () => {});
  req.write(bytes);
  return req;
}
const head = async (who, url) => Number((await who.request("HEAD", path_of(url), { headers: { "tus-resumable": "1.0.0" } })).headers["upload-offset"]);
const vouched = async (s, url) => Number((await s.sql(`select received from uploads where id = '${path_of(url).split("/").pop()}'`))[0][0]);

async function cuts(s, who, file) {
  for (let i = 0; i < ROUNDS; i++) {
    const many = 4 + Math.floor(random() * 6);
    const l = await line(s.port, x => x.cuts < many ? 1 + Math.floor((random() * file.size) / (many + 1)) : Infinity);
    const c = client(who, l.url, file, { chunkSize: i % 2 ? Math.ceil(file.size / 5) : Infinity, uploadDataDuringCreation: i % 3 === 2 });
    const error = await c.done;
    check(`cut ${l.cuts} times: the client got to the end`, error === null && l.cuts === many, `${error} ${l.cuts}`);
    note(`${(l.through / file.size).toFixed(2)} x the file went through the line`);
    if (!error) await is_whole(s, who, `cut ${l.cuts} times`, c.url, file);
    l.close();
  }
}

/** Several clients take up one upload at the same time, over lines that are cut. */
async function together(s, who, file) {
  const l = await line(s.port, () => Infinity, file.size / 3);
  const stop_at = file.size * (0.1 + random() * 0.5);
  const first = client(who, l.url, file, { seen: (n, all, c) => { if (n > stop_at && !c.stopped) { c.stopped = true; c.upload.abort(); } } });
  await until("the first client stopped", () => first.stopped);
  const lines = await Promise.all([1, 2, 3].map(n => line(s.port, x => x.cuts < n ? 1 + Math.floor((random() * file.size) / 8) : Infinity, file.size * 2)));
  const all = lines.map(x => client(who, x.url, file, { uploadUrl: x.url + path_of(first.url), chunkSize: Math.ceil(file.size / 7) }));
  const errors = await Promise.all(all.map(c => c.done)), cut = lines.reduce((n, x) => n + x.cuts, 0);
  check(`three clients on one upload, ${cut} cuts: all hear of the end`, errors.every(e => e === null) && cut > 0, errors.join("; "));
  await is_whole(s, who, "three clients on one upload", first.url, file);
  [l, ...lines].forEach(x => x.close());
}

async function locked(s, who, file) {
  const bytes = readFileSync(file.path).subarray(0, 300000);
  const made = await who.request("POST", "/api/uploads", { headers: { "tus-resumable": "1.0.0", "upload-length": file.size } });
  const url = s.url + made.headers.location;
  const one = half(s, who, url, 0, file.size, bytes);
  const part = join(s.var, "upload", path_of(url).split("/").pop() + ".mp4");
  await until("the first request writes", () => statSync(part).size > 0);
  check("a second PATCH is refused while one runs, on every worker", (await Promise.all(Array.from({ length: 8 }, async () => {
    const r = half(s, who, url, 0, 1, "x");
    await until("an answer", () => r.status);
    return r.status;
  }))).every(x => x === 423));
  one.destroy();
  await until("what the lost client sent counts", async () => await head(who, url) === bytes.length);
  check("what a client sent before it went away counts", true);
  const c = client(who, s.url, file, { uploadUrl: url });
  check("and the rest is taken", await c.done === null);
  await is_whole(s, who, "after a lost client", url, file);
}

/** A deletion while bytes flow ends them and leaves nothing. */
async function given_up(s, who, file) {
  const made = await who.request("POST", "/api/uploads", { headers: { "tus-resumable": "1.0.0", "upload-length": file.size } });
  const url = s.url + made.headers.location, one = half(s, who, url, 0, file.size, readFileSync(file.path).subarray(0, 100000));
  const name = path_of(url).split("/").pop() + ".mp4";
  await until("bytes are there", () => statSync(join(s.var, "upload", name)).size > 0 || (one.write(Buffer.alloc(70000)), false));
  const r = await who.request("DELETE", path_of(url), { headers: { "tus-resumable": "1.0.0" } });
  check("giving up works while bytes flow", r.status === 204, r.text);
  await until("the writer is told", () => { if (!one.status) one.write(Buffer.alloc(70000)); return one.status; });
  check("the writer is told that it is gone", one.status === 410, one.status);
  check("no file and no row stay", !readdirSync(join(s.var, "upload")).includes(name)
    && (await s.sql(`select 1 from uploads where id = '${name.slice(0, 36)}'`)).length === 0);
}

async function killed(s, who, file) {
  const l = await line(s.port, () => Infinity, Math.max(file.size / 4, 1e6));
  const c = client(who, l.url, file);
  for (let i = 0; i < 2; i++) {
    const at = file.size * (0.25 + 0.3 * i);
    await until("a quarter more is vouched for", async () => c.url && await vouched(s, c.url) > at, 900);
    const before = await vouched(s, c.url);
    for (const w of (await s.status()).workers.filter(x => x.kind === "web")) process.kill(w.pid, "SIGKILL");
    await until("another worker answers", async () => (await who.get("/health", { timeout: 1000 })).status === 200);
    const row = await vouched(s, c.url), on_disk = statSync(join(s.var, "upload", path_of(c.url).split("/").pop() + ".mp4")).size;
    check(`kill -9 of the workers at ${(100 * before / file.size).toFixed(0)} %: the offset is no step back and no promise`, row >= before && row <= on_disk,
      `${before} ${row} ${on_disk}`);
  }
  const error = await c.done;
  check("the client got to the end after the kills", error === null, error);
  await is_whole(s, who, "after kill -9", c.url, file);
  l.close();
}

/** The largest memory a web worker ever had, in MB. */
const peak = async s => Math.max(...(await s.status()).workers.filter(w => w.kind === "web")
  .map(w => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${w.pid}/status`, "utf8"))[1]) / 1024));

await main(async () => {
  const s = await new Server({ max_upload: "64GiB", user_quota: 0, disk_reserve: 0, job_workers: 0 }).start(); // nobody prepares, and throws away, what is no film inside
  const who = await s.user("maker"), file = source(s, "film", SIZE), before = await peak(s);
  await cuts(s, who, file);
  const after = await peak(s);
  check(`memory of a worker does not follow the size: ${before.toFixed(0)} MB before, ${after.toFixed(0)} MB at most`, after - before < 32);
  if (process.env.PARTS !== "cuts") for (const part of [together, locked, given_up, killed]) await part(s, who, file);
});
