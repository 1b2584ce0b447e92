// SPDX-License-Identifier: Apache-2.0
// What viewers wait for, and what they cost, with one really encoded film and real playback sessions:
//   start    20 sessions play in real time; others start: from asking to play until the first byte of the first segment, and
//            until picture, sound and their keys are there (master, two playlists, init segments, keys, segments, one after the other
//            as a player asks). Targets 50 and 150 ms at the 95th percentile.
//   shared   100 sessions of one film whose visible mark is off, then one of a film with it: encoders that were started.
//            CPU of the site for a second of one session's playback, from which follows how many a core carries.
//   PLAYERS=20 STARTS=60 SESSIONS=100 node bench/play.mjs [start|shared]        PPV = program
import { execFileSync } from "node:child_process";
import http from "node:http";
import { join } from "node:path";
import { Server, pause, until } from "../spec/live/lib.mjs";
import { at, cpu, median } from "./proc.mjs";

const num = (name, dflt) => Number(process.env[name] ?? dflt);
const PLAYERS = num("PLAYERS", 20), STARTS = num("STARTS", 60), SESSIONS = num("SESSIONS", 100), SECONDS = 40, LEN = 2;
const wanted = name => process.argv.length < 3 || process.argv.includes(name);

/** A viewer's player: one kept connection, the requests of hls.js. */
class Player {
  constructor(who) { this.who = who; this.agent = new http.Agent({ keepAlive: true, maxSockets: 1 }); }
  /** The whole answer; first: when its first byte of body came. */
  get(path) {
    return new Promise((resolve, reject) => http.get({ host: "127.0.0.1", port: this.who.server.port, path, agent: this.agent,
      headers: { cookie: this.who.cookie(), "x-forwarded-for": this.who.ip } }, res => {
      const parts = [];
      let first;
      res.on("data", d => { first ??= performance.now(); parts.push(d); }).on("error", reject).on("end", () => {
        const body = Buffer.concat(parts);
        if (res.statusCode === 200) resolve({ body, text: body.toString("latin1"), first });
        else reject(new Error(`${path}: ${res.statusCode} ${body}`));
      });
    }).on("error", reject));
  }
  /** Asks to play and reads the first segment of picture and sound. -> ms until {byte, whole} */
  async start(film) {
    const t = performance.now(), play = JSON.parse((await this.get(`/api/request_play?video_id=${film}`)).text);
    this.base = play.playlist.replace("master.m3u8", "");
    const master = (await this.get(play.playlist)).text;
    const names = [master.match(/^[^#\n].*\.m3u8/m)[0], master.match(/URI="([^"]+\.m3u8)"/)?.[1]].filter(Boolean);
    this.tracks = [];
    for (const name of names) {
      const text = (await this.get(this.base + name)).text;
      this.tracks.push({ init: text.match(/EXT-X-MAP:URI="([^"]+)"/)[1], keys: text.match(/[^"]+\.key/g), segments: text.match(/^[^#\n]+\.m4s$/gm) });
    }
    let byte;
    for (const track of this.tracks) {
      await this.get(this.base + track.init);
      const got = await this.segment(track, 0);
      byte ??= got.first;
    }
    return { byte: byte - t, whole: performance.now() - t };
  }
  async segment(track, n) {
    await this.get(this.base + track.keys[n]);
    return this.get(this.base + track.segments[n]);
  }
  /** Segments from..to - 1 of picture and sound, one each LEN seconds (pace: 1; 0 = at once). on(): false ends it. */
  async play(from, to, pace, on = () => true) {
    const t = performance.now();
    for (let n = from; n < to && n < this.tracks[0].segments.length && on(); n++) {
      for (const track of this.tracks) await this.segment(track, n);
      while (on() && performance.now() < t + (n + 1 - from) * LEN * 1000 * pace) await pause(50);
    }
  }
  close() { this.agent.destroy(); }
}

const players = async (s, n) => Promise.all(Array.from({ length: n }, async (_, i) => new Player(await s.user("p" + i))));

async function start(s, film) {
  const busy = await players(s, PLAYERS), fresh = await players(s, 10), took = [];
  let on = true;
  const lanes = busy.map(async (p, i) => {
    await pause(i * LEN * 1000 / PLAYERS); // not all in one moment
    while (on) {
      await p.start(film);
      await p.play(1, 1e9, 1, () => on);
    }
  });
  await pause(LEN * 1000);
  for (let i = 0; i < STARTS; i++) {
    took.push(await fresh[i % fresh.length].start(film));
    await pause(40);
  }
  on = false;
  await Promise.all(lanes);
  [...busy, ...fresh].forEach(p => p.close());
  for (const [what, key, most] of [["first byte of the first segment", "byte", 50], ["picture, sound and keys of it complete", "whole", 150]]) {
    const all = took.map(x => x[key]), p95 = at(all, 0.95);
    console.log(`start, ${PLAYERS} playing: ${what}: median ${median(all).toFixed(1)} ms, p95 ${p95.toFixed(1)} ms of ${STARTS}, ` +
      `target <= ${most} ms ${p95 <= most ? "met" : "NOT MET"}`);
  }
}

const started = async (s, who) => Number((await who.get("/metrics")).text.match(/^ppv_media_children_total\{kind="burst"\} (\d+)/m)?.[1] ?? 0);

async function shared(s, film, maker) {
  const all = await players(s, SESSIONS), before = await started(s, maker);
  await Promise.all(all.map(p => p.start(film)));
  const a = cpu(s.child.pid);
  await Promise.all(all.map(p => p.play(1, SECONDS / LEN, 0)));
  await pause(500); // the log of keys is written by then
  const b = cpu(s.child.pid), seconds = SESSIONS * (SECONDS - LEN), ms = x => (b[x] - a[x]) / seconds / 1000;
  const encoders = await started(s, maker) - before;
  await maker.post("/api/video_update", { id: film, mark_visible: 100, mark_fail: "wait" });
  const one = (await players(s, 1))[0];
  await one.start(film);
  await one.play(1, 6, 0);
  const control = await until("an encoder works for a visible mark", async () => await started(s, maker) - before, 30);
  [...all, one].forEach(p => p.close());
  console.log(`shared, ${SESSIONS} sessions of one film, no visible mark: ${encoders} encoders started, target 0 ${encoders ? "NOT MET" : "met"}` +
    ` (one session with the mark: ${control})`);
  const core = 700 / (ms("server") + ms("db"));
  console.log(`playback with segments from the site itself: ${ms("server").toFixed(3)} ms CPU + ${ms("db").toFixed(3)} ms PostgreSQL for a second of a session: ` +
    `${Math.floor(core)} viewers for each core kept at 70 %, ${Math.floor(4 * core)} for a node of four`);
}

const s = await new Server({ web_workers: 2, log_level: "warn", argon2_memory_kib: 1024, argon2_time: 1 }).start();
let status = 0;
try {
  const maker = await s.user("maker"), file = join(s.dir, "film.mp4");
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", `testsrc2=size=854x480:rate=25:duration=${SECONDS},noise=alls=6:allf=t`, "-f", "lavfi", "-i",
    `sine=duration=${SECONDS}`, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", file]);
  const film = await s.film(maker, file);
  if (wanted("start")) await start(s, film);
  if (wanted("shared")) await shared(s, film, maker);
} catch (e) {
  console.error(e, s.log().slice(-1500));
  status = 1;
}
await s.remove();
process.exit(status);
