// SPDX-License-Identifier: Apache-2.0
// What a creator reads about files that cannot become films: in the upload page and in My videos, sentence by sentence. And an
// AVI file, which can. OUT=dir keeps screenshots.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main, until } from "../live/lib.mjs";
import { craft } from "../support/hostile.mjs";
import { launch, make_film, open_page, shot } from "./lib.mjs";

const REASONS = { "playlist_behind_head.mp4": /damaged or incomplete/, "forbidden_decoder.mkv": /magicyuv.*H\.264 and AAC/, "thousand_tracks.mkv": /more than 32 tracks/,
  "packed_bomb.mkv": /damaged|cannot/, "sound.mp4": /no picture track/ };

await main(async () => {
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start(), maker = await s.user("maker");
  const dir = join(s.dir, "hostile"), good = make_film(s, 3), at = name => join(dir, name);
  mkdirSync(dir);
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-y", "-i", good, "-map", "0:a", "-c", "copy", at("sound.mp4")]);
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-y", "-i", good, "-c:v", "mpeg4", "-c:a", "mp3", at("film.avi")]);
  craft(dir, good);
  const browser = await launch(), noise = [];
  try {
    const page = await open_page(browser, s, maker, noise, { viewport: { width: 360, height: 740 } });
    const send = async name => {
      await page.goto(`${s.url}/public/upload.html`);
      await page.waitForSelector("#upload:visible");
      await page.setInputFiles("#file", at(name));
      await page.fill("#title", name);
      await page.click("#upload [type=submit]");
      await page.waitForSelector("#prepare");
    };
    await send("film.avi");
    await page.waitForSelector("#watch", { timeout: 900000 });
    check("an AVI file becomes a film", true);
    for (const [name, reason] of Object.entries(REASONS)) {
      await send(name);
      await page.waitForSelector("#prepare [role=alert]", { timeout: 900000 });
      const text = await page.textContent("#prepare [role=alert]");
      check(`${name}: the upload page says why`, reason.test(text), text);
      if (name === "forbidden_decoder.mkv") await shot(page, "refused-upload-360");
    }
    await page.goto(`${s.url}/public/dashboard.html`);
    for (const [name, reason] of Object.entries(REASONS)) {
      const card = page.locator("#videos > *, .card, article, tr, li").filter({ hasText: name }).last();
      await card.waitFor();
      check(`${name}: My videos keeps saying it`, reason.test(await card.textContent()), await card.textContent());
    }
    check("360 px: nothing is wider than the page", await page.evaluate(() => document.documentElement.scrollWidth) <= 360);
    await shot(page, "refused-videos-360");
    await until("the refused originals are gone", () => readdirSync(join(s.var, "upload")).length === 1);
    check("nothing of the refused files stays on the disk", true);
    check("the pages raised no error", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
