// SPDX-License-Identifier: Apache-2.0
// The contract on a local chain, as wallets and the engine use it: through ethers, JSON-RPC and the deploy script.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { check, main, ROOT, show } from "../live/lib.mjs";
import { artifacts, chain, deploySplitter, deployToken, domain, ethers, INVOICE, key, PERMIT, RECEIVE, refused, signInvoice } from "./lib.mjs";

const same = (name, got, want) => check(name, show(got) === show(want), `${show(got)}, not ${show(want)}`);
await main(async () => {
  const c = await chain();
  const [owner, signer, payer, creator, affiliate] = [0, 1, 2, 3, 4].map(c.wallet);
  const { splitter, deployment } = await deploySplitter(c, { owner: owner.address, signer: signer.address });
  const dollar = await deployToken(c, "DollarToken");
  const mine = splitter.connect(payer);
  await (await dollar.mint(payer.address, 1_000_000_000n)).wait();

  let ids = 0;
  const order = (token, parts, more = {}) => ({
    id: ethers.id(`order ${++ids}`), token, amount: parts.reduce((sum, [, n]) => sum + n, 0n), payer: payer.address,
    payees: parts.map(([to, amount]) => ({ to, amount })), deadline: 4102444800, ...more,
  });
  /** Events of a mined transaction as [name, ...arguments]. */
  const events = async sent => (await (await sent).wait()).logs.map(l => splitter.interface.parseLog(l)).filter(Boolean)
    .map(e => [e.name, ...e.args.map(String)]);
  const THREE = [[creator.address, 9000n], [affiliate.address, 500n], [owner.address, 500n]];

  { // native coin: to the unit, and events from which alone a watcher can settle
    const o = order(ethers.ZeroAddress, THREE);
    const before = await Promise.all([creator, affiliate].map(w => c.provider.getBalance(w.address)));
    const got = await events(mine.payNative(o, await signInvoice(signer, deployment, o), { value: o.amount }));
    const digest = ethers.TypedDataEncoder.hash(domain(deployment), INVOICE, o);
    same("a native payment tells all that a watcher needs", got, [
      ["Paid", o.id, payer.address, ethers.ZeroAddress, "10000", digest], ["Share", o.id, creator.address, "9000", "false"],
      ["Share", o.id, affiliate.address, "500", "false"], ["Share", o.id, owner.address, "500", "false"]]);
    const after = await Promise.all([creator, affiliate].map(w => c.provider.getBalance(w.address)));
    same("each payee has its share", after.map((n, i) => String(n - before[i])), ["9000", "500"]);
    same("the contract keeps nothing", String(await c.provider.getBalance(deployment.address)), "0");
    same("the digest is that of EIP-712", await splitter.hashInvoice(o), digest);
    same("the invoice is used up", await splitter.used(o.id), true);
    same("a second payment is refused", await refused(mine.payNative(o, await signInvoice(signer, deployment, o), { value: o.amount })), "AlreadyPaid");
  }

  { // a token by approval, by permit, and by an authorization that another pays the gas for
    const balance = async w => String(await dollar.balanceOf(w.address));
    const token = await dollar.getAddress();
    let o = order(token, THREE);
    await (await dollar.connect(payer).approve(deployment.address, o.amount)).wait();
    await (await mine.payToken(o, await signInvoice(signer, deployment, o))).wait();
    same("payment by approval", await Promise.all([creator, affiliate, owner].map(balance)), ["9000", "500", "500"]);

    o = order(token, THREE);
    const tokenDomain = { name: "USD Coin", version: "2", chainId: c.chainId, verifyingContract: token };
    const permit = ethers.Signature.from(await payer.signTypedData(tokenDomain, PERMIT,
      { owner: payer.address, spender: deployment.address, value: o.amount, nonce: await dollar.nonces(payer.address), deadline: 4102444800 }));
    await (await mine.payWithPermit(o, await signInvoice(signer, deployment, o), 4102444800, permit.v, permit.r, permit.s)).wait();
    same("payment by permit", await Promise.all([creator, affiliate, owner].map(balance)), ["18000", "1000", "1000"]);

    o = order(token, THREE);
    const nonce = await splitter.hashInvoice(o);
    const authorize = n => payer.signTypedData(tokenDomain, RECEIVE, { from: payer.address, to: deployment.address, value: o.amount,
      validAfter: 0, validBefore: 4102444800, nonce: n });
    const sponsored = splitter.connect(c.wallet(5));
    const sig = await signInvoice(signer, deployment, o);
    same("an authorization for something else is refused",
      await refused(sponsored.payWithAuthorization(o, sig, 0, 4102444800, ethers.id("x"), await authorize(ethers.id("x")))), "WrongNonce");
    await (await sponsored.payWithAuthorization(o, sig, 0, 4102444800, nonce, await authorize(nonce))).wait();
    same("payment by authorization", await Promise.all([creator, affiliate, owner].map(balance)), ["27000", "1500", "1500"]);
    same("the contract keeps no token", await balance({ address: deployment.address }), "0");
  }

  { // the deploy script, and the file that the engine reads
    const dir = mkdtempSync(join(tmpdir(), "ppv-deploy-"));
    writeFileSync(join(dir, "key"), key(6), { mode: 0o600 });
    const run = (...args) => {
      try {
        return execFileSync(process.execPath, [join(ROOT, "contracts/deploy.mjs"), "--rpc", c.url, "--key", join(dir, "key"), "--out", dir,
          "--owner", owner.address, ...args], { encoding: "utf8", stdio: "pipe" });
      } catch (e) {
        return e.stderr;
      }
    };
    check("another chain is refused", run("--chain", "1", "--signer", signer.address).includes("chain 31337, not 1"));
    check("owner and signer must differ", run("--chain", "31337", "--signer", owner.address).includes("same"));
    run("--chain", "31337", "--signer", signer.address);
    const made = JSON.parse(readFileSync(join(dir, "31337.json")));
    const code = await c.provider.getCode(made.address);
    same("the file is true", made, { chainId: 31337, address: made.address, block: (await c.provider.getBlockNumber()),
      signer: signer.address, owner: owner.address, codeHash: ethers.keccak256(code) });
    check("the code is the compiled one", code.length === artifacts().PPVSplitter.deployedBytecode.length && code.length > 10000);
    check("a deployment is not overwritten", run("--chain", "31337", "--signer", signer.address).includes("--replace"));
    rmSync(dir, { recursive: true });
  }

  { // a reorganisation takes a payment away, and the same bytes pay again
    const o = order(ethers.ZeroAddress, THREE);
    const sent = await mine.payNative(o, await signInvoice(signer, deployment, o), { value: o.amount });
    await sent.wait();
    await c.mine(3);
    const raw = await c.rpc("eth_getRawTransactionByHash", sent.hash);
    await c.reorg(4);
    same("after a reorganisation the receipt is gone", await c.receipt(sent.hash), null);
    same("and so is the payment", await splitter.used(o.id), false);
    await c.reorg(2, [[raw, 0]]);
    check("put into another block it is paid again", (await c.receipt(sent.hash))?.status === "0x1" && await splitter.used(o.id));
  }

  await c.stop();
});
