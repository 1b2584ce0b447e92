// SPDX-License-Identifier: Apache-2.0
// Every file ends playable or with a clear reason, within its limits, and the sandboxed child opens nothing and talks to nobody: clips of
// every container and codec, real clips, files made by hand and mutants, each through probe and ingest under strace.
//   node spec/media/corpus.mjs           a seeded sample (SEED=, SAMPLE=files of each kind)
//   WHOLE=1 node spec/media/corpus.mjs   all of it; bench/corpus/run.sh does that with more clips (CLIPS=dir:dir) and prints a table
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { make_samples, plain, ppv as built, root, samples, secret } from './lib.mjs';
import { craft, mutants, seeded } from '../support/hostile.mjs';

const WHOLE = process.env.WHOLE === '1', SAMPLE = Number(process.env.SAMPLE ?? 5), SEED = Number(process.env.SEED ?? Date.now() % 1e6);
const JOBS = Number(process.env.JOBS ?? 2), MUTANTS = Number(process.env.MUTANTS ?? 520);
// What domain/mediaq.c gives a child.
const LIMIT = { as: 4 * 2 ** 30, fsize: 2 * 2 ** 30, nofile: 64, nproc: 256, cpu: d => 60 + 30 * d, wall: 3 };
const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'ppv-corpus-'));
fs.chmodSync(tmp, 0o711);
const ppv = path.join(tmp, 'ppv');
fs.copyFileSync(built, ppv);
const is_root = process.getuid() === 0, ids = is_root ? ['uid', 'gid'].map((_, i) => Number(fs.readFileSync('/etc/passwd', 'utf8').match(/^nobody:.*$/m)[0].split(':')[2 + i])) : null;

/** One child as the engine starts it. dirs: output directory of an ingest. */
function media(kind, file, out, duration, cpu = kind === 'probe' ? 60 : Math.ceil(LIMIT.cpu(duration))) {
  const log = path.join(tmp, `log${Math.random()}`);
  const input = fs.openSync(file, 'r'), dir = out ? fs.openSync(out, 'r') : fs.openSync('/dev/null', 'r');
  if (out && is_root) fs.fchownSync(dir, ...ids);
  const p = spawn('strace', ['-f', '-qq', '-s', '300', '-o', log, '-e', 'trace=%file,%network,seccomp,clone,fork,vfork,execve,execveat,ptrace,io_uring_setup', ...(is_root ? ['-u', 'nobody'] : []),
    'prlimit', `--as=${LIMIT.as}`, `--cpu=${cpu}:${cpu + 5}`, `--fsize=${LIMIT.fsize}`, `--nofile=${LIMIT.nofile}`, ...(is_root ? [`--nproc=${LIMIT.nproc}`] : []), '--core=0', ppv, 'media', kind],
  { stdio: ['pipe', 'pipe', 'pipe', input, dir] });
  fs.closeSync(input);
  fs.closeSync(dir);
  return new Promise(done => {
    const r = { stdout: '', stderr: '' }, began = performance.now();
    const timer = setTimeout(() => { r.late = true; p.kill('SIGKILL'); }, Math.max(60, cpu) * LIMIT.wall * 1000);
    p.stdout.on('data', d => { r.stdout += d; });
    p.stderr.on('data', d => { r.stderr += d; });
    p.stdin.on('error', () => {});
    p.stdin.end(`id=corpus\n${out ? `title_secret=${secret.toString('hex')}\n` : ''}ext=${path.extname(file).slice(1)}\n\n`);
    p.on('close', (code, signal) => {
      clearTimeout(timer);
      let last = {};
      try { last = JSON.parse(r.stdout.trim().split('\n').at(-1)); } catch { /* it died without a word */ }
      const [, s, mib] = /took ([\d.]+) s of computing time and (\d+) MiB/.exec(r.stderr) ?? [];
      done({ ...r, code, signal, last, cpu: Number(s), mib: Number(mib), wall: (performance.now() - began) / 1000, calls: fs.readFileSync(log, 'utf8') });
      fs.rmSync(log);
    });
  });
}

/** What the child did behind the closed sandbox and must not be able to. tries: what it was refused. */
function trespasses(calls, ingest, tries) {
  const lines = calls.split('\n'), closed = lines.findLastIndex(l => /seccomp\(SECCOMP_SET_MODE_FILTER.*= 0$/.test(l)), out = [];
  if (closed < 0) return ['the sandbox was never closed'];
  const mine = ingest ? /^\d+ +(openat\(4, "[\w.]+", O_WRONLY\|O_CREAT\|O_EXCL[|\w]*, 0\d+\)|renameat2?\(4, "[\w.]+", 4, "[\w.]+"(, \w+)?\)|unlinkat\(4, "[\w.]+", 0\)) += \d+$/ : /^$/;
  const harmless = /^\d+ +(\+\+\+|---|<\.\.\.|clone\(.*CLONE_THREAD|(new)?fstat(at)?\(\d)|resumed>|unfinished/;
  for (const l of lines.slice(closed + 1)) {
    if (!l || mine.test(l) || harmless.test(l)) continue;
    const call = /^\d+ +(\w+)\((.{0,60})/.exec(l);
    const what = `${call?.[1]}(${call?.[2].replace(/\d+/g, 'N')}`;
    if (/= -1 E|= \? /.test(l)) tries.set(what, (tries.get(what) ?? 0) + 1);
    else out.push(l.slice(0, 160));
  }
  for (const l of lines.slice(0, closed)) if (/\b(socket|connect|bind|sendto|sendmsg)\(/.test(l)) out.push('before the sandbox: ' + l.slice(0, 120));
  return out;
}

/** Decodes the smallest rendition and all sound; what is wrong with them. */
function unplayable(out, work) {
  const x = JSON.parse(fs.readFileSync(path.join(out, 'index.json'))), tracks = [x.renditions[0], ...x.audio], args = [];
  tracks.forEach((t, i) => args.push('-i', plain(out, t, path.join(work, `t${i}.mp4`))));
  const map = tracks.flatMap((_, i) => ['-map', String(i)]);
  try {
    const said = execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-xerror', ...args, ...map, '-f', 'null', '-'], { stdio: ['ignore', 'pipe', 'pipe'], timeout: 900000 }).toString();
    return said.trim();
  } catch (e) { return String(e.stderr).slice(0, 200) || e.message; }
}

const FORBIDDEN = /^(playlist|concat|dash|session|picture|forbidden|packed|entry_too_wide|other_file)|^thousand_tracks\.m/;
const is_reason = m => /^[A-Z].{8,}[.!]$/.test(m ?? '') && !/\/(tmp|home|usr|etc|proc)\b|\.c:|errno|AVERROR|0x|nil|NaN/i.test(m);
const size_of = dir => fs.readdirSync(dir).reduce((n, f) => n + fs.statSync(path.join(dir, f)).size, 0);

async function judge(kind, file, tries) {
  const work = fs.mkdtempSync(path.join(tmp, 'w-')), out = path.join(work, 'out');
  fs.chmodSync(work, 0o711);
  fs.mkdirSync(out);
  const row = { kind, file: path.basename(file), faults: [], cpu: 0, mib: 0, wall: 0, bytes: 0, in: fs.statSync(file).size };
  const runs = [await media('probe', file, null, 0)];
  if (runs[0].last.result) runs.push(await media('ingest', file, out, runs[0].last.result.duration + 1));
  for (const [i, r] of runs.entries()) {
    row.cpu = Math.max(row.cpu, r.cpu || 0);
    row.mib = Math.max(row.mib, r.mib || 0);
    row.wall += r.wall;
    row.faults.push(...trespasses(r.calls, i === 1, tries).map(t => 'trespass: ' + t));
    if (r.late) row.faults.push('over its time');
    if (/Sanitizer|runtime error/.test(r.stderr)) row.faults.push(r.stderr.match(/.*(Sanitizer|runtime error).*/)[0]);
    if (!r.last.result && !r.last.error) row.faults.push(`died: ${r.code} ${r.signal} ${r.stderr.slice(-300)}`);
  }
  const { last } = runs.at(-1);
  row.bytes = size_of(out);
  row.outcome = last.result ? 'playable' : last.error?.code ?? 'died';
  row.reason = last.error?.message ?? '';
  if (last.error && !is_reason(row.reason)) row.faults.push('no clear reason: ' + row.reason);
  if (row.outcome === 'media.internal') row.faults.push('an engine fault: ' + row.reason + ' ' + runs.at(-1).stderr.slice(-300));
  if (last.result && kind === 'crafted' && FORBIDDEN.test(row.file)) row.faults.push('became a film');
  if (last.result) { const why = unplayable(out, work); if (why) row.faults.push('does not decode: ' + why); }
  fs.rmSync(work, { recursive: true });
  return row;
}

const below = dir => fs.existsSync(dir) ? fs.readdirSync(dir, { recursive: true }).map(f => path.join(dir, f))
  .filter(f => fs.statSync(f, { throwIfNoEntry: false })?.isFile()) : [];
const pick = (list, n, random) => WHOLE ? list : list.map(f => [random(), f]).sort(([a], [b]) => a - b).slice(0, n).map(x => x[1]);

function gather() {
  const random = seeded(SEED), at = name => path.join(root, 'spec/media/node_modules', name), here = path.join(tmp, 'made');
  fs.mkdirSync(here);
  make_samples('landscape.mp4', 'tiny.mp4', 'one_frame.mp4', 'subs.mkv');
  const pairs = below(at('@videojs/vhs-utils/test/fixtures/formats'));
  const clips = [...below(at('mux.js/test/segments')), ...(process.env.CLIPS ?? '/usr/share/forensics-samples/original-files').split(':').flatMap(below)
    .filter(f => /\.(mp4|avi|mpe?g|og[gv]|mkv|webm|mov|wav|mp3)$/.test(f))];
  const small = clips.filter(f => WHOLE || fs.statSync(f).size < 300000);
  const seeds = pairs.filter(f => /\/(mp4|mkv|mov|ts|webm|avi|ogg)\//.test(f)).concat(['tiny.mp4', 'one_frame.mp4', 'subs.mkv'].map(f => path.join(samples, f)));
  return { pairs: pick(pairs, SAMPLE, random), clips: pick(small, SAMPLE / 2, random), crafted: pick(craft(here, path.join(samples, 'tiny.mp4')), SAMPLE * 2, random),
    mutants: mutants(here, seeds, WHOLE ? MUTANTS : SAMPLE, SEED) };
}

function report(rows, tries) {
  const table = {};
  for (const r of rows) { const t = (table[r.outcome] ??= { pairs: 0, clips: 0, crafted: 0, mutants: 0 }); t[r.kind]++; }
  console.table(table);
  const most = (what, of) => { const r = rows.reduce((a, b) => (of(b) > of(a) ? b : a)); return `most ${what}: ${of(r).toFixed(1)} (${r.file})`; };
  console.log(`# ${[most('computing time, s', r => r.cpu), most('memory, MiB', r => r.mib), most('output, MiB', r => r.bytes / 2 ** 20)].join(', ')}`);
  const reasons = {};
  for (const r of rows) if (r.reason) (reasons[r.reason] ??= []).push(r.file);
  for (const [text, files] of Object.entries(reasons).sort((a, b) => b[1].length - a[1].length)) console.log(`# ${files.length} x ${text} (${files[0]})`);
  for (const [call, n] of [...tries].sort((a, b) => b[1] - a[1]).slice(0, 20)) console.log(`# refused by the sandbox ${n} times: ${call}`);
}

const sets = gather(), queue = Object.entries(sets).flatMap(([kind, files]) => files.map(f => [kind, f])), rows = [], tries = new Map();
console.log(`# SEED=${SEED}: ${Object.entries(sets).map(([k, f]) => `${f.length} ${k}`).join(', ')}`);
const keep = process.env.REPORT && fs.createWriteStream(process.env.REPORT);
await Promise.all(Array.from({ length: JOBS }, async () => {
  for (let next; (next = queue.shift());) {
    const row = await judge(...next, tries);
    rows.push(row);
    keep?.write(JSON.stringify(row) + '\n');
    for (const f of row.faults) console.log(`not ok - ${row.kind} ${row.file}: ${f}`);
    if (row.faults.length && process.env.KEEP) fs.copyFileSync(next[1], path.join(process.env.KEEP, row.file));
  }
}));
report(rows, tries);
const costly = fs.mkdtempSync(path.join(tmp, 'costly-')), stopped = await media('ingest', path.join(samples, 'landscape.mp4'), costly, 0, 1);
rows.push({ faults: stopped.last.error?.code === 'media.too_costly' && is_reason(stopped.last.error.message) && !stopped.signal && !fs.existsSync(path.join(costly, 'index.json'))
  ? [] : [`a film over its computing time: ${JSON.stringify(stopped.last)} ${stopped.signal} ${stopped.stderr}`] });
rows.at(-1).faults.forEach(f => console.log(`not ok - ${f}`));
fs.rmSync(tmp, { recursive: true, force: true });
const bad = rows.filter(r => r.faults.length).length;
console.log(`${rows.length - bad} passed, ${bad} failed`);
process.exit(bad ? 1 : 0);
