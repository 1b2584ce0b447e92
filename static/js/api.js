// SPDX-License-Identifier: Apache-2.0
// The one way to the server: JSON in and out, the X-PPV header, idempotency keys for money, errors as sentences.

export class ApiError extends Error {
  constructor(message, fields) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { status: 0, code: "net.failed", requestId: null, field: null, body: null }, fields);
  }

  // A second try can help: nothing arrived, or the server says so.
  get retry() { return this.status === 0 || this.status === 429 || this.status >= 500; }
  get needsSignIn() { return this.code === "auth.required" || this.code === "auth.session"; }
}

// randomUUID exists only in secure contexts; a site on a LAN may be plain http.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(18));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

export function query(fields) {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(fields || {})) {
    if (value !== undefined && value !== null && value !== "") q.set(name, value);
  }
  const text = q.toString();
  return text ? "?" + text : "";
}

const SENTENCE = {
  401: "Please sign in first.",
  403: "You are not allowed to do this.",
  404: "This does not exist, or not any more.",
  413: "This is too large.",
  429: "That was a bit fast. Please wait a moment and try again.",
  500: "Something went wrong on our side. Please try again.",
  502: "Another service did not answer. Please try again.",
  503: "The service is busy. Please try again in a moment.",
  504: "The service took too long. Please try again.",
};

const ENROLL = "/public/account.html";
const SPOKEN = { "not logged in": SENTENCE[401] };

function failure(status, body, headers) {
  const text = body && typeof body.error === "string" ? body.error : null;
  const message = (text && (SPOKEN[text] || text)) || SENTENCE[status] || `The server answered with an error (${status}).`;
  return new ApiError(message, {
    status,
    code: (body && body.code) || (status === 401 ? "auth.required" : "request.failed"),
    requestId: (body && body.request_id) || headers.get("x-request-id"),
    field: body && body.field,
    body,
  });
}

// Asks for a fresh proof of who is there when the server wants one, then repeats the request unchanged.
async function send(method, path, options) {
  try {
    return await once(method, path, options);
  } catch (e) {
    if (e.code === "auth.totp_enroll" && location.pathname !== ENROLL) {
      location.assign(ENROLL + "#totp");
      await new Promise(() => {});
    }
    if (e.code !== "auth.step_up") throw e;
    const { stepUp } = await import("./stepup.js");
    if (!(await stepUp(!!(e.body && e.body.totp)))) throw e;
    return once(method, path, options);
  }
}

async function once(method, path, { body, form, key, signal, keepalive, timeout = 30000 } = {}) {
  const headers = { Accept: "application/json", "X-PPV": "1" };
  let payload;
  if (form) {
    payload = form instanceof FormData ? form : new URLSearchParams(form);
  } else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    payload = JSON.stringify(body);
  } else if (method === "POST") {
    headers["Content-Type"] = "application/json";
    payload = "{}";
  }
  if (key) headers["Idempotency-Key"] = key;
  const stop = AbortSignal.timeout(timeout);
  let response, text;
  try {
    response = await fetch(path, { method, headers, body: payload, keepalive, credentials: "same-origin", cache: "no-store",
      signal: signal && AbortSignal.any ? AbortSignal.any([signal, stop]) : signal || stop });
    text = await response.text();
  } catch (e) {
    if (signal && signal.aborted) throw e;
    throw new ApiError(e.name === "TimeoutError" ? SENTENCE[504] : "The server cannot be reached. Please check your connection.", {});
  }
  let data = null;
  try { data = text ? JSON.parse(text) : {}; } catch { /* not ours: a proxy's error page, perhaps */ }
  if (!response.ok || !data || data.ok === false) {
    throw failure(response.ok ? (data ? 422 : 502) : response.status, data, response.headers);
  }
  return data;
}

export function get(path, fields, options) { return send("GET", path + query(fields), options); }
export function post(path, body, options) { return send("POST", path, { body, ...options }); }
export function del(path, options) { return send("DELETE", path, options); }
// Where the server takes only form fields; FormData may hold files.
export function postForm(path, form, options) { return send("POST", path, { form, ...options }); }

// A money movement. The key belongs to the person's intention: a second try must carry the same one.
export function pay(path, body, key) { return send("POST", path, { body, key, timeout: 60000 }); }

let mine;
// Who is signed in, or null. Asked once per page.
export function me() {
  if (!mine) {
    mine = get("/api/me").then((r) => r.user || null).catch((e) => {
      if (e.status === 0 || e.status >= 500) mine = undefined;
      return null;
    });
  }
  return mine;
}

let place;
// Name and currency of the site, asked once per page.
export function site() {
  place = place || get("/api/site").catch(() => ({ name: "PPV", currency: "USD" }));
  return place;
}

let rate;
// A dollar amount in rupiah as text, or "" where there is no rate.
export async function rupiah(cents, currency) {
  if (currency !== "USD" || !(cents > 0)) return "";
  rate = rate || get("/api/kurs").then((r) => Number(r.usd_to_idr), () => 0);
  const n = await rate;
  return n > 0 ? "Rp " + new Intl.NumberFormat("id-ID", { maximumFractionDigits: 0 }).format(Math.round((cents / 100) * n)) : "";
}

// A path of this site and nothing else, or the fallback.
export function safeReturn(text, fallback) {
  if (!text || !/^\/(?![/\\])/.test(text) || /[\\\u0000-\u001f]/.test(text)) return fallback;
  try {
    const url = new URL(text, location.origin);
    return url.origin === location.origin ? url.pathname + url.search + url.hash : fallback;
  } catch { return fallback; }
}

export function signInUrl(back = location.pathname + location.search) {
  return "/public/auth/login.html" + query({ return: back });
}

// For pages that make no sense without a user.
export async function requireUser() {
  const user = await me();
  if (!user) {
    location.replace(signInUrl());
    await new Promise(() => {});
  }
  return user;
}
