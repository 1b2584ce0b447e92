// SPDX-License-Identifier: Apache-2.0
// What the media specs share: the child as the engine starts it, and the way back from its output to plain files.
import { spawnSync } from 'node:child_process';
import { hkdfSync, createDecipheriv } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

export { make_samples, samples } from '../support/samples.mjs';

export const root = path.resolve(path.dirname(new URL(import.meta.url).pathname), '../..');
export const ppv = path.resolve(process.env.PPV ?? path.join(root, 'build/ppv'));
/** Where ingest.mjs leaves what it made of each sample for sources.mjs of the same run; undefined: nobody shares. */
export const made = process.env.MADE;
export const secret = Buffer.from([...Array(32).keys()]);

/** Runs the child on a clip. out: directory for what it makes (ingest, still). */
export function child(kind, clip, out, more = {}) {
  const job = Object.entries({ id: 'spec', title_secret: secret.toString('hex'), ext: path.extname(clip).slice(1), ...more })
    .map(([k, v]) => `${k}=${v}\n`).join('') + '\n';
  const input = fs.openSync(clip, 'r');
  const stdio = ['pipe', 'pipe', 'pipe', input];
  if (out) stdio.push(fs.openSync(out, 'r'));
  const p = spawnSync(ppv, ['media', kind], { input: job, stdio, maxBuffer: 1 << 26, timeout: 900000 });
  stdio.slice(3).forEach(fd => fs.closeSync(fd));
  const lines = p.stdout.toString().trim().split('\n').filter(Boolean).map(l => JSON.parse(l));
  return { code: p.status, signal: p.signal, last: lines.at(-1) ?? {}, lines, log: p.stderr.toString() };
}

export function decrypt(dir, track, n, variant = 'a') {
  const s = (variant === 'a' ? track.segments : track.segments_b)[n];
  const key = Buffer.from(hkdfSync('sha256', secret, '', `v1|${track.name}|${variant}|${n}`, 16));
  const data = fs.readFileSync(path.join(dir, s.name));
  if (data.length !== s.size) throw new Error(`${s.name}: size`);
  const d = createDecipheriv('aes-128-cbc', key, Buffer.from(s.iv, 'hex'));
  return Buffer.concat([d.update(data), d.final()]);
}

/** Writes a rendition as one playable file. */
export function plain(dir, track, file, variant = 'a') {
  fs.writeFileSync(file, Buffer.concat([fs.readFileSync(path.join(dir, track.init)), ...track.segments.map((_, n) => decrypt(dir, track, n, variant))]));
  return file;
}
