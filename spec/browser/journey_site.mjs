// SPDX-License-Identifier: Apache-2.0
// Starts a site of its own and sends the browser through the whole journey (journey.js).
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Server } from "../live/lib.mjs";
import { phone_film } from "../support/samples.mjs";

const here = dirname(fileURLToPath(import.meta.url));

if (!existsSync(join(here, "node_modules/playwright-core"))) {
  console.log("# installing the browser driver named in package-lock.json");
  const r = spawnSync("npm", ["ci", "--silent", "--no-audit", "--no-fund"], { cwd: here, stdio: "inherit" });
  if (r.status) process.exit(1);
}
const site = await new Server({ admin_totp: "true" }).start();
let status = 1;
try {
  const admin = await site.admin();
  status = spawnSync(process.execPath, [join(here, "journey.js")], { stdio: "inherit", env: { ...process.env, BASE_URL: site.url,
    ADMIN_EMAIL: admin.email, ADMIN_PASSWORD: admin.password, FILM: phone_film(join(site.dir, "film.mp4"), 9, "-vf", "scale=854:480", "-preset", "ultrafast") } }).status ?? 1;
} finally {
  await site.remove();
}
process.exit(status);
