// SPDX-License-Identifier: Apache-2.0
// A film is bought in Chromium with a wallet on a local chain: no wallet, another network, rejections, the coin and a token, by a signature
// alone from an account without the coin, progress by confirmations, and the split on the chain and in the books; over HTTP with a coupon, as a
// rental and as a gift.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, fresh_ip, main, Server, show, until } from "../live/lib.mjs";
import { launch, open_page, shot } from "../browser/lib.mjs";
import { chain, deploySplitter, deployToken, ethers, key } from "./lib.mjs";

const CHAIN = 31337, CONFIRMATIONS = 3, PRICE = 1000;
const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };
const same = (name, got, want) => check(name, show(got) === show(want), `${show(got)}, not ${show(want)}`);

/** A wallet in the page (EIP-1193, announced by EIP-6963) whose key stays here. w: {chainId, reject: RegExp, knows: [chain ids]}. */
async function inject(page, c, signer, w) {
  const refuse = (code, message) => ({ error: { code, message } });
  await page.exposeBinding("__wallet", async (_, { method, params = [] }) => {
    try {
      if (w.reject?.test(method)) return refuse(4001, "User rejected the request.");
      switch (method) {
        case "eth_requestAccounts": return { result: [signer.address] };
        case "eth_chainId": return { result: ethers.toQuantity(w.chainId) };
        case "wallet_switchEthereumChain":
          if (!w.knows.includes(Number(params[0].chainId))) return refuse(4902, "Unrecognized chain ID");
          w.chainId = Number(params[0].chainId);
          return { result: null };
        case "eth_signTypedData_v4": {
          const { domain, types: { EIP712Domain: _domain, ...types }, message } = JSON.parse(params[1]);
          return { result: await signer.signTypedData(domain, types, message) };
        }
        case "eth_sendTransaction": {
          const { to, value, data } = params[0];
          return { result: (await signer.sendTransaction({ to, value, data })).hash };
        }
        default: return { result: await c.rpc(method, ...params) };
      }
    } catch (e) {
      return refuse(-32603, e.shortMessage ?? e.message);
    }
  });
  await page.addInitScript(() => {
    const provider = { on() {}, async request(r) {
      const x = await window.__wallet(r);
      if (x.error) throw Object.assign(new Error(x.error.message), { code: x.error.code });
      return x.result;
    } };
    const detail = Object.freeze({ provider, info: Object.freeze({ uuid: "350670db-19fa-4704-a166-e52e178b59d2", name: "Test Wallet", icon: "data:,", rdns: "test.wallet" }) });
    const announce = () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
    window.addEventListener("eip6963:requestProvider", announce);
    announce();
  });
}

await main(async () => {
  const [c, s] = await Promise.all([chain(), new Server().start()]);
  const admin = await s.admin(), maker = await s.user("maker"), viewer = await s.user("viewer");
  const [owner, payer, treasury, home] = [0, 2, 3, 4].map(c.wallet);
  const must = (r, what) => { if (r.status >= 300) throw new Error(`${what}: ${r.status} ${r.text}`); return r.json; };
  const { signer } = must(await admin.post("/admin/chains/signer"), "signer");
  const { deployment } = await deploySplitter(c, { owner: owner.address, signer });
  const dollar = await deployToken(c, "DollarToken");
  await (await dollar.mint(payer.address, 10n ** 9n)).wait();
  must(await admin.post("/admin/chains", { chain_id: CHAIN, name: "Local", testnet: false, contract: deployment.address, code_hash: deployment.codeHash,
    start_block: deployment.block, treasury: treasury.address, finality: "count", confirmations: CONFIRMATIONS, rpc: c.url, poll_s: 1, second_never: true,
    enabled: true }), "chain");
  must(await admin.post("/admin/chains/token", { chain_id: CHAIN, symbol: "ETH", decimals: 18 }), "coin");
  must(await admin.post("/admin/chains/token", { chain_id: CHAIN, symbol: "USDC", decimals: 6, erc20: await dollar.getAddress() }), "token");
  must(await admin.post("/admin/plugins/fixed_rate/settings", { settings: { tokens: "USDC/USD = 0.9998, ETH/USD = 2500.5" } }), "rates");
  must(await admin.post("/admin/plugins/splitter/settings", { settings: { environment: "live", deadline_s: 7200 } }), "environment");
  const { message } = must(await maker.post("/api/chain/address/challenge", { address: home.address }), "challenge");
  must(await maker.post("/api/chain/address/prove", { signature: await home.signMessage(message) }), "proof");
  const films = await s.films(maker, PRICE, 9);
  await until("tokens are offered", async () => (await viewer.get("/api/pay/all_options?video_id=" + films[0])).json.x402.tokens.length === 2);

  const browser = await launch(), noise = [];
  const at = id => `${s.url}/public/chainpay.html?video_id=${id}`;
  try {
    const bare = await open_page(browser, s, viewer, noise);
    await bare.goto(at(films[0]));
    await bare.waitForSelector("#chainpay .alert-warning");
    check("without a wallet the buyer is told so", (await bare.textContent("#chainpay")).includes("No wallet was found"));

    const page = await open_page(browser, s, viewer, noise, phone);
    const w = { chainId: 1, knows: [1], reject: null };
    await inject(page, c, payer, w);
    const says = async text => page.waitForFunction(t => document.querySelector("#state")?.textContent.includes(t), text);
    const choose = async symbol => page.check(`text=${symbol} on Local`);
    const go = async () => { await page.waitForSelector("[data-wallet]:not([disabled])"); await page.click("[data-wallet]"); };
    await page.goto(`${s.url}/public/watch.html?video_id=${films[0]}`);
    await page.click("#chain");
    await page.waitForURL(/chainpay/);
    await choose("USDC");
    await shot(page, "chainpay-phone");
    w.reject = /requestAccounts/;
    await go();
    await says("You rejected the request");
    w.reject = null;
    await go();
    await says("does not know Local");
    w.knows = [1, CHAIN];
    w.reject = /switch/;
    await go();
    await says("stayed on another network");
    await shot(page, "chainpay-network");
    w.reject = /sendTransaction/;
    await go();
    await says("You rejected the request");
    same("nothing was allowed or paid by rejections", [await dollar.allowance(payer.address, deployment.address), await dollar.balanceOf(home.address)].map(String), ["0", "0"]);
    check("nothing is wider than the phone", await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));

    /** Pays, follows the order's page to its end and answers what the creator got on the chain. */
    async function buy(held, on = page, press = go) {
      const before = await held();
      await press();
      await on.waitForURL(/order\.html/);
      await on.waitForSelector("#confirming");
      check("the order's page counts confirmations", /confirming 1 of 3/.test(await on.textContent("#confirming")), await on.textContent("#confirming"));
      await shot(on, "confirming-phone");
      await c.mine(CONFIRMATIONS);
      await on.waitForSelector("[data-state=paid]");
      return String(await held() - before);
    }
    w.reject = null;
    const got = await buy(() => dollar.balanceOf(home.address));
    same("a token purchase: the creator's part of 10.002001 USDC, to the unit", got, "9001800");
    same("it took one transaction: the permission was a signature", await c.provider.getTransactionCount(payer.address), 1);
    same("the permission was exact", String(await dollar.allowance(payer.address, deployment.address)), "0");
    check("the film is the buyer's", (await viewer.get("/api/pay/all_options?video_id=" + films[0])).json.already_purchased);

    await page.goto(at(films[1]));
    await choose("ETH");
    same("a purchase with the coin, to the unit", await buy(() => c.provider.getBalance(home.address)), "3599280143971206");
    const clearing = (await s.sql("select -sum(e.amount) from ledger_entries e join ledger_accounts a on a.id = e.account_id where a.kind = 'clearing' and a.name = 'splitter'"))[0][0];
    same("the books: nothing is owed to the creator, clearing is the treasury's part", [await maker.balance(), clearing], [0, "200"]);

    // ---- by a signature alone, from an account without the chain's coin ----
    const relayer = c.wallet(7), poor = ethers.Wallet.createRandom().connect(c.provider), starved = await s.user("starved");
    writeFileSync(join(s.dir, "key"), key(7), { mode: 0o600 });
    check("the relayer's key is taken over", (await s.ppv("key", "import", "relayer", join(s.dir, "key"))).code === 0);
    await (await dollar.mint(poor.address, 10n ** 9n)).wait();
    const fees = { environment: "live", deadline_s: 7200, sponsor: true, sponsor_buyer: 2, sponsor_day: 100 };
    must(await admin.post("/admin/plugins/splitter/settings", { settings: fees }), "fees");
    await until("fees are paid for buyers", async () => (await viewer.get("/api/pay/all_options?video_id=" + films[2])).json.x402.tokens.some(t => t.fee_free));
    const second = await open_page(browser, s, starved, noise, phone), w2 = { chainId: CHAIN, knows: [CHAIN], reject: /signTypedData/ };
    await inject(second, c, poor, w2);
    await second.goto(at(films[2]));
    await second.check("text=USDC on Local");
    await second.click("[data-wallet]");
    await second.waitForFunction(() => document.querySelector("#state")?.textContent.includes("You rejected the request"));
    await shot(second, "chainpay-nofee");
    check("the page says that there is no network fee", (await second.textContent("#chainpay")).includes("no network fee"));
    same("a rejected signature pays nothing", String(await dollar.balanceOf(poor.address)), "1000000000");
    w2.reject = /sendTransaction/; // none may be asked for
    const earlier = await c.provider.getBalance(relayer.address);
    const share = await buy(() => dollar.balanceOf(home.address), second, async () => { await second.waitForSelector("[data-wallet]:not([disabled])"); await second.click("[data-wallet]"); });
    same("by signature: the creator's part to the unit", share, "9001800");
    same("the buyer had no coin and needed none; the relayer paid the fee", [String(await c.provider.getBalance(poor.address)), await c.provider.getTransactionCount(poor.address), await c.provider.getBalance(relayer.address) < earlier],
      ["0", 0, true]);
    same("the books again: nothing is owed to the creator", await maker.balance(), 0);
    same("no script failed on these pages", noise, []);

    // ---- the same over HTTP: what is refused, twice the same, stuck, and the bounds ----
    const start = async (who, film, over = {}) => must(await who.post("/api/pay/x402/start", { video_id: film, chain_id: CHAIN, symbol: "USDC", payer_address: poor.address, ...over }, { ip: fresh_ip() }), "start");
    const signed = async (o, wallet = poor) => {
      const { domain, types: { EIP712Domain: _domain, ...types }, message } = o.authorization;
      return wallet.signTypedData(domain, types, message);
    };
    const authorize = (who, o, signature) => who.post("/api/pay/x402/authorize", { invoice_uid: o.invoice_uid, id: o.invoice.id, signature }, { ip: fresh_ip() });
    const order = async (who, o) => (await who.get("/api/pay/order?id=" + o.invoice_uid)).json.order;
    const o = await start(starved, films[3]);
    same("another key's signature is none", (await authorize(starved, o, await signed(o, payer))).json.code, "chain.signature");
    same("nor is somebody else's order", (await authorize(viewer, o, await signed(o))).json.code, "order.not_found");
    await c.automine(false);
    const sent = must(await authorize(starved, o, await signed(o)), "authorize"), twice = must(await authorize(starved, o, await signed(o)), "again");
    same("shown twice it is sent once", twice.tx_hash, sent.tx_hash);
    await s.sql("update chain_relays set busy_until = now()");
    const dearer = await until("a transaction that is stuck goes out again", async () => (await s.sql("select tx_hash from chain_relays where tries = 2"))[0]?.[0]);
    await until("the node has it", () => c.provider.getTransaction(dearer)); // its row is written before it is sent
    await c.mine();
    await c.automine(true);
    same("the dearer one took its place", [(await c.receipt(sent.tx_hash)), (await c.receipt(dearer)).status], [null, "0x1"]);
    await c.mine(CONFIRMATIONS);
    await until("it is paid", async () => (await order(starved, o)).state === "paid");
    const third = await start(starved, films[4]);
    same("a buyer's bound holds", (await authorize(starved, third, await signed(third))).json.code, "chain.sponsor");
    await c.rpc("anvil_setBalance", relayer.address, "0x1000");
    const other = await s.user("other"), fourth = await start(other, films[4]);
    same("without coin the relayer sends nothing, and says so", (await authorize(other, fourth, await signed(fourth))).json.code, "relayer.funds");
    const low = await until("the watcher has looked at the coin, once a minute", async () => {
      const row = (await admin.get("/admin/chains")).json.chains.find(x => x.chain_id === CHAIN);
      return row.relayer_low && row;
    });
    same("the administrator is warned", [low.relayer, low.relayer_left], [relayer.address, 0]);

    // ---- a coupon, a rental, a gift ----
    const till = new ethers.Contract(deployment.address, ["function payToken((bytes32 id, address token, uint256 amount, address payer, (address to, uint256 amount)[] payees, uint64 deadline) invoice, bytes sig)"], payer);
    await (await dollar.connect(payer).approve(deployment.address, ethers.MaxUint256)).wait();
    must(await maker.post("/api/creator/coupons", { code: "HALF", percent_bp: 5000 }), "coupon");
    must(await maker.post("/api/offers/rental", { video_id: films[6], price_cents: 200, window_hours: 48, play_hours: 24 }), "rental");
    const bought = async (who, film, over, amount, part) => {
      const x = await start(who, film, { payer_address: payer.address, ...over }), before = await dollar.balanceOf(home.address);
      same(`${JSON.stringify(over)}: the amount in whole units`, x.amount_wei, amount);
      await (await till.payToken(x.invoice, x.signature)).wait();
      await c.mine(CONFIRMATIONS);
      await until("it is paid", async () => (await order(who, x)).state === "paid");
      same(`${JSON.stringify(over)}: the creator's part on the chain`, String(await dollar.balanceOf(home.address) - before), part);
      return x;
    };
    const happy = await s.user("happy"), access = async (who, film) => (await who.get("/api/videos/" + film)).json.video.access;
    await bought(happy, films[5], { coupon: "HALF" }, "5001001", "4500900");
    same("with a coupon: half the price, the film for good", await access(happy, films[5]), "purchase");
    await bought(happy, films[6], { offer: "rental" }, "2000401", "1800360");
    same("as a rental", await access(happy, films[6]), "rental");
    await bought(happy, films[7], { gift: true }, "10002001", "9001800");
    const gift = (await happy.get("/api/gifts")).json;
    same("as a gift: nothing for the giver, a code to give away", [await access(happy, films[7]) ?? "none", gift.items.length], ["none", 1]);
    same("the books owe the creator nothing for them", await maker.balance(), 0);
  } finally {
    await browser.close();
  }
  await s.check_books("all purchases");
  await c.stop();
});
