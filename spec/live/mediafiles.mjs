// SPDX-License-Identifier: Apache-2.0
// The films' files: damage is found and repaired from the original, a new encode leaves those who are watching alone, and
// what nobody needs is named and removed.
//   node spec/live/mediafiles.mjs
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, check, fresh_ip, main, until } from "./lib.mjs";

const exec = (file, args) => new Promise(resolve => execFile(file, args, { maxBuffer: 16 << 20, timeout: 900000 },
  (e, out, err) => resolve({ code: e ? e.code ?? 1 : 0, out, err })));

/** A viewer who has just asked for the playlists: every address they name. */
async function session(who, id) {
  const { playlist } = (await who.get(`/api/request_play?video_id=${id}`)).json;
  const base = playlist.replace(/[^/]+$/, "");
  const master = (await who.get(playlist)).text, urls = [];
  const names = [...master.matchAll(/^(?!#)(\S+\.m3u8)$/gm), ...master.matchAll(/URI="([^"]+\.m3u8)"/g)].map(m => m[1]);
  for (const name of names) {
    const text = (await who.get(base + name)).text;
    for (const m of [...text.matchAll(/^(?!#)(\S+)$/gm), ...text.matchAll(/URI="([^"]+)"/g)]) urls.push(new URL(m[1], "http://x" + base).pathname);
  }
  return { playlist, urls };
}
async function all_there(who, urls) {
  const bad = [];
  for (const url of urls) { const r = await who.get(url, { ip: fresh_ip() }); if (r.status !== 200) bad.push(`${r.status} ${url}`); }
  return bad;
}
const decode = (s, who, playlist) => exec("ffmpeg", ["-nostdin", "-v", "error", "-xerror", "-headers", `Cookie: ${who.cookie()}\r\nX-Forwarded-For: ${fresh_ip()}\r\n`,
  "-allowed_extensions", "ALL", "-i", s.url + playlist, "-f", "null", "-"]);

await main(async () => {
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start();
  const maker = await s.user("maker"), clip = join(s.dir, "clip.mp4");
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=426x240:r=25:d=7", "-f", "lavfi", "-i", "sine=d=7", "-pix_fmt", "yuv420p", clip]);
  const id = await s.film(maker, clip), dir = join(s.var, "media", id);
  const encoded = () => s.sql(`select coalesce(max(id), 0) from jobs where kind = 'media.reencode' and state = 'done'`).then(r => Number(r[0][0]));
  const again = async (...args) => {
    const r = await s.ppv("media", "rebuild", ...args), before = Number(/job (\d+)/.exec(r.out)?.[1] ?? Infinity);
    await until("it is encoded anew", async () => await encoded() >= before, 900);
    return r;
  };
  const segment = () => readdirSync(dir).filter(f => f.endsWith(".m4s")).sort()[0];

  let r = await s.ppv("media", "verify");
  check("a new film verifies", r.code === 0 && /1 films, \d+ files are right, 0 films are damaged/.test(r.out), r.out + r.err);
  check("sha256sum agrees", execFileSync("sh", ["-c", `cd ${dir} && sha256sum --quiet --strict -c SHA256SUMS`]).length === 0);

  const old = await session(maker, id);
  r = await again(id);
  check("a rebuild is queued", r.code === 0, r.out + r.err);
  let bad = await all_there(maker, old.urls);
  check("who is watching keeps every file and key", old.urls.length > 6 && bad.length === 0, bad.slice(0, 3).join());
  check("the film never left the shop", (await s.sql(`select state from videos where id = '${id}'`))[0][0] === "ready");
  r = await decode(s, maker, (await session(maker, id)).playlist);
  check("who comes now plays the new encode", r.code === 0 && r.err === "", r.err.slice(0, 500));
  r = await s.ppv("media", "verify");
  check("it verifies, and the old files are no damage", r.code === 0 && /files from before the last encode/.test(r.out), r.out);
  r = await s.ppv("media", "gc");
  check("nothing young is garbage", r.code === 0 && /^0 to remove/m.test(r.out), r.out);

  const broken = (await s.sql(`select segments->'a'->0->>'name' from renditions where video_id = '${id}' and kind = 'video' limit 1`))[0][0];
  const bytes = readFileSync(join(dir, broken));
  bytes[bytes.length >> 1] ^= 1;
  writeFileSync(join(dir, broken), bytes);
  const lost = (await s.sql(`select segments->'a'->1->>'name' from renditions where video_id = '${id}' and kind = 'video' limit 1`))[0][0];
  rmSync(join(dir, lost));
  r = await s.ppv("media", "verify", id);
  check("one changed bit and one lost file are found", r.code === 1 && r.out.includes(`damaged ${broken}`) && r.out.includes(`missing ${lost}`), r.out);
  r = await again("--damaged");
  check("the damaged film is repaired", (await s.ppv("media", "verify")).code === 0, r.out);

  const ago = Date.now() / 1000 - 20 * 3600;
  for (const f of readdirSync(dir)) utimesSync(join(dir, f), ago, ago);
  const stray = join(s.var, "media", "00000000-0000-7000-8000-000000000000"), original = join(s.var, "upload", "forgotten.mp4");
  mkdirSync(stray);
  writeFileSync(join(stray, "x.m4s"), "x");
  writeFileSync(original, "x");
  for (const f of [stray, original]) utimesSync(f, ago, ago);
  r = await s.ppv("media", "gc");
  check("orphans are named on both sides", r.code === 0 && r.out.includes("no such film") && r.out.includes("no film was made of it") && r.out.includes("from before the last encode"), r.out);
  check("and nothing is removed yet", existsSync(stray) && existsSync(original));
  r = await s.ppv("media", "gc", "--yes");
  check("until told to", r.code === 0 && !existsSync(stray) && !existsSync(original) && existsSync(join(dir, segment())), r.out + r.err);
  check("again there is nothing", /^0 to remove/m.test((await s.ppv("media", "gc")).out));
  check("the film verifies", (await s.ppv("media", "verify")).code === 0);
  await s.stop(); // a worker's copy of the playlists lives for a minute, the files for thirteen hours
  await s.start();
  const now = await session(maker, id);
  bad = await all_there(maker, now.urls);
  check("and has all it needs", bad.length === 0, bad.slice(0, 3).join());

  r = await maker.post(`/api/videos/${id}/reencode`);
  check("its creator can ask for a new encode", r.status === 200 && r.json.job_id > 0, r.text);
  check("nobody else can", (await (await s.user("stranger")).post(`/api/videos/${id}/reencode`)).status === 404);
  await until("it is done", async () => await encoded() >= r.json.job_id, 900);
  await s.sql(`update videos set upload_path = null where id = '${id}'`);
  r = await s.ppv("media", "rebuild", id);
  check("without its original a film cannot be rebuilt", r.code === 1 && /original file is gone/.test(r.out), r.out);
  r = await s.ppv("media", "frobnicate");
  check("another word is refused", r.code !== 0, r.out);
});
