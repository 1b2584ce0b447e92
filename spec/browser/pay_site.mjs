// SPDX-License-Identifier: Apache-2.0
// One-step checkout in the browser: from the film to the practice gateway and back to the film, on a phone; a bank transfer with its
// proof; the administrator's queue, and a refund that ends access.
import { Server, check, main, until } from "../live/lib.mjs";
import { launch, make_film, open_page, shot, upload_film } from "./lib.mjs";

const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };

await main(async () => {
  const s = await new Server().start();
  const admin = await s.admin(), maker = await s.user("maker"), viewer = await s.user("viewer"), other = await s.user("other");
  for (const [name, values] of [["sandbox", { on: true }], ["manual", { account: "Bank of Specs 42" }]]) {
    const r = await admin.post(`/admin/plugins/${name}/settings`, { settings: values });
    check(`the administrator switches ${name} on`, r.status === 200, r.text);
  }
  const id = await upload_film(maker, make_film(s, 8), { price_cents: 500, title: "Paid at once" });
  const browser = await launch(), noise = [];
  try {
    const page = await open_page(browser, s, viewer, noise, phone);
    await page.goto(`${s.url}/public/watch.html?video_id=${id}`);
    await page.click("[data-provider=sandbox]");
    await page.waitForSelector("#pay");
    await shot(page, "practice-phone");
    await page.click("#pay");
    await page.waitForSelector("[data-state=paid]");
    await shot(page, "order-phone");
    await page.click("#watch");
    await page.click("#play");
    await page.waitForFunction(() => window.player?.video?.currentTime > 0.5);
    check("a payment in three clicks plays the film", true);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    check("nothing is wider than the phone", wide <= 0, wide);

    await s.set(admin, { consent_required: true });
    await s.sql("insert into settings (key, value) values ('payment.hold_days', '0')"); // has no page; the database reads it at each sale
    const second = await open_page(browser, s, other, noise);
    await second.goto(`${s.url}/public/watch.html?video_id=${id}`);
    await second.waitForSelector("#consent");
    await second.click("[data-provider=sandbox]");
    await second.waitForSelector("#consent.is-invalid");
    check("nothing is bought without the consent", (await other.get("/api/orders")).json.items.length === 0);
    await second.check("#consent");
    await second.click("[data-provider=sandbox]");
    await second.click("#pay-silent");
    await second.waitForSelector("[data-state=paid]");
    check("a lost message is found out by the return", true);

    const third = await s.user("third"), slow = await open_page(browser, s, third, noise);
    await slow.goto(`${s.url}/public/watch.html?video_id=${id}`);
    await slow.check("#consent");
    await slow.click("[data-provider=manual]");
    await slow.waitForSelector("#proof");
    check("the buyer reads where to pay", (await slow.textContent("#order")).includes("Bank of Specs 42"));
    await slow.setInputFiles("#proof", { name: "p.png", mimeType: "image/png", buffer: Buffer.from("\x89PNG\r\n\x1a\nproof", "latin1") });
    await slow.click("button[type=submit]");
    await slow.waitForSelector(".toast");
    await shot(slow, "transfer");

    await maker.post("/api/offers/rental", { video_id: id, price_cents: 200, window_hours: 168, play_hours: 48, prices: { IDR: 3000000 } });
    const fourth = await s.user("fourth"), rent = await open_page(browser, s, fourth, noise, { ...phone, colorScheme: "dark" });
    await rent.goto(`${s.url}/public/watch.html?video_id=${id}`);
    await rent.click("[data-kind=rental]");
    await rent.waitForSelector("#price:has-text('$2.00')");
    await rent.selectOption("#currency", "IDR");
    await rent.waitForSelector("#price:has-text('30,000')");
    await shot(rent, "offers-phone");
    check("nothing of the choice is wider than the phone", await rent.evaluate(() => document.documentElement.scrollWidth - innerWidth) <= 0);
    await rent.check("#consent");
    await rent.click("[data-provider=sandbox]");
    await rent.click("#pay");
    await rent.waitForSelector("[data-state=paid]");
    check("the order says what was rented", /Paid at once, rental/.test(await rent.textContent("#order")));
    await rent.click("#watch");
    check("a rental waits for its first play", /Start by/.test(await rent.textContent("#rental-left")));
    await rent.click("#play");
    await rent.waitForFunction(() => window.player?.video?.currentTime > 0.5);
    check("then its time runs and is shown", /ends in/.test(await rent.textContent("#rental-left")));
    await shot(rent, "rented-phone");
    await rent.goto(`${s.url}/public/library.html`);
    await rent.waitForSelector("text=Your rental ends in");
    // What is left is made three seconds: the film stops by itself, and says why.
    await rent.goto(`${s.url}/public/watch.html?video_id=${id}`);
    await rent.click("#play");
    await rent.waitForFunction(() => window.player?.video?.currentTime > 0.5);
    await s.sql(`update entitlements set expires_at = now() + interval '3 seconds' where user_id = ${fourth.id}`);
    await rent.waitForSelector(".player .failed:has-text('Your rental has ended.')");
    check("a rental that ends stops the film and says so", true);
    await shot(rent, "rental-over");
    await rent.click(".player .failed a");
    await rent.waitForSelector("[data-kind=rental]");
    check("and it can be rented again", true);

    const desk = await open_page(browser, s, admin, noise);
    await desk.goto(`${s.url}/public/admin/payments.html`);
    await desk.waitForSelector("#queue-transfers");
    check("the transfer waits with its proof", (await desk.textContent("#queue-transfers")).includes("Download"));
    await shot(desk, "payments-desk");
    await desk.click("#queue-transfers .btn-success");
    await desk.click(".modal.show .modal-footer .btn:last-child, dialog[open] button[type=submit]");
    await until("the transfer is confirmed", async () => (await third.get("/api/orders")).json.items[0].state === "paid");
    check("the confirmed transfer is paid", true);

    const order = (await viewer.get("/api/orders")).json.items[0];
    const r = await admin.post(`/admin/orders/${order.order_id}/refund`, { reason: "spec" });
    check("the refund is done", r.json?.state === "done", r.text);
    await page.goto(`${s.url}/public/orders.html`);
    await page.waitForSelector("text=refunded");
    await shot(page, "orders-phone");
    check("access ended with the refund", (await viewer.get(`/api/request_play?video_id=${id}`)).status === 403);
    check("the books hold every rule", (await s.breaches()).length === 0, (await s.breaches()).join("\n"));
    check("no page complained", noise.length === 0, noise.join("\n"));
  } finally {
    await browser.close();
    await s.stop?.();
  }
});
