// SPDX-License-Identifier: Apache-2.0
// The operator's promise: the affiliate rule is edited while a film plays. The new rule decides the next sale, a mistake in it
// changes nothing, and the film does not notice.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Server, check, main, until } from "../live/lib.mjs";

const FILM = process.env.FILM ?? "/usr/share/forensics-samples/original-files/movie2/movie-hello.mp4";

async function upload(site, creator) {
  const form = new FormData();
  form.set("title", "While it plays");
  form.set("price_cents", "1000");
  form.set("file", new Blob([readFileSync(FILM)], { type: "video/mp4" }), "film.mp4");
  const r = await fetch(site.url + "/api/upload", { method: "POST", body: form, headers: { cookie: creator.cookie(), origin: site.url } });
  const { video_id } = await r.json();
  await until("the film is ready", async () =>
    (await creator.get("/api/my_videos")).json.videos.some(v => v.id === video_id && v.processing_state === "ready"), 120);
  return video_id;
}

await main(async () => {
  const site = await new Server({ development: "true" }).start();
  const [admin, creator, affiliate, watcher] = [await site.admin(), await site.user("maker"), await site.user("aff"), await site.user("eye")];
  const film = await upload(site, creator);
  const program = await creator.post("/api/affiliate/settings", { video_id: film, commission_pct: 20, is_enabled: true });
  check("the creator offers 20 %", program.status === 200, program.text);
  const sale = async () => {
    const buyer = await site.user("buyer");
    await site.fund(admin, buyer, 2000);
    const before = await affiliate.balance();
    const r = await buyer.post("/api/wallet/pay", { video_id: film, ref_code: affiliate.username });
    if (r.status !== 200) throw new Error(r.text);
    return await affiliate.balance() - before;
  };
  await site.fund(admin, watcher, 2000);
  await watcher.buy(film);

  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage",
      "--autoplay-policy=no-user-gesture-required"] });
  try {
    const context = await browser.newContext();
    await context.addCookies(Object.entries(watcher.jar).map(([name, value]) => ({ name, value, url: site.url })));
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", e => errors.push(e.message));
    await page.goto(`${site.url}/public/watch.html?video_id=${film}`);
    await page.click("#play");
    await page.waitForFunction(() => window.player?.video);
    await page.evaluate(() => { const v = window.player.video; v.loop = true; v.muted = true; return v.play(); });
    const playing = async () => {
      const from = await page.evaluate(() => ({ t: window.player.video.currentTime, n: window.player.video.getVideoPlaybackQuality().totalVideoFrames }));
      await page.waitForFunction(n => window.player.video.getVideoPlaybackQuality().totalVideoFrames > n + 10, from.n);
    };
    await playing();
    check("a sale pays by the rule as it is", await sale() === 200);

    const file = join(site.root, "plugins/percent/handler.lua");
    const rule = readFileSync(file, "utf8");
    const status = async () => site.status();
    let bundle = (await status()).bundle;
    writeFileSync(file, rule.replace("if amount <= 0", "amount = math.min(amount, 150)\n  if amount <= 0"));
    await until("the new rule serves", async () => { const s = await status(); return s.bundle > bundle && s.workers.every(w => w.bundle === s.bundle); });
    check("the edited rule decides the next sale", await sale() === 150);
    await playing();

    bundle = (await status()).bundle;
    writeFileSync(file, rule.replace("return M", "return M )"));
    await until("the mistake is refused", async () => (await status()).refused);
    const refused = JSON.stringify((await status()).refused);
    check("the refusal names the file and the line", /percent\/handler\.lua/.test(refused) && /"line":[1-9]/.test(refused), refused);
    check("the rule before the mistake goes on", await sale() === 150);
    await playing();
    check("the film played all the while", errors.length === 0 && !(await page.evaluate(() => window.player.video.error)), errors.join("; "));
  } finally {
    await browser.close();
  }
  await site.check_books("rules edited");
});
