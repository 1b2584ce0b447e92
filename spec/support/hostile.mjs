// SPDX-License-Identifier: Apache-2.0
// Files that mean harm: made by hand and by a seeded mutator. craft(dir) and mutants(dir, seeds, count, seed) answer lists of paths.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { deflateSync } from 'node:zlib';

const u32 = n => { const b = Buffer.alloc(4); b.writeUInt32BE(n >>> 0); return b; };
const le = (n, size = 4) => { const b = Buffer.alloc(size); b.writeUIntLE(n, 0, size); return b; };
/** A box of ISO 14496-12. */
const box = (type, ...parts) => { const b = Buffer.concat(parts); return Buffer.concat([u32(b.length + 8), Buffer.from(type, 'latin1'), b]); };
/** An element of EBML (RFC 8794) with an eight-byte size. */
const ebml = (id, ...parts) => { const b = Buffer.concat(parts), n = Buffer.alloc(8); n.writeBigUInt64BE(BigInt(b.length)); n[0] = 1; return Buffer.concat([Buffer.from(id, 'hex'), n, b]); };
const num = n => { const b = Buffer.alloc(4); b.writeUInt32BE(n); return b; };
/** A chunk of RIFF. */
const riff = (id, ...parts) => { const b = Buffer.concat(parts); return Buffer.concat([Buffer.from(id, 'latin1'), le(b.length), b, Buffer.alloc(b.length & 1)]); };

/** Walks the boxes of a film; fn(type, body) answers a new body or nothing. */
const CONTAINERS = new Set(['moov', 'trak', 'mdia', 'minf', 'dinf', 'stbl']);
function rewrite(buf, fn) {
  const out = [];
  for (let at = 0; at + 8 <= buf.length;) {
    const size = buf.readUInt32BE(at) || buf.length - at, type = buf.toString('latin1', at + 4, at + 8), body = buf.subarray(at + 8, at + size);
    out.push(box(type, fn(type, body) ?? (CONTAINERS.has(type) ? rewrite(body, fn) : body)));
    at += size;
  }
  return Buffer.concat(out);
}

const ffmpeg = (...args) => execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-y', ...args], { stdio: 'ignore', timeout: 900000 });
const PLAYLIST = ['#EXTM3U', '#EXT-X-TARGETDURATION:10', '#EXTINF:10,', 'file:///etc/passwd', '#EXTINF:10,', 'http://127.0.0.1:9/x.ts', '#EXTINF:10,', 'concat:/etc/passwd|/etc/shadow',
  '#EXT-X-ENDLIST', ''].join('\n');
const FTYP = Buffer.from('\0\0\0\x18ftypisom\0\0\x02\0isomiso2', 'latin1');

/** What is a list of other files inside. */
function nested() {
  const text = s => Buffer.from(s), avih = Buffer.alloc(56), strf = Buffer.concat([le(40), le(64), le(64), le(1, 2), le(24, 2), Buffer.from('XVID'), Buffer.alloc(20)]);
  avih.writeUInt32LE(40000, 0);
  avih.writeUInt32LE(2, 24);
  const strh = (kind, handler) => riff('strh', Buffer.from(kind + handler, 'latin1'), Buffer.alloc(12), le(1), le(25), Buffer.alloc(4), le(100), Buffer.alloc(20));
  const gab2 = Buffer.concat([Buffer.from('GAB2\0'), le(2, 2), le(2), text('a\0'), le(4, 2), le(PLAYLIST.length), text(PLAYLIST)]);
  const list = (kind, ...parts) => riff('LIST', Buffer.from(kind), ...parts);
  const avi = riff('RIFF', Buffer.from('AVI '), list('hdrl', riff('avih', avih), list('strl', strh('vids', 'XVID'), riff('strf', strf)), list('strl', strh('txts', '\0\0\0\0'), riff('strf'))),
    list('movi', riff('01tx', gab2), riff('00dc', Buffer.alloc(64, 7)), riff('01tx', gab2)));
  return { 'playlist.mp4': text(PLAYLIST), 'playlist.ts': text(PLAYLIST), 'playlist_behind_head.mp4': Buffer.concat([FTYP, text(PLAYLIST)]), 'playlist_in_avi.avi': avi,
    'playlist_in_mdat.mp4': Buffer.concat([FTYP, box('mdat', text(PLAYLIST))]), 'concat.mkv': text("ffconcat version 1.0\nfile '/etc/passwd'\nfile 'http://127.0.0.1:9/'\n"),
    'dash.mp4': text('<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>file:///etc/passwd</BaseURL></Representation></AdaptationSet></Period></MPD>'),
    'session.mp4': text('v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n'),
    'picture.mov': text('<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>') };
}

/** Headers that promise what cannot be kept. */
function structures(tiny) {
  const edit = (type, body) => rewrite(tiny, (t, b) => t === type ? body(b) : undefined);
  // An alias record of QuickTime: volume, name and levels, then the path (type 2), then the end (type -1).
  const u16 = n => u32(n).subarray(2), path_alias = Buffer.concat([u32(0), u32(1), box('alis', u32(0), Buffer.alloc(10), Buffer.from([1, 47]), Buffer.alloc(26 + 12), Buffer.from([6]),
    Buffer.from('passwd'), Buffer.alloc(57 + 16), u16(1), u16(1), Buffer.alloc(16), u16(2), u16(11), Buffer.from('/etc/passwd\0'), u16(0xffff), u16(0))]);
  let deep = Buffer.alloc(0);
  for (let i = 0; i < 3000; i++) deep = box('udta', deep);
  const huge = Buffer.from(tiny);
  huge.writeUInt32BE(0xfffffff0, huge.indexOf('moov') - 4);
  const wide = Buffer.from(tiny), entry = wide.indexOf('avc1', wide.indexOf('stsd'));
  wide.writeUInt32BE(0xfffffff0, entry + 28);
  const head = ebml('1a45dfa3', ebml('4282', Buffer.from('matroska')), ebml('4287', num(4)), ebml('4285', num(2)));
  const track = (...more) => ebml('1654ae6b', ebml('ae', ebml('d7', num(1)), ebml('73c5', num(1)), ebml('83', num(1)), ebml('86', Buffer.from('V_MPEG4/ISO/ASP')),
    ebml('e0', ebml('b0', num(64)), ebml('ba', num(64))), ...more));
  const blocks = data => Array.from({ length: 12 }, (_, i) => ebml('a3', Buffer.from([0x81, 0, i * 40, 0x80]), data));
  let tags = ebml('67c8', ebml('45a3', Buffer.from('x')));
  for (let i = 0; i < 2000; i++) tags = ebml('67c8', tags);
  const zlib = ebml('6d80', ebml('6240', ebml('5031', num(0)), ebml('5032', num(1)), ebml('5033', num(0)), ebml('5034', ebml('4254', num(0)))));
  return { 'other_file.mov': edit('dref', () => path_alias), 'times_apart.mp4': edit('stts', b => Buffer.concat([u32(0), u32(1), b.subarray(8, 12), u32(0x7fffffff)])),
    'samples_without_end.mp4': edit('stsz', () => Buffer.concat([u32(0), u32(1), u32(0xffffffff)])), 'samples_everywhere.mp4': edit('stco', b => Buffer.concat([b.subarray(0, 8), Buffer.alloc(b.length - 8, 0xff)])),
    'edits.mp4': rewrite(tiny, (t, b) => t === 'edts' ? box('elst', u32(0), u32(100000), Buffer.concat(Array(100000).fill(Buffer.concat([u32(1), u32(0), u32(0x10000)])))) : undefined),
    'deep.mp4': Buffer.concat([FTYP, box('moov', deep), tiny]), 'box_too_long.mp4': huge, 'entry_too_wide.mp4': wide, 'mdat_of_exabytes.mp4': Buffer.concat([FTYP, u32(1), Buffer.from('mdat'), u32(0x7fffffff), u32(0xffffffff), tiny]),
    'packed_bomb.mkv': Buffer.concat([head, ebml('18538067', track(zlib), ebml('1f43b675', ebml('e7', num(0)), ...blocks(deflateSync(Buffer.alloc(100 << 20)))))]),
    'tags_in_tags.mkv': Buffer.concat([head, ebml('18538067', ebml('1254c367', ebml('7373', tags)), track())]),
    'lace.mkv': Buffer.concat([head, ebml('18538067', track(), ebml('1f43b675', ebml('e7', num(0)), ebml('a3', Buffer.from([0x81, 0, 0, 0x86, 0xff]), Buffer.alloc(600, 0xff))))]),
    'empty.mkv': head, 'head.mp4': FTYP, 'one_byte.mp4': Buffer.from('x'), 'sync_bytes.ts': Buffer.alloc(188 * 200, 'G'), 'zeros.mp4': Buffer.concat([FTYP, Buffer.alloc(100000)]) };
}

/** What FFmpeg itself can be made to write. */
function extremes(dir, tiny) {
  const at = name => path.join(dir, name), copies = n => Array(n).fill(['-map', '0:v']).flat();
  const made = {
    'thousand_tracks.mkv': ['-i', tiny, ...copies(1000), '-c', 'copy', '-t', '0.2'], 'thousand_tracks.ts': ['-i', tiny, ...copies(1000), '-c', 'copy', '-t', '0.2'], 'thousand_tracks.mp4': ['-i', tiny, ...copies(1000), '-c', 'copy', '-t', '0.2'],
    'forbidden_decoder.mkv': ['-f', 'lavfi', '-i', 'testsrc2=size=64x64:rate=25:duration=1', '-c:v', 'magicyuv', '-pix_fmt', 'gbrp'],
    'pictures.mov': ['-f', 'lavfi', '-i', 'testsrc2=size=64x64:rate=25:duration=1', '-c:v', 'png'],
    'thin.mkv': ['-f', 'lavfi', '-i', 'testsrc2=size=8000x16:rate=25:duration=1', '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p'],
    'fast.mkv': ['-f', 'lavfi', '-i', 'testsrc2=size=64x64:rate=10000:duration=0.5', '-c:v', 'libx264', '-preset', 'ultrafast'],
    'slow.mkv': ['-f', 'lavfi', '-i', 'testsrc2=size=64x64:rate=1/8:duration=40', '-c:v', 'libx264', '-preset', 'ultrafast'],
    'eight_sounds.mkv': ['-i', tiny, '-f', 'lavfi', '-i', 'sine=r=8000:d=1,aformat=channel_layouts=7.1', '-map', '0:v', ...Array(8).fill(['-map', '1']).flat(), '-c:v', 'copy', '-c:a', 'pcm_s16le', '-t', '1'],
    'coarse_sound.mkv': ['-i', tiny, '-f', 'lavfi', '-i', 'sine=r=100:d=1', '-map', '0:v', '-map', '1', '-c:v', 'copy', '-c:a', 'pcm_s16le', '-t', '1'],
    'fine_sound.mkv': ['-i', tiny, '-f', 'lavfi', '-i', 'sine=r=768000:d=1', '-map', '0:v', '-map', '1', '-c:v', 'copy', '-c:a', 'pcm_s32le', '-t', '1'] };
  for (const [name, args] of Object.entries(made)) if (!fs.existsSync(at(name))) ffmpeg(...args, at(name));
  const parts = [[160, 120], [640, 360], [48, 400]].map(([w, h], i) => { ffmpeg('-f', 'lavfi', '-i', `testsrc2=size=${w}x${h}:rate=25:duration=1`, '-c:v', 'mpeg2video', '-output_ts_offset', String(i), at(`part${i}.ts`)); return at(`part${i}.ts`); });
  fs.writeFileSync(at('sizes_change.ts'), Buffer.concat(parts.map(p => fs.readFileSync(p))));
  parts.forEach(p => fs.unlinkSync(p));
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=160x120:rate=25:duration=2', '-c:v', 'libvpx', '-g', '10', '-deadline', 'realtime', at('grows.webm'));
  const grows = fs.readFileSync(at('grows.webm')), last = grows.lastIndexOf(Buffer.from([0x9d, 1, 0x2a])); // the start code of a VP8 key frame
  grows.writeUInt16LE(16383, last + 3);
  grows.writeUInt16LE(16383, last + 5);
  fs.writeFileSync(at('grows.webm'), grows);
  return [...Object.keys(made), 'sizes_change.ts', 'grows.webm'];
}

export function craft(dir, tiny) {
  const made = { ...nested(), ...structures(fs.readFileSync(tiny)) };
  for (const [name, bytes] of Object.entries(made)) fs.writeFileSync(path.join(dir, name), bytes);
  return [...Object.keys(made), ...extremes(dir, tiny)].map(n => path.join(dir, n));
}

/** Numbers from 0 to 1 that a seed repeats (mulberry32). */
export function seeded(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function mutate(b, random) {
  const at = n => Math.floor(random() * Math.max(1, n)), cut = () => { const from = at(b.length); return [from, Math.min(b.length, from + 1 + at(b.length / 4))]; };
  const kinds = [
    () => { for (let i = 1 + at(40); i > 0; i--) b[at(b.length)] ^= 1 << at(8); return b; },
    () => { const [from, to] = cut(); for (let i = from; i < to; i++) b[i] = at(256); return b; },
    () => b.subarray(0, 1 + at(b.length)),
    () => { const [from, to] = cut(); return Buffer.concat([b.subarray(0, from), b.subarray(to)]); },
    () => { const [from, to] = cut(); return Buffer.concat([b.subarray(0, to), b.subarray(from)]); },
    () => { const n = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0][at(6)]; for (let i = 1 + at(6); i > 0; i--) b.writeUInt32BE(n, at(b.length - 4)); return b; },
    () => { const h = Math.min(b.length, 600); for (let i = 1 + at(8); i > 0; i--) b[at(h)] = at(256); return b; },
    () => { const tail = Math.max(0, b.length - 2000); for (let i = 1 + at(12); i > 0; i--) b[tail + at(b.length - tail)] ^= 1 << at(8); return b; } ];
  return kinds[at(kinds.length)]();
}

/** count damaged copies of the sources, one to three wounds each. */
export function mutants(dir, sources, count, seed) {
  const random = seeded(seed), out = [];
  for (let i = 0; i < count; i++) {
    const from = sources[Math.floor(random() * sources.length)];
    let b = Buffer.from(fs.readFileSync(from));
    for (let n = 1 + Math.floor(random() * 3); n > 0 && b.length > 8; n--) b = Buffer.from(mutate(b, random));
    const file = path.join(dir, `mutant${i}${path.extname(from)}`);
    fs.writeFileSync(file, b);
    out.push(file);
  }
  return out;
}
