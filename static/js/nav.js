// SPDX-License-Identifier: Apache-2.0
// The bar on top of every page, the footer, the colour switch.
import { me, post, query, site } from "./api.js";
import { $, busy, fill, h, icon } from "./ui.js";

const LINKS = [["Browse", "browse.html"], ["Library", "library.html"], ["My videos", "dashboard.html"], ["Wallet", "wallet.html"],
  ["Affiliate", "affiliate.html"]];
const ADMIN = [["Overview", "admin/dashboard.html"], ["Deposits", "admin/wallet.html"], ["Payments", "admin/payments.html"], ["Payouts", "admin/payouts.html"], ["Books", "admin/ledger.html"],
  ["Chains", "admin/chains.html"], ["Affiliates", "admin/affiliates.html"], ["Coupons", "admin/coupons.html"], ["Users", "admin/users.html"], ["Videos", "admin/videos.html"],
  ["Analytics", "admin/analytics.html"], ["Storage", "admin/storage.html"], ["Trace", "admin/trace.html"], ["Messages", "admin/messages.html"], ["Jobs", "admin/jobs.html"], ["Plugins", "admin/plugins.html"],
  ["Audit", "admin/audit.html"], ["Settings", "admin/settings.html"]];

function here(page) { return location.pathname === "/public/" + page; }

function link([text, page]) {
  return h("li", { class: "nav-item" }, h("a", { class: "nav-link" + (here(page) ? " active" : ""), href: "/public/" + page,
    "aria-current": here(page) ? "page" : null }, text));
}

function themeButton() {
  const names = { auto: "system", light: "light", dark: "dark" };
  const next = { auto: "light", light: "dark", dark: "auto" };
  const pic = { auto: "auto", light: "sun", dark: "moon" };
  const button = h("button", { type: "button", class: "btn btn-link nav-link px-2", id: "theme", onclick: () => {
    window.ppvTheme.set(next[window.ppvTheme.get()]);
    draw();
  } });
  function draw() {
    const now = window.ppvTheme.get();
    fill(button, icon(pic[now]));
    button.setAttribute("aria-label", `Colours: ${names[now]}. Change to ${names[next[now]]}.`);
    button.title = `Colours: ${names[now]}`;
  }
  draw();
  return h("li", { class: "nav-item" }, button);
}

function signOut(admin) {
  return h("button", { type: "button", class: "dropdown-item", id: "sign-out", onclick: (e) => busy(e.currentTarget, async () => {
    await post(admin ? "/admin/logout" : "/auth/logout");
    location.assign(admin ? "/public/admin/login.html" : "/public/browse.html");
  }) }, "Sign out");
}

function userMenu(user, admin) {
  const item = (text, page) => h("li", {}, h("a", { class: "dropdown-item", href: "/public/" + page }, text));
  return h("li", { class: "nav-item dropdown" },
    h("button", { type: "button", class: "btn btn-link nav-link dropdown-toggle", id: "user-menu", "data-bs-toggle": "dropdown", "aria-expanded": "false" },
      user.guest ? user.email : user.username),
    h("ul", { class: "dropdown-menu dropdown-menu-end", "aria-labelledby": "user-menu" },
      admin ? item("Site", "browse.html") : user.guest ? [item("My orders", "orders.html"), item("Set a password", "guest.html")] : [item("Account", "account.html"), item("Statement", "statement.html"), item("My orders", "orders.html"), item("Gifts", "gift.html"), item("Coupons", "coupons.html"), item("Messages", "messages.html"), item("Upload a video", "upload.html")],
      user.is_admin && !admin && item("Administration", user.admin_session ? "admin/dashboard.html" : "admin/login.html"),
      h("li", {}, h("hr", { class: "dropdown-divider" })), h("li", {}, signOut(admin))));
}

function guestLinks() {
  const back = /\/auth\/|\/admin\//.test(location.pathname) ? null : location.pathname + location.search;
  return [h("li", { class: "nav-item" }, h("a", { class: "nav-link", href: "/public/auth/login.html" + query({ return: back }) }, "Sign in")),
    h("li", { class: "nav-item" }, h("a", { class: "nav-link", href: "/public/auth/register.html" + query({ return: back }) }, "Register"))];
}

function storedName() {
  try { return localStorage.getItem("site-name") || "PPV"; } catch { return "PPV"; }
}
let name = storedName();

function bar(user, admin) {
  const known = user !== undefined;
  const links = admin ? (user ? ADMIN : []) : user ? (user.guest ? LINKS.slice(0, 2) : LINKS) : LINKS.slice(0, 1);
  return h("nav", { class: "navbar navbar-expand-lg", "aria-label": "Main" }, h("div", { class: "container-xl" },
    h("a", { class: "navbar-brand", href: admin ? "/public/admin/dashboard.html" : "/public/browse.html" }, h("span", { class: "dot", "aria-hidden": "true" }),
      name, admin && h("span", { class: "badge text-bg-danger ms-2" }, "ADMIN")),
    h("button", { class: "navbar-toggler", type: "button", "data-bs-toggle": "collapse", "data-bs-target": "#links", "aria-controls": "links",
      "aria-expanded": "false", "aria-label": "Menu" }, h("span", { class: "navbar-toggler-icon" })),
    h("div", { class: "collapse navbar-collapse", id: "links" },
      h("ul", { class: "navbar-nav me-auto flex-wrap" }, links.map(link)),
      h("ul", { class: "navbar-nav align-items-lg-center" }, themeButton(),
        known && (user ? userMenu(user, admin) : admin ? null : guestLinks())))));
}

// Draws the bar now and again once the user and the name of the site are known.
async function run() {
  const admin = location.pathname.startsWith("/public/admin/");
  document.body.classList.toggle("admin", admin);
  const header = $("#nav");
  const fetched = me();
  fill(header, bar(undefined, admin));
  const [user, { name: given }] = await Promise.all([fetched, site()]);
  if (given && given !== name) {
    name = given;
    try { localStorage.setItem("site-name", name); } catch { /* private mode */ }
  }
  fill(header, bar(admin && user && !user.is_admin ? null : user, admin));
  return user;
}

let drawn;
export function nav() {
  drawn = drawn || run();
  return drawn;
}
nav();
