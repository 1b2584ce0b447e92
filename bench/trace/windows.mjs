// SPDX-License-Identifier: Apache-2.0
// From the readings of a study: how often any 70 seconds name their one account among 10,000, and 1,000 control scorings.
//   node bench/trace/windows.mjs WORK/attacks.json [segments=35] [trials=100] [users=10000] [absent]      SCORE = bench/trace/score.c built
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

const [path, ...rest] = process.argv.slice(2);
const option = Object.fromEntries(rest.map(a => a.split("=")));
const { segments = 35, trials = 100, users = 10000 } = option;
const study = JSON.parse(readFileSync(path));
let text = "";
for (const attack of new Set(study.rows.map(r => r.attack))) {
  text += `= ${attack}\n`;
  for (const r of study.rows.filter(x => x.attack === attack && x.readings.length)) {
    const truth = study.titles[r.title].copies[r.user]?.truth ?? "";
    text += "|\n" + r.readings.map(([n, , amp, z]) => (truth[n] === "b" ? `${-amp} ${-z}` : `${amp} ${z}`)).join("\n") + "\n";
  }
}
const r = spawnSync(process.env.SCORE, [segments, trials, users, ...("absent" in option ? ["absent"] : [])].map(String), { input: text, stdio: ["pipe", "inherit", "inherit"] });
process.exit(r.status);
