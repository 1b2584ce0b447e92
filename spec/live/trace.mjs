// SPDX-License-Identifier: Apache-2.0
// A film is sold, played and leaked: the copy, cut, mirrored, with a bar and a logo over it and encoded again, names its account and nobody else.
//   node spec/live/trace.mjs
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ffmpeg, noisy_film, play, traced } from "../support/leak.mjs";
import { Server, check, main, note, send, show, until } from "./lib.mjs";

const dir = mkdtempSync(join(tmpdir(), "ppv-trace-"));
const SECONDS = 52;

await main(async () => {
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start();
  const film = join(dir, "film.mp4"), copy = join(dir, "copy.mp4"), leak = join(dir, "leak.mp4"), other = join(dir, "other.mp4"), part = join(dir, "part.mp4");
  await noisy_film(film, SECONDS);
  const maker = await s.user("maker"), thief = await s.user("thief"), saint = await s.user("saint");
  const up = await send(maker, "/api/upload", film, { title: "Film", price_cents: 0 });
  const id = up.json?.video_id;
  if (!check("the film is received", up.status === 201, up.text)) return;
  const twin = (await send(maker, "/api/upload", film, { title: "Film again", price_cents: 0 })).json.video_id;
  for (const v of [id, twin]) await until("the film is ready", async () => (await maker.get(`/api/videos/${v}/status`)).json.status === "ready", 900);
  await play(s, thief, id, copy);
  await play(s, saint, id, other);
  await ffmpeg("-ss", "1.3", "-i", copy, "-an", "-vf",
    "hflip,drawbox=x=iw*.05:y=ih*.06:w=iw*.2:h=ih*.14:color=blue:t=fill,drawbox=x=0:y=ih*.88:w=iw:h=ih*.12:color=black:t=fill", "-c:v", "libx264",
    "-preset", "veryfast", "-crf", "20", leak);
  const t = await traced(maker, leak);
  check("the thief is accused", t.verdict === "accused" && t.leak?.suspects[0]?.user_id === thief.id, show([t.verdict, t.leak?.suspects]));
  check("nobody else is", t.leak?.suspects.filter(x => x.accused).every(x => x.user_id === thief.id), show(t.leak?.suspects));
  check("of two titles with the same pictures it is the one whose mark the copy carries", t.leak?.title.id === id, show(t.leak?.title));
  check("the mirror is seen through", t.leak?.reading.mirrored === true, show(t.leak?.reading.map));
  note(`${t.leak?.reading.segments.length} segments, bound 10^${t.leak?.suspects[0]?.log10_bound?.toFixed(1)}`);
  const file = await maker.get(`/api/leaks/${t.leak_id}/evidence`), path = join(dir, "leak.json");
  writeFileSync(path, file.body);
  const good = await s.ppv("trace", "verify", path, path + ".html"), page = (await maker.get(`/api/leaks/${t.leak_id}/page`)).text;
  check("the evidence is signed", good.code === 0 && good.out.includes(thief.username), good.out + good.err);
  check("the page of it says so too", page.includes(thief.username) && page === readFileSync(path + ".html", "latin1"), page.slice(0, 500));
  const desk = await s.ppv("trace", "clip", leak);
  check("the same at the administrator's desk", desk.code === 0 && desk.out.includes(thief.username), desk.out + desk.err);
  writeFileSync(path, file.text.replace(String.raw`\"verdict\":\"accused\"`, String.raw`\"verdict\":\"none\"`));
  check("changed evidence is refused", (await s.ppv("trace", "verify", path)).code === 1, "accepted");
  check("strangers see no leaks", (await saint.get(`/api/leaks/${t.leak_id}`)).status === 404
    && (await saint.get("/api/leaks")).json.leaks.length === 0, "seen");
  await ffmpeg("-t", "20", "-i", film, "-c", "copy", part);
  const none = await traced(maker, part);
  check("the unmarked film accuses nobody", none.verdict === "none", show(none.leak?.suspects));
  rmSync(dir, { recursive: true, force: true });
});
