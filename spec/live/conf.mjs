// SPDX-License-Identifier: Apache-2.0
// Settings that only a real database shows: database_read has its own connections, statement_timeout ends what is slower.
// And the encoder works although the program's file was replaced under the running server.
//   node spec/live/conf.mjs
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, check, main, until } from "./lib.mjs";

await main(async () => {
  const s = await new Server({ job_workers: 1, statement_timeout: "2s" }).start();
  const slow = join(s.dir, "slow.lua");
  writeFileSync(slow, `local db = require "ppv.db"
    local function ask(f, n) local r, e = f("select pg_sleep($1::float8)::text as x", n) return r and "ok" or e.code end
    print(ask(db.one, 1.3), ask(db.one, 3), ask(db.read_one, 0.5), ask(db.read_one, 1.5))\n`);
  const r = await s.ppv("lua", slow);
  check("statement_timeout is that of writes, reads have a second", r.out.trim() === "ok\tengine.timeout\tok\tengine.timeout", r.out + r.err);

  await s.sql("create role spec_reader login in role ppv_app");
  await s.stop();
  s.sets.statement_timeout = "12s";
  s.sets.database_read = `host=${join(s.var, "pgrun")} user=spec_reader dbname=ppv`;
  await s.start();
  const u = await s.user("reader");
  check("people can register, sign in and read", (await u.get("/api/me")).status === 200);
  const seen = await s.sql("select usename, count(*) from pg_stat_activity where application_name like 'ppv web%' group by 1");
  check("database_read has connections", Number(seen.find(x => x[0] === "spec_reader")?.[1]) === 2, JSON.stringify(seen));
  check("and database_url those of the writes", Number(seen.find(x => x[0] === "ppv_app")?.[1]) >= 2, JSON.stringify(seen));
  writeFileSync(slow, `local r, e = require("ppv.db").one("select pg_sleep(9)::text as x") print(r and "ok" or e.code)\n`);
  const long = await s.ppv("lua", slow);
  check("a statement may take as long as statement_timeout says", long.out.trim() === "ok", long.out + long.err);

  rmSync(s.bin);
  const made = join(s.dir, "a.mp4");
  execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", "testsrc=s=320x180:d=2", "-pix_fmt", "yuv420p", "-y", made]);
  const form = Buffer.concat([Buffer.from('--m\r\ncontent-disposition: form-data; name="title"\r\n\r\nA film\r\n--m\r\n'
    + 'content-disposition: form-data; name="file"; filename="a.mp4"\r\ncontent-type: video/mp4\r\n\r\n'), readFileSync(made), Buffer.from("\r\n--m--\r\n")]);
  const up = await u.request("POST", "/api/upload", { body: form, headers: { "content-type": "multipart/form-data; boundary=m" } });
  check("an upload after the program's file is gone", up.status === 201, up.text);
  const state = await until("the film is encoded or has failed", async () => {
    const [[now]] = await s.sql(`select state from videos where id = '${up.json.video_id}'`);
    return ["ready", "failed"].includes(now) && now;
  }, 900);
  check("is encoded", state === "ready", state + s.log().split("\n").filter(l => l.includes("media")).slice(-3).join("\n"));
});
