// SPDX-License-Identifier: Apache-2.0
// The operator's promise: the affiliate rule is edited while a film plays. The new rule decides the next sale, a mistake in it
// changes nothing, and the film does not notice.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main, until } from "../live/lib.mjs";
import { phone_film } from "../support/samples.mjs";
import { launch } from "./lib.mjs";

// What a rule may do wrong, by the price of the sale; a fine answer for any other. $OK: the answer, $LIST: lines that are too many or too much.
const WRONG = {
  "a sum that is too high": "return { $LINE($MAX + 1) }",
  "a negative amount": "return { $LINE(-1) }",
  "not a number": "return { $LINE(0 / 0) }",
  "a text": "return { $LINE('100') }",
  "waiting": "require('lib.settings').get('x') return {}",
  "a coroutine": "coroutine.yield(1) return {}",
  "an endless loop": "while true do end",
  "a huge list": "local t = {} for i = 1, 500000 do t[i] = 1 end return t",
  "a list of many": "local t = {} for i = 1, 500 do t[i] = $LINE(0) end return t",
  "comparing by a metatable": "return { $LINE(setmetatable({}, { __lt = function() return false end, __le = function() return true end, __eq = function() return true end })) }",
  "an error that bites": "error(setmetatable({}, { __index = function() error('bitten') end, __tostring = function() error('bitten') end }))",
  "an endless list": "local t = {} t[1] = t return t",
  "nothing": "return nil",
};
const broken = (max, line, fine) => `local M, how = {}, {}
${Object.values(WRONG).map((code, i) => `how[${3000 + i}] = function(s) ${code.replaceAll("$MAX", max).replaceAll(/\$LINE\(/g, `${line}(s, `)} end`).join("\n")}
local function line_of(s, amount) return ${fine} end
`.replace("local M, how = {}, {}", `local M, how, ${line} = {}, {}`).replace("local function line_of", `function ${line}`);


async function upload(site, creator) {
  const form = new FormData();
  form.set("title", "While it plays");
  form.set("price_cents", "1000");
  form.set("file", new Blob([readFileSync(phone_film(join(site.dir, "film.mp4"), 8, "-vf", "scale=426:240", "-preset", "ultrafast"))], { type: "video/mp4" }), "film.mp4");
  const r = await fetch(site.url + "/api/upload", { method: "POST", body: form, headers: { cookie: creator.cookie(), origin: site.url } });
  const { video_id } = await r.json();
  await until("the film is ready", async () =>
    (await creator.get("/api/my_videos")).json.videos.some(v => v.id === video_id && v.processing_state === "ready"), 900);
  return video_id;
}

await main(async () => {
  const site = await new Server({ development: "true" }).start();
  const [admin, creator, affiliate, watcher] = [await site.admin(), await site.user("maker"), await site.user("aff"), await site.user("eye")];
  const film = await upload(site, creator);
  const program = await creator.post("/api/affiliate/settings", { video_id: film, commission_pct: 20, is_enabled: true });
  check("the creator offers 20 %", program.status === 200, program.text);
  const sale = async () => {
    const buyer = await site.user("buyer");
    await site.fund(admin, buyer, 2000);
    const before = await affiliate.balance();
    const r = await buyer.post("/api/wallet/pay", { video_id: film, ref_code: affiliate.username });
    if (r.status !== 200) throw new Error(r.text);
    return await affiliate.balance() - before;
  };
  await site.fund(admin, watcher, 2000);
  await watcher.buy(film);

  const browser = await launch();
  try {
    const context = await browser.newContext();
    await context.addCookies(Object.entries(watcher.jar).map(([name, value]) => ({ name, value, url: site.url })));
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", e => errors.push(e.message));
    await page.goto(`${site.url}/public/watch.html?video_id=${film}`);
    await page.click("#play");
    await page.waitForFunction(() => window.player?.video);
    await page.evaluate(() => { const v = window.player.video; v.loop = true; v.muted = true; return v.play(); });
    const playing = async () => {
      const from = await page.evaluate(() => ({ t: window.player.video.currentTime, n: window.player.video.getVideoPlaybackQuality().totalVideoFrames }));
      await page.waitForFunction(n => window.player.video.getVideoPlaybackQuality().totalVideoFrames > n + 10, from.n);
    };
    await playing();
    check("a sale pays by the rule as it is", await sale() === 200);

    const file = join(site.root, "plugins/percent/handler.lua");
    const rule = readFileSync(file, "utf8");
    const status = async () => site.status();
    let bundle = (await status()).bundle;
    writeFileSync(file, rule.replace("if amount <= 0", "amount = math.min(amount, 150)\n  if amount <= 0"));
    await until("the new rule serves", async () => { const s = await status(); return s.bundle > bundle && s.workers.every(w => w.bundle === s.bundle); });
    check("the edited rule decides the next sale", await sale() === 150);
    await playing();

    bundle = (await status()).bundle;
    writeFileSync(file, rule.replace("return M", "return M )"));
    await until("the mistake is refused", async () => (await status()).refused);
    const refused = JSON.stringify((await status()).refused);
    check("the refusal names the file and the line", /percent\/handler\.lua/.test(refused) && /"line":[1-9]/.test(refused), refused);
    check("the rule before the mistake goes on", await sale() === 150);
    await playing();
    // ---- rules that are wrong in every way they can be
    await site.fund(admin, watcher, 100000);
    const rewrite = async (plugin, text) => {
      const from = (await status()).bundle;
      writeFileSync(join(site.root, `plugins/${plugin}/handler.lua`), text);
      await until(`the new ${plugin} serves`, async () => { const t = await status(); return t.bundle > from && t.workers.every(w => w.bundle === t.bundle); });
    };
    const names = Object.keys(WRONG), prices = names.map((_, i) => 3000 + i);
    const films = new Map();
    for (const price of prices) films.set(price, await site.films(creator, price, 2));
    await site.sql(`insert into affiliate_programs (video_id, pct, enabled) select id, 20, true from videos where price >= 3000`);
    const balances = async () => [await watcher.balance(), await creator.balance(), await affiliate.balance()];
    const buy = (price, n) => watcher.post("/api/wallet/pay", { video_id: films.get(price)[n], ref_code: affiliate.username });

    await rewrite("percent", broken("s.creator_share", "line", "{ to = s.direct, amount = amount }") + `function M.split(s) return how[s.amount](s) end\nreturn M\n`);
    for (const [i, price] of prices.entries()) {
      const before = await balances(), r = await buy(price, 0), after = await balances(), share = Math.floor(price * 0.9);
      check(`an affiliate rule that answers with ${names[i]}: the sale stands, nothing is paid`, r.status === 200 && after[0] === before[0] - price && after[1] === before[1] + share && after[2] === before[2],
        `${r.status} ${r.text} ${before} ${after}`);
      const wrong = (await admin.get("/admin/affiliate/report")).json.refused_rules[0];
      check(`... and the administrator reads why`, wrong.kind === "affiliate" && wrong.video_id === films.get(price)[0] && wrong.why.length > 5, JSON.stringify(wrong));
    }
    await rewrite("percent", rule);
    const set = await admin.post("/admin/settings", { tax_plugin: "tax_id" });
    check("a tax rule is chosen", set.status === 200, set.text);
    await rewrite("tax_id", broken("s.price", "line", "{ code = 'ppn', amount = amount }") + `function M.lines(s) return how[s.price](s) end\nreturn M\n`);
    for (const [i, price] of prices.entries()) {
      const before = await balances(), r = await buy(price, 1), after = await balances();
      check(`a tax rule that answers with ${names[i]}: nothing is sold, no money moves`, r.status === 503 && r.json.code === "tax.refused" && before.join() === after.join(), `${r.status} ${r.text} ${before} ${after}`);
      const wrong = (await admin.get("/admin/affiliate/report")).json.refused_rules[0];
      check("... and the administrator reads why", wrong.kind === "tax" && wrong.video_id === films.get(price)[1] && wrong.why.length > 5, JSON.stringify(wrong));
    }
    check("the film played all the while", errors.length === 0 && !(await page.evaluate(() => window.player.video.error)), errors.join("; "));
  } finally {
    await browser.close();
  }
  await site.check_books("rules edited");
});
