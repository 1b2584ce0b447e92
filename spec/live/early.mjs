// SPDX-License-Identifier: Apache-2.0
// The creator watches a film that is still being encoded, nobody else does; a killed job worker costs neither what they see
// nor what is finished.
//   node spec/live/early.mjs
import { execFileSync, execFile } from "node:child_process";
import { createDecipheriv } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, call, check, fresh_ip, main, note, show, until } from "./lib.mjs";

const exec = (file, args) => new Promise(resolve => execFile(file, args, { maxBuffer: 16 << 20, timeout: 900000 },
  (e, out, err) => resolve({ code: e ? e.code ?? 1 : 0, out, err })));

async function upload(who, path) {
  const mark = "----ppvearly";
  const head = `--${mark}\r\ncontent-disposition: form-data; name="title"\r\n\r\nA film\r\n--${mark}\r\ncontent-disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n`;
  const r = await who.request("POST", "/api/upload", { body: Buffer.concat([Buffer.from(head), readFileSync(path), Buffer.from(`\r\n--${mark}--\r\n`)]),
    ip: fresh_ip(), timeout: 300000, headers: { "content-type": `multipart/form-data; boundary=${mark}` } });
  if (r.status !== 201) throw new Error(r.text);
  return r.json.video_id;
}
const media_lines = text => text.split("\n").filter(l => l && !l.startsWith("#"));

await main(async () => {
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start();
  const maker = await s.user("maker"), other = await s.user("other"), clip = join(s.dir, "clip.mp4");
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=24", "-f", "lavfi", "-i", "sine=d=24", "-pix_fmt", "yuv420p",
    "-preset", "ultrafast", clip]);
  const id = await upload(maker, clip), at = `/api/videos/${id}/early/`, part = join(s.var, "media", `${id}.new.part`);
  const get = (file, who = maker) => who.get(at + file, { ip: fresh_ip() });
  const state = async () => (await s.sql(`select state from videos where id = '${id}'`))[0][0];

  const master = await until("the first segments can be watched", async () => { const r = await get("master.m3u8"); return r.status === 200 && r; });
  check("that is before the film is ready", await state() === "processing", await state());
  const names = media_lines(master.text);
  check("the master names every size and the sound", names.join() === "360.m3u8,240.m3u8" && /TYPE=AUDIO/.test(master.text) && !master.text.includes("ref"), master.text);
  const first = (await get("240.m3u8")).text, seen = media_lines(first);
  check("the playlist is one that grows", /PLAYLIST-TYPE:EVENT/.test(first) && !/ENDLIST/.test(first) && seen.length > 0, first);
  // What is there now, as a player sees it.
  const bytes = async file => (await get(file)).body;
  const opened = async list => {
    const parts = [];
    for (const [, key, iv, file] of list.matchAll(/KEY:METHOD=AES-128,URI="([^"]+)",IV=0x(\w+)\n#EXTINF:[^\n]*\n(\S+)/g)) {
      const d = createDecipheriv("aes-128-cbc", await bytes(key), Buffer.from(iv, "hex"));
      parts.push(d.update(await bytes(file)), d.final());
    }
    return parts;
  };
  const parts = [await bytes(/MAP:URI="([^"]+)"/.exec(first)[1]), ...await opened(first)];
  writeFileSync(join(s.dir, "now.mp4"), Buffer.concat(parts));
  let r = await exec("ffmpeg", ["-nostdin", "-v", "error", "-xerror", "-i", join(s.dir, "now.mp4"), "-f", "null", "-"]);
  check("it decodes", r.code === 0 && r.err === "" && parts.length > 2, r.err.slice(0, 500));
  const streams = await opened((await get("240-ts.m3u8")).text);
  writeFileSync(join(s.dir, "now.ts"), Buffer.concat(streams));
  r = await exec("ffmpeg", ["-nostdin", "-v", "error", "-xerror", "-i", join(s.dir, "now.ts"), "-f", "null", "-"]);
  check("and so it does as transport streams", r.code === 0 && r.err === "" && streams.length >= parts.length - 1
    && media_lines((await get("master-ts.m3u8")).text).join() === "360-ts.m3u8,240-ts.m3u8", r.err.slice(0, 500));

  await maker.post("/api/video_update", { id, price_cents: 0, visibility: "published" });
  const denied = [];
  for (const file of ["master.m3u8", "240.m3u8", "k-240-0.key", seen[0], "master-ts.m3u8", seen[0].replace("m4s", "ts")]) {
    denied.push((await get(file, other)).status, (await call(s.port, "GET", at + file, { ip: fresh_ip() })).status);
  }
  check("nobody else gets any of it", denied.join() === Array(6).fill("404,401").join(), denied.join());
  check("nor can they play", (await other.get(`/api/request_play?video_id=${id}`)).status >= 400);
  const secret = [(await get("k-ref-0.key")).status, (await get("k-fp-0.key")).status, (await get("ref.m3u8")).status];
  check("what only the tracer needs is for nobody", secret.join() === "404,404,404", secret.join());

  // kill -9 of the job worker; its child dies with it.
  const finished = () => readFileSync(join(part, "journal"), "utf8").split("\n").filter(l => l.startsWith("seg ")).map(l => l.split(" "));
  await until("some more is finished", () => finished().length > 16);
  const worker = (await s.status()).workers.find(w => w.kind === "job");
  process.kill(worker.pid, "SIGKILL");
  await until("another worker is there", async () => { const w = (await s.status()).workers.find(x => x.kind === "job"); return w.ready && w.pid !== worker.pid; });
  const kept = finished(), pair = l => !/^\d/.test(l[1]) || kept.some(m => m[1] === l[1] && m[3] === l[3] && m[2] !== l[2]);
  const between = media_lines((await get("240.m3u8")).text);
  check("the creator still has what was there", between.slice(0, seen.length).join() === seen.join() && await state() === "processing", show(between));
  await s.sql("update jobs set lease_until = now() where state = 'running'"); // rather than waiting for its end
  await until("the film is ready", async () => await state() === "ready", 900);

  const resumed = (s.log().match(/.*"event":"video\.resumed".*/g) ?? []).map(l => JSON.parse(l))[0];
  const dir = join(s.var, "media", id), lost = kept.filter(pair).filter(l => !existsSync(join(dir, l[4])));
  check("nothing that was finished was encoded again", kept.length > 16 && lost.length === 0 && Number(resumed?.kept) === kept.filter(pair).length,
    `${lost.length} of ${kept.length} lost; ${show(resumed)}`);
  note(`${resumed?.kept} segments kept, ${resumed?.encoded} encoded after the crash; ${kept.length - kept.filter(pair).length} were half a pair`);
  r = await s.ppv("media", "verify");
  check("the film verifies", r.code === 0 && /0 films are damaged/.test(r.out), r.out + r.err);
  check("nothing else is left on the disk", readdirSync(join(s.var, "media")).filter(n => n.startsWith(id)).join() === id, readdirSync(join(s.var, "media")).join());

  const last = (await get("240.m3u8")).text, all = media_lines(last);
  check("the playlist goes on where it was, and ends", all.slice(0, between.length).join() === between.join() && all.length === 12 && /ENDLIST/.test(last), last.slice(-300));
  check("its target duration has not changed", /TARGETDURATION:3\n/.test(first) && /TARGETDURATION:3\n/.test(last));
  const headers = `Cookie: ${maker.cookie()}\r\nX-Forwarded-For: ${fresh_ip()}\r\n`;
  r = await exec("ffmpeg", ["-nostdin", "-v", "error", "-xerror", "-headers", headers, "-allowed_extensions", "ALL", "-i", s.url + at + "master.m3u8", "-map", "0", "-f", "null", "-"]);
  check("all of it decodes at the creator's address", r.code === 0 && r.err === "", r.err.slice(0, 500));
  r = await exec("ffmpeg", ["-nostdin", "-v", "error", "-xerror", "-headers", headers, "-allowed_extensions", "ALL", "-i", s.url + at + "master-ts.m3u8", "-map", "0", "-f", "null", "-"]);
  check("also as transport streams", r.code === 0 && r.err === "", r.err.slice(0, 500));
  check("which is still nobody else's", (await get("master.m3u8", other)).status === 404);
  r = await exec("ffmpeg", ["-nostdin", "-v", "error", "-xerror", "-headers", `X-Forwarded-For: ${fresh_ip()}\r\n`, "-allowed_extensions", "ALL",
    "-i", s.url + (await other.get(`/api/request_play?video_id=${id}`)).json.playlist, "-map", "0", "-f", "null", "-"]);
  check("and a viewer's own copy does too", r.code === 0 && r.err === "", r.err.slice(0, 500));
});
