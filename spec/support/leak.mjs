// SPDX-License-Identifier: Apache-2.0
// A film that can be traced, a viewer's copy of it, and tracing a copy.
import { execFile } from "node:child_process";
import { fresh_ip, note, send, show, until } from "../live/lib.mjs";

const run = (file, args) => new Promise(resolve => execFile(file, args, { maxBuffer: 16 << 20, timeout: 900000 },
  (e, out, err) => resolve({ code: e ? e.code ?? 1 : 0, out, err })));
export const ffmpeg = async (...args) => {
  const r = await run("ffmpeg", ["-nostdin", "-v", "error", "-y", ...args]);
  if (r.code) throw new Error(r.err);
};

/** What a viewer is shown of a film, as a file: the picture without sound. */
export async function play(s, who, id, to) {
  const start = await who.get(`/api/request_play?video_id=${id}`);
  if (start.status !== 200) throw new Error(start.text);
  await ffmpeg("-headers", `Cookie: ${who.cookie()}\r\nX-Forwarded-For: ${fresh_ip()}\r\n`, "-allowed_extensions", "ALL", "-i",
    s.url + start.json.playlist, "-map", "0:v:0", "-c", "copy", to);
}

/** Uploads a clip for tracing and waits for the verdict: the job, and its leak. */
export async function traced(who, path) {
  const r = await send(who, "/api/trace", path);
  if (r.status !== 202) throw new Error(`${r.status} ${r.text}`);
  let stage;
  const job = await until("the clip is traced", async () => {
    const t = (await who.get(`/api/trace/${r.json.job_id}`)).json;
    if (t.stage !== stage) note(`${t.state} ${stage = t.stage}`);
    return t.state === "done" || t.state === "dead" ? t : null;
  }, 900);
  if (job.state === "dead") throw new Error(show(job));
  return { ...job, leak: job.leak_id && (await who.get(`/api/leaks/${job.leak_id}`)).json.leak };
}

/** Makes a film with enough going on in it to carry a mark. */
export const noisy_film = (to, seconds) => ffmpeg("-f", "lavfi", "-i", `mandelbrot=size=320x180:rate=25:start_scale=2:end_scale=0.01:end_pts=${seconds * 25}`,
  "-f", "lavfi", "-i", "sine", "-t", `${seconds}`, "-vf", "noise=alls=4:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p", to);
