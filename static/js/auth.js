// SPDX-License-Identifier: Apache-2.0
// Sign-in, registration and password forms. Without scripts the forms post by themselves; here they stay in the page.
import { post, query, safeReturn } from "./api.js";
import "./nav.js";
import { $, notice, onSubmit, params } from "./ui.js";

const REASONS = {
  missing_field: "Please fill in every field.",
  invalid_email: "This does not look like an e-mail address.",
  invalid_username: "A user name begins with a letter or digit and may contain letters, digits, dots, dashes and underscores.",
  weak_password: "This password is too weak. Use at least 8 characters that are hard to guess.",
  email_taken: "There is an account with this address already.",
  username_taken: "This user name is taken.",
  bad_credentials: "E-mail or password is wrong.",
  not_admin: "This account is not an administrator.",
  totp_required: "Please enter the code of your authenticator app together with your password.",
  totp_wrong: "This code is wrong or was used already.",
  suspended: "This account is suspended.",
  invalid_token: "This link is not valid. Please ask for a new one.",
  token_used: "This link was used already. Please ask for a new one.",
  token_expired: "This link is too old. Please ask for a new one.",
  throttled: "Too many attempts. Please wait a few minutes.",
  rate: "Too many attempts. Please wait a few minutes.",
  cross_origin: "Please send the form from this site.",
  server_error: "Something went wrong on our side. Please try again.",
};
const OKAY = { registered: "Your account is ready. You can sign in now.", reset: "The password was changed. You can sign in now.",
  forgot: "If there is such an account, a mail with a link is on its way." };

const back = safeReturn(params.get("return"), null);

function message(form) {
  const status = params.get("status"), reason = params.get("reason");
  if (status === "fail") return notice(REASONS[reason] || "That did not work. Please try again.", "danger");
  if (status === "ok") return notice(OKAY[reason] || "Done. You can sign in now.", "success");
  if (form && params.get("return")) return notice("Please sign in to go on. You will come back to where you were.", "info");
  return null;
}

function keepReturn() {
  for (const a of document.querySelectorAll("a[data-keep]")) {
    if (back) a.setAttribute("href", a.getAttribute("href") + query({ return: back }));
  }
}

// The code field of the page stays hidden until the server asks for it.
function codeField(form, open) {
  const box = form.querySelector("[data-code]");
  box?.toggleAttribute("data-open", open);
  return box && form.elements.code;
}

async function signIn(path, v, form) {
  try {
    return await post(path, { email: v.email, password: v.password, code: v.code || undefined });
  } catch (e) {
    if (e.code !== "auth.totp_required") throw e;
    const asked = form.querySelector("[data-code]").hasAttribute("data-open");
    const input = codeField(form, true);
    input.focus();
    if (asked && v.code) throw e;
    return null;
  }
}

const actions = {
  async login(v, form) {
    if (!(await signIn("/auth/login", v, form))) return;
    location.assign(back || (location.pathname.startsWith("/public/auth/") ? "/public/browse.html" : location.pathname + location.search));
  },
  async register(v) {
    const { message: text } = await post("/auth/register", { username: v.username, email: v.email, password: v.password });
    try {
      await post("/auth/login", { email: v.email, password: v.password });
      location.assign(back || "/public/browse.html");
    } catch {
      // The server does not tell whether the address had an account; then the password is another.
      location.assign("/public/auth/login.html" + query({ status: "ok", reason: text ? "registered" : "", return: back }));
    }
  },
  async forgot(v, form) {
    const r = await post("/auth/forgot", { email: v.email });
    form.replaceChildren(notice(r.message || OKAY.forgot, "success"));
  },
  async reset(v) {
    await post("/auth/reset", { token: v.token, password: v.password });
    location.assign("/public/auth/login.html?status=ok&reason=reset");
  },
  async email(v, form) {
    const r = await post("/auth/email", { token: v.token });
    form.replaceChildren(notice(`The address of your account is ${r.email} now.`, "success"));
  },
  async admin(v, form) {
    if (!(await signIn("/admin/login", v, form))) return;
    location.assign(back && back.startsWith("/public/admin/") ? back : "/public/admin/dashboard.html");
  },
};

const form = $("form[data-auth]");
if (form) {
  const note = message(form);
  if (note) form.before(note);
  const kind = form.dataset.auth;
  codeField(form, (params.get("reason") || "").startsWith("totp_"));
  // The mail's link has the token behind the #, so that no server's log and no referrer gets it; then it leaves the address too.
  if (form.elements.token) {
    form.elements.token.value = new URLSearchParams(location.hash.slice(1)).get("token") || params.get("token") || "";
    history.replaceState(null, "", location.pathname);
  }
  keepReturn();
  onSubmit(form, (v) => actions[kind](v, form));
  const show = form.querySelector("[data-show]");
  if (show) {
    show.addEventListener("click", () => {
      const open = form.elements.password.type === "password";
      form.elements.password.type = open ? "text" : "password";
      show.textContent = open ? "Hide" : "Show";
      show.setAttribute("aria-pressed", String(open));
    });
  }
}
