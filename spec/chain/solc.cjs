#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// The npm compiler in the clothes of a native one, which is what forge asks for: --version, and standard JSON through stdin.
const solc = require("solc");
if (process.argv.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
} else {
  process.stdout.write(solc.compile(require("fs").readFileSync(0, "utf8")));
}
