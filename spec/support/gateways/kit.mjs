// SPDX-License-Identifier: Apache-2.0
// What the imitated payment services share: an HTTP server on the loopback that keeps what it is told, notes every request, and
// can be made to fail in every way a service on the Internet fails. Services behave as their documentation says; the vendors' own
// libraries are the judges (spec/live/gateways_sdk.mjs).
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import http from "node:http";

export const sleep = ms => new Promise(r => setTimeout(r, ms));
export const hex = n => randomBytes(n).toString("hex");
export const sha = (kind, text) => createHash(kind).update(text).digest("hex");
export const iso = t => new Date(t ?? Date.now()).toISOString();

/** "a[b][0]=x&..." as {a: {b: {0: "x"}}}. */
export function form(text) {
  const out = {};
  for (const [k, v] of new URLSearchParams(text)) {
    const path = k.split(/\[|\]\[?/).filter(p => p !== "");
    let t = out;
    for (const p of path.slice(0, -1)) t = t[p] ??= {};
    t[path.at(-1)] = v;
  }
  return out;
}

/** Writes the members of `patch` into `target`, deep; numbers name places of arrays. */
export function merge(target, patch) {
  for (const [k, v] of Object.entries(patch))
    if (v && typeof v === "object" && target[k] && typeof target[k] === "object") merge(target[k], v); else target[k] = v;
  return target;
}

export class Refusal extends Error { constructor(status, body) { super("refused"); Object.assign(this, { status, body }); } }

const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

export class Gateway {
  /** routes: [[method, RegExp, handler(match, request) -> body or {status, body}], ...]; request: {method, path, query, headers, raw, body()} */
  constructor(routes) {
    Object.assign(this, { routes, log: [], faults: [], deliveries: [], answers: new Map(), work: 0 });
  }
  basic(user, password = "") { return "Basic " + Buffer.from(`${user}:${password}`).toString("base64"); }
  demand(request, want, refusal) { if (!same(request.headers.authorization ?? "", want)) throw new Refusal(401, refusal); }

  /** The first answer to a key is given again to the same bytes; others are refused. */
  once(key, request, conflict, fn) {
    if (!key) return fn();
    const id = `${request.path} ${key}`, seen = this.answers.get(id), print = sha("sha256", request.raw);
    if (seen) { if (seen.print !== print) throw conflict; return seen.answer; }
    const answer = fn();
    this.answers.set(id, { print, answer: structuredClone(answer) });
    return answer;
  }

  async listen() {
    this.server = http.createServer((req, res) => this.#serve(req, res).catch(e => { res.destroy(); console.error(e); }));
    this.server.on("clientError", (e, socket) => socket.destroy());
    await new Promise(r => this.server.listen(0, "127.0.0.1", r));
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
    return this;
  }
  close() { this.server.closeAllConnections(); return new Promise(r => this.server.close(r)); }

  /** The next `times` requests that match "METHOD /path" go wrong. kind: drop (nothing done, hung up), lost (done, hung up), status (`status`),
   *  slow (`ms` later), cut (half an answer), drip (a byte at a time), garbage, huge, lie (`patch` merged into the answer). */
  fault(match, kind, o = {}) { this.faults.push({ match: new RegExp(match), kind, times: 1, ...o }); }

  #route(request) {
    for (const [method, path, fn] of this.routes) {
      const m = method === request.method && path.exec(request.path);
      if (m) return fn.call(this, m, request);
    }
    throw new Refusal(404, this.unknown?.(request) ?? { error: "no such thing" });
  }

  async #serve(req, res) {
    const parts = [];
    for await (const d of req) parts.push(d);
    const url = new URL(req.url, "http://x"), raw = Buffer.concat(parts).toString();
    const request = { method: req.method, path: url.pathname, target: req.url, query: url.searchParams, headers: req.headers, raw,
      body: () => { try { return JSON.parse(raw || "{}"); } catch { throw new Refusal(400, { error: "bad JSON" }); } } };
    if (request.path.startsWith("/__")) return this.#control(request, res);
    this.log.push({ method: request.method, path: req.url, headers: req.headers, raw });
    const fault = this.faults.find(f => f.times > 0 && f.match.test(`${req.method} ${req.url}`));
    if (fault) fault.times--;
    if (fault?.kind === "drop") return req.socket.destroy();
    if (fault?.kind === "status") return this.#send(res, fault.status, fault.body ?? "out of order", fault.headers);
    if (fault?.kind === "garbage") return this.#send(res, 200, "<html>welcome to the hotel's network</html>", { "content-type": "text/html" });
    if (fault?.kind === "huge") return this.#huge(res);
    let status = 200, body;
    try {
      const r = this.#route(request);
      body = r?.status && r.body !== undefined && typeof r.status === "number" ? ({ status } = r, r.body) : r;
      this.work++;
    } catch (e) {
      if (!(e instanceof Refusal)) throw e;
      ({ status, body } = e);
    }
    if (fault?.kind === "lie") body = merge(structuredClone(body), fault.patch);
    if (fault?.kind === "lost") return req.socket.destroy();
    if (fault?.kind === "slow") await sleep(fault.ms);
    const text = typeof body === "string" ? body : JSON.stringify(body);
    if (fault?.kind === "cut") {
      res.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
      res.write(text.slice(0, text.length / 2), () => req.socket.resetAndDestroy());
      return;
    }
    if (fault?.kind === "drip") {
      res.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
      for (const c of text) { if (res.destroyed) return; res.write(c); await sleep(fault.ms ?? 1000); }
      return res.end();
    }
    this.#send(res, status, text, typeof body === "string" ? { "content-type": "text/plain" } : {});
  }
  #send(res, status, text, headers = {}) {
    res.writeHead(status, { "content-type": "application/json", ...headers });
    res.end(typeof text === "string" ? text : JSON.stringify(text));
  }
  async #huge(res) {
    res.writeHead(200, { "content-type": "application/json" });
    for (let i = 0; i < 100 && !res.destroyed; i++) if (!res.write('"' + " ".repeat(1 << 20))) await sleep(1);
    res.end();
  }

  /** For specifications in other processes: POST /__do {method, args} calls a method or reads a member of this object. */
  async #control(request, res) {
    const { method, args = [] } = request.body();
    try {
      const value = typeof this[method] === "function" ? await this[method](...args) : this[method];
      this.#send(res, 200, { value: value === undefined ? null : value });
    } catch (e) { this.#send(res, 500, { error: e.stack }); }
  }
  reset() { Object.assign(this, { log: [], faults: [], deliveries: [], work: 0 }); }

  /** Notes a message for the shop's webhook; a subclass signs it. o: what signed() takes. -> {headers, body} */
  notify(event, o) {
    const message = this.signed(event, o);
    this.deliveries.push({ event, ...message });
    return message;
  }
  /** Sends a message to the shop. -> status */
  static post(url, { headers, body }) {
    return new Promise((resolve, reject) => {
      const req = http.request(url, { method: "POST", agent: Gateway.agent,
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body), ...headers } },
        res => { res.resume(); res.on("end", () => resolve(res.statusCode)); res.on("error", reject); });
      req.on("error", reject);
      req.end(body);
    });
  }
  // With a timeout of its own it also heeds the server's Keep-Alive, so that no message meets a connection that is just being ended.
  static agent = new http.Agent({ keepAlive: true, maxSockets: 32, timeout: 60000 });
}
