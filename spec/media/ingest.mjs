// SPDX-License-Identifier: Apache-2.0
// Ingests every sample clip with the real child and looks at what comes out: keys, cadence, segment grid, decoding.
//   node spec/media/ingest.mjs [CLIP...]      PPV = program, SAMPLES = directory of clips (made when missing)
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { child, make_samples, made, plain, samples } from './lib.mjs';

const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'ppv-media-'));

const refused = { 'chapters.txt': 'unsupported_container', 'subs.srt': 'unsupported_container', 'subs.ass': 'unsupported_container',
  'bad_audio_only.mp4': 'no_video', 'bad_huge.mkv': 'too_many_pixels', 'bad_mjpeg.avi': 'unsupported_codec',
  'bad_gap.mp4': 'timestamps', 'bad_long.mp4': 'too_long', 'bad_empty.mp4': 'truncated', 'bad_random.mp4': 'unsupported_container',
  'bad_moov.mp4': 'truncated', 'bad_cut.mp4': 'truncated', 'bad_playlist.mp4': 'unsupported_container',
  'bad_concat.mp4': 'unsupported_container',
};

const near = (a, b, by) => Math.abs(a - b) <= by;

function* trackFaults(dir, index, track) {
  const file = path.join(tmp, track.name + '.mp4');
  const video = !!track.w, step = index.fps_den / index.fps_num;
  plain(dir, track, file);
  const { packets } = JSON.parse(execFileSync('ffprobe', ['-v', 'error', '-show_packets', '-of', 'json', file], { maxBuffer: 1 << 28 }));
  const pts = packets.map(p => +p.pts_time).sort((a, b) => a - b);
  if (pts[0] !== 0) yield `starts at ${pts[0]}`;
  const total = track.segments.reduce((a, s) => a + s.dur, 0);
  if (!near(total, index.duration, 0.001)) yield `segments last ${total}, the title ${index.duration}`;
  if (track.segments.some(s => Math.round(s.dur) > index.target_duration)) yield 'a segment exceeds the target duration';
  if (!video) return;
  pts.slice(1).some((t, i) => !near(t - pts[i], step, 0.0015)) && (yield 'frames are not evenly spaced');
  const keys = packets.filter(p => p.flags.includes('K')).map(p => +p.pts_time);
  let at = 0;
  const grid = track.segments.map(s => { const t = at; at += s.dur; return t; });
  if (keys.length !== grid.length || keys.some((k, i) => !near(k, grid[i], 0.0015))) yield `key frames ${keys} are not the grid ${grid}`;
}

/** b goes under a's init segment, and no file length tells it from a. */
function* pairFaults(dir, track) {
  const { segments: a, segments_b: b } = track;
  if (a.length !== b.length) return yield `${track.name}: ${a.length} segments a, ${b.length} b`;
  if (a.some((s, n) => s.size !== b[n].size || s.dur !== b[n].dur)) yield `${track.name}: a and b differ in size or duration`;
  plain(dir, track, path.join(tmp, track.name + '-b.mp4'), 'b');
}

/** The mark's pattern changes at segment borders: there the variants must be (nearly) alike, in between they differ. */
function* fadeFaults(index, track) {
  const [a, b] = ['', '-b'].map(v => execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-i', path.join(tmp, `${track.name}${v}.mp4`), '-pix_fmt', 'gray', '-f', 'rawvideo', '-'], { maxBuffer: 1 << 30 }));
  const gop = Math.round(2 * index.fps_num / index.fps_den), px = track.w * track.h;
  const apart = n => a.subarray(n * px, (n + 1) * px).reduce((sum, v, i) => sum + Math.abs(v - b[n * px + i]), 0) / px;
  const mean = list => list.reduce((x, y) => x + y, 0) / list.length;
  const whole = [...Array(Math.floor(a.length / px / gop)).keys()];
  const [first, middle, last] = [0, gop >> 1, gop - 1].map(k => mean(whole.map(s => apart(s * gop + k))));
  if (!(whole.length > 1 && middle > 1)) yield `the variants differ by ${middle} levels in ${whole.length} segments`;
  if (!(first < middle / 3 && last < middle * .6)) yield `the variants differ by ${first} levels at the beginning of segments, ${middle} in the middle, ${last} at the end`;
}

/** What the decoders say of these files; all at once, and one by one when there is something. */
function* decodeFaults(names) {
  const said = list => {
    const dec = spawnSync('ffmpeg', ['-nostdin', '-v', 'warning', '-xerror', ...list.flatMap(n => ['-i', path.join(tmp, n + '.mp4')]), ...list.flatMap((_, i) => ['-map', String(i)]), '-f', 'null', '-']);
    return dec.status || dec.stderr.length ? `does not decode cleanly: ${dec.status} ${dec.stderr.toString().slice(0, 200)}` : '';
  };
  const all = said(names);
  if (!all) return;
  const each = names.map(n => [n, said([n])]).filter(x => x[1]);
  yield* each.length ? each.map(x => x.join(': ')) : [all];
}

function* titleFaults(dir, clip) {
  const index = JSON.parse(fs.readFileSync(path.join(dir, 'index.json')));
  const names = new Set(['index.json', 'SHA256SUMS', index.poster, ...index.posters, ...index.fingerprint.map(f => f.name),
    ...(index.subtitles ?? []).map(t => t.file), ...(index.storyboard?.sheets ?? []).map(f => f.name ?? f)]);
  const counts = new Set(index.renditions.map(r => r.segments.length));
  if (counts.size !== 1) yield 'renditions have different segment counts';
  for (const track of [...index.renditions, index.reference, ...index.audio]) {
    names.add(track.init);
    [...track.segments, ...track.segments_b ?? []].forEach(s => names.add(s.name));
    for (const f of trackFaults(dir, index, track)) yield `${track.name}: ${f}`;
  }
  for (const track of index.renditions) yield* pairFaults(dir, track);
  if (path.basename(clip) === 'landscape.mp4') yield* fadeFaults(index, index.renditions.at(-1));
  yield* decodeFaults([...index.renditions.flatMap(t => [t.name, t.name + '-b']), index.reference.name, ...index.audio.map(t => t.name)]);
  const stray = fs.readdirSync(dir).filter(n => !names.has(n));
  if (stray.length || [...names].some(n => !fs.existsSync(path.join(dir, n)))) yield `files differ from the index: ${stray}`;
}

function check(clip) {
  const name = path.basename(clip), out = path.join(tmp, 'out');
  fs.rmSync(out, { recursive: true, force: true });
  fs.mkdirSync(out);
  const r = child('ingest', clip, out, { max_duration_s: name === 'bad_long.mp4' ? 600 : 43200 });
  const want = refused[name];
  if (r.signal) return [`died of ${r.signal}: ${r.log}`];
  if (want) {
    if (r.code !== 1 || r.last.error?.code !== `media.${want}`) return [`wanted media.${want}, got ${JSON.stringify(r.last).slice(0, 200)}`];
    return fs.existsSync(path.join(out, 'index.json')) ? ['an index in spite of the error'] : [];
  }
  if (r.code !== 0 || !r.last.result) return [`failed: ${JSON.stringify(r.last)} ${r.log}`];
  const faults = [...titleFaults(out, clip)];
  if (made) fs.cpSync(out, path.join(made, `part.${name}`), { recursive: true }), fs.renameSync(path.join(made, `part.${name}`), path.join(made, name));
  return faults;
}

let clips = process.argv.slice(2);
if (!clips.length) {
  make_samples();
  clips = fs.readdirSync(samples).filter(n => !/^part\.|^\./.test(n)).map(n => path.join(samples, n));
}
let failed = 0;
for (const clip of clips) {
  const faults = check(clip);
  if (faults.length) failed++;
  for (const f of faults) console.log(`not ok - ${path.basename(clip)}: ${f}`);
}
fs.rmSync(tmp, { recursive: true, force: true });
console.log(`${clips.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
