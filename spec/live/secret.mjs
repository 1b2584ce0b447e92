// SPDX-License-Identifier: Apache-2.0
// A new master key: films, two-step sign-in, the mail server and people who are signed in notice nothing, neither before nor
// after everything is sealed anew, nor when the key they were sealed with is gone from the file.
//   node spec/live/secret.mjs
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, check, fresh_ip, main, show } from "./lib.mjs";

/** The first key of a film as its owner's player gets it, and which variant the playlist names. */
async function key_of(who, id) {
  const play = await who.get(`/api/request_play?video_id=${id}`, { ip: fresh_ip() });
  if (play.status !== 200) return `${play.status} ${play.text}`;
  const base = play.json.playlist.replace("master.m3u8", ""), list = await who.get(base + "240.m3u8");
  const key = await who.get(base + list.text.match(/[^"]+\.key/)?.[0]);
  return `${list.text.match(/^[^#\n]+\.m4s$/m)?.[0]} ${key.status} ${key.body.toString("hex")}`;
}

const restart = async s => { await s.stop(); await s.start(); };

await main(async () => {
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start(), admin = await s.admin(), maker = await s.user("maker");
  const path = join(s.dir, "a.mp4"), file = join(s.var, "secret");
  const keys = () => readFileSync(file, "utf8").match(/^k\w+(?= )/gm);
  await s.ppv("secret", "rotate"); // the oldest key stays for ever, so the one to go is the second
  await restart(s);
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=426x240:rate=25:duration=4", "-pix_fmt", "yuv420p", path]);
  const id = await s.film(maker, path), was = await key_of(maker, id);
  check("the film plays", / 200 [0-9a-f]{32}$/.test(was), was);
  const smtp = await admin.post("/admin/smtp", { host: "mail.example.org", from_email: "site@example.org", username: "u", password: "a mail password", enabled: true });
  const setup = await maker.post("/api/totp", { action: "start" });
  check("a mail password and a two-step secret are stored", smtp.status === 200 && setup.status === 200, smtp.text + setup.text);
  const sealed = () => s.sql(`select split_part(x, '.', 1), count(*) from (select title_secret x from videos where state = 'ready' union all select secret_sealed
    from user_totp union all select value ->> 'password' from settings where key = 'smtp') t group by 1 order by 1`);

  let r = await s.ppv("key", "new", "relayer");
  const address = r.out.match(/0x[0-9a-fA-F]{40}/)?.[0];
  check("a key for a chain is made once", r.code === 0 && address && (await s.ppv("key", "new", "relayer")).code === 1, show(r));

  const [old] = keys();
  r = await s.ppv("secret", "rotate");
  check("rotate adds a key in front", r.code === 0 && keys().length === 3 && keys()[1] === old && r.out.includes(keys()[0]), show(r));
  r = await s.ppv("secret", "reseal");
  check("reseal waits for the restart of the running site", r.code === 1 && /[Rr]estart/.test(r.err) && show(await sealed()) === show([[old, "3"]]), show(r));
  await restart(s);
  check("signed-in people stay so, the old film plays with its keys", await key_of(maker, id) === was, await key_of(maker, id));
  r = await s.ppv("secret", "reseal");
  check("reseal seals all of it anew", r.code === 0 && show(await sealed()) === show([[keys()[0], "3"]]), show([r, await sealed()]));
  r = await s.ppv("secret", "list");
  check("list names the new key alone", r.code === 0 && r.out.includes(`${keys()[0]}  seals now`) && !r.out.includes(old), show(r));
  check("the site with both keys reads it", await key_of(maker, id) === was);

  await s.stop();
  writeFileSync(file, readFileSync(file, "utf8").split("\n").filter(l => !l.startsWith(old)).join("\n"));
  await s.start();
  await maker.login();
  check("without the old key the film plays with the same keys", await key_of(maker, id) === was, await key_of(maker, id));
  r = await s.ppv("secret", "reseal");
  const chain = await s.ppv("key", "list");
  check("the key for a chain is still that one", chain.code === 0 && chain.out.includes(address), show(chain));
  check("nothing is left to do", r.code === 0 && /^ +0 film secrets/m.test(r.out), show(r));
  await s.sql(`update videos set title_secret = '${old}.' || split_part(title_secret, '.', 2) where id = '${id}'`);
  r = await s.ppv("secret", "reseal");
  check("what no key opens is told", r.code === 1 && r.out.includes("1 cannot be opened"), show(r));
});
