// SPDX-License-Identifier: Apache-2.0
// The page for editing a title in a real browser: every section, deletion and its undoing, and what a buyer sees of it.
//   OUT=dir for screenshots
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Server, check, main } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

await main(async () => {
  const s = await new Server({ job_workers: 0 }).start();
  const maker = await s.user("maker"), viewer = await s.user("viewer");
  const [film, waiting, second] = await s.films(maker, 500, 3);
  await s.sql(`update videos set state = 'queued', ready_at = null where id = '${waiting}'`);
  await maker.post("/api/allow", { video_id: film, username: viewer.username });
  const column = async (name, id = film) => (await s.sql(`select ${name} from videos where id = '${id}'`))[0].join("");
  const browser = await launch();
  try {
    const noise = [];
    const person = async who => {
      const context = await browser.newContext({ viewport: { width: 360, height: 740 }, reducedMotion: "reduce" });
      await context.addCookies(Object.entries(who.jar).map(([name, value]) => ({ name, value, url: s.url })));
      const page = await context.newPage();
      page.on("pageerror", e => noise.push(e.message));
      return page;
    };
    const page = await person(maker), other = await person(viewer);
    const shot = (p, name) => process.env.OUT && p.screenshot({ path: join(process.env.OUT, `${name}.png`), fullPage: true });
    const axe = async name => {
      await (await page.context().newCDPSession(page)).send("Runtime.evaluate", { expression: AXE });
      const bad = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] })
        .then(r => r.violations.map(v => `${v.id} (${v.nodes[0].html.slice(0, 90)})`)));
      check(`axe: ${name}`, bad.length === 0, bad.join("; "));
    };
    const saved = async section => {
      await page.click(`${section} [type=submit]`);
      await page.waitForSelector(".toast:has-text('Saved')");
      await page.click(".toast .btn-close");
    };
    await page.goto(s.url + "/public/dashboard.html");
    await page.click(`[data-video="${film}"] a:has-text("Edit")`);
    await page.waitForSelector("#details");
    await page.fill("#details [name=title]", "");
    await page.click("#details [type=submit]");
    await page.waitForSelector("#details .invalid-feedback");
    await page.fill("#details [name=title]", "A better <title>");
    await page.fill("#details [name=price_cents]", "12.50");
    await page.uncheck("#details [name=published]");
    await saved("#details");
    check("title, price and visibility are kept", await column("title || price || visibility") === "A better <title>1250draft");
    check("the page bears the new title", await page.textContent("#name") === "A better <title>");
    await page.fill("#preview [name=seconds]", "601");
    await page.click("#preview [type=submit]");
    await page.waitForSelector("#preview .invalid-feedback");
    await page.fill("#preview [name=seconds]", "4");
    await saved("#preview");
    check("the preview is kept and nothing else changed", await column("preview_ms || title") === "4000A better <title>");
    await page.fill("#prices [name=price_IDR]", "75000");
    await saved("#prices");
    check("the price in rupiah is kept", (await s.sql(`select currency || amount from prices where video_id = '${film}'`))[0][0] === "IDR7500000");
    await page.check("#rental [name=active]");
    await page.fill("#rental [name=price]", "2");
    await page.fill("#rental [name=days]", "7");
    await saved("#rental");
    check("the rental is kept", (await s.sql(`select price, window_h, play_h, active from offers where video_id = '${film}'`))[0].join() === "200,168,48,t");
    await page.click("#new-bundle");
    await page.fill("#bundles [name=title]", "Both films");
    await page.check(`#bundles [value="${second}"]`);
    await page.fill("#bundles form [name=price]", "9");
    await saved("#bundles form");
    await page.waitForSelector("#bundles details:has-text('Both films')");
    check("the bundle is listed", (await page.textContent("#bundles details")).includes("2 titles"));
    await page.click("#bundles summary");
    check("a prepared film's mark is shown, not offered", await page.locator("#strength select").count() === 0 && /Normal/.test(await page.textContent("#strength")));
    check("360 px: nothing is wider than the page", await page.evaluate(() => document.documentElement.scrollWidth) <= 360);
    await axe("edit");
    await page.emulateMedia({ colorScheme: "dark" });
    await page.reload();
    await page.waitForSelector("#removal");
    await axe("edit, dark");
    await shot(page, "edit-360-dark");

    await other.goto(s.url + "/public/library.html");
    await other.waitForSelector("a.title:has-text('A better')");
    await page.click("#removal .btn-outline-danger");
    await page.click("#removal .btn-danger");
    await page.waitForSelector("#undelete");
    check("a deleted title offers only its return", await page.locator("#sections section").count() === 1);
    await shot(page, "deleted");
    await other.reload();
    await other.waitForSelector("text=Removed by its creator");
    check("a buyer's library says who took it away", await other.locator("a.title").count() === 0);
    await other.goto(`${s.url}/public/watch.html?video_id=${film}`);
    await other.waitForSelector("text=removed this video");
    check("so does the page of the film", true);
    await page.reload();
    await page.click("#undelete");
    await page.waitForSelector("#details");
    check("it comes back as it was", await column("state || title || price") === "readyA better <title>1250");
    await other.goto(s.url + "/public/library.html");
    await other.waitForSelector("a.title:has-text('A better')");

    await page.goto(`${s.url}/public/edit.html?video_id=${waiting}`);
    await page.selectOption("#strength select", "120");
    await saved("#strength");
    check("before the preparation the mark's strength can be chosen", Number(await column("mark->>'strength'", waiting)) === 1.2);
    await page.goto(`${s.url}/public/edit.html?video_id=00000000-0000-7000-8000-000000000000`);
    await page.waitForSelector(".alert:has-text('not found')");
    await page.goto(`${s.url}/public/edit.html`);
    await page.waitForSelector("text=Which video?");
    check("the pages raised no error", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
