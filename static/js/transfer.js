// SPDX-License-Identifier: Apache-2.0
// Sends a film: in pieces that survive reloads and lost connections (tus), or as one form where the server does not speak that.
// hooks: progress(sent, all), waiting() = the connection is lost and tried again, ended() = all bytes are sent.
import { ApiError, get } from "./api.js";

const ENDPOINT = "/api/uploads";
const CHUNK = 16 << 20; // what a proxy that collects bodies has to hold, and all that one lost request can cost
const WAITS = [0, 1000, 3000, 5000, 10000, ...Array(1000).fill(20000)];
const AGE = 30 * 86400000;
const HEADERS = { "X-PPV": "1", Accept: "application/json" };
const { tus } = window;

function failure(status, text, fallback) {
  let body = null;
  try { body = JSON.parse(text); } catch { /* a proxy's page */ }
  return new ApiError(body?.error || (status === 413 ? "This file is too large for this site." : status ? `The server answered with an error (${status}).` : fallback),
    { status, code: body?.code || "upload.failed", requestId: body?.request_id, field: body?.field, body });
}

// ---- what was begun before

const stored = () => (tus?.canStoreURLs ? tus.defaultOptions.urlStorage.findAllUploads() : Promise.resolve([]));
const forget = (entry) => tus.defaultOptions.urlStorage.removeUpload(entry.urlStorageKey);

// {entry, name, size, offset, since, title, ...} of an upload that can go on, or null. What is over is forgotten.
async function ask(entry) {
  try {
    const state = await get(new URL(entry.uploadUrl, location.origin).pathname);
    if (state.state === "open") return { entry, name: state.name, size: state.length, offset: state.offset, since: entry.creationTime, ...entry.metadata };
    forget(entry);
  } catch (e) {
    // Somebody else's of this browser, perhaps: only time tells.
    if (e.status === 410 || (e.status === 404 && Date.now() - new Date(entry.creationTime) > AGE)) forget(entry);
  }
  return null;
}

// Unfinished uploads of this browser and user.
export async function unfinished() {
  return (await Promise.all((await stored()).filter((e) => e.uploadUrl).map(ask))).filter(Boolean);
}

// The unfinished upload of this very file, or null.
export async function previous(file) {
  if (!tus?.canStoreURLs) return null;
  const found = await new tus.Upload(file, { endpoint: ENDPOINT }).findPreviousUploads();
  return (await Promise.all(found.filter((e) => e.uploadUrl).map(ask))).find(Boolean) || null;
}

export async function giveUp(old) {
  await tus.Upload.terminate(old.entry.uploadUrl, { headers: HEADERS, retryDelays: WAITS.slice(0, 4) });
  await forget(old.entry);
}

// ---- in pieces

const again = (status) => status === 0 || status === 409 || status === 423 || status === 429 || status >= 500;

function pieces(file, fields, old, hooks) {
  let upload, resolve, reject, stopped = false, paused = false;
  const done = new Promise((yes, no) => { resolve = yes; reject = no; });
  const online = () => { if (!paused && !stopped) upload.abort().then(() => upload.start()); };
  const over = (fn, value) => { window.removeEventListener("online", online); fn(value); };
  upload = new tus.Upload(file, {
    endpoint: ENDPOINT, headers: HEADERS, chunkSize: CHUNK, retryDelays: WAITS, removeFingerprintOnSuccess: true,
    metadata: { filename: file.name, filetype: file.type, ...fields },
    onProgress: (sent, all) => hooks.progress(sent, all),
    onShouldRetry: (error) => {
      const status = error.originalResponse ? error.originalResponse.getStatus() : 0;
      if (!again(status) || status === 507) return false;
      hooks.waiting();
      return true;
    },
    onError: (error) => {
      const r = error.originalResponse;
      over(reject, failure(r ? r.getStatus() : 0, r && r.getBody(), "The connection broke during the upload. You can continue it."));
    },
    onSuccess: async () => {
      hooks.ended();
      try {
        const s = await get(new URL(upload.url, location.origin).pathname);
        if (s.state !== "done") throw new ApiError(s.error || "The upload did not arrive as a whole.", { code: s.error_code || "upload.failed" });
        over(resolve, s);
      } catch (e) { over(reject, e); }
    },
  });
  window.addEventListener("online", online);
  if (old) upload.resumeFromPreviousUpload(old.entry);
  upload.start();
  return {
    done,
    pause() { paused = true; return upload.abort(); },
    resume() { paused = false; upload.start(); },
    async stop() {
      stopped = true;
      try { await upload.abort(true); } catch { /* it expires by itself */ }
      over(reject, new ApiError("The upload was stopped.", { code: "upload.stopped" }));
    },
  };
}

// ---- as one form

// One request with the file in a form. hooks: progress(sent, total), ended(). {done: promise of the answer, stop()}.
export function whole(path, file, fields, hooks) {
  const data = new FormData(), xhr = new XMLHttpRequest();
  for (const [k, v] of Object.entries(fields)) data.append(k, v);
  data.append("file", file, file.name);
  const done = new Promise((resolve, reject) => {
    xhr.upload.addEventListener("progress", (e) => { if (e.lengthComputable) hooks.progress(e.loaded, e.total); });
    xhr.upload.addEventListener("load", () => hooks.ended());
    xhr.addEventListener("load", () => {
      if (xhr.status >= 200 && xhr.status < 300) {
        try { resolve(JSON.parse(xhr.responseText)); return; } catch { /* below */ }
      }
      reject(failure(xhr.status, xhr.responseText));
    });
    xhr.addEventListener("error", () => reject(failure(0, "", "The connection broke during the upload. Please try again.")));
    xhr.addEventListener("abort", () => reject(new ApiError("The upload was stopped.", { code: "upload.stopped" })));
  });
  xhr.open("POST", path);
  for (const [k, v] of Object.entries(HEADERS)) xhr.setRequestHeader(k, v);
  xhr.send(data);
  return { done, stop: () => xhr.abort() };
}

async function speaksTus() {
  if (!tus?.isSupported) return false;
  try { return (await fetch(ENDPOINT, { method: "OPTIONS" })).headers.get("tus-resumable") === "1.0.0"; } catch { return false; }
}

// {done: promise of the server's answer, stop(), pause(), resume()}; without the last two it cannot be paused.
export async function transfer(file, fields, old, hooks) {
  return (await speaksTus()) ? pieces(file, fields, old, hooks) : whole("/api/upload", file, fields, hooks);
}
