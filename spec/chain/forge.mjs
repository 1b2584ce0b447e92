// SPDX-License-Identifier: Apache-2.0
// The contract's own tests (contracts/test) under forge, quickly. `make contracts FULL=1`: 100,000 runs of each property, 1,000
// sequences of 100 calls, coverage, and the figures to contracts/figures.md. With MATCH=name of a property as well: that one alone,
// whose line in the figures of the same contract is written anew.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { artifacts, FORGE } from "./lib.mjs";
import { check, main, note, ROOT } from "../live/lib.mjs";

const full = process.env.FULL === "1", only = process.env.MATCH, FIGURES = join(ROOT, "contracts/figures.md");
const code = artifacts().PPVSplitter.deployedBytecode, digest = createHash("sha256").update(code).digest("hex");

function forge(...args) {
  const r = spawnSync(FORGE, args, { cwd: ROOT, encoding: "utf8", maxBuffer: 1 << 28,
    env: { ...process.env, FOUNDRY_CONFIG: "contracts/foundry.toml", FOUNDRY_PROFILE: full ? "full" : "default", NO_COLOR: "1" } });
  return { out: r.stdout, all: r.stdout + r.stderr, ok: r.status === 0 };
}

/** Runs every test; answers [[name, kind]], kind {Unit|Fuzz|Invariant: figures}. */
function tests() {
  const r = forge("test", "--json", ...(only ? ["--match-test", only] : []));
  let suites;
  try {
    suites = JSON.parse(r.out.slice(r.out.indexOf('{"')));
  } catch {
    check("forge runs the tests", false, r.all.slice(-4000));
    return [];
  }
  const all = Object.values(suites).flatMap(s => Object.entries(s.test_results));
  for (const [name, t] of all) check(name, t.status === "Success", `${t.reason} ${JSON.stringify(t.counterexample)}`);
  return all.map(([name, t]) => [name, t.kind]);
}

/** Per cent of lines and of branches of the contract. The optimizer must be off for it, hence another compilation. */
function coverage() {
  const r = forge("coverage", "--report", "summary", "--no-match-contract", "FuzzTest|InvariantTest");
  const row = r.all.split("\n").find(l => l.includes("src/PPVSplitter.sol"));
  const part = row?.split("|").slice(2, 6).map(x => x.trim());
  return check("every line, statement, branch and function is covered", part?.every(x => x.startsWith("100.00%")), row ?? r.all.slice(-3000)) ? part : part ?? [];
}

await main(async () => {
  const all = tests();
  if (full && only) {
    const old = readFileSync(FIGURES, "utf8"), [name, k] = all[0] ?? [];
    const line = `| ${name?.split("(")[0]} | ${k?.Fuzz?.runs} |`;
    check("the property has run 100,000 times", all.length === 1 && k.Fuzz?.runs >= 100000, line);
    if (check("the figures are those of this contract", old.includes(digest))) writeFileSync(FIGURES, old.replace(new RegExp(`^\\| ${only} \\|.*$`, "m"), line));
    return;
  }
  const fuzz = all.filter(([, k]) => k.Fuzz), invariant = all.filter(([, k]) => k.Invariant);
  check("unit tests, properties and an invariant have run", all.length > 40 && fuzz.length >= 10 && invariant.length === 1, String(all.length));
  const built = JSON.parse(readFileSync(join(ROOT, "build/contracts/out/PPVSplitter.sol/PPVSplitter.json")));
  check("what was tested is what is deployed", built.bytecode.object === artifacts().PPVSplitter.bytecode);
  for (const [name, k] of invariant) note(`${name}: ${k.Invariant.runs} sequences, ${k.Invariant.calls} calls`);
  if (!full || !all.length) return; // a run that was cut off leaves the figures of the last whole one
  const [lines, statements, branches, functions] = coverage();
  check("each property has run 100,000 times", fuzz.every(([, k]) => k.Fuzz.runs >= 100000));
  check("1,000 sequences of 100 calls", invariant.every(([, k]) => k.Invariant.runs >= 1000 && k.Invariant.calls >= 100000));
  writeFileSync(FIGURES, `# Figures of the last full run

Written by \`make contracts FULL=1\`. ${all.length - fuzz.length - invariant.length} unit tests; ${code.length / 2 - 1} bytes of code, SHA-256 of its hexadecimal text ${digest}.

| coverage of src/PPVSplitter.sol | |
|---|---|
| lines | ${lines} |
| statements | ${statements} |
| branches | ${branches} |
| functions | ${functions} |

| property | runs |
|---|---|
${fuzz.map(([name, k]) => `| ${name.split("(")[0]} | ${k.Fuzz.runs} |`).join("\n")}
${invariant.map(([name, k]) => `| ${name.split("(")[0]} | ${k.Invariant.runs} sequences, ${k.Invariant.calls} calls |`).join("\n")}
`);
});
