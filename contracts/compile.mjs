// SPDX-License-Identifier: Apache-2.0
// node contracts/compile.mjs: the contract and the tokens of the tests, with the compiler and settings of foundry.toml, to
// build/contracts/artifacts.json. Compiles only what has changed; needs no network once `npm ci --prefix spec/chain` has run.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const OUT = join(ROOT, "build/contracts/artifacts.json");
const SOURCES = ["src/PPVSplitter.sol", "test/Tokens.sol"];
export const require = createRequire(join(ROOT, "spec/chain/package.json"));

const SETTINGS = {
  remappings: [], evmVersion: "cancun", optimizer: { enabled: true, runs: 10000 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

/** {name: {abi, bytecode, deployedBytecode}}, bytecode as 0x text. Throws with the compiler's words. */
export function artifacts() {
  const sources = Object.fromEntries(SOURCES.map(p => [p, { content: readFileSync(join(ROOT, "contracts", p), "utf8") }]));
  const key = createHash("sha256").update(JSON.stringify([sources, SETTINGS]))
    .update(readFileSync(join(ROOT, "spec/chain/package-lock.json"))).digest("hex");
  try {
    const kept = JSON.parse(readFileSync(OUT, "utf8"));
    if (kept.key === key) return kept.contracts;
  } catch { /* not compiled yet */ }
  const input = { language: "Solidity", sources, settings: SETTINGS };
  const load = path => ({ contents: readFileSync(require.resolve(path), "utf8") });
  const answer = JSON.parse(require("solc").compile(JSON.stringify(input), { import: load }));
  const errors = (answer.errors ?? []).filter(e => e.severity === "error" || e.sourceLocation?.file.startsWith("src/"));
  if (errors.length) throw new Error(errors.map(e => e.formattedMessage).join("\n"));
  const contracts = {};
  for (const path of SOURCES) {
    for (const [name, c] of Object.entries(answer.contracts[path])) {
      contracts[name] = { abi: c.abi, bytecode: `0x${c.evm.bytecode.object}`, deployedBytecode: `0x${c.evm.deployedBytecode.object}` };
    }
  }
  // Several tests may compile at the same moment: the last one wins, with the same text.
  mkdirSync(dirname(OUT), { recursive: true });
  writeFileSync(`${OUT}.${process.pid}`, JSON.stringify({ key, contracts }));
  renameSync(`${OUT}.${process.pid}`, OUT);
  return contracts;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, c] of Object.entries(artifacts())) console.log(`${name}: ${c.deployedBytecode.length / 2 - 1} bytes`);
}
