// SPDX-License-Identifier: Apache-2.0
// The money's way through the pages: a guest pays the practice gateway on a phone and watches, opens the purchase elsewhere by the
// link of the mail, and keeps it with a password.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { Client, Server, check, fresh_ip, main, until } from "../live/lib.mjs";
import { launch, make_film, open_page, shot, upload_film } from "./lib.mjs";

const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };

/** The mails to an address, oldest first, as text. */
function mails(s, to) {
  const dir = join(s.var, "outbox");
  let names = [];
  try { names = readdirSync(dir); } catch { return []; }
  return names.map((n) => join(dir, n)).sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs)
    .map((p) => readFileSync(p, "latin1").replace(/=\r?\n/g, "").replace(/=([0-9A-F]{2})/g, (_, x) => String.fromCharCode(parseInt(x, 16))))
    .filter((text) => text.includes(`To: ${to}`) || text.includes(`To: <${to}`));
}
const mail = (s, to, n) => until(`mail ${n} to ${to}`, async () => mails(s, to)[n - 1], 30);
const link_of = (text) => new URL(text.match(/https?:\/\/\S*guest\.html#token=[\w-]+/)[0]).hash;
const narrow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

async function guest(s, browser, noise, film) {
  const email = "ann@example.net", page = await open_page(browser, s, null, noise, phone);
  await page.goto(`${s.url}/public/watch.html?video_id=${film}`);
  await page.click("[data-provider=sandbox]");
  await page.waitForSelector("#guest-email.is-invalid");
  await page.fill("#guest-email", email);
  await shot(page, "guest-phone");
  check("nothing of the guest's panel is wider than the phone", await narrow(page) <= 0);
  await page.click("[data-provider=sandbox]");
  await page.click("#pay");
  await page.waitForSelector("[data-state=paid]", { timeout: 60000 });
  check("the page tells where the receipt goes", (await page.textContent("#order")).includes(email));
  await shot(page, "guest-paid-phone");
  await page.click("#watch");
  await page.click("#play");
  await page.waitForFunction(() => window.player?.video?.currentTime > 0.5);
  check("a guest pays and watches without an account", true);

  const text = await mail(s, email, 1), other = await open_page(browser, s, null, noise);
  await other.goto(`${s.url}/public/guest.html${link_of(text)}`);
  await other.waitForSelector("#open");
  await shot(other, "guest-link");
  check("the link's token leaves the address", !other.url().includes("token"));
  await other.click("#open");
  await other.waitForSelector(`#films a[href*="${film}"]`);
  check("the link opens the purchase elsewhere", true);
  await other.goto(`${s.url}/public/guest.html`);
  await other.fill("[name=username]", "ann.example");
  await other.fill("[name=password]", "a long pass phrase of ann");
  await shot(other, "guest-keep");
  await other.click("#keep button[type=submit]");
  await other.waitForSelector(`#films a[href*="${film}"]`);
  const ann = new Client(s);
  Object.assign(ann, { email, password: "a long pass phrase of ann" });
  await ann.login();
  check("with a password it is an account like any other", (await ann.get("/api/wallet/balance")).status === 200
    && (await ann.get(`/api/request_play?video_id=${film}`)).status === 200);

  await page.goto(`${s.url}/public/guest.html`);
  await page.fill("#email", email);
  await page.click("#ask button[type=submit]");
  await page.waitForSelector("#ask .alert-success");
}

// One link, used by many at the same moment.
async function link_race(s, film) {
  const email = "race@example.net", buyer = new Client(s);
  await buyer.post("/api/guest", { email });
  const order = (await buyer.post("/api/pay/sandbox/start", { video_id: film })).json.order_id;
  const ref = (await buyer.get(`/api/pay/order?id=${order}`)).json.order.ref;
  await buyer.post(`/api/pay/desk/${ref}`, { act: "pay" });
  const token = link_of(await mail(s, email, 1)).slice(7);
  const all = await Promise.all(Array.from({ length: 12 }, () => new Client(s).post("/auth/guest/open", { token }, { ip: fresh_ip() })));
  check("a link is used by one of twelve", all.filter((r) => r.status === 200).length === 1, all.map((r) => r.status).join(" "));
}

await main(async () => {
  const s = await new Server().start();
  const admin = await s.admin(), maker = await s.user("maker");
  const r = await admin.post("/admin/plugins/sandbox/settings", { settings: { on: true } });
  check("the practice gateway is on", r.status === 200, r.text);
  const film = await upload_film(maker, make_film(s, 8), { price_cents: 1000, title: "The long road" });
  const browser = await launch(), noise = [];
  try {
    await guest(s, browser, noise, film);
    await link_race(s, film);
    check("the books hold every rule", (await s.breaches()).length === 0, (await s.breaches()).join("\n"));
    check("no page complained", noise.length === 0, noise.join("\n"));
  } finally {
    await browser.close();
    await s.stop();
  }
});
