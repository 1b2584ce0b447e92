// SPDX-License-Identifier: Apache-2.0
// Choosing sound and subtitles: hls.js or the browser's own tracks behind one list for the player's menu.
import { h } from "./ui.js";

const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode */ } };
const recall = (key) => { try { return localStorage.getItem(key); } catch { return null; } };

// What the viewer reads: the name, and the language in the viewer's own where the name is not that already.
function label(track, n, kind) {
  const lang = track.lang || track.language || "", name = track.name || track.label || "";
  let own = "";
  try { own = lang && new Intl.DisplayNames(undefined, { type: "language" }).of(lang); } catch { /* unknown tag */ }
  if (!name) return own || `${kind} ${n + 1}`;
  return own && own.toLowerCase() !== name.toLowerCase() ? `${name} (${own})` : name;
}

const texts = (video) => [...video.textTracks].filter((t) => t.kind === "subtitles" || t.kind === "captions");

// A browser that plays by itself but reads no playlists of subtitles: a text track for each, as the master playlist (its address) names them.
export async function addTexts(video, master) {
  for (const t of video.querySelectorAll("track")) t.remove();
  if (texts(video).length) return;
  const response = await fetch(master).catch(() => null), lines = response?.ok ? await response.text() : "";
  const value = (line, key) => new RegExp(`[:,]${key}="([^"]*)"`).exec(line)?.[1] || "";
  const wanted = recall("subtitles");
  for (const [line] of lines.matchAll(/^#EXT-X-MEDIA:TYPE=SUBTITLES.*$/gm)) {
    const srclang = value(line, "LANGUAGE"), src = master.replace(/[^/]*$/, value(line, "URI").replace(/m3u8$/, "vtt"));
    const element = h("track", { kind: "subtitles", label: value(line, "NAME"), srclang, src });
    video.append(element);
    element.track.mode = srclang && srclang === wanted && !texts(video).some((t) => t.mode === "showing") ? "showing" : "disabled";
  }
}

// Entries for the player's menu. hls may be null: then the browser plays by itself.
export function trackItems(hls, video, say) {
  const sounds = hls ? hls.audioTracks : [...(video.audioTracks || [])];
  const subs = hls ? hls.subtitleTracks : texts(video);
  const items = [];
  if (sounds.length > 1) {
    items.push({ head: "Sound" }, ...sounds.map((t, i) => ({ text: label(t, i, "Sound"), on: hls ? hls.audioTrack === i : t.enabled,
      data: { sound: String(i) }, run: () => {
        if (hls) hls.audioTrack = i; else sounds.forEach((s, k) => { s.enabled = k === i; });
        remember("sound", t.lang || t.language || "");
        say(`Sound: ${label(t, i, "Sound")}`);
      } })));
  }
  if (subs.length) {
    const show = (i) => {
      if (hls) { hls.subtitleDisplay = i >= 0; hls.subtitleTrack = i; } else subs.forEach((s, k) => { s.mode = k === i ? "showing" : "disabled"; });
      remember("subtitles", i < 0 ? "off" : subs[i].lang || subs[i].language || "");
      say(i < 0 ? "Subtitles off" : `Subtitles: ${label(subs[i], i, "Subtitles")}`);
    };
    const now = hls ? (hls.subtitleDisplay ? hls.subtitleTrack : -1) : subs.findIndex((t) => t.mode === "showing");
    items.push({ head: "Subtitles" }, { text: "Off", on: now < 0, data: { subtitles: "off" }, run: () => show(-1) },
      ...subs.map((t, i) => ({ text: label(t, i, "Subtitles"), on: now === i, data: { subtitles: String(i) }, run: () => show(i) })));
  }
  return items;
}

// The languages chosen last time.
export function preferTracks(hls) {
  const find = (list, lang) => (lang ? list.findIndex((t) => t.lang === lang) : -1);
  const sound = find(hls.audioTracks, recall("sound"));
  if (sound >= 0) hls.audioTrack = sound;
  const wanted = recall("subtitles"), sub = find(hls.subtitleTracks, wanted);
  if (wanted === "off") hls.subtitleDisplay = false;
  if (sub >= 0) { hls.subtitleDisplay = true; hls.subtitleTrack = sub; }
}
