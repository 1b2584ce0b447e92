// SPDX-License-Identifier: Apache-2.0
// For who bought without an account: the link of a mail is used here, a new one asked for, and a guest gets a password.
import { post, signInUrl } from "./api.js";
import { nav } from "./nav.js";
import { $, busy, field, fill, h, notice, onSubmit, problem } from "./ui.js";

const box = $("#guest"), KEPT = "guest-link", HERE = "/public/guest.html";

// The token is behind the #, so that no server's log and no referrer gets it; it survives signing in, within this tab.
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token") || "";
  history.replaceState(null, "", location.pathname);
  try {
    if (given) sessionStorage.setItem(KEPT, given);
    return given || sessionStorage.getItem(KEPT) || "";
  } catch { return given; }
}
function dropToken() {
  try { sessionStorage.removeItem(KEPT); } catch { /* private mode */ }
}

function askForm(text) {
  const email = h("input", { type: "email", name: "email", id: "email", required: true, maxlength: 254, autocomplete: "email" });
  const form = h("form", { id: "ask" }, h("p", {}, text), field("E-mail", email),
    h("button", { type: "submit", class: "btn btn-brand w-100" }, "Send me a link"));
  onSubmit(form, async (v) => { form.replaceChildren(notice((await post("/auth/guest/link", { email: v.email })).message, "success")); });
  return form;
}

// Nothing happens before a click: programs that follow the links of mails must not use them up.
function linkChoice(token, user) {
  const use = (add) => async () => {
    const r = await post("/auth/guest/open", { token, add });
    dropToken();
    if (add || !r.has_account) location.assign("/public/library.html");
    else fill(box, notice("Your purchases are open in this browser. This address has an account, too: sign in there and open a new link to add them to it.", "info"),
      h("a", { class: "btn btn-brand w-100", href: "/public/library.html" }, "My library"));
  };
  const failed = (error) => { dropToken(); fill(box, problem(error), askForm("You can have a new link.")); };
  const button = (id, kind, text, add) => {
    const el = h("button", { type: "button", id, class: `btn btn-${kind} w-100 mb-2`, onclick: () => busy(el, use(add), failed) }, text);
    return el;
  };
  if (user && !user.guest) {
    return [h("p", { class: "wrap" }, `You are signed in as ${user.username}.`), button("add", "brand", "Add the purchases to my account", true),
      button("open", "outline-secondary", "Sign out, and open them as a guest", false)];
  }
  return [h("p", {}, "Open what was bought with your address in this browser."), button("open", "brand", "Open my purchases", false),
    h("p", { class: "small mb-0" }, h("a", { href: signInUrl(HERE) }, "Add them to my account instead"))];
}

function keepForm(user) {
  const form = h("form", { id: "keep" }, h("p", { class: "wrap" }, `With a password, ${user.email} becomes a full account: a wallet, messages, and signing in without a mail.`),
    field("User name", h("input", { name: "username", required: true, maxlength: 40, autocomplete: "username" })),
    field("Password", h("input", { type: "password", name: "password", required: true, autocomplete: "new-password" }), "At least 8 characters that are hard to guess."),
    h("button", { type: "submit", class: "btn btn-brand w-100" }, "Make it an account"));
  onSubmit(form, async (v) => { await post("/auth/guest/keep", v); location.assign("/public/library.html"); });
  return form;
}

const token = takeToken(), user = await nav();
if (token) fill(box, linkChoice(token, user));
else if (user?.guest && user.proven) fill(box, keepForm(user));
else if (user && !user.guest) fill(box, notice("You are signed in. Open the link of a mail in this browser to add purchases to your account."), askForm("You bought with another address?"));
else fill(box, askForm(user ? "Open the link of the mail first; it shows that the address is yours. You can have a new one." : "Bought without an account? We send you a link to your purchases."));
