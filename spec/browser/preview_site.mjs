// SPDX-License-Identifier: Apache-2.0
// The free preview of a really encoded film in a real browser: the creator sets it, a guest and a member see it, buying goes
// on at the same place, and a page of another origin shows it in a frame. OUT=dir keeps screenshots.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Server, check, main, until } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const OUT = process.env.OUT;
if (OUT) mkdirSync(OUT, { recursive: true });

async function encoded(s, who) {
  const path = join(s.dir, "film.mp4");
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=16", "-f", "lavfi", "-i",
    "sine=frequency=440:duration=16", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", path]);
  return s.film(who, path, { title: "A long way home", price_cents: 500 });
}

/** A site that shows one page with a frame. */
async function other_site(frame) {
  const server = http.createServer((_, res) => res.writeHead(200, { "content-type": "text/html" })
    .end(`<!doctype html><title>A blog</title><h1>A blog</h1><iframe src="${frame}" width="340" height="200" allow="autoplay; fullscreen"></iframe>`));
  await new Promise(done => server.listen(0, "127.0.0.1", done));
  return server;
}

await main(async () => {
  const s = await new Server().start();
  const admin = await s.admin(), maker = await s.user("maker"), member = await s.user("member");
  await s.fund(admin, member, 2000);
  const id = await encoded(s, maker), watch = `${s.url}/public/watch.html?video_id=${id}`;
  const blog = await other_site(`${s.url}/embed/${id}`), stranger = await other_site(`${s.url}/embed/${id}`);
  const blog_url = `http://localhost:${blog.address().port}`, stranger_url = `http://localhost:${stranger.address().port}`;
  const browser = await launch();
  const noise = [];
  const open = async (who, options = {}) => {
    const context = await browser.newContext(options);
    if (who) await context.addCookies(Object.entries(who.jar).map(([name, value]) => ({ name, value, url: s.url })));
    const page = await context.newPage(), asked = [];
    page.on("pageerror", e => noise.push(e.message));
    page.on("console", m => { if (/Uncaught|Content Security/.test(m.text()) && !m.text().includes("frame-ancestors")) noise.push(m.text()); });
    context.on("request", r => asked.push(r.url()));
    return { context, page, asked };
  };
  const shot = async (page, name) => OUT && page.screenshot({ path: join(OUT, `${name}.png`) });
  const axe = async (page, name) => {
    const cdp = await page.context().newCDPSession(page);
    await cdp.send("Runtime.evaluate", { expression: AXE });
    const bad = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] })
      .then(r => r.violations.map(v => `${v.id} (${v.nodes[0].html.slice(0, 90)})`)));
    check(`axe: ${name}`, bad.length === 0, bad.join("; "));
  };
  const phone = { viewport: { width: 360, height: 740 }, colorScheme: "dark" };
  const place = where => where.evaluate(() => document.querySelector("video")?.currentTime ?? -1);
  const moves = where => where.waitForFunction(() => document.querySelector("video")?.currentTime > 0.3);
  const film_of = asked => asked.filter(u => /\.key$|request_play/.test(u));
  try {
    const creator = await open(maker);
    await creator.page.goto(`${s.url}/public/edit.html?video_id=${id}`);
    await creator.page.fill("#preview input", "9");
    await creator.page.click("#preview [type=submit]");
    await creator.page.waitForSelector("#preview .invalid-feedback:has-text('At most 8')");
    check("more than half of the film is refused", true);
    await creator.page.fill("#preview input", "4");
    await creator.page.click("#preview [type=submit]");
    await creator.page.waitForSelector(".toast:has-text('first 0:04')");
    await creator.page.fill("#embed textarea", "nonsense");
    await creator.page.click("#embed [type=submit]");
    await creator.page.waitForSelector("#embed >> text=nonsense cannot be allowed");
    await creator.page.fill("#embed textarea", blog_url + "/some/page");
    await creator.page.click("#embed [type=submit]");
    await creator.page.waitForFunction(o => document.querySelector("#embed textarea")?.value === o, blog_url);
    check("the creator sets the preview and the sites", true);
    await axe(creator.page, "edit");
    await shot(creator.page, "edit");

    const guest = await open(null, phone);
    await guest.page.goto(watch);
    await moves(guest.page);
    check("a guest sees the preview play beside the price", await guest.page.isVisible("#sign-in") && await guest.page.isVisible("#price"));
    await shot(guest.page, "guest-360-dark");
    await guest.page.waitForSelector("#offer");
    check("it ends after four seconds with a card", Math.abs(await place(guest.page) - 4) < 0.3, String(await place(guest.page)));
    check("the card leads to signing in", (await guest.page.getAttribute("#offer a", "href")).includes("/public/auth/"));
    check("360 px: nothing is wider than the page", await guest.page.evaluate(() => document.documentElement.scrollWidth) <= 360);
    await shot(guest.page, "guest-end-360-dark");
    await axe(guest.page, "the end of the preview, dark, 360 px");
    check("no key and no session was asked for", guest.asked.some(u => u.includes("/hls/")) && film_of(guest.asked).length === 0, film_of(guest.asked).join(" "));
    await guest.page.click("#offer button");
    await guest.page.waitForFunction(() => !document.querySelector("#offer") && document.querySelector("video").currentTime < 3);
    check("it can be seen again", true);

    const buyer = await open(member, phone);
    let loads = 0;
    buyer.page.on("load", () => loads++);
    await buyer.page.goto(watch);
    await buyer.page.waitForSelector("#offer");
    await buyer.page.click("#offer .btn-brand");
    await buyer.page.waitForSelector("#confirm");
    await buyer.page.evaluate(() => {
      window.places = [];
      document.querySelector("#stage").addEventListener("timeupdate", e => window.places.push(e.target.currentTime), true);
    });
    await shot(buyer.page, "buy-360-dark");
    await buyer.page.click("#confirm");
    await buyer.page.waitForFunction(() => document.querySelector("video")?.currentTime > 5.5);
    const places = await buyer.page.evaluate(() => window.places);
    const after = places.filter(t => t > 4.3);
    check("the film goes on where the preview ended", after.length > 0 && after[0] < 5 && places.every(t => t > 3.5), places.slice(0, 5).join(" "));
    check("without loading the page again", loads === 1, String(loads));
    check("now with keys", film_of(buyer.asked).some(u => u.endsWith(".key")));
    await shot(buyer.page, "bought-360-dark");

    const second = await s.user("second");
    await s.fund(admin, second, 2000);
    const early = await open(second);
    await early.page.goto(watch);
    await early.page.waitForFunction(() => document.querySelector("video")?.currentTime > 1.5);
    await early.page.evaluate(() => document.querySelector("video").pause());
    const at = await place(early.page);
    await early.page.click("#buy");
    await early.page.click("#confirm");
    await early.page.waitForFunction(t => document.querySelector(".viewer-mark") && document.querySelector("video")?.currentTime > t + 0.3, at);
    check("bought in the middle it goes on there", await place(early.page) < at + 4, `${at} then ${await place(early.page)}`);

    const reader = await open(member, phone);
    await reader.page.goto(blog_url);
    const frame = await (await reader.page.waitForSelector("iframe")).contentFrame();
    await frame.waitForSelector("#play");
    check("a frame on an allowed site offers the preview", (await frame.textContent(".bar")).includes("A long way home"));
    await shot(reader.page, "embed-cover");
    await frame.click("#play");
    await moves(frame);
    await frame.waitForSelector(".offer");
    await shot(reader.page, "embed-end");
    check("it plays to its end there, though its viewer owns the film", Math.abs(await place(frame) - 4) < 0.3, String(await place(frame)));
    check("the frame asks for no key and no session", film_of(reader.asked).length === 0, film_of(reader.asked).join(" "));
    const [tab] = await Promise.all([reader.context.waitForEvent("page"), frame.click(".offer a")]);
    await tab.waitForURL(watch);
    check("buying opens the watch page in a tab of its own", await tab.evaluate(() => window.opener) === null && reader.page.url().startsWith(blog_url));

    const [refusal] = await Promise.all([reader.page.waitForEvent("console", m => m.text().includes("frame-ancestors")), reader.page.goto(stranger_url)]);
    check("a site that is not on the list shows nothing", reader.page.frames().every(f => !f.url().includes("/embed/")), refusal.text());
    await maker.post("/api/video_update", { id, embed_origins: "" });
    await reader.page.goto(blog_url);
    const none = await (await reader.page.waitForSelector("iframe")).contentFrame();
    await none.waitForSelector("text=does not offer it on other sites");
    check("without a list there is a sentence", true);
    check("the pages raised no error", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
    blog.close();
    stranger.close();
  }
});
