// SPDX-License-Identifier: Apache-2.0
// How far a video is: server-sent events, and asking every few seconds where those do not pass.
import { get } from "./api.js";

const OVER = new Set(["ready", "failed", "error", "cancelled", "deleted"]);

function shape(d) {
  let state = d.state || d.processing_state || d.status || "processing";
  if (state === "error" || state === "dead") state = "failed";
  if (state === "done") state = "ready";
  if (state === "running") state = "processing";
  return { state, progress: state === "ready" ? 1 : Number(d.progress) || 0, eta: d.eta_s ?? d.info?.eta_s ?? null, error: d.error || null };
}

// Calls seen({state, progress, eta, error}) until the video is ready or failed. Returns a function that stops it.
export function follow(id, seen) {
  let source = null, timer = 0, over = false, failures = 0;
  const stop = () => { over = true; clearTimeout(timer); source?.close(); };
  const take = (d) => {
    if (over) return;
    const s = shape(d);
    if (OVER.has(s.state)) stop();
    seen(s);
  };

  async function ask() {
    if (over) return;
    try {
      const { video } = await get("/api/videos/" + encodeURIComponent(id));
      take({ ...video, state: video.state || video.processing_state });
    } catch (e) {
      if (e.status === 404) { stop(); return; }
    }
    if (!over) timer = setTimeout(ask, 4000);
  }

  function onEvent(e) {
    failures = 0;
    try { take(JSON.parse(e.data)); } catch { /* a comment or a foreign event */ }
  }
  source = new EventSource(`/api/videos/${encodeURIComponent(id)}/events`);
  for (const name of ["message", "progress", "state", "done", "failed"]) source.addEventListener(name, onEvent);
  source.addEventListener("error", () => {
    if (over) return;
    if (source.readyState === EventSource.CLOSED || ++failures > 3) { source.close(); ask(); }
  });
  return stop;
}
