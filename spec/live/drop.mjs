// SPDX-License-Identifier: Apache-2.0
// Started by root, only the master stays root; the site works all the same, also after kill -9 of every worker.
//   node spec/live/drop.mjs          needs root, else there is nothing to check
import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { Server, call, check, main, note, until } from "./lib.mjs";

const ids = (pid, name) => readFileSync(`/proc/${pid}/status`, "utf8").match(new RegExp(`^${name}:\\s+(.*)$`, "m"))[1].trim().split(/\s+/);
const dropped = pid => ids(pid, "Uid").every(n => n !== "0") && ids(pid, "Gid").every(n => n !== "0") && /^0+$/.test(ids(pid, "CapEff")[0]) &&
  /^0+$/.test(ids(pid, "CapPrm")[0]) && ids(pid, "NoNewPrivs")[0] === "1";

await main(async () => {
  if (process.getuid() !== 0) {
    note("not root: nothing to give up");
    return check("the test can run", true);
  }
  delete process.env.TEMPLATE; // all of the first start, from an empty directory
  const s = await new Server({ job_workers: 1 }).start();
  const before = await s.status();
  check("the status names the user", before.run_user && before.run_user !== "root", before.run_user);
  check("the master stays root", ids(before.pid, "Uid")[0] === "0");
  check("no worker is root", before.workers.every(w => dropped(w.pid)), JSON.stringify(before.workers.map(w => ids(w.pid, "Uid"))));
  for (const d of ["upload", "media", "tmp", "outbox"]) check(`${d} belongs to the user`, statSync(join(s.var, d)).uid !== 0);
  for (const f of ["secret", "lock"]) {
    const st = statSync(join(s.var, f));
    check(`${f} is root's alone`, st.uid === 0 && (st.mode & 0o77) === 0, st.mode.toString(8));
  }
  check("the control socket is for nobody else", (statSync(join(s.var, "run/ppv.sock")).mode & 0o77) === 0);
  const admin = await s.admin(), u = await s.user("viewer");
  check("people can register, sign in and read", (await u.get("/api/me")).status === 200);
  const r = await admin.post("/admin/plugins/reload", {});
  check("a worker can ask the master for a reload", r.status === 200, r.text);
  check("so can the command line", (await s.ppv("reload")).code === 0);
  // pid 0, a worker that is just being started again, would be this test's own process group
  for (const w of before.workers) if (w.pid > 1) process.kill(w.pid, "SIGKILL");
  const after = await until("all workers are back", async () => {
    const now = await s.status();
    return now.workers.every(w => w.ready && !before.workers.some(o => o.pid === w.pid)) && now;
  }, 900);
  check("the new workers are not root either", after.workers.every(w => dropped(w.pid)));
  check("the site answers", (await call(s.port, "GET", "/ready")).status === 200);
  await s.stop();

  s.sets.run_user = "root";
  await s.start();
  check("run_user = root is possible", (await s.status()).workers.every(w => ids(w.pid, "Uid")[0] === "0"));
  check("directories are marked for the way back", statSync(join(s.var, "upload")).uid === 0);
  await s.stop();
  delete s.sets.run_user;
  await s.start();
  check("and back", (await s.status()).workers.every(w => dropped(w.pid)) && statSync(join(s.var, "upload")).uid !== 0);

  // A clone in /root: the user may not pass what lies above. All paths relative, as from `make run`.
  const t = new Server({ job_workers: 1 }), link = join(t.dir, "v");
  chmodSync(t.dir, 0o700);
  t.args = (...rest) => Server.prototype.args.apply(t, rest).map(a => a.replace(t.dir + "/", ""));
  await t.start();
  const home = readlinkSync(link);
  try {
    check("what the user writes lies where it can", home === "/var/lib/ppv/" + t.dir.slice(1).replaceAll("/", "-") && (await t.status()).workers.every(w => dropped(w.pid)), home);
    const maker = await t.user("maker"), clip = join(t.dir, "c.mp4");
    execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=12:d=3", "-pix_fmt", "yuv420p", clip]);
    check("a film is prepared there", (await maker.get(`/api/videos/${await t.film(maker, clip)}/status`)).json.status === "ready");
    await t.stop();
    await t.start();
    check("a second start finds it", readlinkSync(link) === home && (await maker.get("/api/me")).status === 200);
  } finally {
    await t.stop();
    rmSync(home, { recursive: true, force: true });
  }
});
