// SPDX-License-Identifier: Apache-2.0
// The page for leaked clips: a clip of no title ends in a sentence, a traced leak shows its verdict, suspects and plot, at
// desktop and phone width. The tracing itself is spec/live/trace.mjs. OUT=dir keeps screenshots.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

const OUT = process.env.OUT;
if (OUT) mkdirSync(OUT, { recursive: true });

await main(async () => {
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start();
  const maker = await s.user("maker"), thief = await s.user("thief"), [film] = await s.films(maker, 500, 1);
  const segments = Array.from({ length: 40 }, (_, n) => [n, 1, 50, (n % 2 ? -1 : 1) * (4 + n % 5)]);
  const report = { format: "ppv leak evidence 1", at: "2026-01-01T00:00:00Z", verdict: "accused", titles: 1, threshold: -6, marked: 38, candidates: 12,
    clip: { name: "<b>leak</b>.mp4", duration: 80, sha256: "0", width: 640, height: 360, fps: 25 }, title: { id: film, title: "Film 1", match: 0.93 },
    reading: { segments, used: 900, pictures: 1000, runs: [], mirrored: true },
    suspects: [{ user_id: thief.id, username: thief.username, log10_bound: -8.2, score: 1, accounts: 1, agree: 38, read: 38, served: 40, segments: 40, accused: true }] };
  const script = join(s.dir, "sign.lua");
  writeFileSync(script, `local db, json, trace = require "ppv.db", require "ppv.json", require "lib.trace"
    assert(db.exec("insert into leaks (video_id, verdict, report) values ($1::uuid, 'accused', $2::jsonb)", "${film}",
      json.encode { file = trace.sign(json.decode([==[${JSON.stringify(report)}]==])) })) return 0`);
  const signed = await s.ppv("lua", script);
  check("a leak is on record", signed.code === 0, signed.out + signed.err);
  const clip = join(s.dir, "clip.mp4");
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4", "-pix_fmt", "yuv420p", clip]);
  const browser = await launch();
  const noise = [];
  try {
    for (const [name, options] of Object.entries({ wide: { viewport: { width: 1280, height: 900 } }, phone: { viewport: { width: 360, height: 740 }, colorScheme: "dark" } })) {
      const context = await browser.newContext(options);
      await context.addCookies(Object.entries(maker.jar).map(([n, value]) => ({ name: n, value, url: s.url })));
      const page = await context.newPage();
      page.on("pageerror", (e) => noise.push(e.message));
      await page.goto(s.url + "/public/trace.html");
      await page.click("#leaks button >> text=Film 1");
      await page.waitForSelector(`#verdict >> text=${thief.username}`);
      await page.waitForSelector("#verdict canvas");
      const text = await page.textContent("#verdict");
      check(`${name}: the bound stands with the name`, /at most 1 in 158/.test(text) && text.includes("10^-8.2") && text.includes("Accused"), text);
      check(`${name}: a file name is text`, text.includes("<b>leak</b>.mp4"), text);
      check(`${name}: not wider than the screen`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      const [evidence] = await Promise.all([page.waitForEvent("download"), page.click("text=Signed evidence")]);
      const verified = await s.ppv("trace", "verify", await evidence.path());
      check(`${name}: the evidence verifies`, verified.code === 0, verified.out + verified.err);
      if (OUT) await page.screenshot({ path: join(OUT, `trace-${name}.png`), fullPage: true });
      if (name === "phone") continue;
      await page.click("#clip [type=submit]");
      await page.waitForSelector("#clip >> text=Choose a clip first");
      await page.setInputFiles("#clip [name=file]", clip);
      await page.click("#clip [type=submit]");
      await page.waitForSelector("#running [role=progressbar]");
      await page.waitForSelector("#verdict >> text=none of the titles");
      check("a clip of no title is told", true);
    }
    check("no error in the pages", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
