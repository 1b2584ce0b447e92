// SPDX-License-Identifier: Apache-2.0
// x402 through the product, on a local chain: the protocol's own clients of both versions buy a film and play a segment of it; what is
// replayed, shown twice at once, altered, expired or of another network is refused; a lost answer is resolved from the chain.
//   node spec/chain/x402.mjs
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { connect, createServer as tcp } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { x402Client, wrapFetchWithPayment as wrap2 } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm";
import { createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";
import { createSiweMessage } from "viem/siwe";
import { wrapFetchWithPayment as wrap1 } from "x402-fetch";
import { check, fresh_ip, main, Server, show, until } from "../live/lib.mjs";
import { chain, deployToken, ethers, key } from "./lib.mjs";

const CHAIN = 84532, FINAL = 3, PRICE = 50, ATOMS = 500000n;
const text = x => JSON.stringify(x, (_, v) => typeof v === "bigint" ? String(v)
  : v && typeof v === "object" && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort()) : v);
const same = (name, got, want) => check(name, text(got) === text(want), `${text(got)}, not ${text(want)}`);
const unpack = text => JSON.parse(Buffer.from(text ?? "", "base64").toString() || "null");
const pack = t => Buffer.from(JSON.stringify(t)).toString("base64");
const free = () => new Promise(r => { const s = tcp().listen(0, "127.0.0.1", () => { const { port } = s.address(); s.close(() => r(port)); }); });
const TRANSFER = { TransferWithAuthorization: [{ name: "from", type: "address" }, { name: "to", type: "address" }, { name: "value", type: "uint256" },
  { name: "validAfter", type: "uint256" }, { name: "validBefore", type: "uint256" }, { name: "nonce", type: "bytes32" }] };

await main(async () => {
  const port = await free();
  const s = new Server({ base_url: `http://127.0.0.1:${port}`, job_workers: 1 });
  s.port = port;
  const [c] = await Promise.all([chain({ chainId: CHAIN }), s.start()]);
  // The way to the node, which can lose answers (to the product, not to the chain).
  let lose = () => false;
  const line = tcp(from => {
    const to = connect(c.port, "127.0.0.1");
    let asked = "";
    from.on("data", d => { asked += d; to.write(d); });
    to.on("data", d => { if (lose(asked)) { from.destroy(); to.destroy(); } else { asked = ""; from.write(d); } });
    for (const [a, b] of [[from, to], [to, from]]) { a.on("error", () => b.destroy()); a.on("close", () => b.destroy()); }
  });
  await new Promise(r => line.listen(0, "127.0.0.1", r));

  // ---- set-up, as an operator does it ----
  const [treasury, relayer] = [3, 7].map(c.wallet);
  const dollar = await deployToken(c, "DollarToken"), asset = await dollar.getAddress();
  const admin = await s.admin(), maker = await s.user("maker");
  writeFileSync(join(s.dir, "key"), key(7), { mode: 0o600 });
  let r = await s.ppv("key", "import", "relayer", join(s.dir, "key"));
  check("the relayer's key is taken over", r.code === 0 && r.out.includes(relayer.address), show(r));
  const set = async settings => {
    const a = await admin.post("/admin/plugins/x402/settings", { settings });
    if (a.status !== 200) throw new Error(`settings: ${a.status} ${a.text}`);
  };
  const settings = { enabled: true, environment: "sandbox", chain_id: CHAIN, token: "USDC", facilitator_url: "", confirmations: 1 };
  const must = (r, what) => { if (r.status !== 200) throw new Error(`${what}: ${r.status} ${r.text}`); return r.json; };
  const clip = join(s.dir, "a.mp4");
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=426x240:rate=25:duration=12", "-pix_fmt", "yuv420p", clip]);
  const film = await s.film(maker, clip, { price_cents: PRICE });
  const [second, third, fourth, fifth, sixth, seventh] = await s.films(maker, PRICE, 6);
  const url = id => `${s.url}/api/v1/videos/${id}/access`;
  const ask = (id, headers = {}, who = fetch) => who(url(id), { headers: { accept: "application/json", "x-forwarded-for": fresh_ip(), ...headers }, redirect: "manual" });
  const off = await ask(film);
  check("nothing is sold this way before it is set up", off.status === 404, String(off.status));
  await set(settings);
  check("nor before its chain is switched on", (await ask(film)).status === 404);
  must(await admin.post("/admin/chains", { chain_id: CHAIN, treasury: treasury.address, finality: "count", confirmations: FINAL, poll_s: 1, enabled: true,
    rpc: `http://127.0.0.1:${line.address().port}` }), "chain");
  const plain = await deployToken(c, "PlainToken", "Plain", "PLAIN", 6);
  const listed = must(await admin.post("/admin/chains/token", { chain_id: CHAIN, symbol: "PLAIN", decimals: 6, erc20: await plain.getAddress() }), "token").tokens;
  must(await admin.post("/admin/chains/token", { chain_id: CHAIN, symbol: "USDC", decimals: 6, erc20: asset }), "token");
  same("a token is asked what signatures it takes", [listed.find(t => t.symbol === "PLAIN").eip3009, await s.sql("select sign_name, sign_version, eip3009, eip2612 from pay_tokens where symbol = 'USDC' and chain_id = " + CHAIN)],
    [false, [["USD Coin", "2", "t", "t"]]]);
  must(await admin.post("/admin/plugins/fixed_rate/settings", { settings: { tokens: "USDC/USD = 1" } }), "rate");
  await until("x402 is on", async () => (await ask(film)).status === 402);
  const payers = [];
  async function payer() {
    const w = ethers.Wallet.createRandom();
    await (await dollar.mint(w.address, 10_000_000n)).wait();
    payers.push(w);
    return w;
  }

  const spent = async w => 10_000_000n - await dollar.balanceOf(w.address);

  // ---- what is asked for ----
  const asked = await ask(film), want = unpack(asked.headers.get("payment-required")), body = await asked.json();
  same("version 2 asks in a header", want.accepts, [{ scheme: "exact", network: "eip155:84532", amount: String(ATOMS), asset, payTo: treasury.address,
    maxTimeoutSeconds: 300, extra: { name: "USD Coin", version: "2" } }]);
  check("version 1 asks in the body", body.x402Version === 1 && body.accepts[0].network === "base-sepolia" && body.accepts[0].maxAmountRequired === String(ATOMS)
    && body.accepts[0].resource === url(film), show(body));
  check("402 is not stored and can be read by other sites' pages", asked.headers.get("cache-control")?.includes("no-store")
    && asked.headers.get("access-control-expose-headers").includes("payment-required"));
  const browser = await ask(film, { accept: "text/html", "user-agent": "Mozilla/5.0" });
  check("a browser gets the page to buy", browser.status === 303 && browser.headers.get("location") === `/public/watch.html?video_id=${film}`);

  // ---- the protocol's own clients ----
  const plays = async t => {
    const get = async path => fetch(new URL(path, s.url));
    const master = await (await get(t.playlist)).text(), base = t.playlist.replace("master.m3u8", "");
    const name = master.match(/^[^#\n]+\.m3u8$/m)[0];
    const list = await (await get(base + name)).text();
    const seg = await get(base + list.match(/^[^#\n]+\.m4s$/m)[0]), k = await get(base + list.match(/[^"]+\.key/)[0]);
    return seg.status === 200 && (await seg.arrayBuffer()).byteLength > 100 && k.status === 200 && (await k.arrayBuffer()).byteLength === 16;
  };
  const a = await payer(), b = await payer();
  const v2 = w => wrap2(fetch, x402Client.fromConfig({ spendControls: false,
    schemes: [{ network: "eip155:*", client: new ExactEvmScheme(privateKeyToAccount(w.privateKey)) }] }));
  const v1 = w => wrap1(fetch, createWalletClient({ account: privateKeyToAccount(w.privateKey), transport: http(c.url), chain: baseSepolia }), ATOMS);
  for (const [name, w, client, header, network] of [["@x402/fetch", a, v2(a), "payment-response", "eip155:84532"], ["x402-fetch", b, v1(b), "x-payment-response", "base-sepolia"]]) {
    const before = await dollar.balanceOf(treasury.address);
    const got = await ask(film, {}, client), t = await got.json(), settled = unpack(got.headers.get(header));
    check(`${name} buys the film`, got.status === 200 && settled?.success === true && settled.network === network && settled.payer === w.address, `${got.status} ${show(t)}`);
    check(`${name}: the money is there before the film`, await dollar.balanceOf(treasury.address) - before === ATOMS
      && (await c.receipt(settled.transaction))?.status === "0x1");
    check(`${name} plays a segment`, await plays(t), show(t));
  }
  same("both sales are in the books", await s.sql("select method, state, price, charge, live from orders order by id"), [["x402", "paid", "50", "50", "f"], ["x402", "paid", "50", "50", "f"]]);

  // ---- payments made by hand, to bend them ----
  const authorize = async (w, over = {}, domain = {}) => {
    const authorization = { from: w.address, to: treasury.address, value: String(ATOMS), validAfter: "0",
      validBefore: String(Math.floor(Date.now() / 1000) + 600), nonce: ethers.hexlify(ethers.randomBytes(32)), ...over };
    return { authorization, signature: await w.signTypedData({ name: "USD Coin", version: "2", chainId: CHAIN, verifyingContract: asset, ...domain }, TRANSFER, authorization) };
  };
  const of = (payload, over = {}) => ({ x402Version: 2, accepted: { ...want.accepts[0], ...over.accepted }, payload, ...(over.extensions ? { extensions: over.extensions } : {}) });
  const pay = async (id, t) => {
    const got = await ask(id, { "payment-signature": typeof t === "string" ? t : pack(t) });
    return { status: got.status, why: unpack(got.headers.get("payment-response"))?.errorReason ?? "", json: await got.json() };
  };
  const held = () => Promise.all([treasury, ...payers].map(w => dollar.balanceOf(w.address))).then(l => l.join(" "));
  const w = await payer(), poor = ethers.Wallet.createRandom();
  let money = await held();
  for (const [name, status, why, t] of [
    ["what is not base64", 400, "", "!!"], ["what is not JSON", 400, "", Buffer.from("{").toString("base64")],
    ["another version in the header", 400, "", { ...of(await authorize(w)), x402Version: 1 }],
    ["a smaller sum, with a requirement to match", 402, "invalid_exact_evm_payload_authorization_value_mismatch", of(await authorize(w, { value: "1" }), { accepted: { amount: "1" } })],
    ["a larger sum", 402, "invalid_exact_evm_payload_authorization_value_mismatch", of(await authorize(w, { value: String(ATOMS + 1n) }))],
    ["another payee", 402, "invalid_exact_evm_recipient_mismatch", of(await authorize(w, { to: w.address }), { accepted: { payTo: w.address } })],
    ["another network", 402, "invalid_exact_evm_network_mismatch", of(await authorize(w, {}, { chainId: 8453 }), { accepted: { network: "eip155:8453" } })],
    ["a signature for another chain", 402, "invalid_exact_evm_signature", of(await authorize(w, {}, { chainId: 8453 }))],
    ["another token", 402, "invalid_exact_evm_signature", of(await authorize(w, {}, { verifyingContract: w.address }), { accepted: { asset: w.address } })],
    ["somebody else's signature", 402, "invalid_exact_evm_signature", of({ ...await authorize(w), authorization: { ...(await authorize(w)).authorization, from: a.address } })],
    ["an authorization that has ended", 402, "invalid_exact_evm_payload_authorization_valid_before", of(await authorize(w, { validBefore: String(Math.floor(Date.now() / 1000) - 1) }))],
    ["one that has not begun", 402, "invalid_exact_evm_payload_authorization_valid_after", of(await authorize(w, { validAfter: "4102444000", validBefore: "4102444800" }))],
    ["a payer without the money", 402, "insufficient_funds", of(await authorize(poor))],
  ]) {
    const got = await pay(second, t);
    check(`refused: ${name}`, got.status === status && got.why === why, show(got));
  }
  same("none of it moved anything", [await held(), (await s.sql("select count(*) from x402_payments"))[0][0]], [money, "2"]);

  // ---- once, however often and at once ----
  const good = of(await authorize(w)), identified = (t, id) => ({ ...t, extensions: { "payment-identifier": { info: { required: false, id } } } });
  const all = await Promise.all([0, 1, 2, 3, 4].map(() => pay(second, good)));
  same("of five at once one is let in", all.filter(x => x.status === 200).length, 1);
  check("the others are refused", all.every(x => [200, 402, 504].includes(x.status)), show(all)); // 504: a machine too busy to say so in time
  const replay = await pay(second, good);
  check("a replay is refused", replay.status === 402 && replay.why === "invalid_exact_evm_nonce_already_used", show(replay));
  const elsewhere = await pay(third, good);
  check("for another film too", elsewhere.status === 402 && elsewhere.why === "invalid_exact_evm_nonce_already_used", show(elsewhere));
  same("it was paid once", await spent(w), ATOMS);
  const twice = await pay(second, of(await authorize(w)));
  check("who has the film is not charged again", twice.status === 402 && twice.why === "already_paid", show(twice));

  const x = await payer(), id = "order-" + "0123456789abcdef", mine = identified(of(await authorize(x)), id);
  const first = await pay(second, mine), cached = await pay(second, mine);
  check("the same identifier answers the same", first.status === 200 && cached.status === 200 && text(cached.json) === text(first.json), show([first, cached]));
  const other = await pay(second, identified(of(await authorize(x)), id));
  check("and refuses another payment", other.status === 409, show(other));
  same("that was paid once", await spent(x), ATOMS);

  // ---- watching again ----
  const sign = async (wallet, change = m => m, id = film) => {
    const offer = unpack((await ask(id)).headers.get("payment-required")).extensions["sign-in-with-x"];
    const info = change({ ...offer.info });
    const siwe = createSiweMessage({ address: wallet.address, chainId: CHAIN, domain: info.domain, uri: info.uri, version: "1", statement: info.statement,
      nonce: info.nonce, issuedAt: new Date(info.issuedAt), expirationTime: new Date(info.expirationTime) });
    const message = siwe.replaceAll(".000Z", "Z"); // viem writes milliseconds
    return pack({ ...info, address: wallet.address, chainId: offer.supportedChains[0].chainId, type: "eip191", signature: await wallet.signMessage(message) });
  };
  const ticket = await sign(a), again = await ask(film, { "sign-in-with-x": ticket }), watched = await again.json();
  check("who paid signs in and watches again", again.status === 200 && await plays(watched), show(watched));
  check("no log-in comes with it", !again.headers.get("set-cookie"));
  check("a sign-in is used once", (await ask(film, { "sign-in-with-x": ticket })).status === 401);
  check("who has not paid is asked to", (await ask(film, { "sign-in-with-x": await sign(w) })).status === 402);
  check("a sign-in for another site is refused", (await ask(film, { "sign-in-with-x": await sign(a, m => ({ ...m, domain: "evil.example" })) })).status === 401);

  const crowd = [await payer(), await payer(), await payer(), await payer()];
  const served = await Promise.all((await Promise.all(crowd.map(u => authorize(u)))).map(u => pay(third, of(u))));
  check("four buyers at once get a transaction each", served.every(u => u.status === 200) && new Set(served.map(u => u.json.transaction)).size === 4, show(served));

  // ---- a rental, and then the film for good ----
  await s.sql(`insert into offers (creator_id, kind, video_id, price, currency, window_h, play_h) values (${maker.id}, 'rental', '${sixth}', 20, 'USD', 48, 24)`);
  const choice = await ask(sixth), tenant = await payer();
  same("both offers are shown", [(await choice.json()).offers.map(o => [o.offer, o.amount]), unpack(choice.headers.get("payment-required")).accepts.map(o => o.amount)],
    [[["purchase", "500000"], ["rental", "200000"]], ["500000", "200000"]]);
  const rented = await pay(sixth, of(await authorize(tenant, { value: "200000" })));
  check("a rental is bought with its price", rented.status === 200 && rented.json.access === "rental", show(rented));
  const extended = await pay(sixth, of(await authorize(tenant, { value: "200000" })));
  check("not twice", extended.why === "already_paid", show(extended));
  const owned = await pay(sixth, of(await authorize(tenant)));
  check("who rents may buy", owned.status === 200 && owned.json.access === "purchase", show(owned));
  same("each was charged", await spent(tenant), 700000n);

  // ---- excerpts: the first seconds, then more ----
  same("an excerpt is at most half of the film", (await maker.post("/api/offers/excerpt", { video_id: film, price_cents: 5, seconds: 7 })).status, 422);
  same("the creator sells excerpts", (await maker.post("/api/offers/excerpt", { video_id: film, price_cents: 5, seconds: 5 })).status, 200);
  const small = await (await ask(film)).json(), taster = await payer(), bit = { value: "50000" };
  same("the small offer is among the others", small.offers.map(o => [o.offer, o.amount, o.seconds]), [["purchase", "500000", undefined], ["excerpt", "50000", 5]]);
  same("its price is not a client's to choose", (await pay(film, of(await authorize(taster, { value: "49999" })))).why, "invalid_exact_evm_payload_authorization_value_mismatch");
  // Names of the segments of the picture, and the status of every key of the film's six, asked by number.
  let picture;
  const reach = async t => {
    const get = async path => fetch(new URL(path, s.url));
    const base = t.playlist.replace("master.m3u8", ""), master = await (await get(t.playlist)).text(), name = master.match(/^([^#\n]+)\.m3u8$/m)?.[1] ?? picture;
    picture = name;
    const list = await (await get(`${base}${name}.m3u8`)).text(), keys = [];
    for (let n = 0; n < 6; n++) keys.push((await get(`${base}k-${name}-${n}.key`)).status);
    return [(list.match(/^[^#\n]+\.m4s$/mg) ?? []).length, keys.map(x => x === 200 ? 1 : 0).join("")];
  };
  const clients = [[v2(taster), x => x], [v1(taster), x => x]];
  const buy = async client => { const got = await client(url(film) + "?offer=excerpt", { headers: { accept: "application/json", "x-forwarded-for": fresh_ip() } }); return { status: got.status, json: await got.json() }; };
  const bits = [await buy(clients[0][0]), await buy(clients[1][0])];
  same("both clients buy a piece, the second adds to the first", bits.map(x => [x.status, x.json.access, x.json.seconds]), [[200, "excerpt", 5], [200, "excerpt", 10]]);
  same("never more of the film than is paid", await reach(bits[1].json), [5, "111110"]);
  check("an older address reaches as far, not further", (await reach(bits[0].json))[1] === "111110" && !(await (await fetch(new URL(bits[0].json.playlist, s.url))).text()).includes("SUBTITLES"));
  const nibbler = await payer(), one = await pay(film, of(await authorize(nibbler, bit)));
  same("one piece by its sum alone: two segments", [one.json.seconds, await reach(one.json)], [5, [2, "110000"]]);
  const [dear] = await s.sql(`select o.creator, o.commission, o.platform, o.taxes, o.price from orders o where o.offer = 'excerpt' order by o.id limit 1`);
  same("its split is the film's rule", dear.map(Number).slice(0, 4).reduce((x, y) => x + y), Number(dear[4]));
  check("the receipt says what it was", (await s.sql("select ppv_order_title(o, v.title) from orders o join videos v on v.id = o.video_id where o.offer = 'excerpt' limit 1"))[0][0].endsWith(", excerpt"));
  const later = await ask(film, { "sign-in-with-x": await sign(nibbler) }), anew = await later.json();
  same("the address signs in and has its piece again", [later.status, anew.access, await reach(anew)], [200, "excerpt", [2, "110000"]]);
  const whole = [await pay(film, of(await authorize(taster, bit))), await pay(film, of(await authorize(taster, bit)))];
  same("a third piece reaches the end, a fourth is not taken", [await reach(whole[0].json), whole[1].why, await spent(taster)], [[6, "111111"], "already_paid", 150000n]);
  const upgrade = await pay(film, of(await authorize(nibbler)));
  same("who has a piece may buy the film", [upgrade.json.access, await reach(upgrade.json)], ["purchase", [6, "111111"]]);
  same("and then no piece", (await pay(film, of(await authorize(nibbler, bit)))).why, "already_paid");
  const sorry = await payer(), back = await pay(film, of(await authorize(sorry, bit)));
  const refund = await admin.post("/admin/orders/" + back.json.order_id + "/refund", { reason: "did not like it" });
  const todo = must(await admin.get("/admin/chains"), "chains").refunds;
  same("the administrator is told what to send where", todo.map(x => [x.amount, x.amount_text, x.symbol, x.token, x.payer]), [["50000", "0.05", "USDC", asset, sorry.address]]);
  const send = async (amount, to) => { const tx = await dollar.connect(treasury).transfer(to, amount); await tx.wait(); await c.mine(FINAL); return tx.hash; };
  const named = async (tx, text) => {
    must(await admin.post("/admin/chains/refunds/" + todo[0].id, { tx_hash: tx }), "refund");
    return until("the transaction was looked at", async () => { const x = (await admin.get("/admin/chains")).json.refunds.find(y => y.id === todo[0].id); return text ? x?.problem.includes(text) : !x; });
  };
  check("a transaction that sends less is none", await named(await send(49999n, sorry.address), "does not send exactly"));
  check("nor is one to somebody else", await named(await send(50000n, taster.address), "does not send exactly"));
  same("until then the piece stays", (await reach(back.json))[0], 2);
  check("the right one is found", await named(await send(50000n, sorry.address)));
  await until("the refund is booked", async () => (await s.sql("select o.state from refunds r join orders o on o.id = r.order_id where r.state = 'done'"))[0]?.[0] === "refunded");
  same("a piece that is refunded is gone at once", [refund.status, await reach(back.json), (await ask(film, { "sign-in-with-x": await sign(sorry) })).status],
    [200, [0, "000000"], 402]);

  // ---- the block of a payment vanishes ----
  const gone = await payer(), left = await payer(), chain_says = async w => (await s.sql(`select x.state, o.state from x402_payments x join orders o on o.id = x.order_id
    where x.payer = '${w.address.toLowerCase()}'`))[0].join(" ");
  const becomes = (w, state) => until(`the payment is ${state}`, async () => await chain_says(w) === state);
  await c.mine(FINAL);
  await until("what is final is not looked at any more", async () => (await s.sql("select count(*) from x402_payments where state = 'settled' and final_at is null"))[0][0] === "0");
  same("two are let in", [(await pay(seventh, of(await authorize(gone)))).status, (await pay(seventh, of(await authorize(left)))).status], [200, 200]);
  await c.automine(false);
  await c.reorg(2);
  await Promise.all([gone, left].map(w => becomes(w, "orphaned disputed")));
  same("their blocks are gone, and access with them", await Promise.all([gone, left].map(async w => (await ask(seventh, { "sign-in-with-x": await sign(w, m => m, seventh) })).status)), [402, 402]);
  await until("both are sent again", async () => (await c.rpc("txpool_status")).pending === "0x2");
  // One is included again, the other is not.
  const mine2 = (await s.sql(`select tx_hash from x402_payments where payer = '${left.address.toLowerCase()}'`))[0][0];
  await c.rpc("anvil_dropTransaction", mine2);
  await c.mine(FINAL);
  await becomes(gone, "settled paid");
  same("included again and final, it is as before", [(await ask(seventh, { "sign-in-with-x": await sign(gone, m => m, seventh) })).status, await spent(gone)], [200, ATOMS]);
  await c.automine(true);
  const lostOne = (await admin.get("/admin/chains")).json.orphaned_x402;
  same("the administrator sees the other one and gives it up", [lostOne.length, must(await admin.post(`/admin/chains/x402/${lostOne[0].id}/give_up`), "give up").state, await chain_says(left), await spent(left)],
    [1, "chargeback_lost", "failed chargeback_lost", 0n]);

  // ---- a lost answer ----
  const y = await payer();
  let lost = 0;
  lose = said => said.includes("eth_sendRawTransaction") && lost++ === 0;
  const unsure = of(await authorize(y)), got = await pay(third, unsure);
  lose = () => false;
  check("the answer of the node is lost, the chain tells", lost === 1 && got.status === 200, show([lost, got]));

  // ---- somebody who is signed in buys for the account ----
  const viewer = await s.user("viewer"), card = await payer();
  const bought = await viewer.get(`/api/v1/videos/${fifth}/access`, { headers: { "payment-signature": pack(of(await authorize(card))) } });
  check("a signed-in buyer's film is in the account", bought.status === 200 && (await viewer.get(`/api/pay/all_options?video_id=${fifth}`)).json.already_purchased === true, bought.text);
  check("and is not paid for again", (await viewer.get(`/api/v1/videos/${fifth}/access`)).status === 200);

  // A facilitator that settles and then says nothing, or says no.
  let says = null, asks = 0;
  const wallet = c.wallet(8), facilitator = createServer(async (req, res) => {
    let sent = "";
    for await (const d of req) sent += d;
    asks++;
    const { authorization: z, signature } = JSON.parse(sent).paymentPayload.payload;
    if (says !== "refuse") {
      const tx = await dollar.connect(wallet)["transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"](z.from, z.to, z.value,
        z.validAfter, z.validBefore, z.nonce, signature);
      await tx.wait();
      if (says === "success") return res.end(JSON.stringify({ success: true, transaction: tx.hash, network: "eip155:84532", payer: z.from }));
    }
    if (says === "refuse") return res.end(JSON.stringify({ success: false, errorReason: "invalid_payload", transaction: "" }));
    req.socket.destroy();
  });
  await new Promise(done => facilitator.listen(0, "127.0.0.1", done));
  await set({ ...settings, facilitator_url: `http://127.0.0.1:${facilitator.address().port}` });
  const z = await payer();
  await until("the facilitator is in use", async () => { // settings are read anew within seconds
    says = "success";
    const p = await payer();
    return (await pay(fourth, of(await authorize(p)))).status === 200 && asks > 0;
  });
  says = "lost";
  const silent = await pay(fourth, of(await authorize(z)));
  check("a facilitator's lost answer is resolved from the chain", silent.status === 200, show(silent));
  says = "refuse";
  const no = await payer(), refusal = await pay(fourth, of(await authorize(no)));
  check("a facilitator's refusal is told", refusal.status === 402 && refusal.why === "invalid_payload", show(refusal));
  same("and took nothing", await spent(no), 0n);
  // It said no and yet it is on the chain: the job finds it, nobody has to come back.
  const claimed = await s.sql(`select nonce, valid_before, signature from x402_payments where payer = '${no.address.toLowerCase()}'`);
  await (await dollar.connect(wallet)["transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"](no.address, treasury.address, ATOMS, 0,
    claimed[0][1], claimed[0][0], claimed[0][2])).wait();
  await s.sql("update orders set asked_at = now() - interval '1 hour', created_at = created_at - interval '1 hour' where state = 'pending'");
  const booked = await until("the job books what the chain has", async () => (await s.sql(`select o.state from orders o join x402_payments x on x.order_id = o.id
    where x.payer = '${no.address.toLowerCase()}'`))[0][0] === "paid", 900);
  check("what a facilitator refused and the chain has is booked by the job", booked);

  same("nothing waits for a person", await s.sql("select state, why from payments where state <> 'booked'"), []);
  await s.check_books("the books");
  facilitator.close();
  line.close();
  await s.remove();
  await c.stop();
});
