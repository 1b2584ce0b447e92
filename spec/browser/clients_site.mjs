// SPDX-License-Identifier: Apache-2.0
// One film in every kind of player: a strict playlist parser, FFmpeg, Shaka Player on another site, ours, and the browser's own
// HLS as far as it goes; then the same with the segments on a content delivery network, nginx as deploy/cdn-nginx.conf describes it.
import { execFile, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import net from "node:net";
import { join } from "node:path";
import { ROOT, Server, call, check, main, note, show, until } from "../live/lib.mjs";
import { launch, make_film, open_page, shot, upload_film } from "./lib.mjs";

const require = createRequire(import.meta.url);
const HLS = require("hls-parser");
const SHAKA = readFileSync(require.resolve("shaka-player/dist/shaka-player.compiled.js"));
const SECONDS = 8;
const exec = (file, ...args) => new Promise(done => execFile(file, args, { timeout: 900000, maxBuffer: 8 << 20 }, (e, out, err) => done({ code: e ? 1 : 0, out, err })));

/** The addresses a playback session answers with: master and, parsed strictly, all it leads to. */
async function strict(s, who, id, name, ts = "") {
  const token = (await who.get(`/api/request_play?video_id=${id}`)).json.session, dir = `/hls/${token}/`;
  HLS.setOptions({ strictMode: true });
  const read = async file => {
    const r = await call(s.port, "GET", dir + file);
    if (r.status !== 200) throw new Error(`${file}: ${r.status}`);
    return HLS.parse(r.text);
  };
  const master = await read(`master${ts}.m3u8`), media = [];
  const uris = [...new Set(master.variants.flatMap(v => [v.uri, ...v.audio.map(a => a.uri), ...v.subtitles.map(t => t.uri)]))];
  for (const uri of uris) media.push([uri, await read(uri)]);
  check(`${name}: a strict parser takes the master and ${uris.length} renditions`, master.isMasterPlaylist && master.variants.length > 0 && uris.length > 1);
  const total = list => list.segments.reduce((sum, x) => sum + x.duration, 0);
  check(`${name}: each is complete, on the grid, with a key, an IV and ${ts ? "no" : "a"} header for every segment`, media.every(([, l]) => l.endlist && l.playlistType === "VOD"
    && Math.abs(total(l) - SECONDS) < 0.1 && l.segments.every(x => x.duration <= l.targetDuration + 0.5 && x.key.method === "AES-128" && x.key.iv.length === 16 && (ts ? !x.map && /^[0-9a-f]+\.ts$/.test(x.uri) : x.map.uri))),
  show(media.map(([u, l]) => [u, total(l), l.segments.length])));
  check(`${name}: what the master says of bit rates and codecs is said of every variant`, master.variants.every(v => v.bandwidth > 10000
    && /^avc1\.[0-9a-f]{6},mp4a\.40\.2$/.test(v.codecs) && v.resolution.height > 0), show(master.variants.map(v => [v.bandwidth, v.codecs])));
  return { url: `${s.url}${dir}master${ts}.m3u8`, media };
}

async function decodes(url, name) {
  const probe = await exec("ffprobe", "-v", "error", "-allowed_extensions", "ALL", "-show_entries", "stream=codec_name:format=duration", "-of", "json", url);
  const found = JSON.parse(probe.out || "{}");
  check(`${name}: ffprobe reads it with the keys of the session`, probe.code === 0 && Math.abs(found.format.duration - SECONDS) < 0.1
    && found.streams.some(x => x.codec_name === "h264") && found.streams.some(x => x.codec_name === "aac"), probe.out + probe.err);
  const r = await exec("ffmpeg", "-nostdin", "-v", "error", "-xerror", "-allowed_extensions", "ALL", "-i", url, "-map", "0", "-f", "null", "-");
  check(`${name}: ffmpeg decodes all of it without a complaint`, r.code === 0 && !r.err.trim(), r.err.slice(0, 300));
}

/** Another site with a page for Shaka Player. */
async function other_site() {
  const pages = { "/shaka.js": ["text/javascript", SHAKA], "/shaka": ["text/html", "<!doctype html><title>Shaka</title><script src=/shaka.js></script><video muted controls></video>"], };
  const server = http.createServer((req, res) => {
    const [type, body] = pages[req.url] ?? ["text/plain", ""];
    res.writeHead(pages[req.url] ? 200 : 404, { "content-type": type }).end(body);
  });
  await new Promise(done => server.listen(0, "127.0.0.1", done));
  return server;
}

/** Plays on from where a page is to the end; what the browser says of it. */
async function to_the_end(page) {
  await page.waitForFunction(() => document.querySelector("video")?.currentTime > 0.5);
  await page.evaluate(() => { const v = document.querySelector("video"); v.muted = true; v.playbackRate = 2; });
  await page.waitForFunction(() => document.querySelector("video").ended);
  return page.evaluate(() => { const v = document.querySelector("video"), q = v.getVideoPlaybackQuality();
    return { at: v.currentTime, error: v.error?.message ?? null, corrupted: q.corruptedVideoFrames, frames: q.totalVideoFrames, size: v.videoHeight }; });
}
const is_played = r => r.error === null && r.corrupted === 0 && r.frames > SECONDS * 20 && Math.abs(r.at - SECONDS) < 0.2 && r.size > 0;

async function shaka_plays(browser, s, url, name, noise) {
  const site = await other_site(), from = `http://localhost:${site.address().port}`;
  try {
    const page = await open_page(browser, s, null, noise);
    await page.goto(from + "/shaka");
    const version = await page.evaluate(async u => {
      const player = new window.shaka.Player();
      await player.attach(document.querySelector("video"));
      await player.load(u);
      document.querySelector("video").play();
      return window.shaka.Player.version;
    }, url);
    const shaka = await to_the_end(page);
    check(`${name}: Shaka Player ${version} on another site plays it to the end`, is_played(shaka), show(shaka));
    await page.context().close();
  } finally { site.close(); }
}

/** Our page with our player: what the browser asked for. */
async function ours(browser, s, who, id, name, noise) {
  const page = await open_page(browser, s, who, noise), asked = [];
  page.context().on("request", async r => asked.push({ url: r.url(), cookie: (await r.allHeaders().catch(() => ({}))).cookie }));
  await page.goto(`${s.url}/public/watch.html?video_id=${id}`);
  await page.click("#play");
  const r = await to_the_end(page);
  check(`${name}: our player plays it to the end`, is_played(r), show(r));
  await page.context().close();
  return asked;
}

/** What a file made of a playlist holds: every picture's coded bits without parameter sets and delimiters, and every frame of sound. */
async function bits(url) {
  const only = ["-nostdin", "-v", "error", "-xerror", "-allowed_extensions", "ALL", "-i", url, "-c", "copy"];
  const one = async (...args) => {
    const r = await exec("ffmpeg", ...only, ...args, "-f", "md5", "-");
    if (r.code || r.err.trim()) throw new Error(r.err);
    return r.out.trim();
  };
  return [await one("-map", "0:v:0", "-bsf:v", "h264_mp4toannexb,filter_units=remove_types=6-9,h264_metadata=aud=remove"), await one("-map", "0:a:0", "-bsf:a", "aac_adtstoasc")];
}

/** Transport streams are the film itself: decodable, as long, and bit by bit what the fMP4 segments hold, mark included. */
async function streams(s, who, id, name) {
  const ts = await strict(s, who, id, `${name}, as transport streams`, "-ts");
  await decodes(ts.url, `${name}, as transport streams`);
  const frames = JSON.parse((await exec("ffprobe", "-v", "error", "-allowed_extensions", "ALL", "-count_packets", "-select_streams", "v:0", "-show_entries", "stream=nb_read_packets",
    "-of", "json", ts.url)).out);
  check(`${name}, as transport streams: every picture is there`, Number(frames.streams[0].nb_read_packets) === SECONDS * 25, show(frames));
  const [here, there] = [await bits(ts.url), await bits(ts.url.replace("-ts.m3u8", ".m3u8"))];
  check(`${name}, as transport streams: coded pictures and sound are bit by bit those of fMP4`, here.join() === there.join() && here[0] !== here[1], show([here, there]));
}

/** Our player where there are no Media Source Extensions and the browser's own HLS has to do. Chromium's decrypts a header together with
 *  the segment behind it, though a header named before the key is clear (RFC 8216, 4.3.2.5): films reach it as transport streams. */
async function native(browser, s, maker, viewer, id, name, noise) {
  const open = async who => {
    const page = await open_page(browser, s, who, noise);
    page.asked = [];
    page.on("request", r => page.asked.push(r.url()));
    await page.addInitScript(() => { delete window.MediaSource; delete window.ManagedMediaSource; });
    await page.goto(`${s.url}/public/watch.html?video_id=${id}`);
    return page;
  };
  const state = page => page.evaluate(() => { const v = window.player.video; return { hls: window.player.hls, src: v.currentSrc, at: v.currentTime,
    frames: v.getVideoPlaybackQuality().totalVideoFrames, sound: v.webkitAudioDecodedByteCount, error: v.error?.message }; });
  await maker.post("/api/video_update", { id, preview_ms: 4000, price_cents: 500 });
  const guest = await open(null);
  await guest.waitForSelector("#offer");
  const r = await state(guest);
  check(`${name}: the browser's own HLS plays the preview in our player`, r.hls === null && r.src.endsWith("master-ts.m3u8") && Math.abs(r.at - 4) < 0.3 && r.frames > 80 && r.sound > 0, show(r));
  await guest.context().close();
  await maker.post("/api/video_update", { id, price_cents: 0 });
  for (const [who, whose] of [[maker, "its maker"], [viewer, "a viewer"]]) {
    const page = await open(who);
    await page.click("#play");
    const whole = await to_the_end(page), r = await state(page);
    check(`${name}: the browser's own HLS plays the film of ${whose} to the end, with sound`, is_played(whole) && r.hls === null && r.src.endsWith("master-ts.m3u8") && r.sound > 20000, show([whole, r]));
    const jump = async to => {
      await page.evaluate(t => { const v = window.player.video; v.pause(); v.currentTime = t; }, to);
      await page.waitForFunction(t => { const v = window.player.video; return !v.seeking && v.readyState > 2 && Math.abs(v.currentTime - t) < 0.1; }, to);
    };
    for (const to of [1, SECONDS - 1.5, 3.3]) await jump(to);
    await page.evaluate(() => window.player.video.play());
    check(`${name}: it goes on there after jumps back and forth`, is_played(await to_the_end(page)), show(await state(page)));
    check(`${name}: it asked us for streams and keys and for no other segment`, page.asked.every(u => !u.includes(".m4s")) && await page.locator(".player .failed").count() === 0);
    await shot(page, "native-film");
    await page.context().close();
  }
}

const free_port = () => new Promise(done => { const x = net.createServer().listen(0, "127.0.0.1", () => { const { port } = x.address(); x.close(() => done(port)); }); });

/** nginx with the operator's example, between the browser and the site. */
async function cdn(s, port) {
  const dir = join(s.dir, "cdn"), log = join(dir, "log");
  mkdirSync(dir);
  const example = readFileSync(join(ROOT, "deploy/cdn-nginx.conf"), "utf8");
  const conf = example.replace("443 ssl http2", `127.0.0.1:${port}`).replace("https://films.example.org", s.url).replace("/var/cache/nginx/films", join(dir, "cache"));
  writeFileSync(join(dir, "nginx.conf"), `daemon off; master_process off; pid ${dir}/pid; error_log ${dir}/err; events {}\nhttp {
    log_format line '$request_method $uri $status "$http_cookie" "$http_referer" $upstream_cache_status'; access_log ${log} line;
    ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(k => `${k}_temp_path ${dir}/${k};`).join(" ")}\n${conf}\n}\n`);
  const child = spawn("nginx", ["-p", dir, "-c", join(dir, "nginx.conf"), "-e", join(dir, "err")], { stdio: "ignore" });
  await until("nginx answers", async () => (await call(port, "GET", "/none", { timeout: 1000 })).status === 404);
  return { stop: () => child.kill(), lines: () => readFileSync(log, "utf8").trim().split("\n").filter(l => !l.includes("/none")) };
}

await main(async () => {
  const s = await new Server().start(), maker = await s.user("maker"), viewer = await s.user("viewer");
  const id = await upload_film(maker, make_film(s, SECONDS, "854x480"));
  const browser = await launch(), noise = [];
  let edge;
  try {
    const direct = await strict(s, viewer, id, "direct");
    await decodes(direct.url, "direct");
    await shaka_plays(browser, s, direct.url, "direct", noise);
    await streams(s, viewer, id, "direct");
    await native(browser, s, maker, viewer, id, "direct", noise);

    await s.stop();
    s.sets = { ...s.sets, delivery: "cdn", cdn_base_url: "https://cdn.example.org/; script-src *" };
    const bad = await s.ppv("serve");
    check("cdn: an address that is more than one is refused at the start", bad.code !== 0 && /cdn_base_url = https/.test(bad.err + bad.out), bad.err.slice(-300));
    const port = await free_port();
    s.sets = { ...s.sets, delivery: "cdn", cdn_base_url: `http://127.0.0.1:${port}` };
    await s.start();
    edge = await cdn(s, port);
    const far = await strict(s, viewer, id, "cdn");
    check("cdn: segments and headers are named there, keys here", far.media.every(([, l]) => l.segments.every(x => x.uri.startsWith(s.sets.cdn_base_url + "/")
      && x.map.uri.startsWith(s.sets.cdn_base_url + "/") && !x.key.uri.includes(":"))));
    await decodes(far.url, "cdn");
    await streams(s, viewer, id, "cdn");
    const asked = await ours(browser, s, viewer, id, "cdn", noise);
    await ours(browser, s, maker, id, "cdn, the second viewer", noise);
    const there = asked.filter(r => r.url.startsWith(s.sets.cdn_base_url)), lines = edge.lines();
    note(`${there.length} requests of the browser to the network, ${lines.length} lines in its log`);
    check("cdn: every segment came from there and every key from here", there.length >= SECONDS / 2 && asked.every(r => !/\.m4s$|\/init_/.test(r.url) || r.url.startsWith(s.sets.cdn_base_url))
      && asked.some(r => r.url.endsWith(".key")) && there.every(r => !r.url.endsWith(".key")), show(asked.map(r => r.url.slice(0, 90)).filter(u => /m4s|init/.test(u)).slice(0, 3)));
    check("cdn: no cookie and no address of ours went there", lines.length >= there.length && lines.every(l => / 20[06] "-" "-" /.test(l)) && there.every(r => !r.cookie),
      lines.find(l => !/ 20[06] "-" "-" /.test(l)));
    check("cdn: it kept what it fetched", lines.some(l => l.endsWith("HIT")), lines.at(-1));
    const [video, name] = new URL(there.find(r => r.url.endsWith(".m4s")).url).pathname.slice(1).split("/");
    const cipher = (await call(port, "GET", `/${video}/${name}`)).body;
    check("cdn: what it holds is the ciphertext on our disk and no film", cipher.equals(readFileSync(join(s.var, "media", video, name))) && !cipher.includes("moof"));
    const policy = (await call(s.port, "GET", "/public/watch.html")).headers["content-security-policy"];
    check("cdn: the policy names its origin for pictures, sound and requests alone", policy.match(/\S+-src[^;]*127\.0\.0\.1/g).map(x => x.split(" ")[0]).sort().join() === "connect-src,media-src", policy);
    check("the pages raised no error", noise.length === 0, noise.join("; "));
  } finally {
    await browser.close();
    edge?.stop();
  }
});
