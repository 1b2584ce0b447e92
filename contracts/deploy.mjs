// SPDX-License-Identifier: Apache-2.0
// Puts the splitter on a chain and writes what the engine reads, contracts/deployments/<chain id>.json:
//   node contracts/deploy.mjs --rpc URL --chain ID --signer 0x... --owner 0x... --key FILE [--out DIR] [--replace]
// signer: the address that `ppv` shows for its invoice signer. owner: who may pause, rotate the signer and rescue; best a
// multisig, never the signer. FILE: the private key of whoever pays the gas; it has no rights afterwards.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { artifacts, require } from "./compile.mjs";

const { ethers } = require("ethers");

/** Deploys with an ethers signer and waits until it is mined. Answers {chainId, address, block, signer, owner, codeHash};
 *  codeHash is the Keccak-256 of the code on the chain, block the first one that can hold a payment. */
export async function deploy(wallet, { owner, signer }) {
  const { abi, bytecode } = artifacts().PPVSplitter;
  const contract = await new ethers.ContractFactory(abi, bytecode, wallet).deploy(owner, signer);
  const receipt = await contract.deploymentTransaction().wait();
  const address = await contract.getAddress();
  const { chainId } = await wallet.provider.getNetwork();
  return {
    chainId: Number(chainId), address, block: receipt.blockNumber, signer: await contract.signer(), owner: await contract.owner(),
    codeHash: ethers.keccak256(await wallet.provider.getCode(address)),
  };
}

async function main() {
  const { values: o } = parseArgs({ options: {
    rpc: { type: "string" }, chain: { type: "string" }, signer: { type: "string" }, owner: { type: "string" },
    key: { type: "string" }, out: { type: "string" }, replace: { type: "boolean" },
  } });
  for (const name of ["rpc", "chain", "signer", "owner", "key"]) if (!o[name]) throw new Error(`--${name} is missing`);
  const [owner, signer] = [ethers.getAddress(o.owner), ethers.getAddress(o.signer)];
  if (owner === signer) throw new Error("owner and signer are the same: whoever steals the signer could not be stopped");
  const out = join(o.out ?? join(dirname(fileURLToPath(import.meta.url)), "deployments"), `${o.chain}.json`);
  if (existsSync(out) && !o.replace) throw new Error(`${out} is there already; --replace deploys another contract`);
  const provider = new ethers.JsonRpcProvider(o.rpc);
  const { chainId } = await provider.getNetwork();
  if (String(chainId) !== o.chain) throw new Error(`the node is on chain ${chainId}, not ${o.chain}`);
  const wallet = new ethers.Wallet(readFileSync(o.key, "utf8").trim(), provider);
  const made = await deploy(wallet, { owner, signer });
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(`${out}.new`, `${JSON.stringify(made, null, 2)}\n`);
  renameSync(`${out}.new`, out);
  console.log(`${made.address} in block ${made.block}, written to ${out}`);
  provider.destroy();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch(e => { console.error(`deploy: ${e.shortMessage ?? e.message}`); process.exit(1); });
}
