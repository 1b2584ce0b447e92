// SPDX-License-Identifier: Apache-2.0
// The pages of payments on chain, on a phone and a desktop: an administrator makes the signer and sets a chain and a token up, a creator proves an address
// with the browser's wallet, a buyer watches the payment confirm.   node spec/chain/pages.mjs      OUT=dir keeps pictures
import { check, main, Server, until } from "../live/lib.mjs";
import { launch, open_page, shot } from "../browser/lib.mjs";
import { artifacts, chain, deploySplitter, ethers } from "./lib.mjs";

// A wallet that announces itself to the page (EIP-6963) and signs with our key; no: it says no once.
async function wallet_in(page, wallet) {
  let no = true;
  await page.exposeFunction("walletSays", async ({ method, params }) => {
    if (method === "eth_requestAccounts") return { result: [wallet.address] };
    if (method !== "personal_sign") return { code: 4200, message: "not supported" };
    if (no) { no = false; return { code: 4001, message: "User rejected the request." }; }
    return { result: await wallet.signMessage(ethers.getBytes(params[0])) };
  });
  await page.addInitScript(() => {
    const provider = { request: async q => { const r = await window.walletSays(q); if (r.code) throw Object.assign(new Error(r.message), r); return r.result; } };
    window.addEventListener("eip6963:requestProvider", () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider",
      { detail: { info: { uuid: "1", name: "Test Wallet", icon: "", rdns: "test" }, provider } })));
  });
}

await main(async () => {
  const [c, s, browser] = await Promise.all([chain(), new Server().start(), launch()]);
  const admin = await s.admin(), maker = await s.user("maker"), buyer = await s.user("buyer"), noise = [];
  const [treasury, home, payer] = [3, 4, 2].map(c.wallet);
  const wide = page => page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  try {
    const desk = await open_page(browser, s, admin, noise);
    await desk.goto(s.url + "/public/admin/chains.html");
    await desk.click("#make-signer");
    const signer = await desk.textContent("#signer code");
    const { deployment } = await deploySplitter(c, { signer });
    await desk.click("#new-chain");
    await desk.fill(".modal [name=name]", "Local");
    await desk.uncheck(".modal [name=testnet]");
    await desk.fill(".modal textarea", JSON.stringify(deployment));
    check("what the deploy script wrote fills the form", await desk.inputValue(".modal [name=chain_id]") === "31337" && await desk.inputValue(".modal [name=contract]") === deployment.address);
    await desk.fill(".modal [name=treasury]", treasury.address);
    await desk.fill(".modal [name=rpc]", "http://127.0.0.1:1/");
    await desk.selectOption(".modal [name=finality]", "count");
    await desk.fill(".modal [name=poll_s]", "1");
    await desk.check(".modal [name=enabled]");
    await desk.click(".modal [type=submit]");
    check("a node that does not answer is not taken", await desk.waitForSelector(".modal :text('did not answer')").then(() => true));
    await desk.fill(".modal [name=rpc]", c.url);
    await shot(desk, "chain-form");
    await desk.click(".modal [type=submit]");
    await desk.waitForSelector("#chains :text('on')");
    await desk.click("#tokens :text('New token')");
    await desk.selectOption(".modal [name=chain_id]", "31337");
    await desk.fill(".modal [name=symbol]", "ETH");
    await desk.click(".modal [type=submit]");
    await desk.waitForSelector("#list-tokens :text('ETH')");
    const must = (r, what) => { if (r.status !== 200) throw new Error(`${what}: ${r.status} ${r.text}`); return r.json; };
    must(await admin.post("/admin/plugins/fixed_rate/settings", { settings: { tokens: "ETH/USD = 2500.5" } }), "rates");
    must(await admin.post("/admin/plugins/splitter/settings", { settings: { environment: "live" } }), "environment");
    await until("the settings are in force", async () => (await maker.get("/api/pay/providers")).json.providers.some(p => p.provider === "splitter" && p.enabled && p.environment === "live"));

    const phone = await open_page(browser, s, maker, noise, { viewport: { width: 360, height: 740 } });
    await wallet_in(phone, home);
    await phone.goto(s.url + "/public/account.html");
    await phone.click("#address :text('Prove with Test Wallet')");
    await phone.waitForSelector("text=You rejected the request in your wallet");
    await phone.click("#address :text('Prove with Test Wallet')");
    await phone.waitForSelector("#proved");
    check("a creator proves an address with the browser's wallet", await phone.textContent("#proved") === home.address);
    check("the phone's page does not scroll sideways", !await wide(phone));
    await phone.locator("#chain").scrollIntoViewIfNeeded();
    await shot(phone, "address-phone");

    const [film] = await s.films(maker, 1000, 1);
    const o = must(await buyer.post("/api/pay/x402/start", { video_id: film, chain_id: 31337, symbol: "ETH", payer_address: payer.address }), "start");
    const order = await open_page(browser, s, buyer, noise, { viewport: { width: 360, height: 740 }, colorScheme: "dark" });
    await order.goto(s.url + o.order_url);
    await order.waitForSelector("text=Pay exactly");
    const till = new ethers.Contract(deployment.address, artifacts().PPVSplitter.abi, payer);
    await (await till.payNative(o.invoice, o.signature, { value: o.amount_wei })).wait();
    await order.waitForSelector("#confirming");
    check("the buyer reads how far it is", /confirming 1 of 12/.test(await order.textContent("#confirming")), await order.textContent("#confirming"));
    await shot(order, "confirming-phone");
    await desk.reload();
    await desk.waitForSelector("#list-provisional");
    check("the administrator sees a payment that is not final", /1/.test(await desk.textContent("#list-provisional .badge")));
    await shot(desk, "chains");
    await c.mine(12);
    await order.waitForSelector("#watch");
    check("and then it is paid", /Watch now/.test(await order.textContent("#watch")));
    await desk.setViewportSize({ width: 360, height: 740 });
    check("the administrator's page fits a phone", !await wide(desk));
    await shot(desk, "chains-phone");
    check("no script failed and no rule of the pages was broken", noise.length === 0, noise.join("; "));
  } finally { await browser.close(); }
  await c.stop();
});
