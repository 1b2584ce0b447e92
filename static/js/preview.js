// SPDX-License-Identifier: Apache-2.0
// The free preview of a video. Its addresses belong to nobody: no cookie goes with the questions.
import { ApiError, query } from "./api.js";

export async function ask(path, fields) {
  const r = await fetch(path + query(fields || {}), { credentials: "omit" }).catch(() => { throw new ApiError("The site cannot be reached. Please check your connection.", {}); });
  const body = await r.json().catch(() => ({}));
  if (!r.ok) throw new ApiError(body.error || "This did not work.", { status: r.status, code: body.code });
  return body;
}

// What createPlayer has to know to show it.
export async function previewOf(video) {
  const open = () => ask("/api/preview", { video_id: video.id });
  const first = await open();
  return { playlist: first.playlist, title: `Preview of ${video.title}`, poster: video.poster, duration: first.seconds,
    renew: async () => (await open()).playlist };
}
