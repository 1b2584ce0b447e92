// SPDX-License-Identifier: Apache-2.0
// What makes sources differ, looked at in the output: every sound, every kind of picture.
//   node spec/media/sources.mjs [WORD]      only the checks whose names hold WORD
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { child, make_samples, made, plain, samples } from './lib.mjs';

const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'ppv-sources-'));
make_samples();

/** Ingests a sample; the index with the directory as `dir`. */
function ingest(name, more) {
  const there = made && path.join(made, name);
  if (there && !more && fs.existsSync(there)) return { ...JSON.parse(fs.readFileSync(path.join(there, 'index.json'))), dir: there };
  const dir = fs.mkdtempSync(path.join(tmp, 'out-'));
  const r = child('ingest', path.join(samples, name), dir, more);
  if (!r.last.result) throw new Error(`${name}: ${JSON.stringify(r.last)} ${r.log}`);
  return { ...JSON.parse(fs.readFileSync(path.join(dir, 'index.json'))), dir };
}

const same = (got, want, what) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: ${JSON.stringify(got)} instead of ${JSON.stringify(want)}`);
};

/** Samples of a sound track between two moments, mono. */
function sound(x, track, from, to) {
  const file = plain(x.dir, track, path.join(tmp, 'sound.mp4'));
  const raw = execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-i', file, '-af', `atrim=${from}:${to}`, '-ac', '1', '-ar', '48000', '-f', 'f32le', '-'],
    { maxBuffer: 1 << 28 });
  return new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
}

/** Share of the energy that is at a frequency. */
function share(s, hz) {
  let re = 0, im = 0, all = 0;
  s.forEach((v, i) => { re += v * Math.cos(2 * Math.PI * hz * i / 48000); im += v * Math.sin(2 * Math.PI * hz * i / 48000); all += v * v; });
  return 2 * (re * re + im * im) / (s.length * all);
}

/** One frame of the largest rendition as rgb24 at 64x36. */
function picture(x) {
  const file = plain(x.dir, x.renditions.at(-1), path.join(tmp, 'picture.mp4'));
  return execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-i', file, '-frames:v', '1', '-vf', 'scale=64:36:flags=area', '-pix_fmt', 'rgb24', '-f', 'rawvideo', '-']);
}

const checks = {
  'HDR becomes the SDR picture it was made of'() {
    // The bars' full colours lie on the edge of BT.709, where the table rounds inwards; the grey bar has no such excuse.
    const want = picture(ingest('hdr_as_sdr.mp4'));
    for (const [name, most] of [['hdr_pq203.mkv', 13], ['hdr_pq.mkv', 14], ['hdr_hlg.mkv', 19]]) {
      const x = ingest(name), got = picture(x);
      const off = got.reduce((a, v, i) => a + Math.abs(v - want[i]), 0) / want.length;
      if (!(off < most)) throw new Error(`${name}: ${off} levels off on average`);
      const grey = (5 * 64 + 3) * 3;
      for (let i = grey; i < grey + 3; i++)
        if (Math.abs(got[i] - want[i]) > 6) throw new Error(`${name}: grey is ${got.subarray(grey, grey + 3).join()}`);
      same(x.renditions.every(r => r.codecs.startsWith('avc1.64')), true, 'codecs');
    }
  },
  'every sound becomes a rendition in stereo with its language and name'() {
    const x = ingest('sounds.mkv');
    same(x.audio.map(a => [a.name, a.language, a.label, a.default, a.channels]),
      [['audio', 'de', '', false, 2], ['audio_2', 'en', 'Original mix', true, 2], ['audio_3', '', '', false, 2]], 'tracks');
    [330, 660, 990].forEach((hz, i) => {
      const part = share(sound(x, x.audio[i], 0.5, 1.5), hz);
      if (!(part > 0.98)) throw new Error(`${x.audio[i].name}: ${part} of it is at ${hz} Hz`);
    });
    same(new Set(x.audio.map(a => a.segment_count)).size, 1, 'segment counts');
    const rest = Math.max(...sound(x, x.audio[2], 2.5, 3.5).map(Math.abs));
    if (rest > 1e-3) throw new Error(`the short sound does not end in silence: ${rest}`);
  },
  'text subtitles leave with their languages, on the film\'s own clock'() {
    const cues = (x, n) => JSON.parse(fs.readFileSync(path.join(x.dir, x.subtitles[n].file)));
    const x = ingest('subs.mkv');
    same(x.subtitles.map(t => [t.codec, t.language, t.label, t.default, t.forced, t.cues]), [['subrip', 'de', '', false, false, 2],
      ['ass', 'fr', 'Pour tous', true, false, 2], ['webvtt', '', '', false, false, 2]], 'tracks');
    for (const n of [0, 1, 2]) same(cues(x, n).map(c => c.slice(0, 2)), [[500, 1500], [2000, 3000]], `times of ${n}`);
    same(cues(x, 0)[0][2], '<i>Guten</i> <b>Tag</b>\nzweite Zeile', 'SubRip');
    same(cues(x, 1)[0][2], '0,0,Default,,0,0,0,,{\\pos(1,2)}{\\i1}Bonjour{\\i0}, toi\\Nligne deux', 'ASS');
    const m = ingest('subs.mp4');
    same(m.subtitles.map(t => [t.codec, t.language, t.cues]), [['mov_text', 'de', 2]], 'tracks of mp4');
    same(cues(m, 0)[0], [500, 1500, 'Guten Tag\nzweite Zeile'], 'mov_text');
    same(ingest('silent.mp4').subtitles, [], 'none');
  },
  'the storyboard has a tile for each segment, in the film\'s shape and order'() {
    const x = ingest('landscape.mp4'), b = x.storyboard;
    same([b.w, b.h, b.count, b.interval, b.sheets.length], [160, 90, 6, 2, 1], 'storyboard');
    same(/^[0-9a-f]{32}\.jpg$/.test(b.sheets[0]), true, 'an opaque name');
    const sheet = path.join(x.dir, b.sheets[0]);
    same(execFileSync('ffprobe', ['-v', 'error', '-show_entries', 'stream=width,height', '-of', 'csv=p=0', sheet]).toString().trim(), '960,90', 'size');
    // Each tile against the source at its moment.
    const rgb = (...args) => execFileSync('ffmpeg', ['-nostdin', '-v', 'error', ...args, '-frames:v', '1', '-pix_fmt', 'rgb24', '-f', 'rawvideo', '-']);
    const off = (p, q) => p.reduce((a, v, i) => a + Math.abs(v - q[i]), 0) / p.length;
    const tiles = [0, 1, 2, 3, 4, 5].map(i => rgb('-i', sheet, '-vf', `crop=160:90:${i * 160}:0,scale=40:22:flags=area`));
    const source = [0, 1, 2, 3, 4, 5].map(i => rgb('-ss', String(2 * i), '-i', path.join(samples, 'landscape.mp4'), '-vf', 'scale=40:22:flags=area'));
    tiles.forEach((t, i) => same(source.map(s => off(t, s)).reduce((best, v, k, all) => (v < all[best] ? k : best), 0), i, `tile ${i} shows`));
    const p = ingest('portrait.mp4').storyboard;
    same([p.w, p.h], [90, 160], 'portrait');
  },
  'interlaced pictures become whole ones, whichever field is first'() {
    // Against the same motion in whole pictures: mean difference of luma. A wrong field order or weaving leaves combs at every moving edge.
    const raw = (file, vf) => execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-i', file, '-vf', vf + 'format=gray', '-f', 'rawvideo', '-'], { maxBuffer: 1 << 28 });
    const off = (a, b) => { let s = 0; const n = Math.min(a.length, b.length); for (let i = 0; i < n; i++) s += Math.abs(a[i] - b[i]); return s / n; };
    const want = raw(path.join(samples, 'fields_none.mkv'), '');
    for (const name of ['fields_top.mkv', 'fields_bottom.mkv']) {
      const x = ingest(name, { strength: 0 }), got = raw(plain(x.dir, x.renditions.at(-1), path.join(tmp, 'fields.mp4')), '');
      const woven = raw(path.join(samples, name), '');
      const reference = raw(path.join(samples, name), 'yadif=mode=send_frame,');
      const mine = off(got, want), combs = off(woven, want), theirs = off(reference, want);
      console.log(`# ${name}: ${mine.toFixed(2)} off, combed ${combs.toFixed(2)}, yadif ${theirs.toFixed(2)}`);
      if (!(mine < combs * 0.8 && mine < theirs * 1.15 + 0.5)) throw new Error(`${name}: ${mine} off; combed ${combs}, yadif ${theirs}`);
    }
  },
  'a picture that changes its shape keeps its proportions between black bars'() {
    const x = ingest('shapes.ts', { strength: 0 }), r = x.renditions.at(-1), file = plain(x.dir, r, path.join(tmp, 'shapes.mp4'));
    same([r.w, r.h], [640, 360], 'size');
    const row = (t) => execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-ss', String(t), '-i', file, '-frames:v', '1', '-vf', 'crop=640:2:0:180,format=gray', '-f', 'rawvideo', '-']).subarray(0, 640);
    const dark = (line) => line.findIndex(v => v > 40);
    same(dark(row(1)), 0, 'the first shape fills the picture');
    const bar = dark(row(3));
    if (!(Math.abs(bar - 80) <= 2)) throw new Error(`bars of ${bar}`);
  },
  'chapters leave with their moments and clean titles'() {
    for (const name of ['chapters.mp4', 'chapters.mkv']) {
      const found = ingest(name).chapters;
      same(found.map(c => c[1]).slice(0, 2), ['The start', 'bÜber/b zwei'], `titles of ${name}`);
      if (!found.every((c, i) => Math.abs(c[0] - [0, 1500, 3000][i]) <= 45) || found.length !== 3) throw new Error(`${name}: ${JSON.stringify(found)}`);
    }
    same(ingest('silent.mp4').chapters, [], 'none');
  },
  'a hardware encoder that is not there, or not allowed, is software with a reason'() {
    const first = child('ingest', path.join(samples, 'tiny.mp4'), fs.mkdtempSync(path.join(tmp, 'hw-')), { encoder: 'auto', strength: 0 }).last.result;
    const marked = child('ingest', path.join(samples, 'tiny.mp4'), fs.mkdtempSync(path.join(tmp, 'hw-')), { encoder: 'h264_nvenc' }).last.result;
    // Where there is a device, it has to have been used.
    if (first.encoder === 'libx264') same(first.fallback, 'no hardware encoder (auto) works on this machine', 'reason');
    else same([/^h264_/.test(first.encoder), first.fallback], [true, undefined], 'device');
    same([marked.encoder, marked.fallback], ['libx264', 'films with an invisible mark are encoded in software'], 'a marked film');
    same(child('ingest', path.join(samples, 'tiny.mp4'), fs.mkdtempSync(path.join(tmp, 'hw-')), { encoder: '../x' }).last.error.code, 'media.bad_job', 'a bad name');
  },
  'a silent film has no sound'() {
    same(ingest('silent.mp4').audio, [], 'tracks');
  },
};

let passed = 0, failed = 0;
for (const [name, run] of Object.entries(checks)) {
  if (process.argv[2] && !name.includes(process.argv[2])) continue;
  try { run(); passed++; } catch (e) { failed++; console.log(`not ok - ${name}: ${e.message}`); }
}
fs.rmSync(tmp, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
