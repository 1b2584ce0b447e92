// SPDX-License-Identifier: Apache-2.0
// Upload with progress, pause and continuation, then the progress of preparing the film.
import { requireUser, site } from "./api.js";
import { nav } from "./nav.js";
import { watchUrl } from "./film.js";
import { follow } from "./events.js";
import { giveUp, previous, transfer, unfinished } from "./transfer.js";
import { $, about, busy, clearErrors, confirmButton, date, fill, formError, h, invalid, money, parseMoney, progress, sentence, setProgress,
  size } from "./ui.js";

let CURRENCY = "USD";
const form = $("#upload"), drop = $("#drop"), input = $("#file"), chosen = $("#chosen"), work = $("#work"), offer = $("#offer"), begun = $("#unfinished");
let file = null, old = null, running = null;

const percent = (u) => `${Math.floor((100 * u.offset) / u.size)} %`;

function choose(f) {
  file = f || null;
  old = null;
  fill(offer);
  fill(chosen, file ? [h("strong", { class: "wrap" }, file.name), ` · ${size(file.size)}`] : "No file chosen yet.");
  if (!file) return;
  invalid(input, null);
  if (!form.elements.title.value) form.elements.title.value = file.name.replace(/\.[^.]+$/, "").replace(/[_-]+/g, " ").slice(0, 200);
  offerOld(file);
}

// This very file was begun before: go on there?
async function offerOld(f) {
  const found = await previous(f);
  if (!found || file !== f || running) return;
  old = found;
  const go = h("button", { type: "button", class: "btn btn-brand", id: "continue", onclick: () => run(old) }, "Continue the upload");
  fill(offer, h("div", { class: "alert alert-info" }, h("p", {}, `${percent(old)} of this film has arrived already (begun ${date(old.since)}, `,
    h("strong", { class: "wrap" }, old.title || "Untitled"), "). Continue there, or press Upload to begin again."), go));
  go.focus();
}

// Those of this browser whose file has to be chosen again: a page cannot open it by itself.
async function showUnfinished() {
  const list = await unfinished();
  fill(begun, list.length > 0 && h("section", { class: "card card-body mb-3", "aria-labelledby": "unfinished-title" },
    h("h2", { class: "h5", id: "unfinished-title" }, "Unfinished uploads"), h("p", { class: "mb-2" }, "Choose the same file again to continue."),
    h("ul", { class: "list-group" }, list.map((u) => h("li", { class: "list-group-item d-flex flex-wrap justify-content-between align-items-center gap-2" },
      h("span", { class: "min-w-0 wrap" }, h("strong", {}, u.name), ` · ${percent(u)} of ${size(u.size)} · ${date(u.since)}`),
      confirmButton("Give it up", { question: "Throw away what has arrived?", yes: async () => { await giveUp(u); await showUnfinished(); } }))))));
}
input.addEventListener("change", () => choose(input.files[0]));
for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (e) => { e.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", (e) => {
  e.preventDefault();
  if (running) return;
  choose(e.dataTransfer.files[0]);
});
// A film dropped beside the box must not replace the page.
for (const name of ["dragover", "drop"]) window.addEventListener(name, (e) => e.preventDefault());
// One that can go on later needs no warning.
window.addEventListener("beforeunload", (e) => { if (running && !running.pause) e.preventDefault(); });

form.elements.price.addEventListener("input", showPrice);
function showPrice() {
  const p = parseMoney(form.elements.price.value || "0", CURRENCY);
  $("#price-help").textContent = p === null ? "Write an amount like 4.99." : p === 0 ? "Free to watch." : `Viewers pay ${money(p, CURRENCY)}.`;
}
showPrice();

function card(name) {
  const bar = progress(0, "Upload"), text = h("p", { class: "small text-body-secondary mt-2 mb-0", id: "speed" }, "Starting…"), buttons = h("div", { class: "d-flex flex-wrap gap-2 mt-3" });
  fill(work, h("div", { class: "card card-body" }, h("h2", { class: "h5" }, "Uploading ", h("span", { class: "wrap" }, name)), bar, text, buttons));
  return { bar, text, buttons };
}

// Speed over the last ten seconds, so that a pause or a lost connection does not count for ever.
function meter(c) {
  let marks = [], spoken = 0;
  const say = (text) => { $("#said").textContent = text; };
  return {
    reset() { marks = []; },
    progress(sent, all) {
      const now = performance.now();
      marks = marks.filter((m) => now - m.at < 10000);
      marks.push({ at: now, sent });
      const speed = (sent - marks[0].sent) / Math.max(0.5, (now - marks[0].at) / 1000);
      setProgress(c.bar, sent / all);
      c.text.textContent = `${size(sent)} of ${size(all)}` + (speed > 0 ? ` · ${size(speed)}/s · ${about((all - sent) / speed)} left` : "");
      if (now - spoken > 15000) { spoken = now; say(`Uploaded ${Math.round((100 * sent) / all)} percent`); }
    },
    waiting() {
      marks = [];
      c.text.textContent = "The connection is lost. The upload goes on by itself when it is back.";
      say(c.text.textContent);
    },
    ended() { setProgress(c.bar, 1); c.text.textContent = "Checking the file…"; },
  };
}

function controls(c, m) {
  const stop = confirmButton("Stop the upload", { question: "Throw away what has arrived?", yes: () => running.stop() });
  if (!running.pause) {
    fill(c.buttons, h("button", { type: "button", class: "btn btn-outline-danger btn-sm", id: "stop", onclick: () => running.stop() }, "Stop the upload"));
    $("#stop").focus();
    return;
  }
  let paused = false;
  const pause = h("button", { type: "button", class: "btn btn-outline-secondary btn-sm", id: "pause", onclick: () => busy(pause, async () => {
    paused = !paused;
    m.reset();
    if (paused) await running.pause(); else running.resume();
    c.text.textContent = paused ? "Paused. You can also leave this page and continue later." : "Continuing…";
    $("#said").textContent = c.text.textContent;
    pause.lastChild.textContent = paused ? "Resume" : "Pause";
  }) }, "Pause");
  fill(c.buttons, pause, stop);
  pause.focus();
}

async function run(from) {
  const price = parseMoney(form.elements.price.value || "0", CURRENCY);
  if (!file) { invalid(input, "Please choose a video file."); return; }
  if (price === null && !from) { invalid(form.elements.price, "Write an amount like 4.99."); return; }
  const c = card(file.name), m = meter(c), fields = from ? { title: from.title, description: from.description, price_cents: from.price_cents }
    : { title: form.elements.title.value.trim(), description: form.elements.description.value.trim(), price_cents: String(price) };
  form.hidden = begun.hidden = true;
  try {
    running = await transfer(file, fields, from, m);
    controls(c, m);
    const done = await running.done;
    running = null;
    prepare(done.video_id);
  } catch (error) {
    running = null;
    form.hidden = begun.hidden = false;
    fill(work);
    formError(form, error);
    choose(file);
    showUnfinished();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearErrors(form);
  if (running) return;
  if (old) giveUp(old).catch(() => {}); // begin again
  run(null);
});

function prepare(id) {
  const bar = progress(0, "Preparing the film"), text = h("p", { class: "mt-2 mb-0", role: "status" }, "The film is uploaded and waits for its turn.");
  const card = h("div", { class: "card card-body", id: "prepare", data: { video: id } }, h("h2", { class: "h5" }, "Preparing the film"), bar, text,
    h("p", { class: "small text-body-secondary mt-2 mb-0" }, "You can leave this page. ", h("a", { href: "/public/dashboard.html" }, "My videos"), " shows how far it is."));
  fill(work, card);
  follow(id, (s) => {
    setProgress(bar, s.progress);
    if (s.state === "ready") {
      fill(card, h("h2", { class: "h5" }, "Ready to watch"), h("p", {}, "The film is in the catalogue now."),
        h("div", { class: "d-flex flex-wrap gap-2" }, h("a", { class: "btn btn-brand", id: "watch", href: watchUrl(id) }, "Watch it"),
          h("a", { class: "btn btn-outline-secondary", href: "/public/dashboard.html" }, "My videos"),
          h("button", { type: "button", class: "btn btn-outline-secondary", onclick: () => location.reload() }, "Upload another")));
      $("#said").textContent = "The film is ready.";
      $("#watch").focus();
    } else if (s.state === "failed" || s.state === "cancelled") {
      fill(card, h("h2", { class: "h5" }, "This did not work"), h("div", { class: "alert alert-danger", role: "alert" }, s.error || sentence(null)),
        h("div", {}, h("a", { class: "btn btn-outline-secondary", href: "/public/dashboard.html" }, "My videos")));
    } else if (s.state === "processing") {
      text.textContent = `Making the versions for every screen… ${Math.round(s.progress * 100)} %` + (s.eta ? `, ${about(s.eta)} left` : "");
    }
  });
}

await requireUser();
await nav();
CURRENCY = (await site()).currency || "USD";
$("#currency").textContent = CURRENCY;
showPrice();
form.hidden = false;
showUnfinished();
