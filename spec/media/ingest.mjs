// SPDX-License-Identifier: Apache-2.0
// Ingests every sample clip with the real child and looks at what comes out: keys, cadence, segment grid, decoding.
//   node spec/media/ingest.mjs [CLIP...]      PPV = program, SAMPLES = directory of clips (made when missing)
import { execFileSync, spawnSync } from 'node:child_process';
import { hkdfSync, createDecipheriv } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../..');
const ppv = path.resolve(process.env.PPV ?? path.join(root, 'build/ppv'));
const samples = process.env.SAMPLES ?? path.join(os.tmpdir(), 'ppv-samples');
const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'ppv-media-'));
const secret = Buffer.from([...Array(32).keys()]);

const refused = {
  'bad_audio_only.mp4': 'no_video', 'bad_huge.mkv': 'too_many_pixels', 'bad_mjpeg.avi': 'unsupported_codec', 'bad_hdr.mkv': 'hdr',
  'bad_gap.mp4': 'timestamps', 'bad_long.mp4': 'too_long', 'bad_empty.mp4': 'truncated', 'bad_random.mp4': 'unsupported_container',
  'bad_moov.mp4': 'truncated', 'bad_cut.mp4': 'truncated', 'bad_playlist.mp4': 'unsupported_container',
  'bad_concat.mp4': 'unsupported_container',
};

function child(kind, clip, out) {
  const longest = path.basename(clip) === 'bad_long.mp4' ? 600 : 43200;
  const job = `id=spec\ntitle_secret=${secret.toString('hex')}\nmax_duration_s=${longest}\next=${path.extname(clip).slice(1)}\n\n`;
  const input = fs.openSync(clip, 'r');
  const stdio = ['pipe', 'pipe', 'pipe', input];
  if (out) stdio.push(fs.openSync(out, 'r'));
  const p = spawnSync(ppv, ['media', kind], { input: job, stdio, maxBuffer: 1 << 26, timeout: 300_000 });
  stdio.slice(3).forEach(fd => fs.closeSync(fd));
  const lines = p.stdout.toString().trim().split('\n').filter(Boolean).map(l => JSON.parse(l));
  return { code: p.status, signal: p.signal, last: lines.at(-1) ?? {}, lines, log: p.stderr.toString() };
}

function decrypt(dir, track, n) {
  const s = track.segments[n];
  const key = Buffer.from(hkdfSync('sha256', secret, '', `v1|${track.name}|a|${n}`, 16));
  const data = fs.readFileSync(path.join(dir, s.name));
  if (data.length !== s.size) throw new Error(`${s.name}: size`);
  const d = createDecipheriv('aes-128-cbc', key, Buffer.from(s.iv, 'hex'));
  return Buffer.concat([d.update(data), d.final()]);
}

const near = (a, b, by) => Math.abs(a - b) <= by;

function* trackFaults(dir, index, track) {
  const file = path.join(tmp, 'plain.mp4');
  const video = !!track.w, step = index.fps_den / index.fps_num;
  fs.writeFileSync(file, Buffer.concat([fs.readFileSync(path.join(dir, track.init)), ...track.segments.map((_, n) => decrypt(dir, track, n))]));
  const dec = spawnSync('ffmpeg', ['-nostdin', '-v', 'warning', '-xerror', '-i', file, '-f', 'null', '-']);
  if (dec.status || dec.stderr.length) yield `does not decode cleanly: ${dec.stderr.toString().slice(0, 200)}`;
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

function* titleFaults(dir) {
  const index = JSON.parse(fs.readFileSync(path.join(dir, 'index.json')));
  const names = new Set(['index.json', index.poster, ...index.posters]);
  const counts = new Set(index.renditions.map(r => r.segments.length));
  if (counts.size !== 1) yield 'renditions have different segment counts';
  for (const track of [...index.renditions, ...index.audio]) {
    names.add(track.init);
    track.segments.forEach(s => names.add(s.name));
    for (const f of trackFaults(dir, index, track)) yield `${track.name}: ${f}`;
  }
  const stray = fs.readdirSync(dir).filter(n => !names.has(n));
  if (stray.length || [...names].some(n => !fs.existsSync(path.join(dir, n)))) yield `files differ from the index: ${stray}`;
}

function check(clip) {
  const name = path.basename(clip), out = path.join(tmp, 'out');
  fs.rmSync(out, { recursive: true, force: true });
  fs.mkdirSync(out);
  const r = child('ingest', clip, out);
  const want = refused[name];
  if (r.signal) return [`died of ${r.signal}: ${r.log}`];
  if (want) {
    if (r.code !== 1 || r.last.error?.code !== `media.${want}`) return [`wanted media.${want}, got ${JSON.stringify(r.last).slice(0, 200)}`];
    return fs.existsSync(path.join(out, 'index.json')) ? ['an index in spite of the error'] : [];
  }
  if (r.code !== 0 || !r.last.result) return [`failed: ${JSON.stringify(r.last)} ${r.log}`];
  return [...titleFaults(out)];
}

let clips = process.argv.slice(2);
if (!clips.length) {
  execFileSync('sh', [path.join(root, 'spec/support/samples.sh'), samples], { stdio: 'inherit' });
  clips = fs.readdirSync(samples).filter(n => !n.startsWith('part.')).map(n => path.join(samples, n));
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
