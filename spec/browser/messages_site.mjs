// SPDX-License-Identifier: Apache-2.0
// Two members and an administrator write to each other, each in a browser of their own: what one writes the other sees
// without a reload. OUT=dir keeps screenshots.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

const OUT = process.env.OUT;
if (OUT) mkdirSync(OUT, { recursive: true });

await main(async () => {
  const s = await new Server({ web_workers: 2 }).start();
  const admin = await s.admin(), ann = await s.user("ann"), bob = await s.user("bob");
  const browser = await launch();
  const noise = [];
  const open = async (who, path, viewport = { width: 1280, height: 800 }) => {
    const context = await browser.newContext({ viewport });
    await context.addCookies(Object.entries(who.jar).map(([name, value]) => ({ name, value, url: s.url })));
    const page = await context.newPage();
    page.on("pageerror", (e) => noise.push(e.message));
    await page.goto(s.url + path);
    return page;
  };
  const shot = async (page, name) => OUT && page.screenshot({ path: join(OUT, name + ".png") });
  const write = async (page, text) => {
    await page.fill("#thread textarea", text);
    await page.click("#thread [type=submit]");
    await page.waitForSelector(`.bubble.mine:has-text("${text}")`);
  };
  try {
    const a = await open(ann, "/public/messages.html");
    await a.waitForSelector("#threads >> text=Support");
    await write(a, "My film does not play");
    const desk = await open(admin, "/public/admin/messages.html");
    await desk.click(`#threads >> text=${ann.username}`);
    await desk.waitForSelector('.bubble:has-text("My film does not play")');
    await write(desk, "Please reload the page");
    await a.waitForSelector('.bubble:not(.mine):has-text("Please reload the page")');
    check("support answers and the member sees it at once", true);

    const b = await open(bob, "/public/messages.html", { width: 360, height: 740 });
    await a.fill("[name=q]", bob.username.slice(0, 8));
    await a.click(`#people >> text=${bob.username}`);
    await a.waitForSelector(`#thread h2:has-text("${bob.username}")`);
    await write(a, "Hello <b>Bob</b>");
    await b.waitForSelector(`#threads .badge`);
    await shot(b, "messages-phone-list");
    await b.click(`#threads >> text=${ann.username}`);
    await b.waitForSelector('.bubble:has-text("Hello <b>Bob</b>")');
    check("a phone shows list or thread, not both", !(await b.isVisible("#threads")) && await b.isVisible("#thread"));
    check("no page is wider than the phone", await b.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await b.fill("#thread textarea", "Hello Ann");
    await b.keyboard.press("Control+Enter");
    await a.waitForSelector('.bubble:not(.mine):has-text("Hello Ann")');
    check("the keyboard sends", true);
    await shot(a, "messages");
    await shot(b, "messages-phone");
    check("the desk does not see private threads", await desk.locator(`#threads >> text=${bob.username}`).count() === 0);

    await desk.goto(s.url + "/public/admin/settings.html");
    await desk.fill("#smtp [name=host]", "127.0.0.1");
    await desk.fill("#smtp [name=port]", "1");
    await desk.fill("#smtp [name=test_email]", "me@example.org");
    await desk.click("#smtp [type=submit]");
    await desk.waitForSelector("#smtp .form-problem:has-text('the test mail was not sent')");
    await shot(desk, "settings-mail");
    check("a mail server that does not answer is told in the form", true);
    check("no error in the pages", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
});
