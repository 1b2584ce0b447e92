// SPDX-License-Identifier: Apache-2.0
// The books seen by a buyer, a creator and an administrator, wide and on a phone; a proof downloaded in the browser and checked by
// the command line; withdrawal without an account. OUT=dir keeps screenshots.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Server, check, main } from "../live/lib.mjs";

const OUT = process.env.OUT;
if (OUT) mkdirSync(OUT, { recursive: true });

await main(async () => {
  const s = await new Server({ web_workers: 1 }).start();
  const maker = await s.user("maker"), buyer = await s.user("buyer"), films = await s.films(maker, 1110, 3);
  const admin = await s.admin();
  await s.fund(admin, buyer, 10000);
  await admin.post("/admin/settings", { tax_plugin: "tax_id", receipt_seller: "Example Films\nJakarta\nNPWP 01.234.567.8" });
  for (const f of films) await buyer.post("/api/wallet/pay", { video_id: f });
  await s.ppv("ledger", "seal");
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"] });
  const noise = [];
  try {
    for (const [name, options] of Object.entries({ wide: { viewport: { width: 1280, height: 900 } }, phone: { viewport: { width: 360, height: 740 }, colorScheme: "dark" } })) {
      const as = async (who) => {
        const context = await browser.newContext({ ...options, acceptDownloads: true });
        if (who) await context.addCookies(Object.entries(who.jar).map(([n, value]) => ({ name: n, value, url: s.url })));
        const page = await context.newPage();
        page.on("pageerror", (e) => noise.push(e.message));
        return page;
      };
      const look = async (page, what) => {
        check(`${name}: ${what} is not wider than the screen`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
        if (OUT) await page.screenshot({ path: join(OUT, `${what}-${name}.png`), fullPage: true });
      };
      let page = await as(buyer);
      await page.goto(s.url + "/public/statement.html");
      await page.waitForSelector("#tab-lines tbody tr:nth-child(4)");
      check(`${name}: the newest line has its balance`, /66\.70/.test(await page.textContent("#tab-lines tbody tr")));
      await look(page, "statement");
      const [file] = await Promise.all([page.waitForEvent("download"), page.click("#tab-lines tbody tr a:has-text('Proof')")]);
      const path = join(s.dir, `proof-${name}.json`);
      await file.saveAs(path);
      const key = (await (await fetch(s.url + "/api/ledger/key")).json()).key;
      const said = execFileSync(s.bin, ["--root", s.root, "--set", `var_dir=${s.dir}/no`, "ledger", "verify", "--proof", path, "--key", key]).toString();
      check(`${name}: the command line agrees with the proof`, /^fine/.test(said) && /-11\.10 USD/.test(said), said);
      await page.click("#t-receipts");
      await page.waitForSelector("#tab-receipts tbody tr a");
      await look(page, "receipts");
      await page.click("#tab-receipts tbody tr a");
      await page.waitForSelector("h1:has-text('Receipt R')");
      check(`${name}: the receipt shows the tax`, /PPN 11 %/.test(await page.textContent("main")));
      await look(page, "receipt");
      page = await as(maker);
      await page.goto(s.url + "/public/statement.html?tab=revenue");
      await page.waitForSelector("#tab-revenue .plot canvas");
      check(`${name}: the creator sees three sales`, (await page.textContent(".tile:has-text('Sales') .n")) === "3");
      await look(page, "sales");
      page = await as(admin);
      await page.goto(s.url + "/public/admin/ledger.html");
      await page.waitForSelector("text=Every invariant of the books holds.");
      await look(page, "books");
      for (const [tab, wait] of [["revenue", ".plot canvas"], ["clearing", "td:has-text('deposits')"], ["tax", "td:has-text('ppn')"], ["rates", "text=fixed_rate"], ["requests", "#tab-requests .card"]]) {
        await page.click("#t-" + tab);
        await page.waitForSelector(`#tab-${tab} ${wait.startsWith("#") ? wait.split(" ")[1] : wait.startsWith("text") ? ">> " + wait : wait}`);
        await look(page, "books-" + tab);
      }
      page = await as(null);
      await page.goto(s.url + "/public/withdraw.html");
      await page.fill("[name=name]", "Ann Example");
      await page.fill("[name=email]", buyer.email);
      await page.fill("[name=reference]", "R2026-000001");
      await page.click("button:has-text('Continue')");
      await page.waitForSelector("#confirm");
      await look(page, "withdraw");
      await page.click("#confirm");
      await page.waitForSelector("text=Your statement arrived");
    }
    check("no error in the pages", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
