// SPDX-License-Identifier: Apache-2.0
// The creator's page of a film that is being encoded: it plays what is there, grows, and becomes the whole film.
// OUT=dir keeps screenshots.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main, until } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

const OUT = process.env.OUT;
if (OUT) mkdirSync(OUT, { recursive: true });

await main(async () => {
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start();
  const maker = await s.user("maker"), clip = join(s.dir, "clip.mp4");
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=24", "-f", "lavfi", "-i", "sine=d=24", "-pix_fmt", "yuv420p",
    "-preset", "ultrafast", clip]);
  const head = '--mark\r\ncontent-disposition: form-data; name="title"\r\n\r\nA film\r\n--mark\r\ncontent-disposition: form-data; name="file"; filename="film.mp4"\r\n\r\n';
  const r = await maker.request("POST", "/api/upload", { body: Buffer.concat([Buffer.from(head), readFileSync(clip), Buffer.from("\r\n--mark--\r\n")]),
    headers: { "content-type": "multipart/form-data; boundary=mark" } });
  const id = r.json.video_id;
  const browser = await launch();
  try {
    const noise = [], context = await browser.newContext({ viewport: { width: 360, height: 740 } });
    await context.addCookies(Object.entries(maker.jar).map(([name, value]) => ({ name, value, url: s.url })));
    const page = await context.newPage();
    page.on("pageerror", e => noise.push(e.message));
    await page.goto(`${s.url}/public/watch.html?video_id=${id}`);
    await page.waitForSelector('.preview-badge:has-text("Still being prepared")');
    await page.waitForFunction(() => document.querySelector("video")?.readyState >= 2);
    const film = () => page.evaluate(() => { const v = document.querySelector("video"); return { at: v.currentTime, length: v.duration, error: v.error?.message }; });
    const early = await film();
    check("it begins at the beginning, before all of it is there", early.at < 0.5 && early.length < 23, JSON.stringify(early));
    await page.evaluate(() => { const v = document.querySelector("video"); v.muted = true; return v.play(); });
    await page.waitForFunction(() => document.querySelector("video").currentTime > 1);
    if (OUT) await page.screenshot({ path: join(OUT, "early-phone.png") });
    const wide = await page.evaluate(() => [document.documentElement.scrollWidth, document.querySelector(".player .row1").scrollWidth - document.querySelector(".player .row1").clientWidth]);
    check("page and controls fit the phone", wide[0] <= 360 && wide[1] <= 0, wide.join());
    await until("the film is ready", async () => (await s.sql(`select state from videos where id = '${id}'`))[0][0] === "ready", 900);
    await page.waitForFunction(() => Math.abs(document.querySelector("video").duration - 24) < 0.1);
    await page.waitForSelector(".preview-badge", { state: "detached" });
    await page.evaluate(() => { document.querySelector("video").currentTime = 22; });
    await page.waitForFunction(() => document.querySelector("video").ended);
    check("it grows to the whole film and plays to its end", !(await film()).error, JSON.stringify(await film()));
    await page.reload();
    await page.waitForSelector("#play");
    check("afterwards it is a film like any other", await page.locator(".preview-badge").count() === 0);
    check("no error in the page", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
