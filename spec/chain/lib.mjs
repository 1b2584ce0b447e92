// SPDX-License-Identifier: Apache-2.0
// What the chain tests share: a local chain of their own (anvil), the contract and tokens on it, and signed invoices.
// Results, waiting and servers come from spec/live/lib.mjs.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ethers } from "ethers";
import { artifacts } from "../../contracts/compile.mjs";
import { deploy } from "../../contracts/deploy.mjs";
import { until } from "../live/lib.mjs";

export { artifacts, deploy, ethers };
const HERE = dirname(fileURLToPath(import.meta.url));
const ANVIL = join(HERE, "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
export const FORGE = join(HERE, "node_modules/@foundry-rs/forge-linux-amd64/bin/forge");
const MNEMONIC = "test test test test test test test test test test test junk";

/** The n-th funded key of every local chain. */
export const key = n => ethers.HDNodeWallet.fromPhrase(MNEMONIC, undefined, `m/44'/60'/0'/0/${n}`).privateKey;

/**
 * Starts anvil on a free port of 127.0.0.1. It mines a block for each transaction, until automine(false).
 * o: {chainId (31337), port (free), args (more of anvil's)}. Answers {url, port, chainId, provider, wallet(n), rpc(method, ...params),
 * mine(n), automine(on), warp(seconds), reorg(depth, txs), snapshot(), revert(id), block(tag), receipt(hash), stop()}.
 */
export async function chain(o = {}) {
  const chainId = o.chainId ?? 31337;
  const child = spawn(ANVIL, ["--host", "127.0.0.1", "--port", String(o.port ?? 0), "--chain-id", String(chainId),
    "--mnemonic", MNEMONIC, ...(o.args ?? [])], { stdio: ["ignore", "pipe", "pipe"] });
  const kill = () => child.kill("SIGKILL");
  process.on("exit", kill);
  let said = "", ended = false;
  child.on("exit", () => { ended = true; });
  for (const s of [child.stdout, child.stderr]) s.on("data", d => { if (said.length < 20000) said += d; });
  const [, port] = await until("anvil listens", () => {
    if (ended) throw Object.assign(new Error(`anvil ended: ${said}`), { fatal: true });
    return said.match(/Listening on 127\.0\.0\.1:(\d+)/);
  });
  const url = `http://127.0.0.1:${port}`;
  let id = 0;
  const rpc = async (method, ...params) => {
    const r = await fetch(url, { method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: ++id, method, params }) });
    const answer = await r.json();
    if (answer.error) throw Object.assign(new Error(`${method}: ${answer.error.message}`), { code: answer.error.code });
    return answer.result;
  };
  // One block after another, without a cache of ours between the tests and the chain.
  const provider = new ethers.JsonRpcProvider(url, chainId, { staticNetwork: true, cacheTimeout: -1, batchMaxCount: 1, pollingInterval: 50 });
  return {
    url, port: Number(port), chainId, provider, rpc,
    wallet: n => new ethers.Wallet(key(n), provider),
    mine: (n = 1) => rpc("anvil_mine", ethers.toQuantity(n)),
    automine: on => rpc("evm_setAutomine", on),
    /** The next block is so many seconds later than the last. */
    warp: async seconds => { await rpc("evm_increaseTime", seconds); await rpc("anvil_mine", "0x1"); },
    /** Replaces the last `depth` blocks by as many new ones; txs: [[raw transaction or request, index of the new block], ...]. */
    reorg: (depth, txs = []) => rpc("anvil_reorg", depth, txs),
    snapshot: () => rpc("evm_snapshot"),
    revert: at => rpc("evm_revert", at),
    block: tag => rpc("eth_getBlockByNumber", typeof tag === "number" ? ethers.toQuantity(tag) : tag ?? "latest", false),
    receipt: hash => rpc("eth_getTransactionReceipt", hash),
    async stop() {
      provider.destroy();
      process.removeListener("exit", kill);
      if (ended) return;
      const gone = new Promise(r => child.once("exit", r));
      child.kill("SIGTERM");
      await gone;
    },
  };
}

/** Deploys the splitter. Answers {splitter (ethers.Contract of the deployer), deployment (what deploy.mjs writes)}. */
export async function deploySplitter(c, { owner, signer, by = c.wallet(0) } = {}) {
  const deployment = await deploy(by, { owner: owner ?? by.address, signer: signer ?? c.wallet(1).address });
  return { deployment, splitter: new ethers.Contract(deployment.address, artifacts().PPVSplitter.abi, by) };
}

/** Deploys a token of contracts/test/Tokens.sol, e.g. "DollarToken". */
export async function deployToken(c, name, ...args) {
  const { abi, bytecode } = artifacts()[name];
  const token = await new ethers.ContractFactory(abi, bytecode, c.wallet(0)).deploy(...args);
  await token.waitForDeployment();
  return token;
}

export const INVOICE = {
  Invoice: [{ name: "id", type: "bytes32" }, { name: "token", type: "address" }, { name: "amount", type: "uint256" },
    { name: "payer", type: "address" }, { name: "payees", type: "Payee[]" }, { name: "deadline", type: "uint64" }],
  Payee: [{ name: "to", type: "address" }, { name: "amount", type: "uint256" }],
};
export const RECEIVE = { ReceiveWithAuthorization: [{ name: "from", type: "address" }, { name: "to", type: "address" },
  { name: "value", type: "uint256" }, { name: "validAfter", type: "uint256" }, { name: "validBefore", type: "uint256" },
  { name: "nonce", type: "bytes32" }] };
export const PERMIT = { Permit: [{ name: "owner", type: "address" }, { name: "spender", type: "address" },
  { name: "value", type: "uint256" }, { name: "nonce", type: "uint256" }, { name: "deadline", type: "uint256" }] };

/** The EIP-712 domain of a splitter: deployment = {chainId, address}. */
export const domain = deployment => ({ name: "PPV Splitter", version: "1", chainId: deployment.chainId,
  verifyingContract: deployment.address });

/** Signs an invoice as the engine does: wallet is the signer's. */
export const signInvoice = (wallet, deployment, invoice) => wallet.signTypedData(domain(deployment), INVOICE, invoice);

/** The name of the error that a call or transaction was refused with: "AlreadyPaid", or the text of require. */
export async function refused(promise) {
  try {
    const sent = await promise;
    await sent.wait?.();
  } catch (e) {
    if (e.reason) return e.reason;
    for (const { abi } of Object.values(artifacts())) {
      const known = e.data && new ethers.Interface(abi).parseError(e.data);
      if (known) return known.name;
    }
    return e.shortMessage ?? e.message;
  }
  return "";
}
