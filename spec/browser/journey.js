// SPDX-License-Identifier: Apache-2.0
// The journey of a film in a real browser: a creator uploads it, a viewer tops up, an administrator approves, the viewer
// buys and watches. Needs a running site; journey_site.mjs starts one.
//   BASE_URL=http://localhost:8080 ADMIN_EMAIL=.. ADMIN_PASSWORD=.. FILM=film.mp4 node journey.js
// Optional: OUT (a directory for screenshots), CHROMIUM, READY_TIMEOUT (s, 600), CREATOR_EMAIL and CREATOR_PASSWORD,
// VIEWER_EMAIL and VIEWER_PASSWORD (else two accounts are registered), VIDEO_ID (skips the upload).
// One line per check: "ok - name" or "not ok - name: why"; then "N passed, N failed"; the exit code is 0 when none failed.
import { createHmac } from "node:crypto";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const env = process.env;
const BASE = (env.BASE_URL || "http://localhost:8080").replace(/\/+$/, "");
const OUT = env.OUT;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RUN = Date.now().toString(36);
const TITLE = `Journey ${RUN}`;
const PRICE = 499;
const STEP = 180000;
if (OUT) mkdirSync(OUT, { recursive: true });

let passed = 0, failed = 0;
function ok(name) { passed++; console.log(`ok - ${name}`); }
function notOk(name, why) { failed++; console.log(`not ok - ${name}: ${String(why).split("\n")[0]}`); }

// Runs one check. A failure of a needed one ends the journey.
class Stop extends Error {}
async function check(name, work, { needed = false, page = null } = {}) {
  try {
    const value = await work();
    ok(name);
    return value;
  } catch (e) {
    if (e instanceof Stop) throw e;
    notOk(name, e.message || e);
    if (page && OUT) await page.screenshot({ path: join(OUT, `failed-${name.replace(/\W+/g, "-")}.png`) }).catch(() => {});
    if (needed) throw new Stop();
    return undefined;
  }
}
function that(condition, why) { if (!condition) throw new Error(why); }

const browser = await chromium.launch({ executablePath: env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"] });

// Every error of a page counts, but for one: asking who is signed in, a guest hears 401.
const noise = [];
let quiet = false; // while a check breaks something on purpose
async function person(name, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP);
  page.on("console", (m) => { if (m.type() === "error" && !quiet && !m.location().url?.endsWith("/api/me")) noise.push(`${name}: ${m.text()} ${m.location().url}`); });
  page.on("pageerror", (e) => noise.push(`${name}: ${e.message}`));
  return { name, context, page };
}
const go = (page, path) => page.goto(BASE + path, { waitUntil: "load" });
let pictures = 0;
const shot = (page, name, full = false) => OUT && page.screenshot({ path: join(OUT, `${String(++pictures).padStart(2, "0")}-${name}.png`), fullPage: full });

async function axe(name, page) {
  await check(`axe: ${name}`, async () => {
    const cdp = await page.context().newCDPSession(page);
    await cdp.send("Runtime.evaluate", { expression: AXE });
    const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] })
      .then((r) => r.violations.map((v) => `${v.id} (${v.nodes[0].html.slice(0, 90)})`)));
    that(found.length === 0, found.join("; "));
  });
}

async function register(who, given) {
  const email = given?.email || `${who.name}-${RUN}@example.com`, password = given?.password || `Kite-${RUN}-lantern-${who.name}`;
  if (given?.email) {
    await go(who.page, "/public/auth/login.html");
  } else {
    await go(who.page, "/public/auth/register.html");
    await who.page.fill("#username", `${who.name}-${RUN}`);
  }
  await who.page.fill("#email", email);
  await who.page.fill("#password", password);
  await who.page.click("main form [type=submit]");
  await who.page.waitForURL(/browse\.html/);
  await who.page.waitForSelector("#user-menu");
  who.username = (await who.page.textContent("#user-menu")).trim();
}

const given = (who) => (env[`${who}_EMAIL`] ? { email: env[`${who}_EMAIL`], password: env[`${who}_PASSWORD`] } : null);

// The code an authenticator app shows for this key now (RFC 6238).
function totp(key) {
  let bits = "";
  for (const c of key.replace(/\s/g, "")) bits += "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0");
  const secret = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)));
  const mac = createHmac("sha1", secret).update(step).digest();
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1000000).padStart(6, "0");
}

async function adminSignIn(page, code) {
  await go(page, "/public/admin/login.html");
  await page.fill("#email", env.ADMIN_EMAIL);
  await page.fill("#password", env.ADMIN_PASSWORD);
  await page.click("main form [type=submit]");
  if (code) {
    await page.fill("#code", code);
    await page.click("main form [type=submit]");
  }
  await page.waitForURL(/admin\/dashboard\.html|account\.html/);
}

// Sets two-step sign-in up in the account page. Answers a recovery code.
async function enrol(page) {
  await page.click("#second [type=submit]");
  await page.waitForSelector("#second code");
  await axe("two-step sign-in", page);
  await page.fill("#second [name=code]", totp(await page.textContent("#second code")));
  await page.click("#second [type=submit]");
  const codes = (await page.textContent("#second pre")).trim().split("\n");
  await shot(page, "recovery-codes", true);
  await page.click("#second .btn-brand");
  return codes[0];
}

async function upload(creator) {
  const { page } = creator;
  await go(page, "/public/upload.html");
  await page.setInputFiles("#file", env.FILM);
  await page.fill("#title", TITLE);
  await page.fill("#description", "A film of the journey.");
  await page.fill("#price", (PRICE / 100).toFixed(2));
  await axe("upload", page);
  await shot(page, "upload");
  await page.click("#upload [type=submit]");
  await page.waitForSelector("#prepare", { timeout: 900000 });
  return page.getAttribute("#prepare", "data-video");
}

// Where the player is, as the page sees it.
const state = (page) => page.evaluate(() => {
  const { video, hls } = window.player;
  return { at: video.currentTime, paused: video.paused, height: video.videoHeight, level: hls ? hls.currentLevel : -1,
    levels: hls ? hls.levels.map((l) => l.height) : [], segment: hls ? hls.levels[Math.max(0, hls.currentLevel)].details?.targetduration || 2 : 2 };
});

// Plays past two segments at this height, chosen in the menu.
async function watchAt(page, height) {
  await page.evaluate(() => { window.player.video.currentTime = 0; return window.player.video.play(); });
  await page.hover(".player");
  await page.click("#quality");
  await page.click(`.player .menu [data-height="${height}"]`);
  await page.waitForFunction((h) => window.player.hls.levels[window.player.hls.currentLevel]?.height === h && window.player.video.videoHeight === h, height);
  const { at, segment } = await state(page);
  const goal = 2 * segment + 0.5;
  await page.evaluate(() => window.player.video.play());
  await page.waitForFunction((t) => window.player.video.currentTime - t.at > t.goal || window.player.video.ended, { at, goal });
  const end = await state(page);
  that(end.height === height, `the picture has ${end.height} lines, not ${height}`);
  that(end.at - at > goal || end.at > goal, `stopped at ${end.at.toFixed(1)} s`);
}

async function journey() {
  const creator = await person("creator"), viewer = await person("viewer"), admin = await person("admin"), guest = await person("guest");

  await check("the site answers", async () => {
    const r = await guest.page.goto(BASE + "/", { waitUntil: "load" });
    that(r.ok(), `status ${r.status()}`);
    const csp = r.headers()["content-security-policy"] || "";
    that(/default-src 'none'/.test(csp) && /script-src 'self'/.test(csp) && !/unsafe/.test(csp), `the content security policy is "${csp}"`);
  }, { needed: true, page: guest.page });

  let id = env.VIDEO_ID;
  await check("a creator registers and is signed in", () => register(creator, given("CREATOR")), { needed: true, page: creator.page });
  if (!id) {
    id = await check("the creator uploads a film", () => upload(creator), { needed: true, page: creator.page });
    await check("the film becomes ready, with progress shown", async () => {
      await creator.page.waitForSelector("#watch, #prepare .alert-danger", { timeout: 1000 * Number(env.READY_TIMEOUT || 600) });
      const wrong = await creator.page.$("#prepare .alert-danger");
      that(!wrong, wrong && (await wrong.textContent()));
      await shot(creator.page, "ready");
    }, { needed: true, page: creator.page });
    await check("the creator's list shows it as ready", async () => {
      await go(creator.page, "/public/dashboard.html");
      await creator.page.waitForSelector(`article[data-video="${id}"] .text-bg-success`);
      await shot(creator.page, "my-videos");
    }, { page: creator.page });
    await axe("my videos", creator.page);
  }

  const watch = `/public/watch.html?video_id=${id}`;
  await check("a guest finds it by searching", async () => {
    await go(guest.page, "/public/browse.html");
    await guest.page.fill("#q", env.VIDEO_ID ? "" : TITLE);
    await guest.page.waitForSelector(`#films a[href*="${id}"]`);
    await shot(guest.page, "browse");
  }, { page: guest.page });
  await axe("browse", guest.page);
  await check("a guest is sent to sign in and keeps the way back and the affiliate's name", async () => {
    await go(guest.page, `${watch}&ref=somebody`);
    await guest.page.click("#sign-in");
    await guest.page.waitForURL(/login\.html/);
    const back = new URL(guest.page.url()).searchParams.get("return");
    that(back === `${watch}&ref=somebody`, `the way back is ${back}`);
    await axe("sign in", guest.page);
  }, { page: guest.page });
  await check("a foreign way back is refused", async () => {
    await go(guest.page, "/public/auth/login.html?return=https://evil.example/");
    const href = await guest.page.getAttribute("a[data-keep]", "href");
    that(!/evil/.test(href), `the link carries ${href}`);
  }, { page: guest.page });

  await check("a viewer registers and is signed in", () => register(viewer, given("VIEWER")), { needed: true, page: viewer.page });
  await check("an empty wallet says how much is missing", async () => {
    await go(viewer.page, watch);
    await viewer.page.waitForSelector("#missing, #buy");
    that(given("VIEWER") || (await viewer.page.isVisible("#missing")), "the amount missing is not shown");
    await shot(viewer.page, "missing");
  }, { page: viewer.page });
  await axe("watch, before buying", viewer.page);

  const AMOUNT = "25.00", NOTE = `transfer ${RUN}`;
  await check("the viewer asks for a top-up", async () => {
    await go(viewer.page, "/public/wallet.html?tab=deposit");
    await viewer.page.fill("#deposit [name=amount]", AMOUNT);
    await viewer.page.fill("#deposit [name=note]", NOTE);
    await viewer.page.click("#deposit [type=submit]");
    await viewer.page.waitForSelector("#tab-deposit .alert-success");
    await shot(viewer.page, "deposit");
  }, { needed: true, page: viewer.page });
  await axe("wallet", viewer.page);
  await check("the request alone adds no money", async () => {
    const b = await viewer.page.evaluate(() => fetch("/api/wallet/balance").then((r) => r.json()));
    that(given("VIEWER") || b.balance_cents === 0, `the balance is ${b.balance_cents}`);
  }, { page: viewer.page });

  await check("an administrator signs in", async () => {
    that(env.ADMIN_EMAIL && env.ADMIN_PASSWORD, "ADMIN_EMAIL and ADMIN_PASSWORD are not set");
    quiet = true; // where administrators need a second step, the first page hears 403 and leads to setting it up
    await adminSignIn(admin.page);
    await admin.page.waitForSelector("#stats .tile, #second [type=submit]");
    quiet = false;
  }, { needed: true, page: admin.page });
  if (/account\.html/.test(admin.page.url())) {
    const code = await check("the administrator sets up two-step sign-in", () => enrol(admin.page), { needed: true, page: admin.page });
    await check("the second step is asked for, and a recovery code passes it", async () => {
      await admin.context.clearCookies();
      quiet = true;
      await adminSignIn(admin.page, code);
      quiet = false;
    }, { needed: true, page: admin.page });
  }
  await check("the administrator sees the totals", async () => {
    await admin.page.waitForSelector("#stats .tile");
    await shot(admin.page, "admin");
  }, { page: admin.page });
  await axe("admin overview", admin.page);
  await check("the administrator approves the deposit", async () => {
    await go(admin.page, "/public/admin/wallet.html");
    const row = admin.page.locator("#lines tr", { hasText: NOTE });
    await row.waitFor();
    await axe("admin deposits", admin.page);
    await row.locator("button.btn-success").click();
    await admin.page.waitForSelector(".modal.show");
    await shot(admin.page, "approve");
    await admin.page.click(".modal [type=submit]");
    await admin.page.waitForSelector(".toast.text-bg-success");
  }, { needed: true, page: admin.page });
  for (const page of ["users", "videos", "jobs", "plugins", "audit", "settings"]) {
    await check(`the admin page ${page} fills`, async () => {
      await go(admin.page, `/public/admin/${page}.html`);
      await admin.page.waitForFunction(() => !document.querySelector("main [aria-busy=true]") && !document.querySelector("main .placeholder"));
      const wrong = await admin.page.$("main .alert-danger");
      that(!wrong, wrong && (await wrong.textContent()));
      await shot(admin.page, `admin-${page}`);
    }, { page: admin.page });
    await axe(`admin ${page}`, admin.page);
  }

  await check("the balance is there", async () => {
    await go(viewer.page, "/public/wallet.html");
    await viewer.page.waitForSelector("#available");
    const b = await viewer.page.evaluate(() => fetch("/api/wallet/balance").then((r) => r.json()));
    that(b.balance_cents >= 2500, `the balance is ${b.balance_cents}`);
    await shot(viewer.page, "wallet");
  }, { page: viewer.page });
  await check("two clicks buy it and it plays without a reload", async () => {
    await go(viewer.page, watch);
    await viewer.page.evaluate(() => { window.same = true; });
    await viewer.page.click("#buy");
    await viewer.page.click("#confirm");
    await viewer.page.waitForSelector("#bought");
    await viewer.page.waitForFunction(() => window.player && window.player.video.currentTime > 0.5);
    that(await viewer.page.evaluate(() => window.same === true), "the page was reloaded");
    await shot(viewer.page, "playing");
  }, { needed: true, page: viewer.page });
  await axe("watch, playing", viewer.page);
  await check("the viewer's name lies over the picture and moves", async () => {
    const place = () => viewer.page.evaluate(() => { const m = document.querySelector(".player .viewer-mark"); return [m.textContent, m.style.left + m.style.top]; });
    const [text, first] = await place();
    that(text.includes(viewer.username), `it says ${text}`);
    await viewer.page.waitForFunction((was) => { const m = document.querySelector(".player .viewer-mark"); return m.style.left + m.style.top !== was; }, first, { timeout: 90000 });
  }, { page: viewer.page });

  const { levels } = await state(viewer.page);
  const heights = [...new Set(levels)].sort((a, b) => a - b);
  await check("there are at least two renditions", async () => that(heights.length >= 2, `there are ${heights.length}: ${heights}`), { page: viewer.page });
  for (const height of new Set([heights[0], heights[heights.length - 1]])) {
    await check(`plays past two segments at ${height}p`, () => watchAt(viewer.page, height), { page: viewer.page });
    await shot(viewer.page, `at-${height}p`);
  }
  await check("seeking forward and back goes on playing", async () => {
    const { page } = viewer;
    for (const part of [0.7, 0.2]) {
      const goal = await page.evaluate((p) => { const v = window.player.video; const to = v.duration * p; v.currentTime = to; v.play(); return to; }, part);
      await page.waitForFunction((t) => { const v = window.player.video; return !v.seeking && v.currentTime > t + 0.7 && v.currentTime < t + 15; }, goal);
    }
  }, { page: viewer.page });
  await check("the keyboard pauses and jumps", async () => {
    const { page } = viewer;
    const before = (await state(page)).at;
    await page.locator("body").press("j");
    await page.waitForFunction((t) => window.player.video.currentTime < t, before + 0.5);
    await page.locator("body").press("k");
    await page.waitForFunction(() => window.player.video.paused);
  }, { page: viewer.page });
  await check("a session that ended is renewed in place", async () => {
    const { page } = viewer;
    const session = await page.evaluate(() => /hls\/([^/]+)\//.exec(window.player.hls.url)[1]);
    quiet = true;
    await page.evaluate((s) => fetch("/api/playback/stop", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ session: s }) }), session);
    // Another rendition needs a playlist and keys that the ended session no longer gives.
    const before = await state(page);
    const other = heights.find((x) => x !== before.height && x !== heights[0] && x !== heights[heights.length - 1]) || heights.find((x) => x !== before.height);
    await page.hover(".player");
    await page.click("#quality");
    await page.click(`.player .menu [data-height="${other}"]`);
    await page.evaluate(() => window.player.video.play());
    await page.waitForFunction((s) => { const p = window.player; return p.hls?.url && !p.hls.url.includes(s) && !p.video.paused && p.video.readyState > 2; }, session);
    quiet = false;
  }, { page: viewer.page });
  await check("coming back goes on where it stopped", async () => {
    const { page } = viewer;
    await page.evaluate(() => { window.player.video.currentTime = window.player.video.duration * 0.5; return window.player.video.play(); });
    await page.waitForFunction(() => window.player.video.currentTime > window.player.video.duration * 0.5 + 0.5);
    await page.evaluate(() => window.player.video.pause());
    const { at } = await state(page);
    await page.waitForTimeout(500);
    await go(page, watch);
    await page.click("#play");
    await page.waitForFunction(() => window.player && window.player.video.currentTime > 0.2);
    const now = (await state(page)).at;
    that(Math.abs(now - at) < 3, `stopped at ${at.toFixed(1)} s, began at ${now.toFixed(1)} s`);
  }, { page: viewer.page });
  await check("the library has it", async () => {
    await go(viewer.page, "/public/library.html");
    await viewer.page.waitForSelector(`#films a[href*="${id}"]`);
    await shot(viewer.page, "library");
  }, { page: viewer.page });
  await axe("library", viewer.page);
  await check("buying again is not offered", async () => {
    await go(viewer.page, watch);
    await viewer.page.waitForSelector("#play");
    that(!(await viewer.page.$("#buy")), "the page offers to sell it again");
  }, { page: viewer.page });
  await check("the creator was paid", async () => {
    await go(creator.page, "/public/wallet.html");
    await creator.page.waitForSelector("#tab-history tbody .in");
    await shot(creator.page, "creator-wallet");
  }, { page: creator.page });
  for (const path of ["account", "affiliate"]) {
    await check(`the page ${path} fills`, async () => {
      await go(viewer.page, `/public/${path}.html`);
      await viewer.page.waitForFunction(() => !document.querySelector("main [aria-busy=true]"));
      that(!(await viewer.page.$("main .alert-danger")), "it shows an error");
      await shot(viewer.page, path);
    }, { page: viewer.page });
    await axe(path, viewer.page);
  }

  await check("nothing overflows a telephone in the dark", async () => {
    const small = await viewer.context.storageState();
    const phone = await person("phone", { viewport: { width: 360, height: 740 }, colorScheme: "dark", storageState: small });
    const wide = [];
    for (const path of ["browse.html", watch.slice(8), "library.html", "wallet.html", "wallet.html?tab=transfer", "account.html", "affiliate.html", "upload.html", "dashboard.html"]) {
      await go(phone.page, `/public/${path}`);
      await phone.page.waitForTimeout(700);
      const over = await phone.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (over > 0) wide.push(`${path} by ${over}`);
      await shot(phone.page, `phone-${path.replace(/\W.*/, "")}`);
    }
    that(wide.length === 0, wide.join(", "));
  });
  await check("the viewer signs out", async () => {
    await viewer.page.click("#user-menu");
    await viewer.page.click("#sign-out");
    await viewer.page.waitForSelector("a[href*='login.html']");
    const r = await viewer.page.evaluate(() => fetch("/api/me").then((x) => x.json()));
    that(!r.ok, "the session is still alive");
  }, { page: viewer.page });
  await check("no page reported an error", async () => that(noise.length === 0, noise.slice(0, 5).join(" | ")));
}

try {
  if (!env.VIDEO_ID) statSync(env.FILM || "");
  await journey();
} catch (e) {
  if (!(e instanceof Stop)) notOk("the journey", e.message);
}
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
