// SPDX-License-Identifier: Apache-2.0
// A grey film with the viewer's name all the time, in a real browser: it plays to the end without an error or a dropped
// frame worth mentioning, the name is in the decoded picture, and the creator sets all this in the page for editing.
// OUT=dir keeps screenshots.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main, note } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

const OUT = process.env.OUT;
if (OUT) mkdirSync(OUT, { recursive: true });
const SECONDS = 12;

async function upload(s, who) {
  const file = join(s.dir, "grey.mp4");
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", `color=c=gray:size=640x360:rate=25:duration=${SECONDS}`,
    "-f", "lavfi", "-i", `sine=duration=${SECONDS}`, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", file]);
  return s.film(who, file, { title: "Grey" });
}

async function signed_in(browser, s, who, noise) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 800 } });
  await context.addCookies(Object.entries(who.jar).map(([name, value]) => ({ name, value, url: s.url })));
  const page = await context.newPage();
  page.on("pageerror", e => noise.push(e.message));
  return page;
}

/** Pixels of the decoded frame that are neither the film's grey nor near it. */
const letters = page => page.evaluate(() => {
  const v = window.player.video, c = document.createElement("canvas");
  c.width = v.videoWidth;
  c.height = v.videoHeight;
  const g = c.getContext("2d");
  g.drawImage(v, 0, 0);
  const p = g.getImageData(0, 0, c.width, c.height).data;
  let light = 0, dark = 0;
  for (let i = 0; i < p.length; i += 4) { if (p[i] > 155) light++; if (p[i] < 100) dark++; }
  return { light, dark, at: v.currentTime, all: p.length / 4 };
});

await main(async () => {
  const s = await new Server({ web_workers: 2 }).start();
  const maker = await s.user("maker"), viewer = await s.user("wilhelmina");
  const id = await upload(s, maker), noise = [];
  const browser = await launch();
  try {
    const edit = await signed_in(browser, s, maker, noise);
    await edit.goto(`${s.url}/public/edit.html?video_id=${id}`);
    await edit.waitForSelector("#mark-share");
    check("nothing is burned in until the creator wants it", (await edit.inputValue("#mark-share")) === "0");
    await edit.fill("#mark-share", "100");
    await edit.selectOption("#mark-fail", "wait");
    await edit.click("#marks button");
    const told = await edit.locator(".toast").first().innerText();
    check("the page says that it is saved", told.startsWith("Saved."), told);
    check("it is saved", (await maker.get(`/api/my_videos/${id}`)).json.video.mark_visible === 100);
    if (OUT) await edit.screenshot({ path: join(OUT, "edit-marks.png"), fullPage: true });

    const page = await signed_in(browser, s, viewer, noise);
    await page.goto(`${s.url}/public/watch.html?video_id=${id}`);
    await page.click("#play");
    await page.waitForFunction(() => window.player?.video.currentTime > 0.3);
    const stand = to => page.evaluate(to => new Promise(done => {
      const v = window.player.video;
      v.pause();
      v.onseeked = () => { v.onseeked = null; requestAnimationFrame(() => done()); };
      v.currentTime = to;
    }), to);
    await stand(1);
    const first = await letters(page);
    await page.evaluate(() => window.player.video.play());
    check("the first segments are clean", first.at < 4 && first.light + first.dark === 0, JSON.stringify(first));
    await page.waitForFunction(() => window.player.video.currentTime > 6.2);
    const seen = await letters(page);
    check("the name is in the decoded picture", seen.light > 200 && seen.dark > 200 && seen.light < seen.all / 10, JSON.stringify(seen));
    if (OUT) {
      await page.evaluate(() => { document.querySelector(".viewer-mark").style.visibility = "hidden"; });
      await page.screenshot({ path: join(OUT, "burst-playing.png") });
    }
    await page.waitForFunction(n => window.player.video.currentTime > n - 2, SECONDS);
    const q = await page.evaluate(() => { const v = window.player.video, q = v.getVideoPlaybackQuality();
      return { dropped: q.droppedVideoFrames, corrupted: q.corruptedVideoFrames, total: q.totalVideoFrames, error: v.error?.message ?? null, ranges: v.buffered.length }; });
    note(JSON.stringify(q));
    check("no decode error, no corrupted frame", q.error === null && !q.corrupted, JSON.stringify(q));
    check("one contiguous range", q.ranges === 1, JSON.stringify(q));
    const burned = (await s.sql(`select count(distinct seq) as n from key_log where variant = 'u' and video_id = '${id}'`)).toString().match(/\d+/)[0];
    check("every segment from the third on was the viewer's own", Number(burned) === SECONDS / 2 - 2, burned);
    check("no error in the pages", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
