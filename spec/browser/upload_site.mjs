// SPDX-License-Identifier: Apache-2.0
// The upload page in a real browser: pause, a lost connection, a reload in the middle, giving up, and a server without tus.
//   OUT=dir for screenshots
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Server, check, main, until } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SLOW = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 3e6 };
const FAST = { ...SLOW, uploadThroughput: -1 };

await main(async () => {
  const s = await new Server({ job_workers: 0 }).start();
  const u = await s.user("maker");
  const film = (name, size) => {
    const bytes = Buffer.concat([Buffer.from("\0\0\0\x18ftypisom\0\0\x02\0isomiso2mp41", "latin1"), randomBytes(size)]), path = join(s.dir, name);
    writeFileSync(path, bytes);
    return { path, name, sha256: createHash("sha256").update(bytes).digest("hex") };
  };
  const browser = await launch();
  try {
    const context = await browser.newContext({ reducedMotion: "reduce" });
    await context.addCookies(Object.entries(u.jar).map(([name, value]) => ({ name, value, url: s.url })));
    const page = await context.newPage(), cdp = await context.newCDPSession(page);
    await cdp.send("Network.enable");
    const noise = [], patches = [];
    page.on("pageerror", e => noise.push(e.message));
    page.on("console", m => { if (m.type() === "error" && /Content Security|Uncaught/.test(m.text())) noise.push(m.text()); });
    page.on("request", r => { if (r.method() === "PATCH") patches.push(Number(r.headers()["upload-offset"])); });
    const net = x => cdp.send("Network.emulateNetworkConditions", x);
    const bar = async () => Number(await page.getAttribute("#work [role=progressbar]", "aria-valuenow"));
    const shot = async name => process.env.OUT && page.screenshot({ path: join(process.env.OUT, `${name}.png`), fullPage: true });
    const axe = async name => {
      await cdp.send("Runtime.evaluate", { expression: AXE });
      const bad = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] })
        .then(r => r.violations.map(v => `${v.id} (${v.nodes[0].html.slice(0, 90)})`)));
      check(`axe: ${name}`, bad.length === 0, bad.join("; "));
    };
    const open = async () => {
      await page.goto(s.url + "/public/upload.html");
      await page.waitForSelector("#upload:visible");
    };
    const begin = async (f, title) => {
      await page.setInputFiles("#file", f.path);
      await page.fill("#title", title);
      await page.click("#upload [type=submit]");
      await page.waitForSelector("#pause");
    };
    const arrived = async (name, f, title) => {
      await page.waitForSelector("#prepare");
      const id = await page.getAttribute("#prepare", "data-video");
      const [row] = await s.sql(`select upload_sha256, title from videos where id = '${id}'`);
      check(name, row[0] === f.sha256 && row[1] === title, row.join(" "));
    };

    const first = film("a long film.mp4", 24e6);
    await open();
    await net(SLOW);
    await begin(first, "A long film");
    await until("some has gone", async () => await bar() > 5);
    check("speed and time left are shown", /of 24 MB · .*\/s · about .* left/.test(await page.textContent("#speed")), await page.textContent("#speed"));
    check("the keyboard is at the buttons", await page.evaluate(() => document.activeElement.id) === "pause");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#pause:has-text('Resume')");
    const held = await bar();
    await axe("paused");
    await shot("paused");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#pause:has-text('Pause')");
    await until("it goes on after the pause", async () => await bar() > held);
    await net({ ...SLOW, offline: true });
    await page.waitForSelector("#speed:has-text('connection is lost')");
    await shot("lost");
    await net(SLOW);
    const lost = await bar();
    await until("it goes on by itself when the connection is back", async () => await bar() > lost && /left/.test(await page.textContent("#speed")));
    check("it goes on by itself when the connection is back", true);

    await until("a reload finds something to keep", async () => Number((await s.sql("select max(received) from uploads"))[0][0]) > 4e6);
    await page.reload();
    await page.waitForSelector("#unfinished:has-text('a long film.mp4')");
    check("after a reload the page knows the unfinished upload", true);
    await axe("unfinished");
    await page.setViewportSize({ width: 360, height: 740 });
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setInputFiles("#file", first.path);
    await page.waitForSelector("#continue");
    check("the offer has the focus", await page.evaluate(() => document.activeElement.id) === "continue");
    check("360 px: nothing is wider than the page", await page.evaluate(() => document.documentElement.scrollWidth) <= 360);
    await axe("offer, dark, 360 px");
    await shot("offer-360-dark");
    patches.length = 0;
    await page.keyboard.press("Enter");
    await page.waitForSelector("#pause");
    await shot("running-360-dark");
    await net(FAST);
    await arrived("a reload in the middle: the whole film has arrived", first, "A long film");
    check("and it did not begin again", patches.length > 0 && patches[0] > 4e6, patches.join(" "));
    await open();
    check("a finished upload is not offered", await page.textContent("#unfinished") === "");
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.emulateMedia({ colorScheme: "light" });

    const second = film("other.mp4", 9e6);
    await net(SLOW);
    await begin(second, "Other");
    await until("some has gone", async () => await bar() > 5);
    await page.click("#work .btn-outline-danger");
    await page.click("#work .btn-danger");
    await page.waitForSelector(".form-problem:has-text('stopped')");
    await until("nothing of it stays", async () => (await s.sql("select 1 from uploads where state = 'open'")).length === 0
      && readdirSync(join(s.var, "upload")).length === 1);
    check("a stopped upload leaves nothing", true);

    await begin(second, "Other");
    await until("some is kept", async () => Number((await s.sql("select max(received) from uploads where state = 'open'"))[0][0]) > 0);
    await page.reload();
    await page.waitForSelector("#unfinished:has-text('other.mp4')");
    await page.click("#unfinished .btn-outline-danger");
    await page.click("#unfinished .btn-danger");
    await until("the list is empty", async () => await page.textContent("#unfinished") === "");
    check("an unfinished upload can be given up", (await s.sql("select 1 from uploads where state = 'open'")).length === 0);

    await page.route("**/api/uploads", r => r.request().method() === "OPTIONS" ? r.fulfill({ status: 404, body: "" }) : r.continue());
    await net(FAST);
    await open();
    const forms = [];
    page.on("request", r => { if (r.url().endsWith("/api/upload")) forms.push(r.method()); });
    await page.setInputFiles("#file", second.path);
    await page.fill("#title", "As a form");
    await page.click("#upload [type=submit]");
    await arrived("without tus the film goes as one form", second, "As a form");
    check("by POST /api/upload", forms.length === 1);

    await page.unroute("**/api/uploads");
    const text = join(s.dir, "no film.mp4");
    writeFileSync(text, "This is a text. ".repeat(100));
    await open();
    await page.setInputFiles("#file", text);
    await page.click("#upload [type=submit]");
    await page.waitForSelector(".form-problem:has-text('not a film')");
    check("what is no film is refused with the server's sentence", true);
    check("the pages raised no error", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
