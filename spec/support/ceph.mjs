// SPDX-License-Identifier: Apache-2.0
// A real S3 service for tests: one Ceph monitor, one store in memory, one gateway. Installed when it is first needed.
import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT, free_port, until } from "../live/lib.mjs";

export const KEYS = { access_key: "AKTEST", secret_key: "SKTEST-not-to-be-seen" };

function install() {
  try { execFileSync("sh", ["-c", "command -v radosgw ceph-mon ceph-osd radosgw-admin"]); } catch {
    try { execFileSync(join(ROOT, "deploy/install-deps.sh"), ["s3"], { stdio: "pipe" }); } catch (e) {
      throw new Error("This test needs a real S3 service, Debian's Ceph gateway, and it cannot be installed (deploy/install-deps.sh s3): " + e.stderr);
    }
  }
}

const conf = (dir, port, mon, id) => `[global]
fsid = ${id}
mon host = [v2:127.0.0.1:${mon}]
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
ms mon client mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
osd crush chooseleaf type = 0
mon max pg per osd = 500
mon data avail crit = 1
run dir = ${dir}/run
admin socket = ${dir}/run/$name.$pid.asok
log file = ${dir}/$name.log
public addr = 127.0.0.1
keyring = ${dir}/keyring
[mon]
mon data = ${dir}/mon
[osd]
osd data = ${dir}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
[client]
rgw frontends = beast endpoint=127.0.0.1:${port}
rgw data = ${dir}/rgw
rgw dns name = localhost
rgw thread pool size = 16
`;

export class Ceph {
  async start() {
    install();
    this.dir = mkdtempSync(join(tmpdir(), "ppv-ceph-"));
    for (const d of ["mon", "osd", "rgw", "run"]) mkdirSync(join(this.dir, d));
    this.port = await free_port();
    this.url = `http://127.0.0.1:${this.port}`;
    const mon = await free_port(), id = randomUUID(), file = join(this.dir, "ceph.conf");
    writeFileSync(file, conf(this.dir, this.port, mon, id));
    this.env = { ...process.env, CEPH_ARGS: "-c " + file };
    const run = (name, ...args) => execFileSync(name, args, { cwd: this.dir, env: this.env, stdio: "pipe", timeout: 900000 }).toString();
    process.on("exit", () => this.stop());
    run("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "client.admin");
    run("monmaptool", "--create", "--fsid", id, "--addv", "a", `[v2:127.0.0.1:${mon}]`, "monmap");
    run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap");
    this.mon = this.daemon("ceph-mon", "-f", "-i", "a");
    const uuid = randomUUID(), osd = run("ceph", "osd", "new", uuid).trim();
    run("ceph-osd", "-i", osd, "--mkfs", "--osd-uuid", uuid);
    this.osd = this.daemon("ceph-osd", "-f", "-i", osd);
    run("radosgw-admin", "user", "create", "--uid=test", "--display-name=t", "--access-key=" + KEYS.access_key, "--secret-key=" + KEYS.secret_key);
    await this.up();
    return this;
  }
  daemon(name, ...args) {
    const out = openSync(join(this.dir, name + ".out"), "a");
    return spawn(name, args, { cwd: this.dir, env: this.env, stdio: ["ignore", out, out] });
  }
  /** The gateway answers again. */
  async up() {
    this.rgw = this.daemon("radosgw", "-f", "-n", "client.admin", "--auth-client-required=none", "--auth-supported=none", "--ms-mon-client-mode=crc");
    await until("the S3 gateway answers", async () => (await fetch(this.url)).status > 0);
  }
  /** Nobody answers any more; what is stored stays. */
  async down() {
    const gone = new Promise(r => this.rgw.once("exit", r));
    this.rgw.kill("SIGKILL");
    await gone;
  }
  stop() {
    for (const p of [this.rgw, this.osd, this.mon]) p?.kill("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}
