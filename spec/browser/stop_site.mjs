// SPDX-License-Identifier: Apache-2.0
// Taking access back, signing out everywhere and one stream too many, seen where it counts: the picture stops (in ten
// seconds; here it is told how many it took), what was loaded ahead is gone, and the viewer reads why and what can be done. OUT=dir keeps screenshots.
import { Client, Server, check, main, note } from "../live/lib.mjs";
import { launch, make_film, open_page, shot, upload_film } from "./lib.mjs";

const phone = { viewport: { width: 360, height: 740 }, colorScheme: "dark" };

/** The same person on another device. */
async function device(s, who) {
  const c = Object.assign(new Client(s), { email: who.email, password: who.password, username: who.username });
  await c.login();
  return c;
}

await main(async () => {
  const s = await new Server().start();
  const admin = await s.admin(), maker = await s.user("maker"), viewer = await s.user("viewer");
  const id = await upload_film(maker, make_film(s, 60), { price_cents: 500 });
  await s.fund(admin, viewer, 2000);
  await viewer.buy(id);
  const browser = await launch(), noise = [];
  const watch = async (who, { native, ...options } = {}) => {
    const page = await open_page(browser, s, who, noise, options);
    if (native) await page.addInitScript(() => { delete window.MediaSource; delete window.ManagedMediaSource; });
    await page.goto(`${s.url}/public/watch.html?video_id=${id}`);
    return page;
  };
  const plays = page => page.waitForFunction(() => { const v = window.player?.video; return v && !v.paused && v.currentTime > 0.3; });
  const play = async (who, options) => {
    const page = await watch(who, options);
    await page.click("#play");
    await plays(page);
    return page;
  };
  // What the viewer reads once nothing moves any more, and after how long.
  const stops = async (name, page, act, wanted) => {
    const before = await page.evaluate(() => window.player.video.currentTime);
    await act();
    const done = performance.now();
    await page.waitForSelector(".player .failed").catch(() => {});
    const seconds = (performance.now() - done) / 1000, text = (await page.textContent(".player .failed p").catch(() => null)) ?? "nothing";
    const after = await page.evaluate(() => { const v = window.player.video; return { loaded: v.buffered.length, idle: v.paused || v.readyState === 0 }; });
    note(`${name}: stopped after ${seconds.toFixed(1)} s, at second ${before.toFixed(0)} of the film: "${text}"`);
    check(`${name}: playback stops and says why`, wanted.test(text), text);
    check(`${name}: nothing of what was loaded ahead is left`, after.idle && after.loaded === 0, JSON.stringify(after));
    await page.keyboard.press("k");
    check(`${name}: a key does not wipe the sentence away`, await page.isVisible(".player .failed"));
    await shot(page, name.replaceAll(" ", "-"));
  };
  try {
    const last = await play(viewer);
    await last.evaluate(() => { window.player.video.currentTime = 38; });
    await last.waitForFunction(() => { const v = window.player.video; return !v.seeking && v.buffered.length && v.buffered.end(v.buffered.length - 1) > v.duration - 0.5; });
    const user_id = viewer.id;
    await stops("access taken back, all loaded", last, async () => {
      const r = await admin.post("/admin/access/revoke", { user_id, video_id: id, reason: "a test" });
      if (r.json?.removed !== 1) throw new Error(r.text);
    }, /no longer have access/);
    await last.click(".player .failed a");
    await last.waitForSelector("#buy");
    check("access taken back: the way back leads to the price", true);
    await viewer.buy(id);

    const early = await play(viewer, phone);
    await stops("access taken back, still loading", early, () => admin.post("/admin/access/revoke", { user_id, video_id: id, reason: "a test" }),
      /no longer have access/);
    await viewer.buy(id);

    // The browser's own HLS asks for nothing more once all is loaded; it jumps about before, on a film that is longer than what it keeps.
    const own = await watch(viewer, { ...phone, native: true });
    await own.click("#play");
    await plays(own);
    for (const to of [50, 2, 30]) {
      await own.evaluate(t => { window.player.video.currentTime = t; }, to);
      await own.waitForFunction(t => { const v = window.player.video; return !v.seeking && v.currentTime > t + 0.3 && v.currentTime < t + 5; }, to);
    }
    check("the browser's own HLS plays where it is told to", await own.evaluate(() => window.player.hls === null && window.player.video.currentSrc.endsWith("master-ts.m3u8")));
    await stops("access taken back, the browser's own HLS", own, () => admin.post("/admin/access/revoke", { user_id, video_id: id, reason: "a test" }),
      /no longer have access/);
    await viewer.buy(id);

    const sofa = await device(s, viewer), tv = await play(sofa, phone);
    await stops("signed out everywhere", tv, async () => {
      const r = await viewer.post("/api/sessions/revoke_others");
      if (!(r.json?.removed >= 1)) throw new Error(r.text);
    }, /signed out/);
    check("signed out everywhere: the way on is signing in", (await tv.getAttribute(".player .failed a", "href")).startsWith("/public/auth/login.html?return="));

    await s.set(admin, { playback_max_streams: 2 });
    const first = await play(viewer), second = await play(viewer);
    let third;
    await stops("a third stream", first, async () => { third = await play(viewer); }, /another place/);
    check("a third stream: the second goes on", await second.evaluate(() => !window.player.video.paused));
    await stops("taken back here", second, async () => {
      await first.click(".player .failed button");
      await plays(first);
    }, /another place/);
    check("taken back here: the others than the oldest go on", await third.evaluate(() => !window.player.video.paused));

    await s.set(admin, { playback_max_streams: 2, playback_over_limit: "refuse" });
    const fourth = await watch(viewer, phone);
    await fourth.click("#play");
    await fourth.waitForSelector("#stage [role=alert]");
    const text = await fourth.textContent("#stage [role=alert]");
    note(`refused: "${text}"`);
    check("where the new stream is refused, it says why", /as many places as your account allows/.test(text), text);
    check("and the old ones go on", await first.evaluate(() => !window.player.video.paused) && await third.evaluate(() => !window.player.video.paused));
    await shot(fourth, "refused");
    check("the pages raised no error", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
