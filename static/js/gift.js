// SPDX-License-Identifier: Apache-2.0
// A gift's code is redeemed here; below, the gifts that the visitor paid for, with their codes.
import { get, post, query, signInUrl } from "./api.js";
import { nav } from "./nav.js";
import { $, badge, busy, copyText, field, fill, h, invalid, notice, onSubmit, paged, params, problem, table, time } from "./ui.js";

const box = $("#redeem"), KEPT = "gift-code", HERE = "/public/gift.html";

// The code stands behind the #, so that no server's log gets it; it survives signing in, within this tab.
function takeCode() {
  const given = new URLSearchParams(location.hash.slice(1)).get("code") || "";
  if (given) history.replaceState(null, "", location.pathname + location.search);
  try {
    if (given) sessionStorage.setItem(KEPT, given);
    return given || sessionStorage.getItem(KEPT) || "";
  } catch { return given; }
}
function dropCode() {
  try { sessionStorage.removeItem(KEPT); } catch { /* private mode */ }
}

let user = null;
const code = takeCode();

function codeForm(value, note) {
  const input = h("input", { name: "code", id: "code", required: true, maxlength: 60, autocomplete: "off", autocapitalize: "characters", spellcheck: "false", value,
    placeholder: "XXXXX-XXXXX-XXXXX-XXXXX" });
  const form = h("form", { id: "code-form" }, note, field("Code of the gift", input), h("button", { type: "submit", class: "btn btn-brand w-100" }, "Go on"));
  onSubmit(form, async (v) => {
    try { sessionStorage.setItem(KEPT, v.code); } catch { /* private mode */ }
    show(v.code, (await post("/api/gift/look", { code: v.code })).gift);
  });
  fill(box, form);
}

// Without an account an address is enough, as when buying.
function who() {
  if (user) return { el: null, ready: async () => true };
  const email = h("input", { type: "email", id: "guest-email", maxlength: 254, autocomplete: "email" });
  return { el: [field("Your e-mail", email, "For a link to watch on other devices."), h("p", { class: "small" }, h("a", { href: signInUrl(HERE) }, "Or sign in"))], ready: async () => {
    const fine = email.value.trim() && email.checkValidity();
    invalid(email, fine ? null : "Please give an e-mail address, or sign in.");
    if (fine) user = (await post("/api/guest", { email: email.value.trim() })).user;
    return fine;
  } };
}

function show(text, gift) {
  const person = who();
  const button = h("button", { type: "button", class: "btn btn-brand w-100", id: "take", onclick: () => busy(button, async () => {
    if (!await person.ready()) return;
    const r = await post("/api/gift/redeem", { code: text });
    dropCode();
    location.assign("/public/watch.html" + query({ video_id: r.video_id }));
  }, (error) => codeForm(text, problem(error))) }, "Redeem");
  fill(box, h("div", { class: "card" }, h("div", { class: "card-body" }, h("h2", { class: "h5 wrap" }, gift.title),
    gift.giver && h("p", { class: "mb-2 wrap" }, `A gift of ${gift.giver}.`), gift.message && h("blockquote", { class: "pre wrap" }, gift.message), person.el, button)));
}

const STATES = { open: ["Not redeemed yet", "info"], redeemed: ["Redeemed", "success"], void: ["Taken back", "dark"] };

function given() {
  const t = table([
    { head: "When", cell: (x) => time(x.created_at) },
    { head: "Video", class: "wrap", cell: (x) => [x.title, x.email && h("div", { class: "small text-body-secondary" }, `for ${x.email}`)] },
    { head: "State", cell: (x) => badge(...STATES[x.state]) },
    { head: "Code", class: "wrap", cell: (x) => {
      if (!x.code) return "";
      const copy = h("button", { type: "button", class: "btn btn-sm btn-outline-secondary ms-2", onclick: () => copyText(x.link, copy) }, "Copy the link");
      return [h("code", { class: "user-select-all" }, x.code), copy];
    } },
  ], "Gifts I paid for");
  fill($("#gifts"), h("div", { class: "card" }, t.el));
  paged(t.body, { fetchPage: async (cursor) => {
    const r = await get("/api/gifts", { cursor: cursor || undefined });
    $("#given").hidden = !cursor && r.items.length === 0;
    return { rows: r.items, next: r.next_cursor };
  }, row: t.row, skeleton: t.skeleton, none: () => t.none("No gifts", "") });
}

user = await nav();
if (code) {
  try { show(code, (await post("/api/gift/look", { code })).gift); } catch (error) { dropCode(); codeForm(code, problem(error)); }
} else if (params.has("bought")) fill(box, notice("Paid. The code of your gift is below and in a mail to you; whoever has it can redeem it once.", "success"));
else codeForm("", user ? null : notice("Somebody gave you a film? Enter the code here."));
if (user) given();
