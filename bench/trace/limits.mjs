// SPDX-License-Identifier: Apache-2.0
// Speed and memory of tracing: a title of two hours, and a search over 100 such titles.
//   node bench/trace/limits.mjs WORK CLIP.mp4...     [hours=2] [titles=100]
// The title is made of the clips, over and over, at 320 x 180 and five pictures a second: the length counts here, not the size. Figures: peak memory of the largest process that
// traces a leak of ten minutes (of the whole title: full=1), seconds of clip per CPU second, seconds of the search.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Server, fresh_ip, pause, until } from "../../spec/live/lib.mjs";

const option = Object.fromEntries(process.argv.slice(2).filter(a => /^\w+=/.test(a)).map(a => a.split("=")));
const [where, ...clips] = process.argv.slice(2).filter(a => !/^\w+=/.test(a)).map(a => resolve(a));
const { hours = 2, titles = 100, full = 0 } = option, seconds = 3600 * hours;
const run = (file, args, opts = {}) => new Promise((done, failed) => execFile(file, args, { maxBuffer: 64 << 20, ...opts },
  (e, out, err) => e && !opts.any ? failed(new Error(`${file} ${args.join(" ")}\n${err}`)) : done({ out, err, code: e ? e.code : 0 })));
const ffmpeg = (...args) => run("ffmpeg", ["-nostdin", "-v", "error", "-y", ...args]);
mkdirSync(where, { recursive: true });

const film = join(where, "long.mp4"), leak = join(where, `long-leak-${full}.mp4`), other = join(where, "long-other.mp4");
if (!existsSync(film)) {
  // Two loops of the clips, of different length, one over the other: no two minutes are alike.
  const round = join(where, "round.mp4"), size = "scale=320:180,setsar=1,fps=5", part = film + ".part.mp4";
  await ffmpeg(...clips.flatMap(c => ["-i", c]), "-filter_complex", clips.map((_, i) => `[${i}:v]${size}[v${i}]`).join(";") + ";"
    + clips.map((_, i) => `[v${i}]`).join("") + `concat=n=${clips.length}[out]`, "-map", "[out]", "-an", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", round);
  const short = join(where, "short.mp4");
  await ffmpeg("-ss", "23", "-i", round, "-vf", "hflip", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", short);
  await ffmpeg("-stream_loop", "-1", "-i", round, "-stream_loop", "-1", "-i", short, "-filter_complex", "[0:v][1:v]mix=inputs=2:weights=3 2[out]", "-map", "[out]", "-t", `${seconds}`,
    "-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", part);
  renameSync(part, film);
}

/** ppv trace clip: CPU seconds and the peak memory of the largest process, children included. */
async function traced(s, clip) {
  const evidence = clip + ".json", began = performance.now();
  const r = await run("/usr/bin/time", ["-f", "TIME %U %S %M", s.bin, ...s.args("trace", "clip", clip, evidence)], { cwd: s.dir, any: true });
  const [, user, sys, kb] = r.err.match(/TIME (\S+) (\S+) (\S+)/) ?? [];
  if (![0, 3, 4].includes(r.code)) throw new Error(r.err + r.out);
  return { cpu: +user + +sys, mib: kb / 1024, wall: (performance.now() - began) / 1000, text: r.out, report: JSON.parse(JSON.parse(readFileSync(evidence)).evidence) };
}

const s = new Server({ web_workers: 1, job_workers: 1 });
s.var = join(where, "v");
try {
  await s.start();
  let [row] = await s.sql("select id from videos where title = 'long' and state = 'ready'");
  if (!row) {
    const maker = await s.user("maker"), mark = "----ppv";
    const body = Buffer.concat([Buffer.from(`--${mark}\r\ncontent-disposition: form-data; name="title"\r\n\r\nlong\r\n--${mark}\r\ncontent-disposition: form-data; name="price_cents"\r\n\r\n0\r\n`
      + `--${mark}\r\ncontent-disposition: form-data; name="file"; filename="film.mp4"\r\ncontent-type: video/mp4\r\n\r\n`), readFileSync(film), Buffer.from(`\r\n--${mark}--\r\n`)]);
    const up = await maker.request("POST", "/api/upload", { body, ip: fresh_ip(), timeout: 300000, headers: { "content-type": `multipart/form-data; boundary=${mark}` } });
    if (up.status !== 201) throw new Error(up.text);
    await until("the title is ready", async () => {
      const { status } = (await maker.get(`/api/videos/${up.json.video_id}/status`)).json;
      if (status === "failed") throw Object.assign(new Error("the title could not be prepared"), { fatal: true });
      await pause(2000);
      return status === "ready";
    }, 7200);
    row = [up.json.video_id];
    console.log(`prepared ${hours} h of film (${(statSync(film).size / 1e6).toFixed(0)} MB)`);
  }
  const [id] = row, index = JSON.parse(readFileSync(join(s.var, "media", id, "index.json")));
  if (!existsSync(leak)) await ffmpeg("-ss", full > 0 ? "0" : `${seconds * .4 + 3.3}`, "-i", film, ...(full > 0 ? [] : ["-t", "600"]), "-an", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "28", leak);
  if (!existsSync(other)) await ffmpeg("-i", film, "-t", "60", "-vf", "negate,rotate=PI/3", "-an", "-c:v", "libx264", "-preset", "ultrafast", other);
  const t = await traced(s, leak), d = t.report.clip.duration;
  console.log(`title of ${hours} h (${index.segment_count ?? index.renditions[0].segment_count} segments), leak of ${d.toFixed(0)} s: ${t.report.reading?.segments.length} segments read, `
    + `peak memory ${t.mib.toFixed(0)} MiB, CPU ${t.cpu.toFixed(1)} s = ${(d / t.cpu).toFixed(1)} s of clip per CPU second`);
  const few = await traced(s, other);
  // The same files under more numbers: the search reads every one anew.
  await s.sql(`insert into videos(owner_id, title, price, currency, state, visibility, duration_ms, title_secret, index, ready_at)
    select owner_id, 'copy ' || n, price, currency, state, visibility, duration_ms, title_secret, index, ready_at
    from videos, generate_series((select count(*) from videos where state = 'ready') + 1, ${+titles}) n where id = '${id}'`);
  const ids = (await s.sql("select id from videos where title like 'copy %'")).flat();
  for (const x of ids) await run("sh", ["-c", 'mkdir -p "$2" && for f in $3; do cp "$1/$f" "$2/$f"; done && chown -R --reference="$1" "$2"', "sh", join(s.var, "media", id), join(s.var, "media", x),
    index.fingerprint.map(f => f.name).join(" ")]);
  const many = await traced(s, other);
  console.log(`search over ${many.report.titles} titles of ${hours} h: ${many.wall.toFixed(1)} s in all, ${(many.wall - few.wall).toFixed(1)} s more than over ${few.report.titles}`
    + ` (CPU ${many.cpu.toFixed(1)} s); verdict ${many.report.verdict}`);
  await s.sql("delete from videos where title like 'copy %'");
  for (const x of ids) await run("rm", ["-r", join(s.var, "media", x)]);
} finally {
  await s.remove();
}
process.exit(0);
