// SPDX-License-Identifier: Apache-2.0
// ppv.evm against ethers on random input: encodings of random types, typed data of random structs, signatures and transactions are the same
// bytes. The engine's side is spec/support/evm_random.lua.   node spec/chain/evm.mjs [seed]
import { execFile } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ethers } from "ethers";
import { check, main, note, ROOT } from "../live/lib.mjs";

const seed = Number(process.argv[2] ?? Date.now() % 1e9), CASES = 400;
let state = BigInt(seed) + 1n;
/** A number below n, the same for the same seed. */
const pick = n => Number((state = (state * 6364136223846793005n + 1442695040888963407n) & (2n ** 64n - 1n)) >> 33n) % n;
const bytes = n => ethers.hexlify(Uint8Array.from({ length: n }, () => pick(256)));
const one = list => list[pick(list.length)];
const WORDS = ["", "a", "é🎬", "0x", "line\nline", "x".repeat(31), "y".repeat(32), "z".repeat(33)];

// Bytes travel as {hex}, all else as the engine takes it.
function leaf() {
  const kind = pick(7), bits = 8 * (1 + pick(32));
  if (kind === 0) return { type: `uint${bits}`, value: () => String(one([0n, 1n, 2n ** BigInt(bits) - 1n, BigInt(bytes(bits / 8))])) };
  if (kind === 1) {
    const top = 2n ** BigInt(bits - 1);
    return { type: `int${bits}`, value: () => String(one([0n, -1n, -top, top - 1n, BigInt.asIntN(bits, BigInt(bytes(bits / 8)))])) };
  }
  if (kind === 2) return { type: "address", value: () => ethers.getAddress(bytes(20)) };
  if (kind === 3) return { type: "bool", value: () => pick(2) === 1 };
  if (kind === 4) return { type: `bytes${bits / 8}`, value: () => ({ hex: bytes(bits / 8) }) };
  if (kind === 5) return { type: "bytes", value: () => ({ hex: bytes(pick(70)) }) };
  return { type: "string", value: () => one(WORDS) };
}
function type(depth) {
  const kind = depth > 0 ? pick(6) : 5;
  if (kind === 0) {
    const parts = Array.from({ length: 1 + pick(3) }, () => type(depth - 1));
    return { type: `(${parts.map(p => p.type)})`, value: () => parts.map(p => p.value()) };
  }
  if (kind < 3) {
    const of = type(depth - 1), n = kind === 1 ? 1 + pick(3) : 0;
    return { type: `${of.type}[${n || ""}]`, value: () => Array.from({ length: n || pick(4) }, of.value) };
  }
  return leaf();
}
/** For ethers. */
const plain = v => Array.isArray(v) ? v.map(plain) : v && typeof v === "object" ? "hex" in v ? v.hex : Object.fromEntries(Object.entries(v).map(([k, x]) => [k, plain(x)])) : v;

function encoding() {
  const list = Array.from({ length: 1 + pick(4) }, () => type(3)), types = list.map(t => t.type), values = list.map(t => t.value());
  return { types, values, data: ethers.AbiCoder.defaultAbiCoder().encode(types, plain(values)) };
}

const keys = Array.from({ length: 4 }, () => new ethers.Wallet(bytes(32)));
async function typed() {
  const names = ["Mail", "Person", "Asset"].slice(0, 1 + pick(3)), types = {}, make = {};
  for (const [i, name] of [...names.entries()].reverse()) {
    const fields = Array.from({ length: 1 + pick(4) }, (_, k) => {
      const inner = i + 1 < names.length && (k === 0 || pick(3) === 0) ? names[i + 1 + pick(names.length - i - 1)] : null;
      const of = inner ? { type: inner, value: () => make[inner]() } : leaf();
      if (pick(3)) return { name: `f${k}`, ...of };
      return { name: `f${k}`, type: `${of.type}[]`, value: () => Array.from({ length: pick(3) }, of.value) };
    });
    types[name] = fields.map(f => ({ name: f.name, type: f.type }));
    make[name] = () => Object.fromEntries(fields.map(f => [f.name, f.value()]));
  }
  // ethers takes the struct that no other one names as the primary: unused ones go
  const used = new Set(), walk = n => { if (types[n] && !used.has(n)) { used.add(n); for (const f of types[n]) walk(f.type.replace("[]", "")); } };
  walk("Mail");
  for (const n of Object.keys(types)) if (!used.has(n)) delete types[n];
  const domain = { name: one(WORDS), version: "1", chainId: 1 + pick(1e6), verifyingContract: ethers.getAddress(bytes(20)) }, message = make.Mail();
  const by = pick(4), signature = await keys[by].signTypedData(domain, types, plain(message));
  return { domain, types, primary: "Mail", message, by, signature, digest: ethers.TypedDataEncoder.hash(domain, types, plain(message)) };
}

async function transaction() {
  const by = pick(4), n = most => String(BigInt(bytes(1 + pick(most)))), to = ethers.getAddress(bytes(20));
  const tx = { chain_id: 1 + pick(1e6), nonce: pick(1000), tip: n(6), fee_cap: n(8), gas: 21000 + pick(1e6), value: n(16), to, data: bytes(pick(300)) };
  if (BigInt(tx.tip) > BigInt(tx.fee_cap)) [tx.tip, tx.fee_cap] = [tx.fee_cap, tx.tip];
  const raw = await keys[by].signTransaction({ type: 2, chainId: tx.chain_id, nonce: tx.nonce, maxPriorityFeePerGas: tx.tip, maxFeePerGas: tx.fee_cap,
    gasLimit: tx.gas, value: tx.value, to, data: tx.data });
  return { tx, by, raw };
}

await main(async () => {
  note(`seed ${seed}`);
  const cases = { keys: keys.map(k => ({ key: k.privateKey, address: k.address })), encodings: Array.from({ length: CASES }, encoding), typed: [], transactions: [] };
  for (let i = 0; i < CASES; i++) {
    cases.typed.push(await typed());
    cases.transactions.push(await transaction());
  }
  const path = join(ROOT, "build/evm_random.json");
  writeFileSync(path, JSON.stringify(cases));
  const out = await new Promise(done => execFile(process.env.PPV ?? join(ROOT, "build/ppv"), ["spec", "spec/support/evm_random.lua"], { cwd: ROOT },
    (e, o, err) => done(o + err)));
  rmSync(path);
  check(`${CASES} encodings, typed data and transactions are those of ethers`, / 3 successes \/ 0 failures \/ 0 errors/.test(" " + out.replaceAll("\n", " ")), out.slice(-2000));
});
