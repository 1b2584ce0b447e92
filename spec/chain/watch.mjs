// SPDX-License-Identifier: Apache-2.0
// The product and a real chain: a film is bought with a token and with the chain's coin, the contract splits, the books say the same to the unit;
// blocks vanish 1 to 200 deep (DEPTHS=all: each of them) and payments are dropped, included again and replaced; the node is gone for an hour; transactions that get stuck,
// pay the wrong sum, come late, or twice.   node spec/chain/watch.mjs
import net from "node:net";
import { check, fresh_ip, main, note, Server, show, until } from "../live/lib.mjs";
import { chain, deploySplitter, deployToken, ethers, refused } from "./lib.mjs";

const CHAIN = 31337, CONFIRMATIONS = 12, PRICE = 1000;
// DEPTHS=all: every depth from 1 to 200 (an hour).
const depths = process.env.DEPTHS === "all" ? Array.from({ length: 200 }, (_, i) => i + 1) : [1, 2, 11, 12, 64, 200];
const same = (name, got, want) => check(name, show(got) === show(want), `${show(got)}, not ${show(want)}`);

/** A way to the node that can be cut, so that the product alone loses it. */
async function cable(port) {
  const open = new Set();
  let up = true;
  const server = net.createServer(from => {
    if (!up) return from.destroy();
    const to = net.connect(port, "127.0.0.1");
    for (const s of [from, to]) { open.add(s); s.on("close", () => { open.delete(s); from.destroy(); to.destroy(); }); s.on("error", () => {}); }
    from.pipe(to).pipe(from);
  });
  await new Promise(r => server.listen(0, "127.0.0.1", r));
  return { url: `http://127.0.0.1:${server.address().port}`, cut() { up = false; for (const s of open) s.destroy(); }, mend() { up = true; },
    close() { this.cut(); server.close(); } };
}

await main(async () => {
  // All states of the chain are kept: of old ones the node would else forget what a deep reorganisation needs.
  const [c, s] = await Promise.all([chain({ args: ["--prune-history", "100000"] }), new Server().start()]);
  const line = await cable(c.port);
  const admin = await s.admin(), maker = await s.user("maker"), friend = await s.user("friend");
  const [owner, payer, treasury, home, friends, stranger] = [0, 2, 3, 4, 5, 6].map(c.wallet);
  const must = (r, what) => { if (r.status !== 200) throw new Error(`${what}: ${r.status} ${r.text}`); return r.json; };

  // ---- set-up, as an operator does it ----
  const { signer } = must(await admin.post("/admin/chains/signer"), "signer");
  check("a second key is not made over the first", (await admin.post("/admin/chains/signer")).status === 409);
  const { splitter, deployment } = await deploySplitter(c, { owner: owner.address, signer });
  const { deployment: foreign } = await deploySplitter(c, { owner: owner.address, signer: stranger.address });
  const dollar = await deployToken(c, "DollarToken");
  const address = await dollar.getAddress();
  const setting = { chain_id: CHAIN, name: "Local", testnet: false, contract: deployment.address, code_hash: deployment.codeHash, start_block: deployment.block,
    treasury: treasury.address, finality: "count", confirmations: CONFIRMATIONS, rpc: line.url, poll_s: 1, second_never: true, enabled: true };
  const refusals = [];
  for (const over of [{ contract: foreign.address, code_hash: foreign.codeHash }, { code_hash: "0x" + "11".repeat(32) }, { contract: stranger.address }, { chain_id: 4242, name: "Wrong" }])
    refusals.push((await admin.post("/admin/chains", { ...setting, ...over })).json.code);
  same("a chain is switched on only with its node, its contract and our signer", refusals, ["chain.signer", "chain.contract", "chain.contract", "chain.wrong"]);
  must(await admin.post("/admin/chains", setting), "chain");
  check("decimals are the token's own", (await admin.post("/admin/chains/token", { chain_id: CHAIN, symbol: "USDC", decimals: 18, erc20: address })).json.code === "chain.decimals");
  must(await admin.post("/admin/chains/token", { chain_id: CHAIN, symbol: "USDC", decimals: 6, erc20: address }), "token");
  must(await admin.post("/admin/chains/token", { chain_id: CHAIN, symbol: "ETH", decimals: 18 }), "coin");
  must(await admin.post("/admin/plugins/fixed_rate/settings", { settings: { tokens: "USDC/USD = 0.9998, ETH/USD = 2500.5" } }), "rates");
  must(await admin.post("/admin/plugins/splitter/settings", { settings: { environment: "live", deadline_s: 7200 } }), "environment");
  await until("the settings are in force", async () => (await maker.get("/api/pay/providers")).json.providers.some(p => p.provider === "splitter" && p.enabled && p.environment === "live"));

  // ---- addresses ----
  async function prove(who, wallet, by = wallet) {
    const { message } = must(await who.post("/api/chain/address/challenge", { address: wallet.address }), "challenge");
    return who.post("/api/chain/address/prove", { signature: await by.signMessage(message) });
  }
  same("an address is not proved by another key", (await prove(maker, home, stranger)).json.code, "chain.signature");
  same("it is by its own", (await prove(maker, home)).json.address.address, home.address);
  must(await prove(friend, friends), "affiliate");

  // ---- buying ----
  const films = await s.films(maker, PRICE, 30 + 3 * depths.length);
  await s.sql(`insert into affiliate_programs (video_id, pct, enabled) values ('${films[0]}', 10, true), ('${films[1]}', 10, true)`);
  await (await dollar.mint(payer.address, 10n ** 12n)).wait();
  await (await dollar.connect(payer).approve(deployment.address, ethers.MaxUint256)).wait();
  const till = splitter.connect(payer);
  let buyers = 0;
  async function start(over = {}, buyer, film = films[2 + buyers]) {
    buyer ??= await s.user("buyer" + ++buyers);
    const r = await buyer.post("/api/pay/x402/start", { video_id: film, chain_id: CHAIN, symbol: "USDC", payer_address: payer.address, ...over }, { ip: fresh_ip() });
    must(r, "start");
    return { ...r.json, buyer, film };
  }
  const pay = (o, more = {}) => o.token_address ? till.payToken(o.invoice, o.signature, more) : till.payNative(o.invoice, o.signature, { value: o.amount_wei, ...more });
  const order = async o => (await o.buyer.get("/api/pay/order?id=" + o.invoice_uid)).json.order;
  const confirm = (o, tx) => o.buyer.post("/api/pay/x402/confirm", { invoice_uid: o.invoice_uid, tx_hash: tx }, { ip: fresh_ip() });
  const becomes = (o, state) => until(`the order is ${state}`, async () => (await order(o)).state === state);
  const sees = o => until("the payment is seen", async () => (await order(o)).confirming);
  const plays = async o => (await o.buyer.get("/api/request_play?video_id=" + o.film)).status !== 403;
  const held = who => dollar.balanceOf(who.address);
  const clearing = async () => Number((await s.sql("select coalesce(-sum(e.amount), 0) from ledger_entries e join ledger_accounts a on a.id = e.account_id where a.kind = 'clearing' and a.name = 'splitter'"))[0][0]);
  const final = () => c.mine(CONFIRMATIONS);

  {
    const o = await start({ affiliate_ref: friend.username }, undefined, films[0]);
    same("the engine and the contract hash the same invoice", (await splitter.hashInvoice(o.invoice)), (await s.sql(`select digest from chain_invoices where id = '${o.invoice_uid_bytes32}'`))[0][0]);
    same("10 dollars at 0.9998 in whole units, divided by the split", [o.amount_wei, ...o.invoice.payees.map(p => p.amount)], ["10002001", "8001600", "1000200", "1000201"]);
    const before = await Promise.all([home, friends, treasury].map(held));
    const tx = await pay(o);
    await tx.wait();
    const seen = await sees(o);
    check("a token payment is shown while it confirms, and opens nothing yet", seen.need === CONFIRMATIONS && seen.have >= 1 && seen.tx === tx.hash && !(await plays(o)), show(seen));
    const status = (await confirm(o, tx.hash)).json;
    same("confirm says how far it is", [status.status, status.required], ["confirming", CONFIRMATIONS]);
    await final();
    await becomes(o, "paid");
    check("it is paid and plays", await plays(o));
    const after = await Promise.all([home, friends, treasury].map(held));
    same("the chain split it to the unit", after.map((n, i) => String(n - before[i])), o.invoice.payees.map(p => p.amount));
    same("the books owe nobody what the chain has paid; clearing is the treasury's part", [await maker.balance(), await friend.balance(), await clearing()], [0, 0, 100]);
    const again = (await confirm(o, tx.hash)).json;
    same("confirmed again, it is a replay", [again.status, again.replayed, again.same_tx], ["paid", true, true]);
    check("the contract takes an invoice once", await refused(pay(o)) === "AlreadyPaid");
  }
  {
    const o = await start({ symbol: "ETH", affiliate_ref: friend.username }, undefined, films[1]);
    same("a coin is priced by its rate", o.amount_wei, "3999200159968007");
    const before = await Promise.all([home, friends, treasury].map(w => c.provider.getBalance(w.address)));
    await (await pay(o)).wait();
    await final();
    await becomes(o, "paid");
    const after = await Promise.all([home, friends, treasury].map(w => c.provider.getBalance(w.address)));
    same("the chain split the coin to the unit", after.map((n, i) => String(n - before[i])), o.invoice.payees.map(p => p.amount));
    same("and the books follow", [await maker.balance(), await friend.balance(), await clearing()], [0, 0, 200]);
  }
  await s.check_books("token and coin");

  // ---- reorganisations: of every depth three payments of one block vanish; one is included again, one replaced, one never comes back ----
  const payment = async o => (await s.sql(`select p.state, p.tx_hash from chain_payments p join orders x on x.id = p.order_id where x.uid = '${o.invoice_uid}' order by p.id`));
  const states = async all => Object.fromEntries((await s.sql(`select x.uid, x.state, string_agg(p.state, ' ' order by p.id),
    (select count(*) from payments y where y.order_id = x.id), (select string_agg(q.tx_hash, ' ') from chain_payments q where q.order_id = x.id and q.state = 'final')
    from orders x left join chain_payments p on p.order_id = x.id where x.uid in ('${all.map(o => o.invoice_uid).join("','")}') group by x.id, x.uid`)).map(r => [r[0], r.slice(1)]));
  const all_are = (all, what, fits) => until(what, async () => { const at = await states(all); return all.every(o => fits(at[o.invoice_uid])); });
  for (const depth of depths) {
    await c.mine(depth + 1); // what came before stays
    const deep = depth >= CONFIRMATIONS, all = [await start(), await start(), await start()], [again, replaced, dropped] = all, txs = [];
    await c.automine(false);
    for (const o of all) txs.push(await pay(o, { gasLimit: 500000 }));
    await c.mine();
    await c.automine(true);
    const raw = await c.rpc("eth_getRawTransactionByHash", txs[0].hash);
    if (depth > 1) await c.mine(depth - 1);
    await all_are(all, deep ? "they are paid" : "they are seen", r => deep ? r[0] === "paid" : r[1] === "provisional");
    const earned = await clearing();
    await c.reorg(depth);
    await all_are(all, "they are orphaned", r => r[1] === "orphaned");
    const now = await states(all), open = await Promise.all(all.map(plays));
    check(`${depth} deep: three payments vanished, and access with them`, all.every(o => now[o.invoice_uid][0] === (deep ? "disputed" : "pending")) && !open.includes(true), show(now));
    await c.rpc("eth_sendRawTransaction", raw);
    await (await pay(replaced, { nonce: txs[1].nonce })).wait();
    await final();
    await all_are([again, replaced], "two are paid again", r => r[0] === "paid");
    const end = await states(all), watch = await Promise.all(all.map(plays));
    for (const [n, how] of [[0, "included again"], [1, "replaced"]]) {
      const r = end[all[n].invoice_uid];
      check(`${depth} deep, ${how}: paid once`, r[2] === "1" && watch[n] && (r[3] === txs[n].hash) === (n === 0) && !r[3].includes(" "), show(r));
    }
    if (deep) {
      const row = (await admin.get("/admin/chains")).json.orphaned.find(x => x.order_id === dropped.invoice_uid);
      same(`${depth} deep, dropped: given up, the sale is undone`, must(await admin.post(`/admin/chains/payments/${row.id}/give_up`), "give up").state, "chargeback_lost");
      same(`${depth} deep: clearing has what the treasury has`, await clearing(), earned - 100);
    } else check(`${depth} deep, dropped: it waits for its payment`, end[dropped.invoice_uid][0] === "pending" && !watch[2]);
  }
  note(`${depths.length} depths of reorganisations in three kinds, ${depths[0]} to ${depths.at(-1)}`);
  same("after all that the maker is owed nothing here, the chain has paid", [await maker.balance(), (await s.sql("select count(*) from disputes where state = 'open'"))[0][0]], [0, "0"]);
  await s.check_books("reorganisations");

  // ---- what the contract refuses ----
  {
    const o = await start({ symbol: "ETH" }), wrong = [];
    for (const value of [BigInt(o.amount_wei) - 1n, BigInt(o.amount_wei) + 1n, 0n]) wrong.push(await refused(till.payNative(o.invoice, o.signature, { value })));
    wrong.push(await refused(splitter.connect(stranger).payNative(o.invoice, o.signature, { value: o.amount_wei })));
    wrong.push(await refused(till.payNative({ ...o.invoice, amount: "1", payees: [{ to: treasury.address, amount: "1" }] }, o.signature, { value: 1n })));
    same("less, more, nothing, another payer, another invoice: refused on chain", wrong, ["WrongAmount", "WrongAmount", "WrongAmount", "WrongPayer", "BadSignature"]);
    same("nothing of it reached the order", (await order(o)).state, "pending");
  }

  // ---- a transaction that waits ----
  {
    const o = await start();
    await c.automine(false);
    const tx = await pay(o, { gasLimit: 500000 });
    same("a transaction in no block is no payment", (await confirm(o, tx.hash)).json.status, "pending");
    const faster = await pay(o, { gasLimit: 500000, nonce: tx.nonce, maxFeePerGas: tx.maxFeePerGas * 3n, maxPriorityFeePerGas: tx.maxPriorityFeePerGas * 3n });
    await c.mine();
    await c.automine(true);
    const seen = await sees(o);
    same("the one that replaced it is seen", seen.tx, faster.hash);
    await final();
    await becomes(o, "paid");
  }

  // ---- two payments of one order ----
  {
    const o = await start(), two = await start({ symbol: "ETH" }, o.buyer, o.film);
    same("another token is another invoice of the same order", [two.invoice_uid === o.invoice_uid, two.invoice_uid_bytes32 === o.invoice_uid_bytes32], [true, false]);
    await (await pay(o)).wait();
    await (await pay(two)).wait();
    await final();
    await becomes(o, "paid");
    await until("the second one waits for a person", async () => (await admin.get("/admin/payments/queue")).json.review.some(x => x.order_id === o.invoice_uid && x.why === "duplicate"));
  }

  // ---- the node is gone for an hour ----
  {
    const o = await start();
    line.cut();
    await until("the administrator is told", async () => (await admin.get("/admin/chains")).json.chains.find(x => x.chain_id === CHAIN).problem.includes("did not answer"));
    await (await pay(o)).wait();
    await c.mine(300);
    same("nothing is concluded from silence", (await order(o)).state, "pending");
    line.mend();
    await becomes(o, "paid");
  }

  // ---- a creator that cannot receive, and a deadline ----
  {
    const o = await start();
    await (await dollar.setBlocked(home.address, true)).wait();
    await (await pay(o)).wait();
    await (await dollar.setBlocked(home.address, false)).wait();
    await final();
    await becomes(o, "paid");
    same("a share that could not be sent is the creator's credit in the contract", String(await splitter.credits(address, home.address)), o.invoice.payees[0].amount);
  }
  {
    const o = await start();
    await c.warp(8000);
    same("after the deadline nobody can pay", await refused(pay(o)), "Expired");
    await final();
    await until("the contract was asked whether it was paid", async () => (await s.sql(`select swept from chain_invoices where id = '${o.invoice_uid_bytes32}'`))[0][0] === "t");
    same("and nothing came", (await order(o)).state, "pending");
  }
  await s.check_books("at the end");
  const view = (await admin.get("/admin/chains")).json;
  check("the administrator sees the chain, without the node's address", view.signer === signer && view.chains.find(x => x.chain_id === CHAIN).cursor > 0 && !show(view).includes(line.url), show(view).slice(0, 500));
  note(`${buyers} purchases`);
  line.close();
  await c.stop();
});
