// SPDX-License-Identifier: Apache-2.0
// Each rung of an ingested clip (without the mark) and the same rung by the ffmpeg CLI against the source in the rung's size:
// SSIM-Y of all pictures, bytes of the picture. Called by bench/ingest.sh, which makes both.
//   node bench/likeness.mjs CLIP DIRECTORY-OF-INGEST DIRECTORY-OF-CLI     the latter holds cli_<height>.mp4
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { plain } from "../spec/media/lib.mjs";

const [clip, ours, theirs] = process.argv.slice(2);
const index = JSON.parse(readFileSync(join(ours, "index.json"))), rate = `${index.fps_num}/${index.fps_den}`;

/** SSIM-Y of a file against the clip at the same rate, paired picture by picture. */
function ssim(file, w, h) {
  const graph = `[0:v]settb=1/1000,setpts=N[a];[1:v]fps=${rate},scale=${w}:${h}:flags=bicubic,format=yuv420p,settb=1/1000,setpts=N[b];[a][b]ssim`;
  const err = spawnSync("ffmpeg", ["-nostdin", "-i", file, "-i", clip, "-lavfi", graph, "-f", "null", "-"]).stderr.toString();
  return Number(/SSIM Y:([\d.]+)/.exec(err)[1]);
}

/** Bytes of the coded pictures, without those of the container. */
function bytes(file) {
  const out = execFileSync("ffprobe", ["-v", "error", "-select_streams", "v", "-show_entries", "packet=size", "-of", "csv=p=0", file], { maxBuffer: 1 << 26 });
  return out.toString().split("\n").reduce((n, l) => n + parseInt(l || 0), 0);
}

let missed = 0;
for (const r of index.renditions) {
  const file = plain(ours, r, join(ours, "plain.mp4")), peer = join(theirs, `cli_${r.name}.mp4`);
  const a = ssim(file, r.w, r.h), b = ssim(peer, r.w, r.h), size = bytes(file) / bytes(peer), good = a >= b - 0.001 && size <= 1.005;
  if (!good) missed++;
  rmSync(file);
  console.log(`rung ${r.name.padEnd(5)} SSIM-Y ${a.toFixed(5)} : ${b.toFixed(5)} of ffmpeg, bytes ${size.toFixed(4)} of ffmpeg's   ` +
    `target not lower by more than .001 at equal bytes (within .5 %) or fewer ${good ? "met" : "NOT MET"}`);
}
process.exit(missed ? 1 : 0);
