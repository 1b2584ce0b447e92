// SPDX-License-Identifier: Apache-2.0
// A film with subtitles of its own: the viewer sees their text in the player, the creator adds and removes others.
// OUT=dir keeps screenshots, SAMPLES=dir the made clips.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main, show, until } from "../live/lib.mjs";
import { make_samples, samples } from "../support/samples.mjs";
import { launch } from "./lib.mjs";

const OUT = process.env.OUT;
if (OUT) mkdirSync(OUT, { recursive: true });
make_samples("subs.mkv");

await main(async () => {
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start();
  const maker = await s.user("maker"), id = await s.film(maker, join(samples, "subs.mkv"));
  const browser = await launch();
  const noise = [];
  const open = async (path, viewport = { width: 1280, height: 800 }, native = false) => {
    const context = await browser.newContext({ viewport, locale: "en-US" });
    await context.addCookies(Object.entries(maker.jar).map(([name, value]) => ({ name, value, url: s.url })));
    const page = await context.newPage();
    page.on("pageerror", (e) => noise.push(e.message));
    if (native) await page.addInitScript(() => { delete window.MediaSource; delete window.ManagedMediaSource; });
    await page.goto(s.url + path);
    return page;
  };
  const shot = async (page, name) => OUT && page.screenshot({ path: join(OUT, name + ".png"), fullPage: true });
  // What the browser shows over the picture at this moment.
  const shown = (page) => page.evaluate(() => [...document.querySelector("video").textTracks].filter((t) => t.mode === "showing")
    .flatMap((t) => [...t.activeCues || []]).map((c) => c.getCueAsHTML().textContent).join("|"));
  const at = (page, second) => page.evaluate((to) => { const v = document.querySelector("video"); v.pause(); v.currentTime = to; }, second);
  const watch = async (native) => {
    const page = await open(`/public/watch.html?video_id=${id}`, undefined, native);
    if (!await page.locator("video").count()) await page.click("#play");
    await page.waitForFunction(() => document.querySelector("video")?.readyState >= 2);
    return page;
  };
  const choose = async (page, text) => {
    await page.hover(".player");
    await page.click("#tracks");
    await page.click(`.player .menu button:has-text("${text}")`);
  };
  try {
    const edit = await open(`/public/edit.html?video_id=${id}`, { width: 360, height: 740 });
    await edit.fill("#chapters [name=text]", "0:00 First\n0:99 Bad");
    await edit.click("#chapters [type=submit]");
    await edit.waitForSelector('#chapters .invalid-feedback:has-text("Line 2")');
    await edit.fill("#chapters [name=text]", " 0:00 First\n\n00:02 Second <part>\n");
    await edit.click("#chapters [type=submit]");
    await edit.waitForSelector('.toast:has-text("2 chapters")');
    check("the creator writes chapters", await edit.inputValue("#chapters [name=text]") === "0:00 First\n0:02 Second <part>");
    if (OUT) await edit.locator("#chapters").screenshot({ path: join(OUT, "chapters-edit.png") });
    const sent = join(s.dir, "own.png");
    execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "color=orange:s=1600x900", "-frames:v", "1", sent]);
    await edit.setInputFiles("#poster [name=file]", { name: "own.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
    await edit.click('#poster button:has-text("Send")');
    await edit.waitForSelector('#poster .invalid-feedback:has-text("JPEG, PNG or WebP")');
    await edit.setInputFiles("#poster [name=file]", sent);
    await edit.click('#poster button:has-text("Send")');
    await edit.waitForSelector('#poster label:has-text("My own picture") input:checked');
    await until("the sent picture is shown", () => edit.evaluate(() => document.querySelector('#poster img[alt="The picture you sent"]').naturalWidth === 1280));
    check("the creator's own picture is sent and chosen", true);
    if (OUT) await edit.locator("#poster").screenshot({ path: join(OUT, "poster-edit.png") });
    await edit.close();
    const w = await watch();
    await w.waitForSelector("#tracks:not([hidden])");
    await at(w, 1);
    check("no subtitles before they are asked for", await shown(w) === "", await shown(w));
    await choose(w, "German");
    await until("the German text is shown", async () => await shown(w) === "Guten Tag\nzweite Zeile");
    await shot(w, "subtitles-shown");
    await at(w, 1.75);
    await until("it goes when its time is over", async () => await shown(w) === "");
    await at(w, 2.5);
    await until("markup is text", async () => { const t = await shown(w); if (t !== "<script>alert(1)</script> ä & oben") throw new Error(t); return true; });
    await choose(w, "Pour tous");
    await at(w, 1);
    await until("the French text is shown", async () => await shown(w) === "Bonjour, toi\nligne deux");
    await choose(w, "Off");
    await until("off is off", async () => await shown(w) === "");
    check("the viewer chooses subtitles and sees their text at its time", true);

    await w.hover(".player");
    await w.click("#chapters");
    await w.click('.player .menu button:has-text("0:02 Second <part>")');
    check("the viewer goes to a chapter", await w.evaluate(() => document.querySelector("video").currentTime) === 2);
    const ticks = await w.evaluate(() => [...document.querySelectorAll(".chapter-marks i")].map((i) => parseFloat(i.style.left)));
    check("the seek bar shows where chapters begin", ticks.length === 1 && Math.abs(ticks[0] - 50) < 2, show(ticks));
    check("the seek bar says in which one it is", (await w.getAttribute(".player .seek", "aria-valuetext")).endsWith("Second <part>"));
    const vtt = await w.evaluate(() => fetch(window.player.hls.url.replace(/[^/]*$/, "chapters.vtt")).then((r) => r.text()));
    check("the session has them as WebVTT", vtt.startsWith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nFirst\n\n00:00:02.000 --> 00:00:0") && vtt.includes("Second &lt;part&gt;"), vtt);
    await shot(w, "chapters");
    await w.setViewportSize({ width: 360, height: 740 });
    const over = await w.evaluate(() => { const row = document.querySelector(".player .row1"); return row.scrollWidth - row.clientWidth; });
    check("all controls fit a phone", over <= 0, over);
    await shot(w, "chapters-phone");
    await w.setViewportSize({ width: 1280, height: 800 });

    const bar = await w.locator(".player .seek").boundingBox();
    const answer = w.waitForResponse((r) => /\/[0-9a-f]{32}\.jpg$/.test(r.url()));
    await w.mouse.move(bar.x + bar.width * 0.7, bar.y + bar.height / 2);
    await w.mouse.move(bar.x + bar.width * 0.75, bar.y + bar.height / 2);
    await w.waitForFunction(() => !document.querySelector(".player .glimpse").hidden);
    await w.mouse.move(bar.x + bar.width * 0.76, bar.y + bar.height / 2);
    check("the seek bar shows the picture of its moment", (await answer).status() === 200
      && await w.locator(".player .glimpse .picture").evaluate((p) => !p.hidden && p.style.backgroundPosition.startsWith("-160px")));
    const low = await w.locator(".player .glimpse").evaluate((g) => g.getBoundingClientRect().bottom);
    check("it stands above the bar", low <= bar.y, `${low} over ${bar.y}`);
    await shot(w, "storyboard");

    const e = await open(`/public/edit.html?video_id=${id}`, { width: 360, height: 740 });
    await e.waitForSelector("#subtitles li >> nth=2");
    const file = join(s.dir, "mine.srt");
    writeFileSync(file, "1\n00:00:00,500 --> 00:00:03,000\nFrom the creator\n");
    await e.setInputFiles("#subtitles [name=file]", file);
    await e.selectOption("#subtitles [name=language]", "en");
    await e.fill("#subtitles [name=label]", "English, full");
    await e.press("#subtitles [name=label]", "Enter");
    await e.waitForSelector('#subtitles li:has-text("English, full")');
    await shot(e, "edit-phone");
    await e.waitForFunction(() => [...document.querySelectorAll("#poster img")].length > 1 && [...document.querySelectorAll("#poster img")].every((i) => i.naturalWidth > 0));
    await e.check("#poster [name=choice] >> nth=1");
    await e.click("#poster [type=submit]");
    await until("the poster is the chosen one", async () => /\?n=1$/.test((await maker.get(`/api/videos/${id}`)).json.video.poster));
    await shot(e, "edit-phone");
    check("the page is not wider than the phone", await e.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    writeFileSync(file, Buffer.from("1\n00:00:00,500 --> 00:00:03,000\nGr\xfc\xdfe\n", "latin1"));
    await e.setInputFiles("#subtitles [name=file]", file);
    await e.click("#subtitles [type=submit]");
    await e.waitForSelector("#subtitles :text('not UTF-8')");
    check("what cannot be read is told in the form", true);
    await e.focus('#subtitles li:has-text("German") button, #subtitles li:has-text("Deutsch") button');
    await e.keyboard.press("Enter");
    await e.waitForFunction(() => document.querySelectorAll("#subtitles li").length === 3 && !document.querySelector("#subtitles").textContent.includes("Deutsch"));
    check("the keyboard removes subtitles", true);

    const again = await watch();
    await again.waitForSelector("#tracks:not([hidden])");
    await at(again, 1);
    await choose(again, "English, full");
    await until("the creator's text is shown", async () => await shown(again) === "From the creator");
    check("subtitles added later are shown", true);

    const own = await watch(true);
    await own.waitForSelector("#tracks:not([hidden])");
    await at(own, 1);
    await choose(own, "Pour tous");
    await until("the French text is shown", async () => await shown(own) === "Bonjour, toi\nligne deux");
    check("the browser's own HLS shows subtitles too", await own.evaluate(() => window.player.hls === null));
    await shot(own, "subtitles-native");
    check("no error in the pages", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
