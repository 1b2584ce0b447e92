// SPDX-License-Identifier: Apache-2.0
// Films in a bucket, against a real Ceph gateway: set up, copied, played from there with keys from us, an outage survived, deleted.
//   node spec/live/storage.mjs
import { execFile, execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { Ceph, KEYS } from "../support/ceph.mjs";
import { launch, open_page, shot } from "../browser/lib.mjs";
import { ffmpeg, noisy_film, play as record, traced } from "../support/leak.mjs";
import { Server, check, fresh_ip, main, show, until } from "./lib.mjs";

// Somebody else's signer: curl.
const curl = (ceph, ...args) => execFileSync("curl", ["-sS", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", `${KEYS.access_key}:${KEYS.secret_key}`, "-H",
  "x-amz-content-sha256: UNSIGNED-PAYLOAD", ...args.map(a => a.replace("S3:", ceph.url))]).toString();
const keys = (ceph, prefix = "") => [...curl(ceph, `S3:/films?list-type=2&prefix=${encodeURIComponent(prefix)}`).matchAll(/<Key>([^<]+)<\/Key>/g)].map(m => m[1]);

const CORS = "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedHeader>*</AllowedHeader></CORSRule></CORSConfiguration>";
const PUBLIC = JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", Principal: "*", Action: "s3:GetObject", Resource: "arn:aws:s3:::films/videos/*" }] });

/** The way to the gateway: it counts what is sent and can be cut after so many connections. */
class Way {
  async open(to) {
    this.left = Infinity;
    this.puts = [];
    this.server = net.createServer(c => {
      if (this.left-- <= 0) { c.destroy(); return; }
      const up = net.connect(to, "127.0.0.1");
      c.once("data", d => { const m = d.toString("latin1").match(/^PUT (\S+)/); if (m) this.puts.push(m[1]); });
      for (const [x, y] of [[c, up], [up, c]]) { x.on("error", () => y.destroy()); x.pipe(y); }
    });
    await new Promise(r => this.server.listen(0, "127.0.0.1", r));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }
}

const exec = (file, args) => new Promise(resolve => execFile(file, args, { maxBuffer: 16 << 20, timeout: 900000 }, (e, out, err) => resolve({ code: e ? e.code ?? 1 : 0, out, err })));
const decode = (s, who, playlist) => exec("ffmpeg", ["-nostdin", "-v", "error", "-xerror", "-headers", `Cookie: ${who.cookie()}\r\nX-Forwarded-For: ${fresh_ip()}\r\n`,
  "-allowed_extensions", "ALL", "-i", s.url + playlist, "-f", "null", "-"]);

/** What a player is given: {playlist, base, addresses of segments and headers, addresses of keys}. */
async function session(who, id) {
  const { playlist } = (await who.get(`/api/request_play?video_id=${id}`, { ip: fresh_ip() })).json;
  const base = playlist.replace(/[^/]+$/, ""), files = [], keys = [];
  const master = (await who.get(playlist)).text;
  for (const m of [...master.matchAll(/^(?!#)(\S+\.m3u8)$/gm), ...master.matchAll(/URI="([^"]+\.m3u8)"/g)]) {
    const text = (await who.get(base + m[1])).text;
    files.push(...[...text.matchAll(/^(?!#)(\S+)$/gm), ...text.matchAll(/EXT-X-MAP:URI="([^"]+)"/g)].map(x => x[1]));
    keys.push(...[...text.matchAll(/EXT-X-KEY:[^\n]*URI="([^"]+)"/g)].map(x => x[1]));
  }
  return { playlist, base, files, keys };
}

/** The administrator's page, and a film played from the bucket under the policy of our own pages. */
async function in_browser(s, way, admin, maker, film) {
  const browser = await launch(), noise = [], from_bucket = [];
  try {
    let page = await open_page(browser, s, admin, noise, { viewport: { width: 360, height: 740 } });
    await page.goto(s.url + "/public/admin/storage.html");
    check("the page shows the settings but not the secret", await page.inputValue("[name=endpoint]") === way.url && await page.inputValue("[name=secret_key]") === "");
    await page.click("#test");
    await page.waitForSelector('#settings .alert-success:has-text("written, read back and deleted")');
    const before = await page.locator("#jobs tbody tr").count();
    await page.click("#migrate");
    await page.waitForFunction(n => document.querySelectorAll("#jobs tbody tr").length > n && /Completed/.test(document.querySelector("#jobs tbody tr").textContent), before);
    await page.click("#jobs tbody tr:first-child button:has-text('Files')");
    await page.waitForSelector("#items tbody tr:has-text('Was there')");
    check("films are copied and files listed, on a phone", await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await shot(page, "storage-phone");
    page = await open_page(browser, s, maker, noise);
    page.on("response", r => { if (r.url().startsWith(way.url)) from_bucket.push(r.status()); });
    await page.goto(`${s.url}/public/watch.html?video_id=${film}`);
    if (!await page.locator("video").count()) await page.click("#play");
    await page.waitForFunction(() => { const v = document.querySelector("video"); if (v && v.paused) { v.muted = true; v.play().catch(() => {}); } return v?.currentTime > 1; });
    check("it plays in a browser, from the bucket", from_bucket.length > 1 && from_bucket.every(x => x === 200), from_bucket.join());
    check("without a complaint", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
  }
}

await main(async () => {
  const [ceph, s] = await Promise.all([new Ceph().start(), new Server({ web_workers: 1, job_workers: 1 }).start()]);
  const way = await new Way().open(ceph.port);
  const admin = await s.admin(), maker = await s.user("maker"), clip = join(s.dir, "clip.mp4");
  await noisy_film(clip, 52);
  const old = await s.film(maker, clip);

  // ---- settings ----
  let r = await admin.get("/admin/storage_settings");
  check("films are kept here at first", r.status === 200 && r.json.desired.backend === "local" && r.json.desired.configured && r.json.backends.includes("s3"), r.text);
  check("nobody else sees it", (await maker.get("/admin/storage_settings")).status !== 200);
  r = await admin.post("/admin/storage_settings", { backend: "minio", bucket: "films" });
  check("what is missing is named", r.status === 422 && r.json.missing_fields.join() === "access_key,secret_key,endpoint", r.text);
  const good = { backend: "minio", bucket: "films", endpoint: way.url, path_style: true, ...KEYS };
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
  r = await tried({ endpoint: `http://localhost:${ceph.port}`, path_style: false });
  check("also with the bucket's name in the host", r.status === 200, r.text);
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
  const over = id => until("the migration is over", async () => { const j = await migration(id); return !["pending", "running"].includes(j.status) && j; });
  await admin.post("/admin/storage_settings", { ...good, secret_key: "wrong" });
  r = await admin.post("/admin/storage_migrations", { include_media: true });
  let m = await over(r.json.job_id);
  check("with a wrong secret it fails and says why", m.status === "failed" && /secret key does not belong/.test(m.last_error) && m.copied_files === 0, JSON.stringify(m));
  await admin.post("/admin/storage_settings", good);

  way.left = 6;
  way.puts = [];
  r = await admin.post("/admin/storage_migrations", { include_media: true });
  check("a migration starts", r.status === 200 && r.json.job_id, r.text);
  check("one at a time", (await admin.post("/admin/storage_migrations", { include_media: true })).status === 409);
  m = await until("the storage is down in the middle", async () => { const j = await migration(r.json.job_id); return j.retry_attempts > 0 && j; });
  check("it says so and waits", m.status === "running" && /did not answer/.test(m.last_error) && m.copied_files > 0 && m.copied_files < m.total_files, JSON.stringify(m));
  way.left = Infinity;
  m = await over(r.json.job_id);
  const sums = id => readFileSync(join(s.var, "media", id, "SHA256SUMS"), "latin1").split("\n").map(l => l.split("  ")).filter(([, n]) => /\.m4s$|^init_.*mp4$/.test(n ?? ""));
  const want = sums(old), path = n => `videos/${old}/${n}`;
  check("then it goes on and copies every segment", m.status === "completed" && m.copied_files === want.length && m.total_files === want.length && m.failed_files === 0, JSON.stringify(m));
  check("each one once", way.puts.length === want.length && new Set(way.puts).size === want.length, `${way.puts.length} of ${want.length}`);
  const there = keys(ceph).sort();
  check("they are in the bucket, nothing else is", there.join() === want.map(([, n]) => path(n)).sort().join(), there.join());
  const fetched = n => { const file = join(s.dir, "object"); curl(ceph, "-o", file, "S3:/films/" + path(n)); return readFileSync(file); };
  check("byte for byte", want.every(([, n]) => fetched(n).equals(readFileSync(join(s.var, "media", old, n)))));
  r = await admin.get(`/admin/storage_migrations/${m.id}/items`);
  check("its items are listed", r.json.items.length === want.length && r.json.items.every(i => i.status === "copied" && i.scope === "media" && i.object_key === "videos/" + i.source_path), r.text.slice(0, 500));
  r = await admin.post("/admin/storage_migrations", { include_media: true, resume_from_job_id: m.id });
  check("what is complete cannot be resumed", r.status === 409, r.text);
  way.left = 0;
  r = await admin.post("/admin/storage_migrations", { include_media: true });
  const stopped = r.json.job_id;
  r = await admin.post(`/admin/storage_migrations/${stopped}/cancel`);
  check("one is cancelled", r.status === 200 && (await migration(stopped)).status === "cancelled", r.text);
  check("once", (await admin.post(`/admin/storage_migrations/${stopped}/cancel`)).status === 409);
  way.left = Infinity;
  r = await admin.post("/admin/storage_migrations", { include_media: true, resume_from_job_id: stopped });
  m = await over(r.json.job_id);
  check("and resumed; what is there is not sent again", m.status === "completed" && m.resumed_from_job_id === stopped && m.copied_files === 0 && m.skipped_files === want.length
    && way.puts.length === want.length, JSON.stringify(m));

  const victim = want.map(([, n]) => n).find(n => n.endsWith(".m4s")), here = join(s.var, "media", old, victim), right = readFileSync(here);
  const wrong = Buffer.from(right);
  wrong[wrong.length >> 1] ^= 1;
  writeFileSync(here, wrong);
  curl(ceph, "-X", "DELETE", "S3:/films/" + path(victim));
  r = await admin.post("/admin/storage_migrations", { include_media: true });
  m = await over(r.json.job_id);
  check("the service refuses a segment that is not what was encoded", m.status === "completed_with_errors" && m.failed_files === 1 && !keys(ceph).includes(path(victim)), JSON.stringify(m));
  r = await admin.get(`/admin/storage_migrations/${m.id}/items?status=failed`);
  check("the item says what to do", r.json.items.length === 1 && r.json.items[0].source_path === old + "/" + victim && /damaged: ppv media rebuild/.test(r.json.items[0].error_message), r.text);
  writeFileSync(here, right);
  r = await admin.post("/admin/storage_migrations", { include_media: true, resume_from_job_id: m.id });
  m = await over(r.json.job_id);
  check("repaired, it is copied", m.status === "completed" && m.copied_files === 1, JSON.stringify(m));

  // ---- playing ----
  const from = way.url + "/films/videos/" + old + "/";
  let play = await session(maker, old);
  check("every segment comes from the bucket, signed", play.files.length > 4 && play.files.every(u => u.startsWith(from) && /X-Amz-Signature=[0-9a-f]{64}$/.test(u)), play.files[0]);
  check("every key from here", play.keys.length > 3 && play.keys.every(u => /^k-/.test(u)), play.keys[0]);
  check("without a signature nobody reads", (await fetch(play.files[0].split("?")[0])).status === 403);
  check("all viewers have the same addresses", JSON.stringify((await session(maker, old)).files) === JSON.stringify(play.files));
  r = await decode(s, maker, play.playlist);
  check("it plays", r.code === 0 && r.err === "", r.err.slice(0, 500));
  r = await until("pages may fetch from there", async () => { const p = await admin.get("/public/watch.html"); return p.headers["content-security-policy"].includes(`connect-src 'self' ${way.url};`) && p; });
  await in_browser(s, way, admin, maker, old);
  await admin.post("/admin/storage_settings", { ...good, deliver: false });
  check("unless the operator does not want it", (await session(maker, old)).files.every(u => !u.includes("://")));
  writeFileSync(join(s.dir, "policy.json"), PUBLIC);
  curl(ceph, "-X", "PUT", "--data-binary", "@" + join(s.dir, "policy.json"), "S3:/films?policy=");
  await admin.post("/admin/storage_settings", { ...good, public_url: ceph.url + "/films" });
  play = await session(maker, old);
  check("a public address has no signatures", play.files.every(u => u.startsWith(`${ceph.url}/films/videos/${old}/`) && !u.includes("?")), play.files[0]);
  r = await decode(s, maker, play.playlist);
  check("it plays from there too", r.code === 0 && r.err === "", r.err.slice(0, 500));

  // ---- a new film, and only one copy ----
  const short = join(s.dir, "short.mp4");
  await ffmpeg("-t", "5", "-i", clip, "-c", "copy", short);
  const fresh = await s.film(maker, short);
  await until("the new film is copied by itself", async () => (await s.sql(`select 1 from video_copies where video_id = '${fresh}' and copied_at is not null and not wanted`)).length);
  check("all of it is there", keys(ceph, `videos/${fresh}/`).length === sums(fresh).length);
  r = await s.ppv("media", "verify");
  check("both verify", r.code === 0 && /2 films.* 0 films are damaged/.test(r.out), r.out);
  await admin.post("/admin/storage_settings", { ...good, keep_local: false });
  const dir = join(s.var, "media", old), local = () => readdirSync(dir).filter(f => f.endsWith(".m4s")), ago = Date.now() / 1000 - 20 * 3600;
  for (const f of readdirSync(dir)) utimesSync(join(dir, f), ago, ago);
  await s.sql(`update video_copies set copied_at = now() - interval '14 hours', trim_at = now() where video_id = '${old}'`);
  check("who made the new film deletes it", (await maker.request("DELETE", `/api/videos/${fresh}`)).status === 200);
  await s.sql(`update videos set deleted_at = now() - interval '31 days' where id = '${fresh}'`);
  await s.stop(); // the first round of everything that is done now and then is at the start
  await s.start();
  await until("the segments of the old film are gone here but for its fingerprints", () => local().length <= 2);
  await until("the deleted film's objects are gone", () => keys(ceph, `videos/${fresh}/`).length === 0);
  check("and nothing else", keys(ceph).length === want.length);
  r = await decode(s, maker, (await session(maker, old)).playlist);
  check("the film plays from the only copy", r.code === 0 && r.err === "", r.err.slice(0, 500));
  r = await s.ppv("media", "verify");
  check("that is no damage", r.code === 0, r.out);
  play = await session(maker, old);
  const name = want.map(([, n]) => n).find(n => play.files.some(u => u.includes(n)) && n.endsWith(".m4s"));
  r = await maker.get(play.base + name);
  check("what an older playlist asks for is fetched back", r.status === 200 && existsSync(join(dir, name)) && r.body.equals(fetched(name)), `${r.status}`);

  // ---- what else needs segments here ----
  const thief = await s.user("thief"), saint = await s.user("saint"), copy = join(s.dir, "copy.mp4"), leak = join(s.dir, "leak.mp4");
  await record(s, thief, old, copy);
  await record(s, saint, old, join(s.dir, "other.mp4"));
  await ffmpeg("-i", copy, "-an", "-vf", "crop=iw*.96:ih*.96", "-c:v", "libx264", "-preset", "veryfast", "-crf", "24", leak);
  check("copies are made from the bucket alone", local().length <= 3, local().join());
  await maker.post("/api/video_update", { id: old, mark_visible: 100, mark_fail: "wait" });
  play = await session(saint, old);
  const named = play.files.find(u => !u.includes("://") && u.endsWith(".m4s"));
  r = await saint.get(play.base + named);
  check("names are burned into what is fetched back", r.status === 200 && r.body.length > 1000 && existsSync(join(s.var, "media", old, named)), show([r.status, named, play.files.slice(0, 3)]));
  await maker.post("/api/video_update", { id: old, mark_visible: 0 });
  const t = await traced(maker, leak);
  check("a leak is traced with segments that are fetched back", t.verdict === "accused" && t.leak?.suspects[0]?.user_id === thief.id
    && t.leak.suspects.filter(x => x.accused).length === 1, show([t.verdict, t.leak?.suspects]));
  r = await admin.post("/admin/storage_settings", { backend: "local" });
  check("the only copy is not forgotten", r.status === 409 && /only in the present storage/.test(r.json.error), r.text);
  curl(ceph, "-X", "DELETE", "S3:/films/" + path(name));
  r = await s.ppv("media", "verify");
  check("an object that was lost is found", r.code === 1 && r.out.includes("missing in the storage " + name), r.out);
  curl(ceph, "-X", "PUT", "--data-binary", "x", "S3:/films/videos/00000000-0000-7000-8000-000000000000/x.m4s");
  r = await s.ppv("media", "gc");
  check("an object of no film is named", r.code === 0 && /^storage\/media\/00000000\S+x\.m4s  1 bytes  there is no such film$/m.test(r.out) && /^1 to remove/m.test(r.out), r.out);
  r = await s.ppv("media", "gc", "--yes");
  check("and removed", /^1 removed/m.test(r.out) && keys(ceph, "videos/00000000").length === 0, r.out);
  await admin.post("/admin/storage_settings", { ...good, keep_local: true });
  r = await admin.post("/admin/storage_migrations", { include_media: true });
  m = await over(r.json.job_id);
  check("a migration puts back what was lost there, and all that is missing here", m.status === "completed" && m.copied_files === 1 && keys(ceph).length === want.length
    && want.every(([, n]) => existsSync(join(dir, n))) && execFileSync("sh", ["-c", `cd ${dir} && sha256sum --quiet --strict -c SHA256SUMS`]).length === 0, JSON.stringify(m));
  r = await admin.post("/admin/storage_settings", { backend: "local" });
  check("then it may be left", r.status === 200, r.text);
  check("and films come from here", (await session(maker, old)).files.every(u => !u.includes("://")));
  check("the audit log tells", (await s.sql("select action from audit_log where action ~ 'stor' group by 1 order by 1")).join() === "settings.storage,storage.cancel,storage.migrate,storage.test");
  check("the log never holds the secret", !s.log().includes(KEYS.secret_key));
});
