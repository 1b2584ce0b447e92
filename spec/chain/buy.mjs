// SPDX-License-Identifier: Apache-2.0
// A film is bought in Chromium with a wallet on a local chain: no wallet, another network, rejections, the coin and a token, progress
// by confirmations, and the split on the chain and in the books.
import { check, main, Server, show, until } from "../live/lib.mjs";
import { launch, open_page, shot } from "../browser/lib.mjs";
import { chain, deploySplitter, deployToken, ethers } from "./lib.mjs";

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
  const must = (r, what) => { if (r.status !== 200) throw new Error(`${what}: ${r.status} ${r.text}`); return r.json; };
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
  const films = await s.films(maker, PRICE, 2);
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
    async function buy(held) {
      const before = await held();
      await go();
      await page.waitForURL(/order\.html/);
      await page.waitForSelector("#confirming");
      check("the order's page counts confirmations", /confirming 1 of 3/.test(await page.textContent("#confirming")), await page.textContent("#confirming"));
      await shot(page, "confirming-phone");
      await c.mine(CONFIRMATIONS);
      await page.waitForSelector("[data-state=paid]");
      return String(await held() - before);
    }
    w.reject = null;
    const got = await buy(() => dollar.balanceOf(home.address));
    same("a token purchase: the creator's part of 10.002001 USDC, to the unit", got, "9001800");
    same("the permission was exact", String(await dollar.allowance(payer.address, deployment.address)), "0");
    check("the film is the buyer's", (await viewer.get("/api/pay/all_options?video_id=" + films[0])).json.already_purchased);

    await page.goto(at(films[1]));
    await choose("ETH");
    same("a purchase with the coin, to the unit", await buy(() => c.provider.getBalance(home.address)), "3599280143971206");
    const clearing = (await s.sql("select -sum(e.amount) from ledger_entries e join ledger_accounts a on a.id = e.account_id where a.kind = 'clearing' and a.name = 'splitter'"))[0][0];
    same("the books: nothing is owed to the creator, clearing is the treasury's part", [await maker.balance(), clearing], [0, "200"]);
    same("no script failed on these pages", noise, []);
  } finally {
    await browser.close();
  }
  await s.check_books("two purchases");
  await c.stop();
});
