// SPDX-License-Identifier: Apache-2.0
// An encode that is killed goes on where it was: nothing that was finished is done again, and the film is whole.
//   node spec/media/resume.mjs
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { child, make_samples, plain, ppv, samples, secret } from './lib.mjs';

const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'ppv-resume-')), out = path.join(tmp, 'out'), journal = path.join(out, 'journal');
make_samples('landscape.mp4', 'tiny.mp4');
const clip = path.join(samples, 'landscape.mp4'), job = { max_height: 360, cores: 1 };
let passed = 0, failed = 0, cores = '';
const check = (name, good, why = '') => { if (good) passed++; else { failed++; console.log(`not ok - ${name}: ${why}`); } };
const sum = file => createHash('sha256').update(fs.readFileSync(file)).digest('hex');
const show = x => JSON.stringify(x).slice(0, 300);
const lines = () => fs.existsSync(journal) ? fs.readFileSync(journal, 'utf8').split('\n').slice(1, -1).map(l => l.split(' ')) : [];
const segments = () => lines().filter(l => l[0] === 'seg');

/** Starts the child and kills it when the journal has grown by `more` segments. */
async function killed(more) {
  const from = segments().length, input = fs.openSync(clip, 'r'), dir = fs.openSync(out, 'r');
  const p = spawn(ppv, ['media', 'ingest'], { stdio: ['pipe', 'ignore', 'ignore', input, dir] });
  p.stdin.end(Object.entries({ id: 'spec', title_secret: secret.toString('hex'), ext: 'mp4', ...job }).map(([k, v]) => `${k}=${v}\n`).join('') + '\n');
  const ended = new Promise(resolve => p.on('exit', (code, signal) => resolve(signal)));
  const watch = fs.watch(out, () => {
    if (segments().length < from + more) return;
    try { cores = /Cpus_allowed_list:\s*(\S+)/.exec(fs.readFileSync(`/proc/${p.pid}/status`, 'utf8'))[1]; } catch { /* it is gone already */ }
    p.kill('SIGKILL');
  });
  const signal = await ended;
  watch.close();
  fs.closeSync(input);
  fs.closeSync(dir);
  return signal;
}

function decodes(index, track, variant) {
  const file = plain(out, track, path.join(tmp, 'plain.mp4'), variant);
  const r = spawnSync('ffmpeg', ['-nostdin', '-v', 'warning', '-xerror', '-i', file, '-f', 'null', '-']);
  const frames = Number(execFileSync('ffprobe', ['-v', 'error', '-count_packets', '-show_entries', 'stream=nb_read_packets', '-of', 'csv=p=0', file]));
  const want = track.w ? Math.round(index.duration * index.fps) : Math.ceil(index.duration * 48000 / 1024);
  return r.status === 0 && !r.stderr.length && frames === want ? '' : `${frames} frames of ${want} ${r.stderr.toString().slice(0, 200)}`;
}

fs.mkdirSync(out);
check('killed in the middle', await killed(6) === 'SIGKILL');
check('it kept to one core', /^\d+$/.test(cores), cores);
const first = lines();
check('some segments were finished, not all', segments().length >= 6 && !fs.existsSync(path.join(out, 'index.json')), String(first.length));
check('killed a second time', await killed(4) === 'SIGKILL');
const second = lines();
check('what the first attempt finished in pairs is still in the journal', second.length > first.length - 6 && second.length > 8, `${first.length} -> ${second.length}`);
// One finished segment is damaged on the disk: it and what follows in its rendition is done again, the rest is kept.
const hurt = second.filter(l => l[0] === 'seg' && l[1] === 'ref').at(-1);
fs.truncateSync(path.join(out, hurt[4]), 100);

const r = child('ingest', clip, out, job);
check('the third attempt ends well', !!r.last.result, JSON.stringify(r.last) + r.log);
check('it said how much time is left', r.lines.some(l => l.stage === 'encode' && l.eta_s > 0), show(r.lines));
const index = JSON.parse(fs.readFileSync(path.join(out, 'index.json')));
const tracks = [...index.renditions, index.reference, ...index.audio];
const files = new Set(tracks.flatMap(t => [...t.segments, ...t.segments_b ?? []].map(s => s.name)));
const usable = l => second.some(m => m[0] === 'seg' && m[1] === l[1] && m[3] === l[3] && m[2] !== l[2]) || !/^\d/.test(l[1]);
const finished = second.filter(l => l[0] === 'seg' && l[4] !== hurt[4] && usable(l));
const lost = finished.filter(l => !files.has(l[4]));
check('every finished segment is part of the film', lost.length === 0, `${lost.length} of ${finished.length}: ${lost.map(l => l.slice(1, 4))}`);
check('the damaged one is not', !files.has(hurt[4]));
const { kept, encoded } = r.last.result;
check('only the rest was encoded', kept === finished.length && kept + encoded === files.size, `${kept} kept of ${finished.length}, ${encoded} encoded, ${files.size} in all`);
check('every init segment is in its place', tracks.every(t => fs.existsSync(path.join(out, t.init))));
const sums = fs.readFileSync(path.join(out, 'SHA256SUMS'), 'utf8').trim().split('\n').map(l => l.split('  '));
check('the checksums are right', sums.every(([want, name]) => sum(path.join(out, name)) === want));
check('and complete', JSON.stringify(sums.map(l => l[1]).concat('SHA256SUMS').sort()) === JSON.stringify(fs.readdirSync(out).sort()), fs.readdirSync(out).length);
for (const t of tracks)
  for (const v of t.segments_b ? ['a', 'b'] : ['a']) {
    const fault = decodes(index, t, v);
    check(`${t.name} ${v} decodes to its end`, !fault, fault);
  }
// The grid: as if it had been encoded in one go.
check('segments lie on the grid', tracks.filter(t => t.w).every(t => t.segments.every((s, i) => s.dur === 2 || i === t.segments.length - 1)));

// Another job in the same directory starts anew.
fs.writeFileSync(journal, 'ppv-journal 1 ' + '0'.repeat(64) + '\n' + first.map(l => l.join(' ')).join('\n') + '\n');
const other = child('ingest', path.join(samples, 'tiny.mp4'), out, job);
check('another film keeps nothing', other.last.result?.kept === 0 && !fs.readdirSync(out).some(f => files.has(f)), JSON.stringify(other.last));

fs.rmSync(tmp, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
