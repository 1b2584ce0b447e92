// SPDX-License-Identifier: Apache-2.0
// From the readings of a study: how often any 70 seconds name their one account among 10,000; with more words, controls and groups.
//   node bench/trace/windows.mjs WORK/attacks.json [segments=35] [trials=100] [users=10000] [only=REGEX] [absent]
//   node bench/trace/windows.mjs WORK/controls.json trials=1000 unmarked
//   node bench/trace/windows.mjs WORK/collude.json segments=240 colluders=2          SCORE = bench/trace/score.c built
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { sources } from "./attacks.mjs";

const [path, ...rest] = process.argv.slice(2);
const option = Object.fromEntries(rest.map(a => a.split("=")));
const { segments = 35, trials = 100, users = 10000, colluders = 1, only = "" } = option, n = +colluders;
const study = JSON.parse(readFileSync(path)), rows = study.rows.filter(r => new RegExp(only).test(r.attack) && r.readings.length);

/** Of a segment: the sign that most accounts give it (the first, when they are split evenly), how many say the other. */
function meant(row, s) {
  const truths = row.truths ?? [study.titles[row.title].copies[row.user]?.truth ?? ""];
  if (row.attack.includes("cut together")) return [truths[sources(truths.length, 12345 + row.user, 2 * truths[0].length)[s]][s] === "a" ? 1 : -1, 0];
  const a = truths.filter(t => t[s] === "a").length, b = truths.filter(t => t[s] === "b").length;
  return [a > b || (a === b && truths[0][s] !== "b") ? 1 : -1, Math.min(a, b)];
}

for (const attack of new Set(rows.map(r => r.attack))) {
  let text = `= ${attack}\n`;
  for (const r of rows.filter(x => x.attack === attack))
    text += "|\n" + r.readings.map(([s, , amp, z]) => {
      const [sign, minority] = "unmarked" in option ? [1, 0] : meant(r, s);
      return `${amp * sign} ${z * sign} ${minority}`;
    }).join("\n") + "\n";
  const way = n > 1 ? [attack.includes("averaged") ? "averaged" : "cut", n] : ["absent", "unmarked"].filter(w => w in option);
  const r = spawnSync(process.env.SCORE, [segments, trials, users, ...way].map(String), { input: text, stdio: ["pipe", "inherit", "inherit"] });
  if (r.status) process.exit(r.status);
}
