// SPDX-License-Identifier: Apache-2.0
// The command line as docs/operators.md and docs/plugins.md describe it: settings, plugins, administrators, status.
//   node spec/live/cli.mjs
import { execFile } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client, Server, call, check, main, show } from "./lib.mjs";

const KINDS = ["affiliate", "payment", "rate", "route", "storage", "tax"];

/** The program with exactly these arguments and this environment on top. */
const plain = (s, args, env = {}) => new Promise(resolve => execFile(s.bin, ["--root", s.root, ...args],
  { cwd: s.dir, env: { ...process.env, ...env } }, (e, out, err) => resolve({ code: e ? e.code : 0, out, err })));

async function settings(s) {
  const file = join(s.dir, "a.conf");
  const conf = async (text, args = [], env = {}) => { writeFileSync(file, text); return plain(s, ["--conf", file, ...args, "conf"], env); };
  const line = (r, key) => r.out.split("\n").find(l => l.startsWith(key + " ")) ?? r.out + r.err;
  let r = await conf("# a comment\nsite_name = From file\nsmtp_password = \"very#secret\"\n");
  check("conf names the file", r.code === 0 && /From file\s+# .*a\.conf:2$/.test(line(r, "site_name")), line(r, "site_name"));
  check("and defaults", /# default$/.test(line(r, "log_level")), line(r, "log_level"));
  check("secrets are masked", !r.out.includes("very#secret") && /\*\*\*/.test(line(r, "smtp_password")), line(r, "smtp_password"));
  r = await conf("site_name = From file\n", [], { PPV_SITE_NAME: "From env" });
  check("the environment overrides the file", /From env\s+# PPV_SITE_NAME$/.test(line(r, "site_name")), line(r, "site_name"));
  r = await conf("site_name = From file\n", ["--set", "site_name=From set"], { PPV_SITE_NAME: "From env" });
  check("--set overrides both", /From set\s+# --set$/.test(line(r, "site_name")), line(r, "site_name"));
  r = await conf("site_name = X\n\nnonsense = 3\n");
  check("an unknown key is an error with its line", r.code === 1 && /a\.conf:3: .*nonsense/.test(r.err) && !r.out, show(r));
  r = await conf("web_workers = many\n");
  check("a bad value is an error with its line", r.code === 1 && /a\.conf:1: .*web_workers/.test(r.err), show(r));
  r = await conf("# x\nlog_level = loud\n");
  check("a value that is none of the choices, too", r.code === 1 && /a\.conf:2: .*log_level/.test(r.err), show(r));
  r = await conf("", ["--set", "nonsense=1"]);
  check("an unknown key of --set is an error", r.code === 1 && /--set.*nonsense/.test(r.err), show(r));
  r = await plain(s, ["conf", "--reference"]);
  check("the reference lists every key", r.code === 0 && ["site_name", "database_url", "drain_timeout"].every(k => r.out.includes(`#${k} = `)), r.out.slice(0, 200));
}

async function plugins(s) {
  for (const kind of KINDS) {
    const name = "my_" + kind, r = await s.ppv("plugin", "new", kind, name);
    check(`plugin new ${kind}`, r.code === 0 && existsSync(join(s.root, "plugins", name, "manifest.lua")), show(r));
    const again = await s.ppv("plugin", "new", kind, name);
    check("an existing one is left alone", again.code === 1 && /exists/.test(again.out + again.err), show(again));
  }
  const bad = await s.ppv("plugin", "new", "../evil", "route");
  check("a bad kind is refused", bad.code !== 0 && !existsSync(join(s.root, "evil")), show(bad));
  let r = await s.ppv("plugin", "check");
  check("plugin check accepts the skeletons", r.code === 0, show(r));
  r = await s.ppv("reload");
  check("so does a reload", r.code === 0, show(r));
  const hello = await call(s.port, "GET", "/api/my_route?who=you");
  check("the route answers", hello.json?.hello === "you", hello.text);
  for (const kind of KINDS) {
    r = await s.ppv("plugin", "test", "my_" + kind);
    check(`plugin test of the ${kind} skeleton`, r.code === 0 && /[1-9]\d* success/.test(r.out), show(r));
  }
  r = await s.ppv("plugin", "test", "nothing");
  check("plugin test of nothing is an error", r.code !== 0, show(r));
  r = await s.ppv("plugin", "list");
  check("plugin list names all of them", KINDS.every(k => new RegExp(`^my_${k}\\s+${k}\\s`, "m").test(r.out)), r.out);
  writeFileSync(join(s.root, "plugins/my_route/handler.lua"), "local M = {}\n\nlocal x = = 1\nreturn M\n");
  r = await s.ppv("plugin", "check");
  check("plugin check names file and line", r.code !== 0 && /my_route\/handler\.lua/.test(r.out + r.err) && /handler\.lua:3|"line":3/.test(r.out + r.err), show(r));
  r = await s.ppv("reload");
  const st = await s.status();
  check("a refused reload is in the status, the old code serves", r.code !== 0 && st.refused?.[0]?.line === 3 &&
    (await call(s.port, "GET", "/api/my_route")).status === 200, show(st.refused));
}

// A posting, its seal, the export, and the check of the file where there is neither database nor secret.
async function books(s) {
  await s.sql(`select ppv_post('adjustment', null, null, 'a test', '{}', jsonb_build_array(
    jsonb_build_array(ppv_account('clearing', null, 'deposits', 'USD'), -1500, 'in'),
    jsonb_build_array(ppv_account('user', (select id from users where username = 'boss'), 'wallet', 'USD'), 1500, 'for boss')))`);
  let r = await s.ppv("ledger", "seal");
  // The job worker may have been first.
  check("ledger seal seals what waits", r.code === 0 && /[01] transactions sealed/.test(r.out)
    && (await s.sql("select count(*) from ledger_unsealed"))[0][0] === "0", show(r));
  const key = (await s.ppv("ledger", "key")).out.match(/^key +(\w{64})$/m)?.[1];
  const all = join(s.dir, "books.jsonl"), mine = join(s.dir, "boss.jsonl");
  r = await s.ppv("ledger", "export", all);
  check("ledger export writes the books", r.code === 0 && (await s.ppv("ledger", "export", "--user", "boss", mine)).code === 0, show(r));
  const offline = (...args) => plain(s, ["--set", `var_dir=${join(s.dir, "elsewhere")}`, "ledger", "verify", ...args]);
  r = await offline(all, "--key", key);
  check("the file is checked offline", r.code === 0 && /fine   1 transactions in 1 seals/.test(r.out), show(r));
  r = await offline(mine, "--key", key);
  check("and a user's file", r.code === 0 && /1 transactions proved/.test(r.out), show(r));
  r = await offline(all, "--key", key.replace(/^../, (c) => (c === "00" ? "01" : "00")));
  check("another key does not do", r.code === 1 && /signature is not of this key/.test(r.out), show(r));
  const proof = join(s.dir, "proof.json");
  writeFileSync(proof, JSON.stringify(JSON.parse(readFileSync(mine, "utf8").trim().split("\n")[1]).proof));
  r = await offline("--proof", proof, "--key", key);
  check("a proof shows the line", r.code === 0 && /15\.00 USD on user\/wallet/.test(r.out), show(r));
  writeFileSync(proof, readFileSync(proof, "utf8").replace('"1500"', '"1600"'));
  r = await offline("--proof", proof, "--key", key);
  check("not a changed one", r.code === 1 && /^WRONG/m.test(r.out), show(r));
  writeFileSync(all, readFileSync(all, "utf8").replace("for boss", "for boxs"));
  r = await offline(all, "--key", key);
  check("nor changed books", r.code === 1 && /was changed after it was sealed \(batch 1\)/.test(r.out), show(r));
  r = await s.ppv("ledger", "report");
  const dry = await s.ppv("affiliate", "dry-run", "--pct", "30", "--days", "7");
  check("affiliate dry-run", dry.code === 0 && /^Rule percent over the sales of the last 7 days:\n {2}(no sales|USD {2}\d+ sales, commission )/.test(dry.out), show(dry));
  check("affiliate dry-run with nonsense", (await s.ppv("affiliate", "dry-run", "--days", "x")).code === 2 && (await s.ppv("affiliate", "dry-run", "--rule", "nothing")).code === 1);
  check("ledger report", r.code === 0 && /user\/all +15\.00 USD/.test(r.out), show(r));
  await s.sql(`begin; set local session_replication_role = replica; update ledger_entries set note = 'x' where note = 'for boss'; commit`);
  r = await s.ppv("ledger", "verify");
  check("what a superuser changed is found in the database too", r.code === 1 && /was changed after it was sealed/.test(r.out), show(r));
  await s.sql(`begin; set local session_replication_role = replica; update ledger_entries set note = 'for boss' where note = 'x'; commit`);
}

await main(async () => {
  const s = await new Server({ web_workers: 1 }).start();
  await settings(s);
  let st = await s.status();
  check("status tells port, workers and bundle", st.ok && st.port === s.port && st.workers.length >= 2 && st.bundle >= 1, show(st));

  let r = await s.ppv("admin", "create", "boss", "boss@example.org");
  const password = r.out.match(/^password\s+(\S+)/m)?.[1];
  check("admin create prints a password", r.code === 0 && password?.length >= 16, show(r));
  const c = new Client(s);
  check("with which one signs in", (await c.post("/admin/login", { email: "boss@example.org", password })).status === 200 &&
    (await c.get("/admin/stats")).status === 200);
  r = await s.ppv("admin", "create", "boss");
  check("a name is given once", r.code === 1 && /taken/.test(r.out + r.err), show(r));
  r = await s.ppv("admin", "create", "bad name");
  check("a bad name is refused", r.code === 1, show(r));
  r = await s.ppv("admin", "password", "boss");
  const fresh = r.out.match(/^password\s+(\S+)/m)?.[1];
  const old = await new Client(s).post("/admin/login", { email: "boss@example.org", password });
  const now = await new Client(s).post("/admin/login", { email: "boss@example.org", password: fresh });
  check("admin password replaces it", r.code === 0 && old.status === 401 && now.status === 200, `${old.status} ${now.status}`);
  r = await s.ppv("ledger", "verify");
  check("ledger verify says that nothing is wrong", r.code === 0 && !/^wrong/m.test(r.out), show(r));
  await books(s);
  r = await s.ppv("jobs", "list");
  check("jobs list", r.code === 0, show(r));
  await plugins(s);
  r = await s.ppv("nonsense");
  check("an unknown command is an error", r.code === 2 && /help/.test(r.err), show(r));
  r = await s.ppv("help");
  check("help lists the commands of the README", ["serve", "conf", "admin", "plugin", "reload", "rollback", "status"].every(n => r.out.includes(`  ${n} `)), r.out);
  await s.stop();
  r = await s.ppv("status");
  check("status without a site is an error", r.code === 1 && r.err.length > 10, show(r));
});
