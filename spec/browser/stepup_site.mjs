// SPDX-License-Identifier: Apache-2.0
// The second factor and the question who is there, in a real browser on a site of its own. The enrolment of an administrator
// is part of journey.js; here: an ordinary account, a code that is refused, the dialog before money moves, no scripts at all.
import { createHmac } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT, Server, check, main, pause, until } from "../live/lib.mjs";
import { launch } from "./lib.mjs";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
function totp(key, shift = 0) {
  let bits = "";
  for (const c of key.replace(/\s/g, "")) bits += ALPHABET.indexOf(c).toString(2).padStart(5, "0");
  const secret = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000) + shift));
  const mac = createHmac("sha1", secret).update(step).digest();
  const n = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff;
  return String(n % 1e6).padStart(6, "0");
}

/** What a phone's camera reads off an element. */
async function scanned(page, selector) {
  const png = (await page.locator(selector).screenshot()).toString("base64"), empty = await page.context().browser().newPage();
  const got = await empty.evaluate(async (data) => {
    const image = await createImageBitmap(await (await fetch("data:image/png;base64," + data)).blob());
    const c = new OffscreenCanvas(image.width, image.height), g = c.getContext("2d");
    g.drawImage(image, 0, 0);
    return { width: image.width, height: image.height, data: [...g.getImageData(0, 0, image.width, image.height).data] };
  }, png);
  await empty.close();
  const { default: decodeQR } = await import(join(ROOT, "static/node_modules/qr/decode.js"));
  return decodeQR({ ...got, data: Uint8ClampedArray.from(got.data) });
}

/** Another e-mail address, from the account page over the mail to the button. */
async function new_address(s, page, u) {
  const to = "new-" + u.email;
  await page.goto(s.url + "/public/account.html");
  await page.fill("#new_email", to);
  await page.fill("#email_password", u.password);
  await page.click("#email [type=submit]");
  await page.waitForSelector("#email [role=status]:has-text('Open the link')");
  const outbox = join(s.var, "outbox"), text = (f) => readFileSync(join(outbox, f), "utf8").replace(/=\r?\n/g, "").replace(/=3D/g, "=");
  const mail = await until("the mail is written", () => readdirSync(outbox).map(text).find((t) => /confirm_email/.test(t)));
  await page.goto(mail.match(/http\S+confirm_email\.html#token=[\w.-]+/)[0]);
  await page.click("form [type=submit]");
  await page.waitForSelector(".alert-success");
  check("the new address is confirmed by the link of the mail", (await page.textContent(".alert-success")).includes(to));
  u.email = to;
}

await main(async () => {
  const s = await new Server().start();
  const u = await s.user("viewer");
  const browser = await launch();
  try {
    const page = await (await browser.newContext()).newPage();
    const noise = [];
    page.on("pageerror", (e) => noise.push(e.message));
    const signIn = async (code) => {
      await page.goto(s.url + "/public/auth/login.html");
      await page.fill("#email", u.email);
      await page.fill("#password", u.password);
      check("the code is not asked for before the password is right", await page.isHidden("#code"));
      await page.click("[type=submit]");
      if (!code) return page.waitForURL("**/browse.html");
      await page.waitForSelector("#code:visible");
      await page.fill("#code", "000000");
      await page.click("[type=submit]");
      await page.waitForSelector("text=wrong or was used already");
      await page.fill("#code", code());
      await page.click("[type=submit]");
      return page.waitForURL("**/browse.html");
    };
    await signIn();
    await new_address(s, page, u);
    await page.goto(s.url + "/public/account.html");
    await page.click("#second [type=submit]");
    await page.waitForSelector("#second code");
    const key = await page.textContent("#second code");
    const uri = await scanned(page, "#second svg");
    check("the QR code holds the key", uri.startsWith("otpauth://totp/") && uri.includes("secret=" + key.replace(/\s/g, "")), uri);
    await until("the time step lasts a while yet", () => Date.now() % 30000 < 25000, 10); // the code before it must still count
    await page.fill("#second [name=code]", totp(key, -1));
    await page.click("#second [type=submit]");
    await page.waitForSelector("#second pre");
    const recovery = (await page.textContent("#second pre")).trim().split("\n");
    check("ten recovery codes are shown", recovery.length === 10);
    await page.click("text=I have kept them");
    await page.waitForSelector("text=10 recovery codes are left");
    await page.context().clearCookies();
    await signIn(() => totp(key));

    await s.sql(`update sessions set reauth_at = now() - interval '1 hour' where user_id = ${u.id}`);
    let n = 0; // the session is remembered for some seconds; asked until it is not, below the rate limit
    await until("the proof is forgotten", async () => await pause(500) || (await page.request.post(s.url + "/api/profile",
      { data: { bank_account: `DE01 ${n++}` }, headers: { origin: s.url } })).status() === 403, 20);
    await page.goto(s.url + "/public/account.html");
    await page.fill("[name=bank_account]", "DE00 1234");
    await page.click("#profile [type=submit]");
    const dialog = page.locator("dialog");
    await dialog.waitFor();
    await dialog.locator("[name=code]").fill("000000");
    await dialog.locator("[type=submit]").click();
    await page.waitForSelector("dialog >> text=wrong or was used already");
    await dialog.locator("[name=code]").fill(totp(key, 1)); // that of now was spent by the sign-in
    await dialog.locator("[type=submit]").click();
    await page.waitForSelector("text=Saved.");
    check("the request is repeated after the proof", (await s.sql(`select bank_account from users where id = ${u.id}`))[0][0] === "DE00 1234");
    check("no error in the pages", noise.length === 0, noise.join("; "));

    const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    await plain.goto(s.url + "/public/auth/login.html");
    check("without scripts the field for the code is there", await plain.isVisible("#code"));
    await plain.fill("#email", u.email);
    await plain.fill("#password", u.password);
    await plain.click("form [type=submit]:not([data-show])");
    check("and without a code the page comes back", plain.url().includes("reason=totp_required"), plain.url());
    await plain.fill("#email", u.email);
    await plain.fill("#password", u.password);
    await plain.fill("#code", recovery[0]);
    await plain.click("form [type=submit]:not([data-show])");
    check("with one it goes on", plain.url().includes("/public/dashboard.html"), plain.url());
  } finally {
    await browser.close();
  }
});
