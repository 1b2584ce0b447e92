// SPDX-License-Identifier: Apache-2.0
// A payee names an account and asks for money; an administrator approves, pays by a file and its results; the payee reads why
// something waits. On a phone and on a desktop. SHOTS=directory keeps pictures.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main, until } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

await main(async () => {
  const site = await new Server().start();
  const [admin, payee] = [await site.admin(), await site.user("payee")];
  await site.fund(admin, payee, 50000);
  const browser = await launch();
  const errors = [];
  async function open(who, size) {
    const context = await browser.newContext({ viewport: size, acceptDownloads: true });
    await context.addCookies(Object.entries(who.jar).map(([name, value]) => ({ name, value, url: site.url })));
    const page = await context.newPage();
    page.on("pageerror", (e) => errors.push(e.message));
    page.on("console", (m) => m.type() === "error" && /Content Security Policy/.test(m.text()) && errors.push(m.text()));
    return page;
  }
  const shot = async (page, name) => process.env.SHOTS && page.screenshot({ path: join(process.env.SHOTS, name + ".png"), fullPage: true });
  const wide = async (page) => page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  try {
    const phone = await open(payee, { width: 360, height: 740 }), desk = await open(admin, { width: 1280, height: 900 });
    await phone.goto(site.url + "/public/wallet.html?tab=payouts");
    check("a button is not scrolled away between press and release", await phone.evaluate(() => getComputedStyle(document.documentElement).scrollBehavior) === "auto");
    await phone.fill("#account [name=channel_code]", "ID_BCA");
    await phone.fill("#account [name=account_number]", "1234567890");
    await phone.fill("#account [name=account_holder_name]", "Pay Ee");
    await phone.click("#account [type=submit]");
    await phone.waitForSelector("text=ID_BCA ····7890");
    check("a new account says when it is used", await phone.isVisible("text=It is new"));
    await phone.fill("#withdraw [name=amount]", "60.00");
    await phone.click("#withdraw [type=submit]");
    await phone.waitForSelector("text=Nothing is sent to a new account");
    check("the amount is on hold", await phone.isVisible("text=$60.00 on hold") || /60\.00.*on hold/.test(await phone.textContent("#balance")));
    check("the phone's page does not scroll sideways", !await wide(phone));
    await shot(phone, "wallet-payouts-phone");
    await desk.goto(site.url + "/public/admin/payouts.html");
    await desk.waitForSelector("text=Nothing is sent to a new account");
    check("what waits cannot be approved", await desk.locator("button:has-text('Approve')").count() === 0);
    await site.sql(`update payouts set not_before = null; update payout_destinations set usable_from = now()`);
    await desk.reload();
    await desk.click("button:has-text('Approve')");
    await desk.click(".modal button[type=submit]");
    await desk.waitForSelector("text=It is approved now");
    await shot(desk, "admin-payouts");
    const [file] = await Promise.all([desk.waitForEvent("download"), desk.click("#make")]);
    const path = join(site.dir, "batch.csv");
    await file.saveAs(path);
    const text = readFileSync(path, "utf8");
    check("the file has the account and the amount", /1234567890/.test(text) && /,60\.00,USD,/.test(text), text);
    writeFileSync(path, text.replace(/,,(\r?\n)$/, ",paid,BANK-77$1"));
    await desk.waitForSelector("text=1 without a result"); // drawn again: the field of before is gone
    await desk.setInputFiles("#results", path);
    await desk.waitForSelector("text=1 lines booked, 0 refused");
    await shot(desk, "admin-payouts-done");
    await phone.reload();
    await phone.waitForSelector("text=Reference: BANK-77");
    check("the wallet has what is left", await payee.balance() === 44000);
    check("paid out is shown", (await phone.textContent("#tab-payouts")).includes("Paid"));
    await until("the payee gets mails", async () => (await site.sql("select payload->>'template' from jobs where kind = 'mail'")).flat().includes("payout_paid"));
    const small = await open(admin, { width: 360, height: 740 });
    await small.goto(site.url + "/public/admin/payouts.html?state=");
    await small.waitForSelector("text=BANK-77");
    check("the administrator's phone does not scroll sideways", !await wide(small));
    await shot(small, "admin-payouts-phone");
    await desk.goto(site.url + "/public/admin/settings.html");
    await desk.waitForSelector("[name=payout_schedule]");
    await desk.selectOption("[name=payout_schedule]", "monthly");
    await desk.click("#site [type=submit]");
    await until("the schedule is stored", async () => (await site.sql("select value from settings where key = 'payout.schedule'"))[0]?.[0] === '"monthly"');
    await site.check_books("payouts by hand");
    check("no error in the pages", errors.length === 0, errors.join("; "));
  } finally {
    await browser.close();
  }
});
