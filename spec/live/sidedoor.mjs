// SPDX-License-Identifier: Apache-2.0
// Every stored file of two films through every address that might lead to it: nobody gets a byte without having paid, and
// a buyer of one film gets nothing of the other.
//   node spec/live/sidedoor.mjs       STRIDE=1 for the full run (else each sixteenth way to a file, others for the next file);
//   FILM=path of another small film (else the first 4 s of a real one, in two sizes)
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import http from "node:http";
import { join, relative } from "node:path";
import { Server, call, check, count_by, fresh_ip, main, note, show, until } from "./lib.mjs";
import { phone_film } from "../support/samples.mjs";

const LANES = 8, HEAD = 64, STRIDE = Number(process.env.STRIDE ?? 16);
const sha = b => createHash("sha256").update(b).digest("hex");

function files_below(dir) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true }).map(f => join(dir, f)).filter(f => statSync(f).isFile());
}

/** What gives a file away: its hash, and where its first bytes are long enough to be its own, those. allowed: files whose
 *  bytes may be seen (both films have the same clear headers). */
function marks(files, allowed = []) {
  const whole = new Map(), heads = new Map();
  for (const f of files) {
    const bytes = readFileSync(f);
    if (bytes.length === 0) continue;
    whole.set(sha(bytes), f);
    if (bytes.length >= HEAD) heads.set(bytes.subarray(0, HEAD).toString("latin1"), f);
  }
  for (const bytes of allowed.map(f => readFileSync(f))) {
    whole.delete(sha(bytes));
    heads.delete(bytes.subarray(0, HEAD).toString("latin1"));
  }
  return body => {
    if (body.length === 0) return null;
    if (whole.has(sha(body))) return whole.get(sha(body));
    return body.length >= HEAD ? heads.get(body.subarray(0, HEAD).toString("latin1")) ?? null : null;
  };
}

const PREFIXES = ["", "/public", "/static_hls", "/static", "/media", "/media/poster", "/hls", "/uploads", "/upload", "/files", "/api/upload",
  "/api/videos", "/videos", "/download", "/var", "/v", "/root", "/admin/data", "/public/admin", "/public/js", "/poster", "/.well-known"];

const enc = p => p.split("/").map(encodeURIComponent).join("/");
const ENCODINGS = {
  plain: p => p,
  "double slash": p => p.replaceAll("/", "//"),
  "%2f": p => p.replaceAll("/", "%2f"),
  "%5c": p => p.replaceAll("/", "%5c"),
  backslash: p => p.replaceAll("/", "\\"),
  "trailing %00": p => p + "%00",
  "%00.html": p => p + "%00.html",
  "trailing slash": p => p + "/",
  "trailing dot": p => p + ".",
  "semicolon": p => p + ";.html",
  "every letter": p => [...p].map(c => c === "/" ? c : "%" + c.charCodeAt(0).toString(16).padStart(2, "0")).join(""),
  "upper case": p => p.toUpperCase(),
  query: p => p + "?download=1",
};
const CLIMBS = { "../": "../", "%2e%2e/": "%2e%2e/", "%2E%2E%2F": "%2E%2E%2F", "..%2f": "..%2f", "..%5c": "..%5c", "..\\": "..\\",
  "..//": "..//", "....//": "....//", "..;/": "..;/", "%252e%252e%252f": "%252e%252e%252f", "%c0%ae%c0%ae/": "%c0%ae%c0%ae/",
  ".%00./": ".%00./", "./../": "./../", "x/../../": "x/../../" };

/** Every way of asking for one file. places: {relative to its own directory, to the scratch directory}; more: further prefixes. */
function* ways(s, file, more) {
  const own = relative(file.root, file.path), below = relative(s.dir, file.path), base = own.split("/").pop();
  const names = [...new Set([own, base, relative(s.var, file.path), below, file.path.slice(1)])];
  for (const prefix of [...PREFIXES, ...more]) {
    for (const name of names) for (const [how, f] of Object.entries(ENCODINGS)) yield [`${how} ${prefix}`, prefix + "/" + f(enc(name))];
    for (const [how, up] of Object.entries(CLIMBS))
      for (const depth of [1, 2, 3, 4, 6]) {
        const tail = depth === 1 ? own : depth < 4 ? relative(s.var, file.path) : depth < 6 ? below : file.path.slice(1);
        yield [`climb ${how} x${depth} ${prefix}`, prefix + "/" + up.repeat(depth) + tail];
      }
  }
  yield ["absolute", file.path];
  yield ["absolute, double slash", "/" + file.path];
  yield ["absolute URL", `http://127.0.0.1:${s.port}${file.path}`];
  yield ["file URL", `file://${file.path}`];
}

async function crawl(s, name, files, found_in, cookie, more = []) {
  const jobs = [];
  files.forEach((file, i) => {
    let n = i;
    for (const [how, path] of ways(s, file, more)) if (n++ % STRIDE === 0) jobs.push({ how, path });
  });
  const found = [], odd = [], codes = {};
  let next = 0;
  await Promise.all(Array.from({ length: LANES }, async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    while (next < jobs.length) {
      const n = next++, j = jobs[n], headers = {};
      if (cookie) headers.cookie = cookie;
      if (n % 3 === 1) headers.range = "bytes=0-4095";
      const method = n % 50 === 7 ? "POST" : "GET";
      let r;
      try {
        r = await call(s.port, method, j.path, { ip: fresh_ip(), agent, headers });
      } catch (e) {
        if (/unescaped|Invalid/.test(e.message)) continue; // what node itself refuses to send
        odd.push(`${j.path}: ${e.message}`);
        continue;
      }
      codes[r.status] = (codes[r.status] ?? 0) + 1;
      const leaked = found_in(r.body);
      if (leaked) found.push(`${r.status} ${j.how}: ${j.path} gave ${relative(s.dir, leaked)}`);
      if (r.status >= 500) odd.push(`${r.status} ${j.how}: ${j.path}`);
    }
    agent.destroy();
  }));
  check(`${name}: ${jobs.length} ways to ${files.length} files give nothing`, found.length === 0, `${found.length}: ` + found.slice(0, 4).join("; "));
  check(`${name}: no way is answered by 5xx or not at all`, odd.length === 0, `${odd.length}: ` + odd.slice(0, 4).join("; "));
  note(`${name}: ${show(codes)}`);
}

const uris = text => text.split("\n").flatMap(l => l.startsWith("#") ? [...l.matchAll(/URI="([^"]+)"/g)].map(m => m[1]) : l.trim() ? [l.trim()] : []);

/** All addresses of a playback session, by its playlists. */
async function addresses(who, playlist) {
  const seen = new Map(), todo = [playlist];
  while (todo.length) {
    const path = todo.pop();
    if (seen.has(path)) continue;
    const r = await who.get(path);
    seen.set(path, r);
    if (r.status === 200 && path.includes(".m3u8"))
      for (const u of uris(r.body.toString())) todo.push(new URL(u, "http://x" + path).pathname + new URL(u, "http://x" + path).search);
  }
  return seen;
}

await main(async () => {
  const s = await new Server({ max_upload: "64MiB" }).start();
  const admin = await s.admin(), creator = await s.user("maker"), buyer = await s.user("buyer"), stranger = await s.user("strange");
  const film = readFileSync(phone_film(join(s.dir, "film.mp4"), 4, "-vf", "scale=640:360", "-preset", "ultrafast"));
  const one = await s.film(creator, film, { title: "One", price_cents: 500 });
  const two = await s.film(creator, Buffer.concat([film, Buffer.from([0, 0, 0, 8]), Buffer.from("free")]), { title: "Two", price_cents: 500 });
  await s.fund(admin, buyer, 2000);
  const paid = await buyer.buy(one);
  check("the buyer buys one film", paid.status === 200, paid.text);

  // A free preview of the first film, looked at, so that its clear copies are among the files.
  const shown = await creator.post("/api/video_update", { id: one, preview_ms: 2000 });
  const preview = await stranger.get(`/api/preview?video_id=${one}`);
  const free = shown.status === 200 && preview.status === 200 ? await addresses(stranger, preview.json.playlist) : new Map();
  check("a stranger gets the preview and no key", [...free.keys()].some(p => p.endsWith(".m4s")) && [...free].every(([p, r]) => r.status === 200 && !p.endsWith(".key")),
    `${shown.text} ${preview.text} ` + show(count_by([...free], ([p, r]) => `${p.split(".").pop()} ${r.status}`)));
  const roots = [join(s.var, "media"), join(s.var, "upload")];
  const files = roots.flatMap(root => files_below(root).map(path => ({ root, path })));
  const posters = new Set(await Promise.all([one, two].map(async id => sha((await stranger.get(`/media/poster/${id}`)).body))));
  const secret = files.filter(f => !posters.has(sha(readFileSync(f.path)))); // posters are public
  check("there are stored files of both films", [one, two].every(id => secret.some(f => f.path.includes(id))) && files.length - secret.length <= 2,
    show(files.map(f => relative(s.var, f.path))));
  note(count_line(secret));

  const play = await buyer.get(`/api/request_play?video_id=${one}`);
  check("the buyer may play", play.status === 200, play.text);
  const seen = await addresses(buyer, play.json.playlist);
  const bytes_of = marks(secret.map(f => f.path));
  const given = [...seen].filter(([, r]) => bytes_of(r.body));
  const keys = [...seen].filter(([p, r]) => p.includes(".key") && r.body.length === 16);
  check("the buyer's player gets every piece (so a leak would be seen)", [...seen.values()].every(r => r.status === 200) && given.length > 1 && keys.length > 0,
    show(count_by([...seen], ([p, r]) => `${p.split(".").pop()} ${r.status}`)));
  note(`${seen.size} addresses of the session, ${given.length} stored files, ${keys.length} keys`);

  // The session's addresses are the right to its pieces, whoever asks; with a letter of the token changed they are nothing.
  const wrong = [];
  const bent = [path => path.replace(/.(?=\/[^/]*$)/, c => c === "A" ? "B" : "A"), path => path.replace(/\/hls\/./, "/hls/B"),
    path => path.replace(/(\/hls\/.{30})[^/]*/, "$1"), path => path.replace(/\/hls\/[^/]*/, "/hls/" + "A".repeat(52))];
  for (const [path, mine] of seen)
    for (const bend of bent)
      for (const headers of [{}, { cookie: stranger.cookie() }, { cookie: buyer.cookie() }, { range: "bytes=0-" }]) {
        const r = await call(s.port, "GET", bend(path), { ip: fresh_ip(), headers });
        if (r.status !== 404 || r.body.equals(mine.body)) wrong.push(`${bend(path)} ${r.status}`);
      }
  check(`the session's ${seen.size} addresses are nothing with another token`, wrong.length === 0, wrong.slice(0, 4).join("; "));
  const token = play.json.playlist.split("/")[2];
  check("no log line has the token", s.log().includes("/hls/" + token.slice(0, 20) + "*/") && !s.log().includes(token.slice(0, 30)),
    s.log().split("\n").find(l => l.includes(token.slice(0, 30))) ?? "nothing about it was logged");
  for (const who of [stranger, buyer]) {
    const r = await who.get(`/api/request_play?video_id=${two}`);
    check("a film that was not bought cannot be played", r.status === 403, `${r.status} ${r.text}`);
  }

  const session = play.json.playlist.replace(/\/[^/]*$/, "");
  const other = bent[0](session + "/x").replace(/\/x$/, "");
  await crawl(s, "nobody", secret, bytes_of, null, [other, "/media/seg"]);
  await crawl(s, "a stranger", secret, bytes_of, stranger.cookie(), [other, `/media/seg/${one}`]);
  // With the preview's token: its clear copies and the headers, nothing else.
  const is_free = f => /\/clear-[^/]*$/.test(f.path) || f.path.endsWith(".mp4") && f.path.includes(`/media/${one}/`);
  const opened = secret.filter(is_free).map(f => f.path), closed = secret.filter(f => !is_free(f)), glimpse = preview.json.playlist.replace(/\/[^/]*$/, "");
  check("the clear copies are few", opened.some(f => f.includes("/clear-")) && closed.some(f => f.path.endsWith(".m4s")), show(opened.map(f => relative(s.var, f))));
  await crawl(s, "with the preview", closed, marks(closed.map(f => f.path), opened), null, [glimpse, glimpse + "/x"]);
  // With a session of film one: nothing of film two, no original, no index, no clear copy.
  const forbidden = secret.filter(f => !f.path.includes(`/media/${one}/`) || /\.json$|\/clear-[^/]*$/.test(f.path));
  const bought = secret.filter(f => !forbidden.includes(f)).map(f => f.path);
  await crawl(s, "the buyer of the other film", forbidden, marks(forbidden.map(f => f.path), bought), buyer.cookie(), [session, session + "/x", `/hls/${one}`]);

  // The end of a session, of a log-in, of access.
  const piece = given[0][0];
  const stop = await buyer.post("/api/playback/stop", { session: session.split("/").pop() });
  const late = await buyer.get(piece);
  check("a stopped session gives nothing", stop.status === 200 && late.status >= 400 && !bytes_of(late.body), `${stop.status}, then ${late.status}`);
  const again = (await buyer.get(`/api/request_play?video_id=${one}`)).json.playlist;
  const fresh = await addresses(buyer, again), cookie = buyer.cookie();
  await buyer.post("/auth/logout");
  const after = [];
  await until("the session ends with the log-in", async () => (await call(s.port, "GET", again, { ip: fresh_ip() })).status === 404);
  for (const path of fresh.keys()) {
    const r = await call(s.port, "GET", path, { ip: fresh_ip(), headers: { cookie } });
    if (r.status < 400) after.push(`${r.status} ${path}`);
  }
  check("after signing out the old cookie and session give nothing", after.length === 0, after.slice(0, 3).join("; "));

  // Secrets of the site itself.
  const inner = [join(s.var, "secret"), join(s.root, "scripts/boot.lua"), join(s.root, "sql/001_roles.sql"), join(s.var, "pgrun/postgres.log")]
    .filter(existsSync).map(path => ({ root: s.dir, path }));
  await crawl(s, "the site's own files", inner, marks(inner.map(f => f.path)), stranger.cookie(), [session]);
});

function count_line(files) {
  return `${files.length} files: ` + show(count_by(files, f => f.path.split(".").pop()));
}
