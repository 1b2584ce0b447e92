// SPDX-License-Identifier: Apache-2.0
// A viewer's name in every segment: CPU of the burst encoder for a segment, through playback itself, against one ffmpeg that
// writes the name over the whole film with the ingest's preset (what encoding a film for each viewer costs). Interleaved rounds,
// medians. Viewers for each core = length of a segment / CPU of a segment, at a share of 100 % and of 20 %.
//   SECONDS=30 HEIGHT=480 ROUNDS=3 node bench/burst.mjs        PPV = program
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Server, until } from "../spec/live/lib.mjs";
import { encoder_seconds, median } from "./proc.mjs";

const num = (name, dflt) => Number(process.env[name] ?? dflt);
const SECONDS = num("SECONDS", 30), HEIGHT = num("HEIGHT", 480), ROUNDS = num("ROUNDS", 3), LEN = 2;
const SAMPLE = process.env.FILM ?? "/usr/share/forensics-samples/original-files/movie2/movie-hello.mp4";

function make_film(file) {
  const from = existsSync(SAMPLE) ? ["-stream_loop", "-1", "-i", SAMPLE] : ["-f", "lavfi", "-i", `testsrc2=size=1280x720:rate=25,noise=alls=6:allf=t`];
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-y", ...from, "-t", String(SECONDS), "-vf", `scale=-2:${HEIGHT}`, "-an", "-r", "25",
    "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p", file]);
}

async function ours(s, id, round) {
  const v = await s.user("v" + round), base = (await v.get("/api/request_play?video_id=" + id)).json.playlist.replace("master.m3u8", "");
  const list = (await v.get(`${base}${HEIGHT}.m3u8`)).text.match(/k-\d+-\d+\.key/g), a = encoder_seconds(s.child.pid), waits = [];
  for (const k of list) {
    const t = performance.now();
    const r = await v.get(base + k);
    if (r.status !== 200) throw new Error(`${k}: ${r.status} ${r.text}`);
    waits.push(performance.now() - t);
  }
  await until("the queue is empty", async () => /ppv_burst_queue 0/.test((await v.get("/metrics")).text), 60);
  return { cpu: (encoder_seconds(s.child.pid) - a) / (list.length - 2), wait: median(waits.slice(2)) };
}

function theirs(file, out) {
  const text = "drawtext=text='viewer 2026-11-25':x=w/3:y=h/5:fontsize=h/18:fontcolor=white@0.4:borderw=2";
  const r = execFileSync("bash", ["-c", `TIMEFORMAT='%U %S'; { time ffmpeg -nostdin -v error -y -threads 1 -i "$1" -vf "$2" -c:v libx264 -preset veryfast ` +
    `-crf 23 -threads 1 -an "$3"; } 2>&1`, "-", file, text, out]).toString().trim().split(/\s+/).map(Number);
  return (r[0] + r[1]) / (SECONDS / LEN);
}

const s = await new Server({ web_workers: 1, burst_workers: 1 }).start();
try {
  const file = join(s.dir, "film.mp4"), maker = await s.user("maker");
  make_film(file);
  const id = await s.film(maker, file);
  await maker.post("/api/video_update", { id, mark_visible: 100, mark_fail: "wait" });
  await ours(s, id, "warm");
  const a = [], b = [], waits = [];
  for (let i = 0; i < ROUNDS; i++) {
    b.push(theirs(file, join(s.dir, "peer.mp4")));
    const r = await ours(s, id, i);
    a.push(r.cpu);
    waits.push(r.wait);
  }
  const cpu = median(a), peer = median(b), per = share => (LEN / cpu / share).toFixed(1);
  console.log(`burst, ${HEIGHT}p, a segment of ${LEN} s: ${(cpu * 1000).toFixed(0)} ms CPU  ${(cpu / peer).toFixed(2)}x ffmpeg veryfast + drawtext ` +
    `(${(peer * 1000).toFixed(0)} ms)  key after ${median(waits).toFixed(0)} ms asked one by one`);
  console.log(`viewers for each core: ${per(1)} with the name all the time, ${per(0.2)} at a share of 20 % (encoding the film for each: ${(LEN / peer).toFixed(1)})`);
} finally {
  await s.remove();
}
