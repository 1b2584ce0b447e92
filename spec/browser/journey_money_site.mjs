// SPDX-License-Identifier: Apache-2.0
// The money's way through the pages: a guest pays the practice gateway on a phone and watches, opens the purchase elsewhere by the
// link of the mail, and keeps it with a password. A member buys from the wallet with a coupon, through a friend's link; an administrator
// refunds it; buyer, creator, friend and site read it in their statements, and the command line proves the lines. A gift passes from one
// to another. Codes and links are used by many at the same moment.
import { execFileSync } from "node:child_process";
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
const mail = (s, to, n) => until(`mail ${n} to ${to}`, async () => mails(s, to)[n - 1]);
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
  await page.waitForSelector("[data-state=paid]");
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

// A coupon made on the creator's page, used by a buyer who comes through a friend's link.
async function coupon_and_referral(s, browser, noise, film, p) {
  const page = await open_page(browser, s, p.maker, noise);
  await page.goto(`${s.url}/public/coupons.html`);
  await page.fill("#new-code", "road25");
  await page.fill("#value", "25");
  await page.fill("[name=max_uses]", "1");
  await page.click("#new-coupon button[type=submit]");
  await page.waitForSelector("#coupons td:has-text('ROAD25')");
  await shot(page, "coupons");
  const r = await p.maker.post("/api/affiliate/settings", { video_id: film, commission_pct: 20, is_enabled: true });
  check("the creator pays a commission of 20 %", r.status === 200, r.text);

  const shop = await open_page(browser, s, p.buyer, noise, phone);
  await shop.goto(`${s.url}/public/watch.html?video_id=${film}&ref=${p.friend.username}`);
  await shop.click("#have-coupon");
  await shop.fill("#coupon", "no-such");
  await shop.click("#apply-coupon");
  await shop.waitForSelector("#coupon.is-invalid");
  await shop.fill("#coupon", "Road25");
  await shop.click("#apply-coupon");
  await shop.waitForSelector("#coupon-price");
  await shot(shop, "coupon-phone");
  check("the page says what is left to pay", (await shop.textContent("#coupon-price")).includes("7.50"));
  check("nothing of it is wider than the phone", await narrow(shop) <= 0);
  await shop.click("#buy");
  await shop.click("#confirm");
  await shop.waitForSelector("#bought");
  await shop.waitForFunction(() => window.player?.video?.currentTime > 0.5);
  check("the film plays after the purchase", true);
  check("the coupon is used up", (await p.giver.post("/api/coupon", { video_id: film, code: "ROAD25" })).json.code === "coupon.used_up");
  await page.reload();
  await page.waitForSelector("#coupons td:has-text('ROAD25')");
  check("its maker sees one use", /\b1\b/.test(await page.textContent("#coupons tr:has-text('ROAD25') td:nth-child(4)")));
}

// What a party's statement page says of a film, newest first, as signed text.
async function statement(s, browser, noise, who, rows) {
  const page = await open_page(browser, s, who, noise);
  await page.goto(`${s.url}/public/statement.html`);
  await page.waitForSelector(`#tab-lines tbody tr:nth-child(${rows}) a:has-text('Proof')`);
  const cells = await page.$$eval("#tab-lines tbody tr td:nth-child(3)", (all) => all.map((x) => x.textContent.replace("\u2212", "-").replace("$", "")));
  return { page, cells };
}

async function refund_and_proofs(s, browser, noise, film, p) {
  const order = (await p.buyer.get("/api/orders")).json.items[0];
  const desk = await open_page(browser, s, p.admin, noise);
  await desk.goto(`${s.url}/public/admin/payments.html`);
  await desk.fill("#refund-order", order.order_id);
  await desk.click("#refund button");
  await desk.fill(".modal.show textarea", "journey");
  await desk.click(".modal.show button[type=submit]");
  await until("the order is refunded", async () => (await p.buyer.get("/api/orders")).json.items[0].state === "refunded");
  check("access ended with the refund", (await p.buyer.get(`/api/request_play?video_id=${film}`)).status === 403);
  await s.ppv("ledger", "seal");
  const key = (await (await fetch(s.url + "/api/ledger/key")).json()).key;
  for (const [name, who, lines] of [["buyer", p.buyer, ["+7.50", "-7.50"]], ["creator", p.maker, ["-5.25", "+5.25"]], ["friend", p.friend, ["-1.50", "+1.50"]]]) {
    const { page, cells } = await statement(s, browser, noise, who, 2);
    check(`the ${name}'s statement shows the sale and the refund`, cells[0] === lines[0] && cells[1] === lines[1], cells.join(" "));
    await shot(page, `statement-${name}`);
    for (const n of [1, 2]) {
      const [file] = await Promise.all([page.waitForEvent("download"), page.click(`#tab-lines tbody tr:nth-child(${n}) a:has-text('Proof')`)]);
      const path = join(s.dir, `proof-${name}-${n}.json`);
      await file.saveAs(path);
      const said = execFileSync(s.bin, ["--root", s.root, "--set", `var_dir=${s.dir}/no`, "ledger", "verify", "--proof", path, "--key", key]).toString();
      const amount = lines[n - 1].replace("+", "");
      check(`the command line proves the ${name}'s line of ${amount}`, /^fine/.test(said) && said.includes(`${amount} USD`), said);
    }
  }
  const [[revenue]] = await s.sql(`select string_agg(e.amount::text, ' ' order by e.id) from ledger_entries e join ledger_accounts a on a.id = e.account_id
    join ledger_txns t on t.id = e.txn_id join orders o on o.id = t.order_id where a.kind = 'platform' and a.name = 'revenue' and o.uid = '${order.order_id}'`);
  check("the site's own line came and went", revenue === "75 -75", revenue);
  await desk.goto(`${s.url}/public/admin/ledger.html`);
  await desk.waitForSelector("text=Every invariant of the books holds.");
}

async function gift(s, browser, noise, film, p) {
  const page = await open_page(browser, s, p.giver, noise);
  await page.goto(`${s.url}/public/watch.html?video_id=${film}`);
  await page.check("#gift");
  await page.fill("#gift-email", "lucky@example.net");
  await page.fill("#gift-message", "For you");
  await page.click("#buy");
  await page.click("#confirm");
  await page.waitForSelector("#gifts code");
  await shot(page, "gift-given");
  const code = await page.textContent("#gifts code");
  check("the giver has a code and no access", (await p.giver.get(`/api/request_play?video_id=${film}`)).status === 403);
  const text = await mail(s, "lucky@example.net", 1);
  check("the mail brings the code", text.includes(code));
  const lucky = await open_page(browser, s, null, noise, phone);
  await lucky.goto(`${s.url}/public/gift.html#code=${code}`);
  await lucky.fill("#guest-email", "lucky@example.net");
  await shot(lucky, "gift-phone");
  check("nothing of the gift is wider than the phone", await narrow(lucky) <= 0);
  await lucky.click("#take");
  await lucky.click("#play");
  await lucky.waitForFunction(() => window.player?.video?.currentTime > 0.5);
  check("a guest redeems the gift and watches", true);
  await page.reload();
  await page.waitForSelector("#gifts td:has-text('Redeemed')");
}

// One link, one coupon, one gift: each used by many at the same moment.
async function races(s, p) {
  const films = await s.films(p.maker, 1000, 2), many = Array.from({ length: 12 }, () => new Client(s));
  const won = (all) => all.filter((r) => r.status === 200).length;
  const why = (all) => all.map((r) => `${r.status}${r.json?.code ?? ""}`).join(" ");
  await Promise.all(many.map((c, i) => c.post("/api/guest", { email: `many${i}@example.net` }, { ip: fresh_ip() })));
  await p.maker.post("/api/creator/coupons", { code: "TWO", percent_bp: 1000, max_uses: 2 });
  let all = await Promise.all(many.map((c) => c.post("/api/pay/sandbox/start", { video_id: films[0], coupon: "TWO" }, { ip: fresh_ip() })));
  check("a coupon for two is taken by two of twelve", won(all) === 2, why(all));
  await p.maker.post("/api/creator/coupons", { code: "FREE", percent_bp: 10000, max_uses: 1 });
  all = await Promise.all(many.map((c) => c.post("/api/pay/free", { video_id: films[1], code: "FREE" }, { ip: fresh_ip() })));
  check("one free copy goes to one of twelve", won(all) === 1, why(all));
  const r = await p.giver.post("/api/wallet/pay", { video_id: films[0], gift: true });
  check("a gift is paid", r.status === 200, r.text);
  const { code } = (await p.giver.get("/api/gifts")).json.items[0];
  all = await Promise.all(many.map((c) => c.post("/api/gift/redeem", { code }, { ip: fresh_ip() })));
  check("a gift is redeemed by one of twelve", won(all) === 1, why(all));
  const bought = await p.giver.post("/api/wallet/pay", { video_id: films[1], gift: true });
  const second = (await p.giver.get("/api/gifts")).json.items[0].code;
  const [back, taken] = await Promise.all([p.admin.post(`/admin/orders/${bought.json.order_id}/refund`, {}),
    many[0].post("/api/gift/redeem", { code: second }, { ip: fresh_ip() })]);
  const [[left]] = await s.sql(`select count(*) from entitlements e join orders o on o.id = e.order_id where o.uid = '${bought.json.order_id}' and e.revoked_at is null`);
  check("a gift refunded while it is redeemed gives no access", back.json?.state === "done" && left === "0", `${back.text} ${taken.text} ${left}`);
}

await main(async () => {
  const s = await new Server().start();
  const admin = await s.admin(), maker = await s.user("maker"), friend = await s.user("friend"), buyer = await s.user("buyer"), giver = await s.user("giver");
  const p = { admin, maker, friend, buyer, giver };
  for (const who of [buyer, giver]) await s.fund(admin, who, 5000);
  const r = await admin.post("/admin/plugins/sandbox/settings", { settings: { on: true } });
  check("the practice gateway is on", r.status === 200, r.text);
  const film = await upload_film(maker, make_film(s, 8), { price_cents: 1000, title: "The long road" });
  const browser = await launch(), noise = [];
  try {
    await guest(s, browser, noise, film);
    await link_race(s, film);
    await coupon_and_referral(s, browser, noise, film, p);
    await refund_and_proofs(s, browser, noise, film, p);
    await gift(s, browser, noise, film, p);
    await races(s, p);
    const verified = await s.ppv("ledger", "verify");
    check("ppv ledger verify re-adds all of it", verified.code === 0, verified.out + verified.err);
    check("the books hold every rule", (await s.breaches()).length === 0, (await s.breaches()).join("\n"));
    check("no page complained", noise.length === 0, noise.join("\n"));
  } finally {
    await browser.close();
    await s.stop();
  }
});
