// SPDX-License-Identifier: Apache-2.0
// The made clips of samples.sh. They stay for the next run, in a directory of their own for each version of what makes them.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("samples.sh", import.meta.url));
const version = createHash("sha256").update(readFileSync(script)).update(process.env.LONG ?? "").digest("hex").slice(0, 8);

/** Directory of the clips; SAMPLES=another one. */
export const samples = process.env.SAMPLES ?? join(tmpdir(), "ppv-samples-" + version);

/** Makes what is missing: the clips of these names (with what they are made from), without names all. */
export const make_samples = (...names) => execFileSync("sh", [script, samples, ...names], { stdio: ["ignore", "inherit", "inherit"] });

const PHONE = "/usr/share/forensics-samples/original-files/movie2/movie-hello.mp4";

/** What the arguments of ffmpeg make of a film that a phone took (8 s, 720p), LONG=1 all of it; FILM=another film. -> path */
export function phone_film(to, seconds = 4, ...args) {
  const film = process.env.FILM ?? PHONE, cut = process.env.LONG || process.env.FILM ? [] : ["-t", String(seconds)];
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-y", ...cut, "-i", film, ...args.length ? args : ["-c", "copy"], "-movflags", "frag_keyframe+empty_moov", to],
    { stdio: ["ignore", "inherit", "inherit"] });
  return to;
}
