// SPDX-License-Identifier: Apache-2.0
// Films of every kind through upload, preparation and playback; files that are no films, or mean harm, end as failed with
// a sentence and leave nothing on the disk.
//   node spec/live/media.mjs          SAMPLES=directory of the made clips
import { execFile } from "node:child_process";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { Server, check, main, note, send, show, until } from "./lib.mjs";
import { make_samples, phone_film, samples } from "../support/samples.mjs";

const PHONE = "/usr/share/forensics-samples/original-files/movie1/VID_20191220_170832.mp4";
const GOOD = ["portrait.mp4", "silent.mp4", "vfr.mp4", "tenbit.mkv", "vp9.webm"];

const exec = (file, args) => new Promise(resolve => execFile(file, args, { maxBuffer: 16 << 20, timeout: 900000 },
  (e, out, err) => resolve({ code: e ? e.code ?? 1 : 0, out, err })));

const mine = async (who, id) => (await who.get("/api/my_videos")).json.videos.find(v => v.id === id);

const settled = (who, id, seconds) => until(`the film ${id} is ready or failed`, async () => {
  const v = await mine(who, id);
  return ["ready", "failed"].includes(v.processing_state) ? v : null;
}, seconds);

/** Everything below a directory, relative. */
function files(dir) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true }).filter(f => !statSync(join(dir, f)).isDirectory());
}
const left_of = (s, id) => [...files(join(s.var, "media")).map(f => "media/" + f), ...files(join(s.var, "upload")).map(f => "upload/" + f)]
  .filter(f => !id || f.includes(id));

async function duration(path) {
  const r = await exec("ffprobe", ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path]);
  return Number(r.out);
}

/** Plays a film to its end as its owner does: every rendition by name, then the master with sound. */
async function plays(s, who, id, name) {
  const start = await who.get(`/api/request_play?video_id=${id}`);
  if (!check(`${name}: a playback session starts`, start.status === 200, start.text)) return;
  const master = await who.get(start.json.playlist);
  const names = master.text.split("\n").filter(l => l.endsWith(".m3u8"));
  check(`${name}: the master names renditions`, master.status === 200 && names.length > 0, master.text);
  const url = s.url + start.json.playlist;
  const r = await exec("ffmpeg", ["-nostdin", "-v", "error", "-xerror", "-allowed_extensions", "ALL", "-i", url,
    "-map", "0", "-f", "null", "-"]);
  check(`${name}: ffmpeg decodes it without a complaint`, r.code === 0 && r.err.trim() === "", `${r.code} ${r.err.slice(0, 600)}`);
  const wrong = await exec("ffmpeg", ["-nostdin", "-v", "error", "-i", url.replace(/.(?=\/[^/]*$)/, c => c === "A" ? "B" : "A"), "-f", "null", "-"]);
  check(`${name}: nobody with another token`, wrong.code !== 0, "it played");
}

await main(async () => {
  const made = performance.now();
  make_samples();
  note(`samples: ${Math.round((performance.now() - made) / 1000)} s`);
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start();
  const maker = await s.user("maker");
  await good_films(s, maker);
  await bad_files(s, await s.user("mallory"));
  const faults = s.log().match(/.*"event":"request\.failed".*/g) ?? [];
  check("nothing was written as an error of ours", faults.length === 0, faults[0]);
  await s.check_books("films");
});

async function good_films(s, maker) {
  const clips = [PHONE, phone_film(join(s.dir, "hello.mp4")), ...GOOD.map(f => join(samples, f))];
  const films = [];
  for (const path of clips) {
    const r = await send(maker, "/api/upload", path, { title: basename(path), price_cents: 0 });
    if (check(`${basename(path)}: the upload is accepted`, r.status === 201 && r.json?.video_id, `${r.status} ${r.text}`))
      films.push({ path, id: r.json.video_id, name: basename(path) });
  }
  for (const f of films) {
    const v = await settled(maker, f.id, 900);
    if (!check(`${f.name}: becomes ready`, v.processing_state === "ready", show([v.error_code, v.error]))) continue;
    const expected = await duration(f.path);
    check(`${f.name}: keeps its duration`, Math.abs(v.duration - expected) < 0.6, `${v.duration} instead of ${expected}`);
    const poster = v.poster && await maker.get(v.poster);
    check(`${f.name}: has a poster`, poster?.status === 200 && poster.body.readUInt16BE(0) === 0xffd8, poster?.text?.slice(0, 80));
    await plays(s, maker, f.id, f.name);
  }
}

async function bad_files(s, mallory) {
  const disguised = join(s.dir, "disguised.mp4"); // begins like a film, is none
  writeFileSync(disguised, Buffer.concat([Buffer.from("\0\0\0\x18ftypisom\0\0\0\0isommp42", "latin1"), readFileSync(join(samples, "bad_random.mp4"))]));
  const cases = ["bad_cut.mp4", "bad_moov.mp4", "bad_playlist.mp4", "bad_concat.mp4", "bad_gap.mp4", "bad_huge.mkv", "bad_random.mp4",
    "bad_empty.mp4", "bad_audio_only.mp4"].map(f => [join(samples, f), f]);
  cases.push([disguised, "disguised.mp4"]);
  for (const [path, name] of cases) {
    const before = left_of(s).length, started = Date.now();
    const r = await send(mallory, "/api/upload", path, { title: name, price_cents: 0 }, name);
    if (r.status !== 201) { // seen through at once
      check(`${name}: is refused with a sentence`, r.status === 400 && r.json?.error?.length > 8, `${r.status} ${r.text}`);
      check(`${name}: leaves no file and no row`, left_of(s).length === before, show(left_of(s)));
      continue;
    }
    const v = await settled(mallory, r.json.video_id, 900);
    check(`${name}: ends as failed`, v.processing_state === "failed", show(v));
    check(`${name}: says why in a sentence`, /^[A-Z].{8,}[.!]$/.test(v.error ?? "") && !/\/|\.c:|errno|ffmpeg|AVERROR/i.test(v.error), show([v.error_code, v.error]));
    await until(`${name} is gone from the disk`, () => left_of(s, v.id).length === 0).catch(() => null);
    check(`${name}: leaves nothing on the disk`, left_of(s, v.id).length === 0, show(left_of(s, v.id)));
    note(`${name}: ${v.error} (${Date.now() - started} ms)`);
  }
  const rows = (await mallory.get("/api/my_videos")).json.videos;
  check("refused uploads made no rows", rows.every(v => v.processing_state === "failed"), show(rows.map(v => [v.title, v.processing_state])));
}
