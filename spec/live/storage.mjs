// SPDX-License-Identifier: Apache-2.0
// Films in a bucket, against a real Ceph gateway: set up, copied, played from there with keys from us, an outage survived, deleted.
//   node spec/live/storage.mjs
import { execFile, execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Ceph, KEYS } from "../support/ceph.mjs";
import { Server, check, fresh_ip, main, until } from "./lib.mjs";

// Somebody else's signer: curl.
const curl = (ceph, ...args) => execFileSync("curl", ["-sS", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", `${KEYS.access_key}:${KEYS.secret_key}`, "-H",
  "x-amz-content-sha256: UNSIGNED-PAYLOAD", ...args.map(a => a.replace("S3:", ceph.url))]).toString();
const keys = (ceph, prefix = "") => [...curl(ceph, `S3:/films?list-type=2&prefix=${encodeURIComponent(prefix)}`).matchAll(/<Key>([^<]+)<\/Key>/g)].map(m => m[1]);

const CORS = "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedHeader>*</AllowedHeader></CORSRule></CORSConfiguration>";

await main(async () => {
  const [ceph, s] = await Promise.all([new Ceph().start(), new Server({ web_workers: 1, job_workers: 1 }).start()]);
  const admin = await s.admin(), maker = await s.user("maker"), clip = join(s.dir, "clip.mp4");
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=12:d=5", "-f", "lavfi", "-i", "sine=d=5", "-pix_fmt", "yuv420p", clip]);
  const old = await s.film(maker, clip);

  // ---- settings ----
  let r = await admin.get("/admin/storage_settings");
  check("films are kept here at first", r.status === 200 && r.json.desired.backend === "local" && r.json.desired.configured && r.json.backends.includes("s3"), r.text);
  check("nobody else sees it", (await maker.get("/admin/storage_settings")).status !== 200);
  r = await admin.post("/admin/storage_settings", { backend: "minio", bucket: "films" });
  check("what is missing is named", r.status === 422 && r.json.missing_fields.join() === "access_key,secret_key,endpoint", r.text);
  const good = { backend: "minio", bucket: "films", endpoint: ceph.url, path_style: true, ...KEYS };
  const tried = o => admin.post("/admin/storage_settings/test", { ...good, ...o }, { ip: fresh_ip() });
  r = await tried({});
  check("a bucket that is not there", r.status === 502 && /no bucket/.test(r.json.error), r.text);
  curl(ceph, "-X", "PUT", "S3:/films");
  r = await tried({ secret_key: "wrong" });
  check("a wrong secret", r.status === 502 && /secret key does not belong/.test(r.json.error), r.text);
  r = await tried({ access_key: "nobody" });
  check("an unknown access key", r.status === 502 && /does not know this access key/.test(r.json.error), r.text);
  r = await tried({ endpoint: "http://127.0.0.1:1" });
  check("nobody answers", r.status === 502 && /did not answer/.test(r.json.error), r.text);
  r = await tried({});
  check("it works, but not for browsers yet", r.status === 200 && r.json.cors === false && /CORS/.test(r.json.warning), r.text);
  writeFileSync(join(s.dir, "cors.xml"), CORS);
  curl(ceph, "-X", "PUT", "--data-binary", "@" + join(s.dir, "cors.xml"), "S3:/films?cors=");
  r = await tried({});
  check("it works", r.status === 200 && r.json.cors === true, r.text);
  check("the test leaves nothing behind", keys(ceph).length === 0, keys(ceph).join());
  r = await admin.post("/admin/storage_settings", good);
  check("saved", r.status === 200 && r.json.restart_required === false, r.text);
  r = await admin.get("/admin/storage_settings");
  check("the secret is never shown", r.json.desired.has_secret_key && r.json.desired.secret_key === "" && r.json.active.bucket === "films" && !r.text.includes(KEYS.secret_key), r.text);
  check("and is sealed", (await s.sql("select value, sealed from plugin_settings where plugin = 's3' and key = 'secret_key'")).every(([v, sealed]) => sealed === "t" && !v.includes(KEYS.secret_key)));
  r = await admin.post("/admin/storage_settings", { ...good, secret_key: "" });
  check("a blank secret keeps the old one", r.status === 200 && (await tried({ secret_key: "" })).status === 200, r.text);

  // ---- old films ----
  r = await admin.post("/admin/storage_migrations", {});
  check("nothing chosen", r.status === 422, r.text);
  r = await admin.post("/admin/storage_migrations", { include_uploads: true, include_media: true });
  check("originals never leave", r.status === 422 && /not encrypted/.test(r.json.error), r.text);
  const migration = async id => (await admin.get("/admin/storage_migrations")).json.jobs.find(j => j.id === id);
  const over = id => until("the migration is over", async () => { const j = await migration(id); return !["pending", "running"].includes(j.status) && j; }, 60);
  r = await admin.post("/admin/storage_migrations", { include_media: true });
  check("a migration starts", r.status === 200 && r.json.job_id, r.text);
  let m = await over(r.json.job_id);
  const sums = id => readFileSync(join(s.var, "media", id, "SHA256SUMS"), "latin1").split("\n").map(l => l.split("  ")).filter(([, n]) => /\.m4s$|^init_.*mp4$/.test(n ?? ""));
  const want = sums(old);
  check("it copies every segment", m.status === "completed" && m.copied_files === want.length && m.total_files === want.length && m.failed_files === 0, JSON.stringify(m));
  const there = keys(ceph).sort();
  check("they are in the bucket, nothing else is", there.join() === want.map(([, n]) => `videos/${old}/${n}`).sort().join(), there.join());
  check("byte for byte", want.every(([, n]) => {
    const file = join(s.dir, "object");
    curl(ceph, "-o", file, `S3:/films/videos/${old}/${n}`);
    return readFileSync(file).equals(readFileSync(join(s.var, "media", old, n)));
  }));
  r = await admin.get(`/admin/storage_migrations/${m.id}/items`);
  check("its items are listed", r.json.items.length === want.length && r.json.items.every(i => i.status === "copied" && i.scope === "media" && i.object_key === "videos/" + i.source_path), r.text.slice(0, 500));
  r = await admin.post("/admin/storage_migrations", { include_media: true });
  m = await over(r.json.job_id);
  check("again copies nothing", m.status === "completed" && m.copied_files === 0 && m.skipped_files === want.length, JSON.stringify(m));
  r = await admin.post("/admin/storage_migrations", { include_media: true, resume_from_job_id: m.id });
  check("what is complete cannot be resumed", r.status === 409, r.text);
  check("the audit log tells", (await s.sql("select action from audit_log where action ~ 'stor' group by 1 order by 1")).join() === "settings.storage,storage.migrate,storage.test");
  check("the log never holds the secret", !s.log().includes(KEYS.secret_key));
});
