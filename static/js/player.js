// SPDX-License-Identifier: Apache-2.0
// Our own small player: hls.js (light build where it suffices), native HLS otherwise. The viewer's name and the date
// wander over the picture; the keys of the film carry the real mark.
import { chapters } from "./chapters.js";
import { storyboard } from "./storyboard.js";
import { addTexts, preferTracks, trackItems } from "./tracks.js";
import { clock, fill, h, icon, sentence } from "./ui.js";

const ASK_MS = 5000; // access is given up to 10 s
const NO_WAY = "This browser cannot play this kind of video. Please use a current one.";
// Browsers' own HLS decrypts transport streams everywhere, fMP4 behind a clear header only where HLS comes from.
const APPLE = /^Apple/.test(navigator.vendor);
const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2];

// The light build knows no separate audio or subtitle tracks.
async function library(playlist) {
  const response = await fetch(playlist, { credentials: "same-origin" });
  if (!response.ok) throw Object.assign(new Error("playlist"), { status: response.status });
  const text = await response.text();
  const full = /#EXT-X-MEDIA:[^\n]*TYPE=(AUDIO|SUBTITLES)[^\n]*URI=/.test(text);
  const module = await import(full ? "/public/vendor/hls.min.js" : "/public/vendor/hls.light.min.js");
  return module.default;
}

// Small deterministic noise: places differ per viewer and per moment, no two viewers share a path.
function noise(text) {
  let a = 0x811c9dc5;
  for (const c of text) a = Math.imul(a ^ c.codePointAt(0), 0x01000193) >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function overlay(box, viewer) {
  const random = noise(viewer + Date.now());
  const mark = h("div", { class: "viewer-mark", "aria-hidden": "true" });
  let timer;
  function move() {
    if (mark.parentNode !== box) box.append(mark);
    const now = new Date();
    mark.textContent = `${viewer} · ${now.toISOString().slice(0, 16).replace("T", " ")}`;
    mark.style.left = 20 + random() * 60 + "%";
    mark.style.top = 8 + random() * 74 + "%";
    timer = setTimeout(move, 4000 + random() * 4000);
  }
  move();
  return () => { clearTimeout(timer); mark.remove(); };
}

// options: playlist, viewer (whose name wanders; none = nobody's), poster, chapters ([[ms, title], ...]), startAt (s), duration (s, a hint), onProgress(seconds, leaving, played), renew() -> new playlist address,
// ended() -> why the session must not be renewed by itself {text, action: text of a button that starts again, href: where it leads instead},
// or null; finished() -> what stands in the picture after the end;
// quiet: begin without sound where the browser allows no other beginning
export function createPlayer(stage, options) {
  const video = h("video", { playsinline: true, preload: "auto", poster: options.poster, tabindex: "-1", "aria-label": options.title || "Video" });
  const seek = h("input", { type: "range", class: "seek", min: 0, max: Math.max(1, options.duration || 1), step: 0.1, value: 0, "aria-label": "Position" });
  const times = h("span", { class: "clock" }, "0:00");
  const playButton = control("play", "Play (k)", toggle);
  const muteButton = control("volume", "Mute (m)", () => { video.muted = !video.muted; });
  const volume = h("input", { type: "range", class: "volume", min: 0, max: 1, step: 0.05, value: 1, "aria-label": "Volume" });
  const speedButton = h("button", { type: "button", class: "ctl wide", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": "1× speed" }, "1×");
  const qualityButton = h("button", { type: "button", class: "ctl", id: "quality", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": "Quality" }, icon("gear", 22));
  const tracksButton = h("button", { type: "button", class: "ctl", id: "tracks", hidden: true, "aria-haspopup": "menu", "aria-expanded": "false",
    "aria-label": "Sound and subtitles", title: "Sound and subtitles" }, icon("speech", 22));
  const chaptersButton = h("button", { type: "button", class: "ctl", id: "chapters", hidden: !options.chapters?.length, "aria-haspopup": "menu", "aria-expanded": "false",
    "aria-label": "Chapters", title: "Chapters" }, icon("list", 22));
  const pipButton = control("pip", "Picture in picture (i)", pip);
  const fullButton = control("full", "Full screen (f)", fullscreen);
  const spinner = h("span", { class: "spinner-border", role: "status", "aria-label": "Loading" });
  const center = h("div", { class: "center" }, spinner);
  const live = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  const menu = h("div", { class: "menu", role: "menu", hidden: true });
  const controls = h("div", { class: "controls" }, seek, h("div", { class: "row1" }, playButton, times, h("span", { class: "flex-grow-1" }),
    muteButton, volume, speedButton, chaptersButton, tracksButton, qualityButton, document.pictureInPictureEnabled && pipButton, fullButton));
  const box = h("div", { class: "player", role: "group", "aria-label": "Video player" }, video, center, controls, menu, live);
  fill(stage, box);
  const parts = chapters(options.chapters || [], controls, seek);
  storyboard(seek, controls, () => options.playlist, parts.name);

  const ended = options.ended;
  let hls = null, wanted = options.startAt || 0, dragging = false, renewals = 0, recoveries = 0, dead = false, idleTimer = 0, quality = -1;
  const stopMark = options.viewer ? overlay(box, options.viewer) : () => {};

  function control(pic, label, run) {
    return h("button", { type: "button", class: "ctl", "aria-label": label, title: label, onclick: run }, icon(pic, 24));
  }
  function setControl(button, pic, label) {
    fill(button, icon(pic, 24));
    button.setAttribute("aria-label", label);
    button.title = label;
  }
  function say(text) { live.textContent = text; }

  function toggle() {
    if (dead) return;
    if (video.paused) video.play().catch(() => showPlay());
    else video.pause();
  }
  function showPlay() {
    fill(center, h("button", { type: "button", class: "bigplay", "aria-label": "Play", onclick: toggle }, icon("play", 40)));
  }
  function beginQuietly() {
    if (!options.quiet) return showPlay();
    video.muted = true;
    return video.play().catch(showPlay);
  }
  async function pip() {
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else await video.requestPictureInPicture();
    } catch { say("Picture in picture is not possible here."); }
  }
  async function fullscreen() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (box.requestFullscreen) await box.requestFullscreen();
      else if (video.webkitEnterFullscreen) video.webkitEnterFullscreen();
    } catch { say("Full screen is not possible here."); }
  }
  function jump(to) {
    const end = video.duration || Infinity;
    video.currentTime = Math.max(0, Math.min(end - 0.1, to));
    awake();
  }

  // ---- menus

  let menuOf = null;
  function openMenu(button, title, items) {
    if (menuOf === button) return closeMenu();
    menuOf = button;
    fill(menu, h("div", { class: "head" }, title), items.map((it) => it.head ? h("div", { class: "head" }, it.head) : h("button", { type: "button", role: "menuitemradio",
      "aria-checked": String(it.on), data: it.data || {}, onclick: () => { it.run(); closeMenu(); } }, it.text)));
    menu.hidden = false;
    button.setAttribute("aria-expanded", "true");
    (menu.querySelector("[aria-checked=true]") || menu.querySelector("button"))?.focus();
    return undefined;
  }
  function closeMenu() {
    if (!menuOf) return;
    menu.hidden = true;
    menuOf.setAttribute("aria-expanded", "false");
    if (menu.contains(document.activeElement)) menuOf.focus();
    menuOf = null;
  }
  menu.addEventListener("keydown", (e) => {
    const items = [...menu.querySelectorAll("button")], at = items.indexOf(document.activeElement);
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      items[(at + (e.key === "ArrowDown" ? 1 : items.length - 1)) % items.length].focus();
    } else if (e.key === "Escape") closeMenu();
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  document.addEventListener("pointerdown", outside);
  function outside(e) { if (menuOf && !menu.contains(e.target) && !menuOf.contains(e.target)) closeMenu(); }

  speedButton.addEventListener("click", () => openMenu(speedButton, "Speed", SPEEDS.map((s) => ({ text: s + "×", on: video.playbackRate === s,
    run: () => setSpeed(s) }))));
  function setSpeed(s) {
    video.playbackRate = s;
    speedButton.textContent = s + "×";
    speedButton.setAttribute("aria-label", `${s}× speed`);
  }
  qualityButton.addEventListener("click", () => openMenu(qualityButton, "Quality", levels()));
  tracksButton.addEventListener("click", () => {
    const [first, ...rest] = trackItems(hls, video, say);
    openMenu(tracksButton, first.head, rest);
  });
  chaptersButton.addEventListener("click", () => openMenu(chaptersButton, "Chapters", parts.items(video, jump)));
  const showTracks = () => { tracksButton.hidden = trackItems(hls, video, say).length === 0; };
  video.textTracks.addEventListener?.("addtrack", showTracks);
  video.audioTracks?.addEventListener?.("addtrack", showTracks);
  function levels() {
    if (!hls) return [{ text: "Automatic", on: true, run() {} }];
    const now = hls.levels[hls.currentLevel];
    const list = hls.levels.map((l, i) => ({ text: l.height ? `${l.height}p` : `${Math.round(l.bitrate / 1000)} kbit/s`, on: quality === i, i, height: l.height,
      data: { height: String(l.height || 0) }, run: () => choose(i) })).sort((a, b) => b.height - a.height);
    return [...list, { text: "Automatic" + (quality === -1 && now?.height ? ` (${now.height}p)` : ""), on: quality === -1, data: { height: "auto" }, run: () => choose(-1) }];
  }
  function choose(i) {
    quality = i;
    hls.nextLevel = i;
    try { localStorage.setItem("quality", i < 0 ? "auto" : String(hls.levels[i].height)); } catch { /* private mode */ }
    say(i < 0 ? "Quality: automatic" : `Quality: ${hls.levels[i].height}p`);
  }
  function preferred() {
    let stored = null;
    try { stored = localStorage.getItem("quality"); } catch { /* private mode */ }
    if (!stored || stored === "auto") return;
    const i = hls.levels.findIndex((l) => String(l.height) === stored);
    if (i >= 0) { quality = i; hls.nextLevel = i; }
  }

  // ---- state

  function awake() {
    box.classList.remove("idle");
    clearTimeout(idleTimer);
    idleTimer = setTimeout(() => { if (!video.paused && !menuOf && !dragging) box.classList.add("idle"); }, 3000);
  }
  function showTime() {
    const length = isFinite(video.duration) && video.duration > 0 ? video.duration : options.duration || 0;
    const at = dragging ? Number(seek.value) : video.currentTime;
    if (length && Number(seek.max) !== length) seek.max = length;
    parts.draw(length);
    if (!dragging) seek.value = at;
    times.textContent = length ? `${clock(at)} / ${clock(length)}` : clock(at);
    seek.setAttribute("aria-valuetext", [`${clock(at)} of ${clock(length)}`, parts.name(at)].filter(Boolean).join(", "));
  }
  // Seconds really shown since the last report: small steps of the clock count, jumps do not.
  let reported = -1, played = 0, before = 0;
  function count() {
    const step = video.currentTime - before;
    if (step > 0 && step < 2 && !video.seeking) played += step;
    before = video.currentTime;
  }
  function report(leaving) {
    const at = Math.floor(video.currentTime);
    if (!options.onProgress || (at === reported && !leaving) || (at === 0 && reported <= 0)) return;
    reported = at;
    options.onProgress(at, leaving === true, played);
    played = 0;
  }
  const reporter = setInterval(() => { if (!video.paused) report(); }, 10000);
  function leave() { report(true); }
  window.addEventListener("pagehide", leave);

  video.addEventListener("play", () => { setControl(playButton, "pause", "Pause (k)"); fill(center); awake(); });
  video.addEventListener("pause", () => { setControl(playButton, "play", "Play (k)"); awake(); if (!dead) report(); });
  video.addEventListener("playing", () => { fill(center); recoveries = 0; });
  video.addEventListener("waiting", () => { if (!dead) fill(center, spinner); });
  video.addEventListener("seeked", () => { if (!dead && (video.paused || video.readyState > 2)) fill(center); });
  video.addEventListener("canplay", () => { if (center.contains(spinner)) fill(center); });
  video.addEventListener("timeupdate", () => { count(); showTime(); });
  video.addEventListener("durationchange", showTime);
  video.addEventListener("ended", () => {
    report();
    if (options.finished) fill(center, options.finished()); else showPlay();
    say("The end");
  });
  video.addEventListener("volumechange", () => {
    const off = video.muted || video.volume === 0;
    setControl(muteButton, off ? "muted" : "volume", off ? "Sound on (m)" : "Mute (m)");
    volume.value = video.muted ? 0 : video.volume;
  });
  video.addEventListener("click", () => { if (menuOf) closeMenu(); else toggle(); });
  video.addEventListener("dblclick", fullscreen);
  video.addEventListener("error", () => { if (!hls && !dead) native(video.error); });
  volume.addEventListener("input", () => { video.muted = false; video.volume = Number(volume.value); });
  seek.addEventListener("input", () => { dragging = true; showTime(); });
  seek.addEventListener("change", () => { dragging = false; jump(Number(seek.value)); });
  box.addEventListener("pointermove", awake);
  box.addEventListener("focusin", awake);
  document.addEventListener("fullscreenchange", onFull);
  function onFull() {
    const on = document.fullscreenElement === box;
    setControl(fullButton, on ? "small" : "full", on ? "Leave full screen (f)" : "Full screen (f)");
  }

  document.addEventListener("keydown", onKey);
  function onKey(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
    const t = e.target, inside = box.contains(t);
    if (!inside && t instanceof Element && t.closest("input, textarea, select, button, a, [contenteditable], [role=menu], [role=dialog]")) return;
    if (t instanceof HTMLButtonElement && (e.key === " " || e.key === "Enter")) return;
    const length = video.duration || 0;
    const run = {
      " ": toggle, k: toggle, j: () => jump(video.currentTime - 10), l: () => jump(video.currentTime + 10),
      ArrowLeft: () => jump(video.currentTime - 5), ArrowRight: () => jump(video.currentTime + 5),
      ArrowUp: () => { video.muted = false; video.volume = Math.min(1, video.volume + 0.1); },
      ArrowDown: () => { video.volume = Math.max(0, video.volume - 0.1); },
      m: () => { video.muted = !video.muted; }, f: fullscreen, i: pip, Home: () => jump(0), End: () => jump(length - 1),
      Escape: menuOf && closeMenu,
    }[e.key] || (/^\d$/.test(e.key) && length ? () => jump((length * Number(e.key)) / 10) : null);
    if (!run || ((t === volume) && e.key.startsWith("Arrow"))) return;
    // Outside the player the page keeps its own scroll keys.
    if (!inside && /^(Arrow(Up|Down)|Home|End)$/.test(e.key)) return;
    e.preventDefault();
    run();
    awake();
  }

  // ---- loading and mending

  function fail(text, action = "Try again", href = null) {
    dead = true;
    video.pause();
    say(text);
    fill(center, h("div", { class: "failed", role: "alert" }, h("p", { class: "mb-3" }, text),
      href ? h("a", { class: "btn btn-light", href }, action) : h("button", { type: "button", class: "btn btn-light", onclick: again }, action)));
  }
  // Nothing of what was loaded ahead stays playable.
  function unload() {
    hls?.destroy();
    hls = api.hls = null;
    if (!video.hasAttribute("src")) return;
    video.removeAttribute("src");
    video.load();
  }
  // While keys come their absence tells; when all is loaded ahead, or the browser itself loads, we have to ask.
  let heard = 0;
  const watcher = setInterval(async () => {
    if (dead || video.paused || !options.ended || performance.now() - heard < ASK_MS) return;
    heard = performance.now();
    const why = await options.ended();
    if (!why || dead) return;
    wanted = video.currentTime || wanted;
    unload();
    fail(why.text, why.action, why.href);
  }, 1000);
  async function again() {
    renewals = 0;
    dead = false;
    options.ended = null; // the viewer asked for it: no question of why
    fill(center, spinner);
    await restart(true);
    options.ended = ended;
  }
  // A new playback session at the same place: the old one ended or was refused.
  async function restart(play) {
    wanted = video.currentTime || wanted;
    unload();
    fill(center, spinner);
    try {
      const why = options.ended && await options.ended();
      if (why) return fail(why.text, why.action, why.href);
      options.playlist = await options.renew();
      await open();
      if (play) await video.play().catch(showPlay); else showPlay();
    } catch (error) { fail(sentence(error)); }
    return undefined;
  }
  async function native() {
    const unknown = video.error?.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED;
    if (options.renew && renewals++ < 1) return restart(!video.paused);
    return fail(unknown ? NO_WAY : "This video cannot be played here right now.");
  }

  function onHlsError(Hls, data) {
    if (dead) return;
    const status = data.response?.code || 0;
    // The session is over for every rendition alike: no use in trying the others first.
    if ([401, 403, 404, 410].includes(status) && renewals < 2) {
      renewals++;
      restart(!video.paused);
      return;
    }
    if (!data.fatal) return;
    console.debug("hls", data.type, data.details, status);
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && recoveries++ < 3) {
      hls.recoverMediaError();
    } else if (data.type === Hls.ErrorTypes.NETWORK_ERROR && (status === 0 || status === 429 || status >= 500) && recoveries++ < 5) {
      setTimeout(() => hls?.startLoad(), 1000 * recoveries);
    } else if (data.type === Hls.ErrorTypes.NETWORK_ERROR) {
      fail(status === 429 ? "That was a bit fast. Please wait a moment and try again." : [403, 404, 410].includes(status)
        ? "Playback was stopped. You may be watching in too many places at once." : "The video stopped loading. Please check your connection.");
    } else {
      fail("This video cannot be played here right now.");
    }
  }

  async function open() {
    const canNative = video.canPlayType("application/vnd.apple.mpegurl");
    let Hls = null;
    if (window.MediaSource || window.ManagedMediaSource) Hls = await library(options.playlist);
    if (Hls && Hls.isSupported()) {
      hls = new Hls({ startPosition: wanted > 1 ? wanted : -1, workerPath: "/public/vendor/hls.worker.js", maxBufferLength: 30, maxMaxBufferLength: 90,
        backBufferLength: 60, capLevelToPlayerSize: false, xhrSetup: (xhr) => { xhr.withCredentials = false; } });
      hls.on(Hls.Events.ERROR, (_, data) => onHlsError(Hls, data));
      const ready = new Promise((resolve) => { hls.once(Hls.Events.MANIFEST_PARSED, () => { preferred(); resolve(); }); });
      hls.on(Hls.Events.KEY_LOADED, () => { heard = performance.now(); });
      for (const name of ["AUDIO_TRACKS_UPDATED", "SUBTITLE_TRACKS_UPDATED"]) {
        hls.once(Hls.Events[name], () => preferTracks(hls));
        hls.on(Hls.Events[name], showTracks);
      }
      hls.loadSource(options.playlist);
      hls.attachMedia(video);
      api.hls = hls;
      await Promise.race([ready, new Promise((resolve) => { setTimeout(resolve, 15000); })]);
    } else if (canNative) {
      qualityButton.hidden = true;
      video.crossOrigin = "anonymous"; // no cookie for a content delivery network
      video.src = APPLE ? options.playlist : options.playlist.replace(/master(?=\.m3u8$)/, "master-ts");
      video.addEventListener("loadedmetadata", () => {
        if (wanted > 1) video.currentTime = wanted;
        if (!APPLE) addTexts(video, options.playlist).then(showTracks);
      }, { once: true });
    } else {
      throw Object.assign(new Error(NO_WAY), { name: "ApiError" });
    }
  }

  const api = {
    video, hls: null, box,
    async start(play = true) {
      try {
        await open();
      } catch (error) {
        if ([401, 403, 404, 410].includes(error.status) && renewals++ < 1) return restart(play);
        return fail(error.name === "ApiError" ? error.message : "The video cannot be loaded right now.");
      }
      if (wanted > 5) note(`Going on at ${clock(wanted)}`, "Start over", () => jump(0));
      if (play) await video.play().catch(beginQuietly); else showPlay();
      return undefined;
    },
    destroy() {
      report();
      dead = true;
      clearInterval(reporter);
      clearInterval(watcher);
      clearTimeout(idleTimer);
      stopMark();
      for (const [name, fn] of [["keydown", onKey], ["pointerdown", outside], ["fullscreenchange", onFull]]) document.removeEventListener(name, fn);
      window.removeEventListener("pagehide", leave);
      hls?.destroy();
      box.remove();
    },
  };
  function note(text, action, run) {
    const el = h("div", { class: "note", role: "status" }, text + " ", h("button", { type: "button", class: "btn btn-link btn-sm p-0 ms-2 align-baseline",
      onclick: () => { el.remove(); run(); } }, action));
    box.append(el);
    setTimeout(() => el.remove(), 8000);
  }
  return api;
}
