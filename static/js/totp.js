// SPDX-License-Identifier: Apache-2.0
// Two-step sign-in on the account page.
import { encodeQR } from "/public/vendor/qr.js";
import { get, post, requireUser } from "./api.js";
import { $, copyText, field, fill, h, load, notice, onSubmit, toast } from "./ui.js";

await requireUser();
const box = $("#second");
const codeInput = () => h("input", { name: "code", inputmode: "numeric", autocomplete: "one-time-code", maxlength: 40 });

function form(button, kind, fields, work) {
  const f = h("form", { novalidate: true }, fields,
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: `btn ${kind}` }, button)));
  onSubmit(f, work);
  return f;
}

function copy(text) {
  const b = h("button", { type: "button", class: "btn btn-sm btn-outline-secondary", onclick: () => copyText(text, b) }, "Copy");
  return b;
}

function codes(list, lead) {
  const text = list.join("\n");
  const done = h("button", { type: "button", class: "btn btn-brand", onclick: () => draw() }, "I have kept them");
  fill(box, notice(lead, "success"),
    h("p", {}, "Keep these recovery codes in a safe place. Each works once in place of a code when your phone is gone. They are not shown again."),
    h("pre", { class: "border rounded p-3 wrap" }, text), h("div", { class: "d-flex gap-2" }, done, copy(text)));
  done.focus();
}

// Dark on white in dark mode too: not every camera reads it the other way round.
function picture(text) {
  const rows = encodeQR(text, "raw", { ecc: "medium", border: 4 }), ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg"), path = document.createElementNS(ns, "path");
  const box = { viewBox: `0 0 ${rows.length} ${rows.length}`, width: 200, height: 200, role: "img", class: "bg-white border rounded mb-3",
    "shape-rendering": "crispEdges", "aria-label": "QR code of the key for your authenticator app" };
  for (const [name, value] of Object.entries(box)) svg.setAttribute(name, value);
  path.setAttribute("d", rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ""))).join(""));
  path.setAttribute("fill", "#000");
  svg.append(path);
  return svg;
}

function begin({ secret, uri }) {
  const f = form("Switch it on", "btn-brand", [field("Code the app shows", codeInput())], async (v) => {
    const r = await post("/api/totp", { action: "confirm", code: v.code });
    codes(r.recovery_codes, "Two-step sign-in is on. All other sessions are signed out.");
  });
  fill(box, h("p", {}, "Scan this with your authenticator app, ", h("a", { href: uri }, "open the app"),
    " on this device, or type the key. It is not shown again."),
    picture(uri),
    h("p", { class: "d-flex gap-2 align-items-center flex-wrap" }, h("code", { class: "wrap" }, secret.replace(/(.{4})/g, "$1 ").trim()), copy(secret)), f);
  f.elements.code.focus();
}

function off(r) {
  const f = form(r.pending ? "Start again" : "Set it up", "btn-brand", [], async () => begin(await post("/api/totp", { action: "start" })));
  return [r.required && notice("Administrators need two-step sign-in here. Set it up to go on.", "warning"),
    h("p", {}, "Besides your password, a code of an app on your phone is asked when you sign in."), f];
}

function on(r) {
  const proof = () => [field("Current password", h("input", { name: "password", type: "password", autocomplete: "current-password" })),
    field("Code of the app or a recovery code", codeInput())];
  return [h("p", {}, `It is on. ${r.recovery_left} recovery codes are left.`),
    h("details", { class: "mb-2" }, h("summary", {}, "New recovery codes"),
      form("Make new codes", "btn-outline-secondary", proof(), async (v) => {
        const made = await post("/api/totp", { action: "recovery", password: v.password, code: v.code });
        codes(made.recovery_codes, "The old recovery codes do not work any more.");
      })),
    h("details", {}, h("summary", {}, "Switch it off"),
      form("Switch it off", "btn-outline-danger", proof(), async (v) => {
        await post("/api/totp", { action: "disable", password: v.password, code: v.code });
        toast("Two-step sign-in is off.");
        draw();
      }))];
}

function draw() { return load(box, () => get("/api/totp"), (r) => (r.enabled ? on(r) : off(r))); }
draw();
