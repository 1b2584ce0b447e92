// SPDX-License-Identifier: Apache-2.0
// Upload with progress, then the progress of preparing the film.
import { ApiError, requireUser, site } from "./api.js";
import { nav } from "./nav.js";
import { watchUrl } from "./film.js";
import { follow } from "./events.js";
import { $, about, clearErrors, fill, formError, h, invalid, money, parseMoney, progress, sentence, setProgress, size } from "./ui.js";

let CURRENCY = "USD";
const form = $("#upload"), drop = $("#drop"), input = $("#file"), chosen = $("#chosen"), work = $("#work");
let file = null, request = null;

function choose(f) {
  file = f || null;
  fill(chosen, file ? [h("strong", { class: "wrap" }, file.name), ` · ${size(file.size)}`] : "No file chosen yet.");
  if (file) {
    invalid(input, null);
    if (!form.elements.title.value) form.elements.title.value = file.name.replace(/\.[^.]+$/, "").replace(/[_-]+/g, " ").slice(0, 200);
  }
}
input.addEventListener("change", () => choose(input.files[0]));
for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (e) => { e.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", (e) => {
  e.preventDefault();
  if (request) return;
  choose(e.dataTransfer.files[0]);
});
// A film dropped beside the box must not replace the page.
for (const name of ["dragover", "drop"]) window.addEventListener(name, (e) => e.preventDefault());
window.addEventListener("beforeunload", (e) => { if (request) e.preventDefault(); });

form.elements.price.addEventListener("input", showPrice);
function showPrice() {
  const p = parseMoney(form.elements.price.value || "0", CURRENCY);
  $("#price-help").textContent = p === null ? "Write an amount like 4.99." : p === 0 ? "Free to watch." : `Viewers pay ${money(p, CURRENCY)}.`;
}
showPrice();

function send(fields, bar, text) {
  return new Promise((resolve, reject) => {
    const data = new FormData();
    for (const [k, v] of Object.entries(fields)) data.append(k, v);
    data.append("file", file, file.name);
    const xhr = new XMLHttpRequest();
    request = xhr;
    const began = performance.now();
    let spoken = 0;
    xhr.upload.addEventListener("progress", (e) => {
      if (!e.lengthComputable) return;
      setProgress(bar, e.loaded / e.total);
      const seconds = (performance.now() - began) / 1000, speed = e.loaded / Math.max(0.5, seconds);
      text.textContent = `${size(e.loaded)} of ${size(e.total)} · ${size(speed)}/s · ${about((e.total - e.loaded) / speed)} left`;
      if (performance.now() - spoken > 15000) { spoken = performance.now(); $("#said").textContent = `Uploaded ${Math.round((100 * e.loaded) / e.total)} percent`; }
    });
    xhr.upload.addEventListener("load", () => { setProgress(bar, 1); text.textContent = "Checking the file…"; });
    xhr.addEventListener("load", () => {
      let body = null;
      try { body = JSON.parse(xhr.responseText); } catch { /* a proxy's page */ }
      if (xhr.status >= 200 && xhr.status < 300 && body?.ok) resolve(body);
      else {
        reject(new ApiError(body?.error || (xhr.status === 413 ? "This file is too large for this site." : `The server answered with an error (${xhr.status}).`),
          { status: xhr.status, code: body?.code || "upload.failed", requestId: body?.request_id, field: body?.field, body }));
      }
    });
    xhr.addEventListener("error", () => reject(new ApiError("The connection broke during the upload. Please try again.", {})));
    xhr.addEventListener("abort", () => reject(new ApiError("The upload was stopped.", { code: "upload.stopped" })));
    xhr.open("POST", "/api/upload");
    xhr.setRequestHeader("Accept", "application/json");
    xhr.setRequestHeader("X-PPV", "1");
    xhr.send(data);
  }).finally(() => { request = null; });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearErrors(form);
  if (request) return;
  const price = parseMoney(form.elements.price.value || "0", CURRENCY);
  if (!file) { invalid(input, "Please choose a video file."); return; }
  if (price === null) { invalid(form.elements.price, "Write an amount like 4.99."); return; }
  const bar = progress(0, "Upload"), text = h("p", { class: "small text-body-secondary mt-2 mb-0" }, "Starting…");
  const stop = h("button", { type: "button", class: "btn btn-outline-danger btn-sm mt-3", id: "stop", onclick: () => request?.abort() }, "Stop the upload");
  fill(work, h("div", { class: "card card-body" }, h("h2", { class: "h5" }, "Uploading ", h("span", { class: "wrap" }, file.name)), bar, text, h("div", {}, stop)));
  form.hidden = true;
  stop.focus();
  try {
    const done = await send({ title: form.elements.title.value.trim(), description: form.elements.description.value.trim(), price_cents: String(price) }, bar, text);
    prepare(done.video_id);
  } catch (error) {
    form.hidden = false;
    fill(work);
    formError(form, error);
  }
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
