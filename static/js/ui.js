// SPDX-License-Identifier: Apache-2.0
// Building blocks of the pages. Text of people always goes through textContent; there is no innerHTML anywhere.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  play: "M8 5v14l11-7z",
  pause: "M6 5h4v14H6zm8 0h4v14h-4z",
  volume: "M3 9v6h4l5 5V4L7 9zm13.5 3A4.5 4.5 0 0 0 14 8v8a4.5 4.5 0 0 0 2.5-4zM14 3.2v2.1a7 7 0 0 1 0 13.4v2.1a9 9 0 0 0 0-17.6z",
  muted: "M3 9v6h4l5 5V4L7 9zm18.5.9-1.4-1.4L18 10.6l-2.1-2.1-1.4 1.4 2.1 2.1-2.1 2.1 1.4 1.4 2.1-2.1 2.1 2.1 1.4-1.4-2.1-2.1z",
  full: "M5 5h6v2H7v4H5zm8 0h6v6h-2V7h-4zM5 13h2v4h4v2H5zm12 0h2v6h-6v-2h4z",
  small: "M9 5h2v6H5V9h4zm4 0h2v4h4v2h-6zM5 13h6v6H9v-4H5zm8 0h6v2h-4v4h-2z",
  pip: "M3 5h18v14H3zm2 2v10h14V7zm6 5h7v4h-7z",
  speech: "M4 4h16a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2h-6l-5 4v-4H4a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zm2 5v2h12V9zm0 4v2h8v-2z",
  gear: "M19.4 13a7.5 7.5 0 0 0 0-2l2-1.6-2-3.4-2.4 1a7.4 7.4 0 0 0-1.7-1L15 3.5h-4L10.6 6a7.4 7.4 0 0 0-1.7 1l-2.4-1-2 3.4 2 1.6a7.5 7.5 0 0 0 0 2l-2 1.6 2 3.4 2.4-1c.5.4 1.1.7 1.7 1l.4 2.5h4l.4-2.5c.6-.3 1.2-.6 1.7-1l2.4 1 2-3.4zM13 15.5a3.5 3.5 0 1 1 0-7 3.5 3.5 0 0 1 0 7z",
  sun: "M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM11 1h2v4h-2zm0 18h2v4h-2zM1 11h4v2H1zm18 0h4v2h-4zM4.2 5.6l1.4-1.4 2.8 2.8L7 8.4zm11.4 11.4 1.4-1.4 2.8 2.8-1.4 1.4zM5.6 19.8l-1.4-1.4L7 15.6 8.4 17zM17 8.4 15.6 7l2.8-2.8 1.4 1.4z",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
  auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 2v14a7 7 0 0 1 0-14z",
  search: "M10 4a6 6 0 1 0 3.7 10.7l4.8 4.8 1.4-1.4-4.8-4.8A6 6 0 0 0 10 4zm0 2a4 4 0 1 1 0 8 4 4 0 0 1 0-8z",
  upload: "M11 15V8.8L8.4 11.4 7 10l5-5 5 5-1.4 1.4L13 8.8V15zM5 17h14v2H5z",
  copy: "M8 3h11v13h-2V5H8zM5 7h10v14H5z",
  lock: "M7 10V8a5 5 0 0 1 10 0v2h1v11H6V10zm2 0h6V8a3 3 0 0 0-6 0z",
  list: "M4 5h2v2H4zm4 0h12v2H8zM4 11h2v2H4zm4 0h12v2H8zM4 17h2v2H4zm4 0h12v2H8z",
  film: "M3 4h18v16H3zm2 2v2h2V6zm0 5v2h2v-2zm0 5v2h2v-2zM17 6v2h2V6zm0 5v2h2v-2zm0 5v2h2v-2zM9 6v12h6V6z",
  warn: "M12 3 1.5 21h21zm-1 7h2v6h-2zm0 7.5h2v2h-2z",
};

export function icon(name, size = 20) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  for (const [k, v] of Object.entries({ viewBox: "0 0 24 24", width: size, height: size, fill: "currentColor",
    "aria-hidden": "true", focusable: "false", class: "icon" })) svg.setAttribute(k, v);
  path.setAttribute("d", ICONS[name] || ICONS.film);
  svg.append(path);
  return svg;
}

// h("a", {class: "btn", href: url, onclick: fn}, "text", node, [more])
export function h(tag, props, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") el.className = value;
    else if (name === "data") Object.assign(el.dataset, value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) el.style.setProperty(k, v);
    else if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "selected") el[name] = value;
    else el.setAttribute(name, value === true ? "" : value);
  }
  add(el, children);
  return el;
}

function add(el, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    el.append(child instanceof Node ? child : String(child));
  }
}

export function fill(el, ...children) {
  el.replaceChildren();
  add(el, children);
  el.removeAttribute("aria-busy");
  return el;
}

export const $ = (selector, root = document) => root.querySelector(selector);
export const params = new URLSearchParams(location.search);

// ---- money, time, sizes

const NO_MINOR = new Set(["JPY", "KRW", "VND", "CLP", "ISK", "PYG", "UGX", "XAF", "XOF", "XPF", "RWF", "KMF", "GNF", "DJF", "BIF", "VUV"]);
const THREE = new Set(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]);

export function exponent(currency) { return NO_MINOR.has(currency) ? 0 : THREE.has(currency) ? 3 : 2; }

// 1234, "USD" -> "$12.34". Amounts are integers of the minor unit; beyond 2^53 they come as text.
export function money(amount, currency = "USD") {
  const n = exponent(currency);
  let digits = String(amount ?? 0);
  const minus = digits.startsWith("-");
  if (minus) digits = digits.slice(1);
  digits = digits.padStart(n + 1, "0");
  const whole = digits.slice(0, digits.length - n) || "0";
  const part = n ? digits.slice(-n) : "";
  const round = /^0*$/.test(part) && currency === "IDR";
  try {
    const shape = new Intl.NumberFormat(undefined, { style: "currency", currency, currencyDisplay: "narrowSymbol",
      minimumFractionDigits: round ? 0 : n, maximumFractionDigits: round ? 0 : n });
    const exact = shape.formatToParts(BigInt(whole)).map((p) => (p.type === "fraction" ? part : p.value)).join("");
    return minus ? "\u2212" + exact : exact;
  } catch {
    return `${minus ? "\u2212" : ""}${currency} ${whole}${part ? "." + part : ""}`;
  }
}

// "12.5" -> 1250, or null when it is not an amount of this currency.
export function parseMoney(text, currency = "USD") {
  const n = exponent(currency);
  const m = /^\s*(\d{1,12})(?:[.,](\d+))?\s*$/.exec(text || "");
  if (!m || (m[2] && m[2].length > n)) return null;
  return Number(m[1]) * 10 ** n + Number((m[2] || "").padEnd(n, "0") || 0);
}

// 1250 -> "12.50", for input fields.
export function plainMoney(amount, currency = "USD") {
  const n = exponent(currency);
  const digits = String(amount ?? 0).padStart(n + 1, "0");
  return n ? digits.slice(0, -n) + "." + digits.slice(-n) : digits;
}

export function date(value) {
  if (!value) return "";
  const d = new Date(typeof value === "number" ? value * 1000 : String(value).replace(/^(\d{4}-\d\d-\d\d) /, "$1T").replace(/([+-]\d\d)$/, "$1:00"));
  return isNaN(d) ? String(value) : new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(d);
}

export function time(value) { return h("time", { datetime: String(value ?? "") }, date(value)); }

export function clock(seconds) {
  const s = Math.max(0, Math.floor(seconds || 0));
  const two = (n) => String(n).padStart(2, "0");
  return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

export function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let i = 0, n = Number(bytes) || 0;
  while (n >= 1000 && i < units.length - 1) { n /= 1000; i++; }
  return `${n < 10 && i ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export function about(seconds) {
  if (!(seconds >= 0) || !isFinite(seconds)) return "";
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${Math.round(seconds / 3600)} h`;
}

// ---- messages

function toastArea() {
  let area = $("#toasts");
  if (!area) {
    area = h("div", { id: "toasts", class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(area);
  }
  return area;
}

// action: {text, run}. Returns a function that takes the message away.
export function toast(message, { kind = "success", requestId, action, stay = kind === "danger" ? 12000 : 6000 } = {}) {
  const close = () => { clearTimeout(timer); box.remove(); };
  const box = h("div", { class: `toast show align-items-center text-bg-${kind} border-0`, role: kind === "danger" ? "alert" : null },
    h("div", { class: "d-flex" },
      h("div", { class: "toast-body" }, message,
        requestId && h("div", { class: "small opacity-75" }, "Request ", h("code", { class: "text-reset" }, requestId))),
      action && h("button", { type: "button", class: "btn btn-sm btn-light m-2 align-self-center",
        onclick: () => { close(); action.run(); } }, action.text),
      h("button", { type: "button", class: "btn-close btn-close-white me-2 m-auto", "aria-label": "Close", onclick: close })));
  toastArea().append(box);
  const timer = setTimeout(close, stay);
  return close;
}

export function failToast(error) {
  console.debug(error);
  return toast(sentence(error), { kind: "danger", requestId: error && error.requestId });
}

export function sentence(error) {
  return (error && error.name === "ApiError" && error.message) || "Something went wrong in this page. Please try again.";
}

// An error with a way out, in place of content.
export function problem(error, retry) {
  const id = error && error.requestId;
  return h("div", { class: "alert alert-danger d-flex flex-wrap gap-3 align-items-center", role: "alert" },
    icon("warn", 24),
    h("div", { class: "flex-grow-1" }, sentence(error), id && h("div", { class: "small opacity-75" }, "Request ", h("code", {}, id))),
    error && error.needsSignIn ? h("a", { class: "btn btn-danger", href: "/public/auth/login.html?return=" +
      encodeURIComponent(location.pathname + location.search) }, "Sign in")
      : retry && h("button", { type: "button", class: "btn btn-outline-danger", onclick: retry }, "Try again"));
}

export function notice(text, kind = "info") {
  return h("div", { class: `alert alert-${kind}`, role: kind === "danger" ? "alert" : "status" }, text);
}

export function empty(title, text, action) {
  return h("div", { class: "empty" }, icon("film", 40), h("h2", { class: "h5 mt-3" }, title),
    text && h("p", { class: "text-body-secondary mb-0" }, text), action && h("div", { class: "mt-3" }, action));
}

// ---- waiting

export function skeletonLines(n = 3) {
  return h("div", { class: "placeholder-glow", "aria-hidden": "true" },
    Array.from({ length: n }, (_, i) => h("span", { class: `placeholder rounded d-block mb-3 ${i % 3 ? "col-9" : "col-12"}` })));
}

export function skeletonCards(n = 8) {
  return Array.from({ length: n }, () => h("div", { class: "col", "aria-hidden": "true" },
    h("div", { class: "card film placeholder-glow" }, h("div", { class: "poster placeholder" }),
      h("div", { class: "card-body" }, h("span", { class: "placeholder rounded col-8 d-block mb-2" }),
        h("span", { class: "placeholder rounded col-5 d-block" })))));
}

export function waiting(el, ...children) {
  fill(el, children.length ? children : skeletonLines());
  el.setAttribute("aria-busy", "true");
}

// Runs work() with the button locked. Returns its value; failures are shown as a toast unless onError is given.
export async function busy(button, work, onError) {
  if (button.disabled) return undefined;
  const spinner = h("span", { class: "spinner-border spinner-border-sm me-2", "aria-hidden": "true" });
  const had = document.activeElement === button;
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  button.prepend(spinner);
  try {
    return await work();
  } catch (error) {
    if (onError) onError(error); else failToast(error);
    return undefined;
  } finally {
    spinner.remove();
    button.disabled = false;
    button.removeAttribute("aria-busy");
    if (had && button.isConnected) button.focus();
  }
}

// Loads into el: skeleton, then draw(data), or the problem with "Try again".
export async function load(el, work, draw, skeleton) {
  waiting(el, ...(skeleton || []));
  try {
    const data = await work();
    fill(el, await draw(data));
    return data;
  } catch (error) {
    console.debug(error);
    fill(el, problem(error, () => load(el, work, draw, skeleton)));
    return undefined;
  }
}

// ---- lists

// fetchPage(cursor) -> {rows, next}; draws rows with row(item) into list and offers more.
export function paged(list, { fetchPage, row, skeleton, none }) {
  const more = h("div", { class: "text-center my-3" });
  (list.closest("table") ? list.closest(".table-responsive, .card") || list : list).after(more);
  let turn = 0;

  async function page(cursor, first) {
    const mine = ++turn;
    if (first) { fill(list, skeleton ? skeleton() : null); list.setAttribute("aria-busy", "true"); }
    fill(more, first ? null : h("span", { class: "spinner-border", role: "status", "aria-label": "Loading" }));
    try {
      const { rows, next } = await fetchPage(cursor);
      if (mine !== turn) return;
      if (first) fill(list);
      add(list, rows.map(row));
      if (first && rows.length === 0) fill(list, none());
      fill(more, next && h("button", { type: "button", class: "btn btn-outline-secondary", onclick: () => page(next, false) }, "Show more"));
    } catch (error) {
      if (mine !== turn) return;
      console.debug(error);
      if (first) fill(list);
      fill(more, problem(error, () => page(cursor, first)));
    }
  }

  const start = () => page(null, true);
  start();
  return { reload: start };
}

// A table that becomes a stack of cards on small screens. columns: {head, cell(row), end?, class?}.
export function table(columns, caption) {
  const body = h("tbody", {});
  const el = h("table", { class: "table table-hover align-middle stack mb-0" },
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: c.end ? "text-end" : null }, c.head)))), body);
  const cell = (c, item) => {
    const val = h("div", { class: "val" }, c.cell(item));
    return h("td", { class: [c.end ? "text-end" : "", c.class || ""].join(" ").trim() || null, "data-label": c.head || null },
      val.childElementCount || val.textContent ? val : null);
  };
  const row = (item) => h("tr", {}, columns.map((c) => cell(c, item)));
  const none = (title, text) => h("tr", {}, h("td", { colspan: columns.length, class: "border-0" }, empty(title, text)));
  const skeleton = () => Array.from({ length: 4 }, () => h("tr", { class: "placeholder-glow", "aria-hidden": "true" },
    columns.map(() => h("td", {}, h("span", { class: "placeholder rounded col-8" })))));
  return { el: h("div", { class: "table-responsive" }, el), body, row, none, skeleton };
}

export function badge(text, kind = "secondary") { return h("span", { class: `badge text-bg-${kind}` }, text); }

const STATES = {
  ready: ["Ready", "success"], queued: ["Waiting", "secondary"], processing: ["Preparing", "info"], failed: ["Failed", "danger"],
  error: ["Failed", "danger"], deleted: ["Deleted", "dark"], pending: ["Pending", "warning"], approved: ["Approved", "success"],
  completed: ["Completed", "success"], completed_with_errors: ["With errors", "warning"], copied: ["Copied", "success"], skipped: ["Was there", "secondary"], done: ["Done", "success"], paid: ["Paid", "success"], rejected: ["Rejected", "danger"],
  running: ["Running", "info"], dead: ["Failed", "danger"], cancelled: ["Cancelled", "dark"], sent: ["Sent", "info"],
  unknown: ["Unknown", "warning"], active: ["Active", "success"], suspended: ["Suspended", "danger"], loaded: ["Running", "success"],
  disabled: ["Disabled", "dark"], reversed: ["Came back", "dark"], draft: ["Draft", "secondary"],
};

export function stateBadge(state) {
  const [text, kind] = STATES[state] || [state || "?", "secondary"];
  return badge(text, kind);
}

export function progress(value, label) {
  const percent = Math.round(Math.max(0, Math.min(1, value || 0)) * 100);
  return h("div", { class: "progress", role: "progressbar", "aria-label": label, "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100 },
    h("div", { class: "progress-bar", style: { width: percent + "%" } }, percent >= 12 ? percent + " %" : ""));
}

export function setProgress(el, value) {
  const percent = Math.round(Math.max(0, Math.min(1, value || 0)) * 100);
  el.setAttribute("aria-valuenow", percent);
  el.firstElementChild.style.width = percent + "%";
  el.firstElementChild.textContent = percent >= 12 ? percent + " %" : "";
}

// A figure with its name.
export function tile(name, value, note) {
  return h("div", { class: "col" }, h("div", { class: "tile" }, h("div", { class: "small text-body-secondary" }, name), h("div", { class: "n" }, value),
    note && h("div", { class: "small text-body-secondary" }, note)));
}

// draws = {name: draw(panel)} for #tab-name: each is drawn when first opened; the open one is in the address.
export function tabsInAddress(draws) {
  const drawn = new Set();
  const open = (name) => { if (draws[name] && !drawn.has(name)) { drawn.add(name); draws[name]($("#tab-" + name)); } };
  for (const b of document.querySelectorAll("[data-bs-toggle=tab]")) {
    b.addEventListener("shown.bs.tab", () => {
      const name = b.dataset.bsTarget.slice(5), q = new URLSearchParams(location.search);
      q.set("tab", name);
      history.replaceState(null, "", location.pathname + "?" + q);
      open(name);
    });
  }
  const wanted = params.get("tab"), opener = draws[wanted] && $(`[data-bs-target="#tab-${wanted}"]`);
  if (opener && !opener.classList.contains("active")) window.bootstrap.Tab.getOrCreateInstance(opener).show();
  else open($("[data-bs-toggle=tab].active").dataset.bsTarget.slice(5));
}

// ---- forms

let fieldCount = 0;
// A labelled control. control: an input, select or textarea element.
export function field(label, control, help) {
  const id = control.id || `f${++fieldCount}`;
  control.id = id;
  if (!/form-(control|select|check-input|range)/.test(control.className)) {
    control.classList.add(control.tagName === "SELECT" ? "form-select" : "form-control");
  }
  if (help) control.setAttribute("aria-describedby", id + "-help");
  if (control.type === "checkbox") {
    return h("div", { class: "form-check mb-3" }, control, h("label", { class: "form-check-label", for: id }, label),
      help && h("div", { class: "form-text", id: id + "-help" }, help));
  }
  return h("div", { class: "mb-3" }, h("label", { class: "form-label", for: id }, label), control,
    help && h("div", { class: "form-text", id: id + "-help" }, help));
}

export function checkbox(name, checked) { return h("input", { type: "checkbox", class: "form-check-input", name, checked: !!checked }); }

// Shows what is wrong at the control, or takes the message away.
export function invalid(control, message) {
  const id = (control.id || (control.id = `f${++fieldCount}`)) + "-error";
  document.getElementById(id)?.remove();
  control.classList.toggle("is-invalid", !!message);
  if (!message) {
    control.removeAttribute("aria-invalid");
    return;
  }
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-errormessage", id);
  (control.closest(".input-group") || control).after(h("div", { id, class: "invalid-feedback d-block", role: "alert" }, message));
  control.focus();
}

export function values(form) {
  const out = {};
  for (const el of form.elements) {
    if (!el.name) continue;
    out[el.name] = el.type === "checkbox" ? el.checked : el.value;
  }
  return out;
}

// Form errors go to the named field when the server knows it, else above the button.
export function formError(form, error) {
  const control = error.field && form.elements[error.field];
  form.querySelector(".form-problem")?.remove();
  if (control) invalid(control, sentence(error));
  else {
    const box = h("div", { class: "form-problem alert alert-danger py-2", role: "alert" }, sentence(error),
      error.requestId && h("div", { class: "small opacity-75" }, "Request ", h("code", {}, error.requestId)));
    (form.querySelector("[type=submit]")?.closest(".form-actions") || form.querySelector("[type=submit]")).before(box);
  }
}

export function clearErrors(form) {
  form.querySelector(".form-problem")?.remove();
  for (const el of form.elements) if (el.classList.contains("is-invalid")) invalid(el, null);
}

// Submits by script: locks the button, shows errors in place.
export function onSubmit(form, work) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearErrors(form);
    const button = event.submitter || form.querySelector("[type=submit]");
    busy(button, () => work(values(form), button), (error) => formError(form, error));
  });
}

export async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "visually-hidden", readonly: true, value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}

// Asks inside the page, where the button stands; yes() runs on confirmation.
export function confirmButton(label, { question, yes, className = "btn btn-sm btn-outline-danger", yesLabel = "Yes", yesClass = "btn btn-sm btn-danger" }) {
  const box = h("span", { class: "d-inline-flex flex-wrap gap-2 align-items-center" });
  const ask = h("button", { type: "button", class: className, onclick: () => {
    const go = h("button", { type: "button", class: yesClass, onclick: () => busy(go, yes).then(() => box.isConnected && back()) }, yesLabel);
    fill(box, h("span", { class: "small" }, question), go, h("button", { type: "button", class: "btn btn-sm btn-outline-secondary", onclick: back }, "No"));
    go.focus();
  } }, label);
  function back() { fill(box, ask); ask.focus(); }
  fill(box, ask);
  return box;
}
