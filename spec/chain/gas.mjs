// SPDX-License-Identifier: Apache-2.0
// What a payment costs, from receipts of a local chain. A change shows up against contracts/gas.md; WRITE=1 writes it anew.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, main, ROOT } from "../live/lib.mjs";
import { chain, deploySplitter, deployToken, ethers, PERMIT, RECEIVE, signInvoice } from "./lib.mjs";

const FILE = join(ROOT, "contracts/gas.md");
const FOREVER = 4102444800;

await main(async () => {
  const c = await chain();
  const [owner, signer, payer] = [0, 1, 2].map(c.wallet);
  const { splitter, deployment } = await deploySplitter(c, { owner: owner.address, signer: signer.address });
  const deployed = (await c.receipt((await c.block(deployment.block)).transactions[0])).gasUsed;
  const dollar = await deployToken(c, "DollarToken");
  const token = await dollar.getAddress();
  const till = await deployToken(c, "PlainToken", "refuses coins", "R", 0);
  const mine = splitter.connect(payer), payees = [3, 4, 5].map(n => c.wallet(n).address);
  await (await dollar.mint(payer.address, 10n ** 12n)).wait();
  await (await dollar.connect(payer).approve(deployment.address, 10n ** 12n)).wait();
  for (const p of payees) await (await dollar.mint(p, 1n)).wait();

  let ids = 0;
  const order = async (coin, list) => {
    const o = { id: ethers.id(`gas ${++ids}`), token: coin, payer: payer.address, deadline: FOREVER, amount: 1000n * BigInt(list.length),
      payees: list.map(to => ({ to, amount: 1000n })) };
    return [o, await signInvoice(signer, deployment, o)];
  };
  const used = async sent => Number((await (await sent).wait()).gasUsed);
  const tokenDomain = { name: "USD Coin", version: "2", chainId: c.chainId, verifyingContract: token };
  const ways = {
    "payNative": async list => {
      const [o, sig] = await order(ethers.ZeroAddress, list);
      return used(mine.payNative(o, sig, { value: o.amount }));
    },
    "payToken, approved before": async list => used(mine.payToken(...await order(token, list))),
    "payWithPermit": async list => {
      const [o, sig] = await order(token, list);
      const p = ethers.Signature.from(await payer.signTypedData(tokenDomain, PERMIT, { owner: payer.address, spender: deployment.address,
        value: o.amount, nonce: await dollar.nonces(payer.address), deadline: FOREVER }));
      return used(mine.payWithPermit(o, sig, FOREVER, p.v, p.r, p.s));
    },
    "payWithAuthorization": async list => {
      const [o, sig] = await order(token, list);
      const nonce = await splitter.hashInvoice(o);
      const auth = await payer.signTypedData(tokenDomain, RECEIVE, { from: payer.address, to: deployment.address, value: o.amount,
        validAfter: 0, validBefore: FOREVER, nonce });
      return used(splitter.connect(c.wallet(6)).payWithAuthorization(o, sig, 0, FOREVER, nonce, auth));
    },
  };
  const rows = [];
  for (const [name, pay] of Object.entries(ways)) {
    await pay(payees); // the first of each kind fills empty slots
    rows.push(`| ${name} | ${await pay(payees.slice(0, 1))} | ${await pay(payees.slice(0, 2))} | ${await pay(payees)} |`);
  }
  const credited = await ways.payNative([await till.getAddress()]);
  const text = `# Gas

Measured by \`spec/chain/gas.mjs\` (\`WRITE=1\` writes this file): gas of the whole transaction, payees who hold some of the coin already, the test
dollar of \`test/Tokens.sol\` (a token behind a proxy, as USDC, costs some 5,000 more for each transfer).

| call | 1 payee | 2 payees | 3 payees |
|---|---|---|---|
${rows.join("\n")}

Deployment ${Number(deployed)}. A payee of native coin that refuses and is credited for the first time: ${credited} with one payee.
`;
  if (process.env.WRITE) writeFileSync(FILE, text);
  check("gas is as contracts/gas.md says", readFileSync(FILE, "utf8") === text, text);
  await c.stop();
});
