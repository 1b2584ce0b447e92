// SPDX-License-Identifier: Apache-2.0
// The engine's Keccak, ABI, EIP-712, signatures and transactions against ethers on random inputs, and its invoice against the
// contract's own hash. RUNS=n cases of each kind (FULL=1: 12,000); SEED repeats a run.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { check, main, note, ROOT, show } from "../live/lib.mjs";
import { chain, deploySplitter, domain, ethers, INVOICE } from "./lib.mjs";

const RUNS = Number(process.env.RUNS ?? (process.env.FULL === "1" ? 12000 : 400));
const SEED = process.env.SEED ?? String(Date.now());
const N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141n;

// ---- randomness that a seed repeats ----
let state = createHash("sha256").update(SEED).digest(), left = [];
function byte() {
  if (!left.length) { state = createHash("sha256").update(state).digest(); left = [...state]; }
  return left.pop();
}
const bytes = n => Uint8Array.from({ length: n }, byte);
const below = n => (byte() * 65536 + byte() * 256 + byte()) % n;
const one_of = list => list[below(list.length)];
const hex = n => ethers.hexlify(bytes(n));
const address = () => ethers.getAddress(below(20) ? hex(20) : ethers.ZeroAddress);
/** Whole numbers of up to `bits` bits, the ends of the range often. */
function whole(bits) {
  const max = (1n << BigInt(bits)) - 1n;
  return one_of([0n, 1n, max, max - 1n, ...Array(6).fill(null)]) ?? BigInt(hex(32)) & max >> BigInt(below(bits));
}
const letters = ["a", "z", "0", " ", "\n", "é", "ß", "日", "本", "🎬", "\"", "\\", "\u007f"];
const string = () => Array.from({ length: one_of([0, 1, 5, 31, 32, 33, 70]) }, () => one_of(letters)).join("");

const BASIC = {
  address, bool: () => below(2) === 1, string, bytes: () => hex(one_of([0, 1, 31, 32, 33, 100])),
  uint: bits => String(whole(bits)),
  int: bits => String((below(2) ? 1n : -1n) * (whole(bits - 1))),
  fixed: hex,
};
function basic_type() {
  const k = below(7);
  return ["address", "bool", "string", "bytes"][k] ?? [`uint${8 * (1 + below(32))}`, `int${8 * (1 + below(32))}`, `bytes${1 + below(32)}`][k - 4];
}
function basic_value(t) {
  const [, name, size] = t.match(/^([a-z]+)(\d*)$/);
  return name === "bytes" && size ? BASIC.fixed(Number(size)) : BASIC[name](Number(size));
}

/** A random ABI type: {text, value()}. */
function abi(depth = 0) {
  const k = depth < 3 ? below(10) : 9;
  if (k < 2) {
    const item = abi(depth + 1), n = below(4), fixed = k === 0;
    return { text: `${item.text}[${fixed ? n + 1 : ""}]`, value: () => Array.from({ length: fixed ? n + 1 : below(4) }, item.value) };
  }
  if (k === 2) {
    const items = Array.from({ length: 1 + below(4) }, () => abi(depth + 1));
    return { text: `(${items.map(i => i.text).join(",")})`, value: () => items.map(i => i.value()) };
  }
  const t = basic_type();
  return { text: t, value: () => basic_value(t) };
}

/** Random typed data with up to three structs, each of which may hold those after it, singly or in arrays. */
function typed() {
  const names = ["Order", "Mail", "Person"].slice(0, 1 + below(3)), types = {};
  for (const [i, name] of names.entries()) {
    const inner = names.slice(i + 1);
    types[name] = Array.from({ length: 1 + below(5) }, (_, n) => ({ name: `f${n}`,
      type: (n < inner.length ? inner[n] : basic_type()) + one_of(["", "", "[]", "[2]"]) }));
    for (const [n, later] of inner.entries()) types[name][n] ??= { name: `f${n}`, type: later };
  }
  const value = t => {
    const [, item, size] = t.match(/^(.*)\[(\d*)\]$/) ?? [];
    if (item) return Array.from({ length: size ? Number(size) : below(3) }, () => value(item));
    return types[t] ? Object.fromEntries(types[t].map(f => [f.name, value(f.type)])) : basic_value(t);
  };
  const d = { name: string() || "x", version: string() || "1", chainId: String(1 + below(1e6)), verifyingContract: address(), salt: hex(32) };
  const keep = Object.keys(d).filter(() => below(3));
  return { domain: Object.fromEntries((keep.length ? keep : ["name"]).map(k => [k, d[k]])), types, primary: "Order", message: value("Order") };
}

// ---- cases: [kind of case, what the engine is given, what ethers says] ----
const keys = [hex(32), hex(32), ethers.toBeHex(1n, 32), ethers.toBeHex(N - 1n, 32)].map(k => new ethers.SigningKey(k));
const who = keys.map(k => ethers.computeAddress(k.publicKey));
const coder = ethers.AbiCoder.defaultAbiCoder();

const make = {
  abi() {
    const list = Array.from({ length: 1 + below(4) }, () => abi());
    const types = list.map(t => t.text), values = list.map(t => t.value());
    const data = coder.encode(types, values);
    return [{ types, values, data }, [data, data]];
  },
  typed() {
    const t = typed();
    return [t, [ethers.TypedDataEncoder.hash(t.domain, t.types, t.message)]];
  },
  sign() {
    const key = below(4), digest = below(50) ? hex(32) : one_of([ethers.ZeroHash, ethers.toBeHex(N, 32), `0x${"ff".repeat(32)}`]);
    const sig = keys[key].sign(digest);
    return [{ key, digest }, [sig.serialized, who[key]]];
  },
  recover() {
    const digest = hex(32), key = below(4);
    const sig = ethers.getBytes(keys[key].sign(digest).serialized);
    const kind = below(5);
    if (kind === 1) sig[below(65)] ^= 1 << below(8);
    if (kind === 2) { sig.set(ethers.getBytes(ethers.toBeHex(N - BigInt(ethers.hexlify(sig.slice(32, 64))), 32)), 32); sig[64] = 55 - sig[64]; }
    if (kind === 3) sig[64] -= 27;
    if (kind === 4) sig[64] = byte();
    const [r, s, v] = [BigInt(ethers.hexlify(sig.slice(0, 32))), BigInt(ethers.hexlify(sig.slice(32, 64))), sig[64]];
    let want = "refused";
    if (s <= N / 2n && [0, 1, 27, 28].includes(v) && r && s && r < N) {
      try {
        want = ethers.recoverAddress(digest, { r: ethers.toBeHex(r, 32), s: ethers.toBeHex(s, 32), v: v % 27 + 27 });
      } catch { /* r is on no point of the curve */ }
    }
    return [{ digest, sig: ethers.hexlify(sig) }, [want]];
  },
  transaction() {
    const key = below(4), n = bits => whole(bits);
    const tip = n(64);
    const t = { type: 2, chainId: 1n + BigInt(below(1e6)), nonce: below(1e6), maxPriorityFeePerGas: tip, maxFeePerGas: tip + n(64), gasLimit: 21000n + n(24),
      to: address(), value: n(96), data: hex(one_of([0, 1, 4, 36, 55, 56, 300])) };
    const tx = ethers.Transaction.from(t);
    tx.signature = keys[key].sign(tx.unsignedHash);
    return [{ key, tx: { chain_id: String(t.chainId), nonce: t.nonce, tip: String(tip), fee_cap: String(t.maxFeePerGas), gas: String(t.gasLimit),
      value: String(t.value), to: t.to, data: t.data } }, [tx.serialized, tx.hash]];
  },
  text() {
    const text = bytes(one_of([0, 1, 9, 10, 99, 100, 135, 136, 137, 272]));
    return [{ text: ethers.hexlify(text) }, [ethers.hashMessage(text)]];
  },
};

function engine(cases) {
  const dir = mkdtempSync(join(tmpdir(), "ppv-differential-"));
  try {
    keys.forEach((k, n) => writeFileSync(join(dir, String(n)), k.privateKey.slice(2), { mode: 0o600 }));
    writeFileSync(join(dir, "cases"), cases.map(([kind, given]) => `${JSON.stringify({ kind, ...given })}\n`).join(""));
    writeFileSync(join(dir, "run_spec.lua"), `local half = assert(loadfile "${join(ROOT, "spec/chain/differential.lua")}")()
it("answers every case", function() half "${dir}" end)\n`);
    execFileSync(process.env.PPV ?? join(ROOT, "build/ppv"), ["spec", join(dir, "run_spec.lua")], { cwd: ROOT, encoding: "utf8", stdio: "pipe" });
    return readFileSync(join(dir, "answers"), "utf8").trim().split("\n").map(l => JSON.parse(l));
  } catch (e) {
    throw new Error(`${e.message}\n${e.stdout ?? ""}`);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function invoice(payer) {
  const list = Array.from({ length: 1 + below(16) }, () => ({ to: ethers.getAddress(hex(20)), amount: String(1n + whole(90)) }));
  const sum = String(list.reduce((s, p) => s + BigInt(p.amount), 0n));
  return { id: hex(32), token: address(), amount: sum, payer, payees: list, deadline: 2 ** 31 + below(2 ** 20) };
}

await main(async () => {
  note(`SEED=${SEED} RUNS=${RUNS}`);
  const c = await chain();
  const { splitter, deployment } = await deploySplitter(c);
  const cases = Object.keys(make).flatMap(kind => Array.from({ length: RUNS }, () => [kind, ...make[kind]()]));
  const chained = Array.from({ length: 60 }, () => invoice(c.wallet(2).address));
  const answers = engine([...cases, ...chained.map(o => ["invoice", { invoice: { ...o, chain_id: c.chainId, contract: deployment.address } }])]);
  check("every case is answered", answers.length === cases.length + chained.length, String(answers.length));
  for (const kind of Object.keys(make)) {
    const wrong = cases.map((x, i) => [x, answers[i]]).filter(([x, got]) => x[0] === kind && show(got).toLowerCase() !== show(x[2]).toLowerCase());
    check(`${kind}: ${RUNS} random cases as ethers has them`, !wrong.length, `${wrong.length} differ, first ${String(show(wrong[0])).slice(0, 2000)}`);
  }
  const hashes = await Promise.all(chained.map(o => splitter.hashInvoice(o)));
  const engines = answers.slice(cases.length).map(a => a[0]);
  check("the contract and the engine hash the same invoice alike", show(hashes) === show(engines), `${hashes[0]} ${engines[0]}`);
  check("and so does ethers", hashes.every((h, i) => h === ethers.TypedDataEncoder.hash(domain(deployment), INVOICE, chained[i])));
  await c.stop();
});
