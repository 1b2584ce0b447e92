// SPDX-License-Identifier: Apache-2.0
// Light, dark or the system's choice. A classic script in the head, so that no page flashes in the wrong colours.
(function () {
  "use strict";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function get() {
    try {
      const stored = localStorage.getItem("theme");
      return stored === "light" || stored === "dark" ? stored : "auto";
    } catch { return "auto"; }
  }

  function apply() {
    const choice = get();
    const shown = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
    document.documentElement.setAttribute("data-bs-theme", shown);
    document.dispatchEvent(new CustomEvent("themechange", { detail: { choice, shown } }));
  }

  function set(choice) {
    try { localStorage.setItem("theme", choice); } catch { /* private mode: lasts until the page is left */ }
    apply();
  }

  document.documentElement.classList.add("js");
  dark.addEventListener("change", apply);
  window.ppvTheme = { get, set };
  apply();
})();
