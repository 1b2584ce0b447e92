// SPDX-License-Identifier: Apache-2.0
// What browser tests share: Chromium, a film made and prepared, pages of signed-in people.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { fresh_ip, until } from "../live/lib.mjs";

const OUT = process.env.OUT;
if (OUT) mkdirSync(OUT, { recursive: true });

const PATIENCE = 180000; // ms for one step: when to give up on a slow machine

export async function launch() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage",
      "--autoplay-policy=no-user-gesture-required"] });
  const context = browser.newContext.bind(browser);
  browser.newContext = async options => {
    const made = await context(options);
    made.setDefaultTimeout(PATIENCE);
    return made;
  };
  return browser;
}

/** Uploads a file as a film of who and waits until it is ready; its id. fields: of the upload. */
export async function upload_film(who, path, fields = {}) {
  const mark = "----ppv-film", parts = Object.entries({ title: "A long way home", price_cents: 0, ...fields }).map(([k, v]) =>
    `--${mark}\r\ncontent-disposition: form-data; name="${k}"\r\n\r\n${v}\r\n`);
  const head = parts.join("") + `--${mark}\r\ncontent-disposition: form-data; name="file"; filename="film.mp4"\r\ncontent-type: video/mp4\r\n\r\n`;
  const r = await who.request("POST", "/api/upload", { body: Buffer.concat([Buffer.from(head), readFileSync(path), Buffer.from(`\r\n--${mark}--\r\n`)]),
    ip: fresh_ip(), headers: { "content-type": `multipart/form-data; boundary=${mark}` }, timeout: 300000 });
  if (r.status !== 201) throw new Error(`upload: ${r.status} ${r.text}`);
  await until("the film is ready", async () => {
    const st = (await who.get(`/api/videos/${r.json.video_id}/status`)).json;
    if (st.status === "failed") throw Object.assign(new Error(JSON.stringify(st)), { fatal: true });
    return st.status === "ready";
  }, 900);
  return r.json.video_id;
}

/** A film of so many seconds with sound: its path. */
export function make_film(s, seconds, size = "320x180") {
  const path = join(s.dir, `film${seconds}.mp4`);
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", `testsrc2=size=${size}:rate=25:duration=${seconds}`, "-f", "lavfi", "-i",
    `sine=frequency=440:duration=${seconds}`, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", path]);
  return path;
}

/** A page of its own, with the cookies of who (null: a guest). noise gets what went wrong in it. */
export async function open_page(browser, s, who, noise, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, locale: "en-US", ...options });
  if (who) await context.addCookies(Object.entries(who.jar).map(([name, value]) => ({ name, value, url: s.url })));
  const page = await context.newPage();
  page.on("pageerror", e => noise.push(e.message));
  page.on("console", m => { if (/Uncaught|Content Security/.test(m.text())) noise.push(m.text()); });
  return page;
}

/** OUT=dir keeps screenshots. */
export const shot = (page, name) => OUT && page.screenshot({ path: join(OUT, `${name}.png`) });
