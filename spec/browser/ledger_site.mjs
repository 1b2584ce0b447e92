// SPDX-License-Identifier: Apache-2.0
// The books seen by a buyer, a creator and an administrator, wide and on a phone; a proof downloaded in the browser and checked by
// the command line; withdrawal without an account. OUT=dir keeps screenshots.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

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
  // Two sales through links; the second buyer signs in from the affiliate's browser.
  const seller = await s.user("seller"), aff = await s.user("aff"), double = await s.user("double"), guest = await s.user("fan"), linked = await s.films(seller, 1110, 3);
  await seller.post("/api/affiliate/creator_settings", { commission_pct: 20, is_enabled: true });
  await s.fund(admin, double, 10000);
  await s.fund(admin, guest, 2000);
  double.jar.ppv_dev = aff.jar.ppv_dev;
  await double.login();
  await guest.post("/api/affiliate/click", { video_id: linked[0], ref: aff.username });
  for (const [who, film] of [[guest, linked[0]], [double, linked[1]], [double, linked[2]]]) await who.post("/api/wallet/pay", { video_id: film, ref_code: who === double ? aff.username : undefined });
  const browser = await launch();
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
      page = await as(aff);
      await page.goto(s.url + "/public/affiliate.html");
      await page.waitForSelector("#figures .plot canvas");
      check(`${name}: the affiliate sees pending and payable money`, /\$/.test(await page.textContent(".tile:has-text('Pending') .n")) && (await page.textContent(".tile:has-text('Sales brought') .n")) === "3");
      check(`${name}: ... every link with its conversion`, (await page.locator("#figures tbody tr").count()) >= 3 && /100 %/.test(await page.textContent("#figures")));
      check(`${name}: ... and why a commission waits`, /same browser/.test(await page.textContent("#refused-body")));
      await look(page, "affiliate");
      page = await as(seller);
      await page.goto(s.url + "/public/affiliate.html?tab=sellers");
      await page.waitForSelector("#sellers .plot canvas");
      check(`${name}: the creator sees who sells`, (await page.textContent("#sellers")).includes(aff.username));
      await look(page, "affiliate-sellers");
      await page.click("#t-terms");
      await page.waitForSelector("#terms-general [name=commission_pct]");
      const row = page.locator("#terms-list li").first();
      await row.locator("[name=scope]").selectOption("own");
      await row.locator("[name=commission_pct]").fill("33");
      await row.locator("button[type=submit]").click();
      await page.waitForSelector(".toast:has-text('Saved.')");
      check(`${name}: a title has terms of its own`, (await seller.get("/api/affiliate/settings?video_id=" + linked[2])).json.commission_pct === 33 || (await seller.get("/api/affiliate/settings?video_id=" + linked[0])).json.commission_pct === 33
        || (await seller.get("/api/affiliate/settings?video_id=" + linked[1])).json.commission_pct === 33);
      await look(page, "affiliate-terms");
      page = await as(admin);
      await page.goto(s.url + "/public/admin/affiliates.html");
      await page.waitForSelector("#tab-affiliates .plot canvas");
      check(`${name}: a suspicious affiliate is named`, (await page.textContent("#suspicious")).includes(aff.username));
      await look(page, "affiliates");
      await page.click("#t-reviews");
      await page.click("#tab-reviews tbody tr >> text=Refuse");
      await page.fill(".modal textarea", "The same person.");
      await page.click(".modal button:has-text('Refuse')");
      await page.waitForSelector("#tab-reviews .badge:has-text('Refused')");
      await look(page, "affiliates-reviews");
      await page.click("#t-trial");
      await page.fill("#trial [name=pct]", "40");
      await page.click("#trial button[type=submit]");
      await page.waitForSelector("#trial-out tbody tr td:has-text('USD')");
      check(`${name}: a dry run says what would change`, (await page.locator("#trial-out table").last().locator("tbody tr").count()) >= 3);
      await look(page, "affiliates-trial");
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
