// SPDX-License-Identifier: Apache-2.0
// The invisible mark in figures: visibility, size, flicker at segment borders, and how well it is found again.
//   node bench/mark.mjs CLIP [STRENGTH...]      PPV = program, MARK = bench/mark.c built (bench/mark.sh does both)
// The clip has a constant frame rate of at most 60. Per strength, all of the 480 rendition (or the largest one):
//   alone    SSIM-Y and PSNR-Y of the marked picture before encoding, against the picture
//   bytes    of variants a and b against the encode without a mark
//   loss     SSIM-Y against the picture: variant a minus the encode without a mark
//   border   mean luma difference between the last picture of a segment and the first of the next, against unmarked: a after a, and
//            the mean of b after a and a after b, which is what a viewer sees half of the time
//   z        <grid, residual> / |residual| over 880 cells of a segment, against the unmarked picture: served, and after a re-encode at
//            CRF 28 in 360 lines; mean, worst, and the share of wrong signs. Without a mark it has mean 0 and deviation 1.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHmac, hkdfSync } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { child, plain, secret } from '../spec/media/lib.mjs';

const [clip, ...strengths] = process.argv.slice(2);
const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'ppv-mark-'));
const GB = 1 << 30;
const key = Buffer.from(hkdfSync('sha256', secret, '', 'v1|pattern', 32));

function grid(segment) {
  const macs = [0, 1, 2, 3].map(b => createHmac('sha256', key).update(`${segment}|${b}`).digest());
  return Float64Array.from({ length: 880 }, (_, c) => macs[c >> 8][c % 256 >> 3] >> c % 8 & 1 ? 1 : -1);
}

function ingest(strength) {
  const dir = fs.mkdtempSync(path.join(tmp, 'out-'));
  const r = child('ingest', clip, dir, { strength });
  if (!r.last.result) throw new Error(JSON.stringify(r.last) + r.log);
  const index = JSON.parse(fs.readFileSync(path.join(dir, 'index.json')));
  const track = index.renditions.find(x => x.name === '480') ?? index.renditions.at(-1);
  const gop = Math.round(index.segment_s * index.fps_num / index.fps_den);
  return { dir, track, gop, a: plain(dir, track, path.join(dir, 'a.mp4')), b: track.segments_b && plain(dir, track, path.join(dir, 'b.mp4'), 'b') };
}

const ff = (...args) => execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-y', ...args], { maxBuffer: 4 * GB });
const size = t => `scale=${t.w}:${t.h}:flags=bicubic`;

/** Luma of every picture at the size of t. */
function gray(file, t) {
  const raw = ff('-i', file, '-vf', size(t), '-pix_fmt', 'yuv420p', '-f', 'rawvideo', '-');
  const n = t.w * t.h;
  return Array.from({ length: Math.floor(raw.length / n / 1.5) }, (_, i) => raw.subarray(i * n * 1.5, i * n * 1.5 + n));
}

function border(frames, gop, next = frames) {
  let sum = 0, n = 0;
  for (let k = gop; k < frames.length; k += gop) {
    const p = frames[k - 1], q = next[k];
    for (let i = 0; i < p.length; i++) sum += Math.abs(p[i] - q[i]);
    n += p.length;
  }
  return sum / n;
}

/** The plain detector: mean residual per cell over a segment, local mean taken away, outliers clipped. */
function scores(frames, ref, t, gop) {
  const [cols, rows] = t.w >= t.h ? [40, 22] : [22, 40], out = [];
  const cell = new Int32Array(t.w * t.h);
  for (let y = 0; y < t.h; y++) for (let x = 0; x < t.w; x++) cell[y * t.w + x] = (y * rows / t.h | 0) * cols + (x * cols / t.w | 0);
  for (let s = 0; (s + 1) * gop <= Math.min(frames.length, ref.length); s++) {
    const b = new Float64Array(880);
    for (let k = s * gop; k < (s + 1) * gop; k += 2)
      for (let i = 0; i < cell.length; i++) b[cell[i]] += Math.max(-6, Math.min(6, frames[k][i] - ref[k][i]));
    const flat = b.map((v, c) => {
      const x = c % cols, y = c / cols | 0;
      let m = 0, n = 0;
      for (let j = Math.max(0, y - 2); j <= Math.min(rows - 1, y + 2); j++)
        for (let i = Math.max(0, x - 2); i <= Math.min(cols - 1, x + 2); i++) { m += b[j * cols + i]; n++; }
      return v - m / n;
    });
    const limit = 3 * Array.from(flat, Math.abs).sort((p, q) => p - q)[440];
    const g = grid(s);
    let dot = 0, norm = 1e-9;
    flat.forEach((v, c) => { const w = Math.max(-limit, Math.min(limit, v)); dot += w * g[c]; norm += w * w; });
    out.push(dot / Math.sqrt(norm));
  }
  return out;
}
const tell = z =>
  `${(z.reduce((a, b) => a + b, 0) / z.length).toFixed(1)} (worst ${Math.min(...z).toFixed(1)}, wrong ${z.filter(v => v < 0).length}/${z.length})`;

const bare = ingest(0), t = bare.track;
const source = path.join(tmp, 'source.yuv');
ff('-i', clip, '-vf', size(t), '-vsync', 'passthrough', '-pix_fmt', 'yuv420p', '-f', 'rawvideo', source);
const raw = f => ['-f', 'rawvideo', '-pix_fmt', 'yuv420p', '-s', `${t.w}x${t.h}`, '-i', f];
/** SSIM-Y and PSNR-Y of two inputs (arguments of ffmpeg). */
const like = (a, b) => {
  const run = f => spawnSync('ffmpeg', ['-nostdin', ...a, ...b, '-lavfi', `[0:v]settb=1/25,setpts=N[x];[1:v]settb=1/25,setpts=N[y];[x][y]${f}`, '-f', 'null', '-'],
    { maxBuffer: GB }).stderr.toString();
  return { ssim: +/SSIM Y:([\d.]+)/.exec(run('ssim'))[1], psnr: +(/PSNR y:([\d.]+)/.exec(run('psnr'))?.[1] ?? Infinity) };
};

const ref = gray(bare.a, t), bareLike = like(['-i', bare.a], raw(source)), bareBorder = border(ref, bare.gop);
const leak = path.join(tmp, 'leak.mp4');
const attack = file => ff('-i', file, '-vf', 'scale=-2:360', '-c:v', 'libx264', '-preset', 'superfast', '-crf', '28', leak);
attack(bare.a);
console.log(`${path.basename(clip)}  ${t.w}x${t.h}, ${ref.length} pictures; unmarked: ${t.bytes} bytes, SSIM-Y ${bareLike.ssim.toFixed(5)}, border ` +
  `${bareBorder.toFixed(3)}, z ${tell(scores(gray(leak, t), ref, t, bare.gop))}`);
for (const s of strengths.length ? strengths : ['0.75', '0.95', '1.1']) {
  const m = ingest(s), marked = path.join(tmp, 'marked.yuv');
  const draw = spawnSync(process.env.MARK, [t.w, t.h, m.gop, s, 'a'].map(String), { input: fs.readFileSync(source), maxBuffer: 4 * GB });
  fs.writeFileSync(marked, draw.stdout);
  const alone = like(raw(marked), raw(source)), coded = like(['-i', m.a], raw(source)), frames = gray(m.a, t), other = gray(m.b, t);
  const bytes = v => m.track[v].reduce((n, x) => n + x.size, 0) / t.segments.reduce((n, x) => n + x.size, 0) - 1;
  attack(m.a);
  console.log(`strength ${s}  alone SSIM-Y ${alone.ssim.toFixed(5)} PSNR-Y ${alone.psnr.toFixed(1)}  bytes ${(100 * bytes('segments')).toFixed(2)} %` +
    `  loss ${(coded.ssim - bareLike.ssim).toFixed(5)}  border ${(border(frames, m.gop) / bareBorder).toFixed(4)}, mixed ${((border(frames, m.gop, other) + border(other, m.gop, frames)) / 2 / bareBorder).toFixed(4)}` +
    `  z ${tell(scores(frames, ref, t, m.gop))}, leak ${tell(scores(gray(leak, t), ref, t, m.gop))}  draw ${draw.stderr.toString().trim()} us`);
  fs.rmSync(m.dir, { recursive: true });
}
fs.rmSync(tmp, { recursive: true });
