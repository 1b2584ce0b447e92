// SPDX-License-Identifier: Apache-2.0
// A creator looks at who watched what, wide and on a phone, light and dark. OUT=dir keeps screenshots.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

const OUT = process.env.OUT;
if (OUT) mkdirSync(OUT, { recursive: true });

await main(async () => {
  const s = await new Server({ web_workers: 1 }).start();
  const maker = await s.user("maker"), [film, other] = await s.films(maker, 500, 2);
  await s.sql(`insert into renditions (video_id, name, kind, bandwidth, codecs, init_path, segments, nsegments)
    select v.id, n, 'video', 1000, 'avc1.64001e', 'init', '{}', 60 from videos v, unnest(array['240', '480']) n;
    update videos set duration_ms = 120000;
    insert into key_log (playback_id, user_id, video_id, rendition, variant, seq, at)
    select md5(p::text)::uuid, 1000 + p % 25, '${film}', case when p % 3 = 0 then '240' else '480' end, 'a', n,
      now() - p * interval '7 hours' + n * interval '2 seconds' from generate_series(1, 60) p, generate_series(0, 59) n where n < 15 + (p * 7) % 60;
    insert into key_log (playback_id, user_id, video_id, rendition, variant, seq) select md5('x')::uuid, 7, '${other}', '480', 'a', n from generate_series(0, 9) n;
    update analytics_state set rolled_to = '-infinity';
    select ppv_analytics_roll()`); // the site's own job may have been there before these rows of the past
  const browser = await launch();
  const noise = [];
  try {
    for (const [name, options] of Object.entries({ wide: { viewport: { width: 1280, height: 900 } }, phone: { viewport: { width: 360, height: 740 }, colorScheme: "dark" } })) {
      const context = await browser.newContext(options);
      await context.addCookies(Object.entries(maker.jar).map(([n, value]) => ({ name: n, value, url: s.url })));
      const page = await context.newPage();
      page.on("pageerror", (e) => noise.push(e.message));
      await page.goto(s.url + "/public/analytics.html");
      await page.waitForSelector(".tile >> text=Starts");
      check(`${name}: all starts are counted`, (await page.textContent(".tile:has-text('Starts') .n")) === "61");
      check(`${name}: someone watches now`, (await page.textContent(".tile:has-text('Watching now') .n")) === "1");
      await page.waitForSelector(".plot canvas");
      if (OUT) await page.screenshot({ path: join(OUT, `analytics-${name}.png`), fullPage: true });
      await page.click(`a[href*="${film}"]`);
      await page.waitForSelector("h2:has-text('Who is still there')");
      await page.waitForSelector(".plot canvas");
      check(`${name}: not wider than the screen`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      if (OUT) await page.screenshot({ path: join(OUT, `analytics-title-${name}.png`), fullPage: true });
      await page.selectOption("#days", "7");
      await page.waitForFunction(() => [...document.querySelectorAll(".tile")].some((t) => t.textContent.includes("Starts") && Number(t.querySelector(".n").textContent) < 30));
      check(`${name}: a shorter period counts less`, true);
    }
    check("no error in the pages", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
