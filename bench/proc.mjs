// SPDX-License-Identifier: Apache-2.0
// CPU time and memory of a server and all below it, from /proc; the middle of a list.
import { readFileSync, readdirSync } from "node:fs";

const TICK = 1e6 / 100;

export const at = (list, share) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * share))];
export const median = list => [...list].sort((a, b) => a - b)[(list.length - 1) >> 1];

function processes() {
  const all = new Map();
  for (const pid of readdirSync("/proc").filter(d => d >= "0" && d <= "9:")) {
    let text = "";
    try { text = readFileSync(`/proc/${pid}/stat`, "latin1"); } catch { continue; }
    const f = text.slice(text.lastIndexOf(")") + 2).split(" ");
    all.set(pid, { pid, ppid: f[1], comm: text.slice(text.indexOf("(") + 1, text.lastIndexOf(")")), own: +f[11] + +f[12],
      reaped: +f[13] + +f[14], rss: +f[21] * 4096 });
  }
  return all;
}

/** The tree below pid, the postmaster and what is below it apart. */
function tree(pid) {
  const all = processes(), servers = [], databases = [];
  const walk = (p, db) => {
    if (!p) return;
    db ||= p.comm === "postgres";
    (db ? databases : servers).push(p);
    for (const c of all.values()) if (c.ppid === p.pid) walk(c, db);
  };
  walk(all.get(String(pid)), false);
  return { servers, databases };
}

/** CPU microseconds so far. Backends that ended are in the postmaster's reaped time. */
export function cpu(pid) {
  const t = tree(pid), sum = (list, f) => list.reduce((n, p) => n + f(p), 0) * TICK;
  return { server: sum(t.servers, p => p.own), db: sum(t.databases, p => p.own) + (t.databases[0]?.reaped ?? 0) * TICK };
}

/** Bytes resident in the processes of the server. */
/** CPU microseconds so far of each process of the server, by its pid. */
export const cpu_each = pid => new Map(tree(pid).servers.map(p => [p.pid, p.own * TICK]));

export const rss = pid => tree(pid).servers.reduce((n, p) => n + p.rss, 0);

/** CPU seconds of the burst encoders that run for this server (its web workers' children). */
export function encoder_seconds(pid) {
  const all = processes();
  let ticks = 0;
  for (const p of all.values()) {
    if (all.get(p.ppid)?.ppid !== String(pid)) continue;
    try {
      if (readFileSync(`/proc/${p.pid}/cmdline`, "latin1").startsWith("ppv\0media\0burst\0")) ticks += p.own;
    } catch { /* it ended meanwhile */ }
  }
  return ticks * TICK / 1e6;
}
