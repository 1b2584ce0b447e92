// SPDX-License-Identifier: Apache-2.0
// The creator's videos: state, affiliate terms, who may watch, deletion with undo.
import { get, post, requireUser } from "./api.js";
import "./nav.js";
import { follow } from "./events.js";
import { editUrl, film, poster, price, watchUrl } from "./film.js";
import { $, about, badge, busy, checkbox, clearErrors, confirmButton, date, empty, field, fill, h, invalid, load, money, onSubmit, paged,
  progress, sentence, setProgress, skeletonLines, stateBadge, toast } from "./ui.js";

const list = $("#videos");

function button(text, run, extra) { return h("button", { type: "button", class: "btn btn-sm btn-outline-secondary", onclick: run, ...extra }, text); }

function item(raw) {
  let v = film(raw);
  const el = h("article", { class: "card mb-3", data: { video: v.id } });
  const extra = h("div", {});
  let stop = null, open = null;

  function panel(name, make, opener) {
    if (open === name) { open = null; fill(extra); opener.setAttribute("aria-expanded", "false"); return; }
    el.querySelectorAll("[aria-expanded]").forEach((b) => b.setAttribute("aria-expanded", "false"));
    open = name;
    opener.setAttribute("aria-expanded", "true");
    fill(extra, h("div", { class: "border-top p-3" }, make()));
    extra.querySelector("input, textarea, button")?.focus();
  }
  const opener = (text, name, make) => {
    const b = button(text, () => panel(name, make, b), { "aria-expanded": String(open === name) });
    return b;
  };
  const act = (text, path, after) => {
    const b = button(text, () => busy(b, async () => { after(await post(path, { id: v.id })); }));
    return b;
  };

  function actions() {
    if (v.state === "deleted") return [act("Undo the deletion", "/api/video_undelete", (r) => change({ state: r.status || "ready", progress: 0 }))];
    const working = v.state === "queued" || v.state === "processing";
    return [
      v.state === "ready" && h("a", { class: "btn btn-sm btn-outline-secondary", href: watchUrl(v.id) }, "Watch"),
      h("a", { class: "btn btn-sm btn-outline-secondary", href: editUrl(v.id) }, "Edit"),
      v.state === "ready" && h("a", { class: "btn btn-sm btn-outline-secondary", href: "/public/analytics.html?video_id=" + v.id }, "Analytics"),
      v.state === "ready" && confirmButton("Encode again", { question: "Encode it again from the original? Viewers go on watching.", className: "btn btn-sm btn-outline-secondary", yesClass: "btn btn-sm btn-brand", yes: async () => {
        await post(`/api/videos/${v.id}/reencode`);
        toast("The film will be encoded again. Nothing changes for viewers until it is done.");
      } }),
      opener("Affiliate", "affiliate", affiliateForm),
      opener(`Access${v.allow_users?.length ? ` (${v.allow_users.length})` : ""}`, "access", accessForm),
      working && confirmButton("Cancel", { question: "Stop preparing this film?", yes: async () => {
        await post(`/api/videos/${v.id}/cancel`);
        change({ state: "failed", error: "You stopped this.", can_retry: true });
      } }),
      v.state === "failed" && v.can_retry && act("Try again", `/api/videos/${v.id}/retry`, () => change({ state: "queued", progress: 0, error: null })),
      confirmButton("Delete", { question: "Delete this video?", yes: remove }),
    ];
  }

  async function remove() {
    await post("/api/video_delete", { id: v.id });
    const before = v.state;
    change({ state: "deleted" });
    toast("The video is deleted.", { stay: 15000, kind: "dark", action: { text: "Undo", run: async () => {
      try {
        const r = await post("/api/video_undelete", { id: v.id });
        change({ state: r.status || before });
        toast("The video is back.");
      } catch (e) { toast(sentence(e), { kind: "danger", requestId: e.requestId }); }
    } } });
  }

  function change(fields) {
    v = { ...v, ...fields };
    open = null;
    draw();
  }

  function affiliateForm() {
    const box = h("div", {});
    load(box, () => get("/api/affiliate/settings", { video_id: v.id }), (s) => {
      const pct = h("input", { type: "number", name: "commission_pct", min: 0, max: 90, step: 1, value: s.commission_pct });
      const share = h("p", { class: "small" });
      const show = () => {
        const n = Number(pct.value);
        share.textContent = n > 0 && n <= 90 && v.price_cents ? `An affiliate earns ${money(Math.floor((v.price_cents * n) / 100), v.currency)} for each sale, out of your share.` : "";
      };
      pct.addEventListener("input", show);
      show();
      const form = h("form", { novalidate: true }, field("Others may earn by recommending this video", checkbox("is_enabled", s.is_enabled)),
        field("Commission in percent of the price", pct, "0 to 90."), share,
        h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
      onSubmit(form, async (values) => {
        const n = Number(values.commission_pct);
        if (!Number.isInteger(n) || n < 0 || n > 90) { invalid(pct, "A whole number from 0 to 90."); return; }
        await post("/api/affiliate/settings", { video_id: v.id, commission_pct: n, is_enabled: values.is_enabled });
        toast("Saved.");
      });
      return form;
    }, [skeletonLines(2)]);
    return box;
  }

  function accessForm() {
    const names = h("ul", { class: "list-group mb-3" });
    function drawNames() {
      const all = v.allow_users || [];
      fill(names, all.length ? all.map((name) => {
        const b = button("Take back", () => busy(b, async () => {
          await post("/api/allow/revoke", { video_id: v.id, username_or_email: name });
          v.allow_users = v.allow_users.filter((n) => n !== name);
          drawNames();
        }), { "aria-label": `Take access back from ${name}` });
        return h("li", { class: "list-group-item d-flex justify-content-between align-items-center" }, h("span", { class: "wrap" }, name), b);
      }) : h("li", { class: "list-group-item text-body-secondary" }, "Nobody watches for free yet."));
    }
    drawNames();
    const form = h("form", { class: "d-flex flex-wrap gap-2 align-items-end", novalidate: true },
      h("div", { class: "flex-grow-1" }, field("User name or e-mail", h("input", { name: "username_or_email", autocomplete: "off", maxlength: 254 }))),
      field("Until (optional)", h("input", { name: "until", type: "datetime-local" })),
      h("button", { type: "submit", class: "btn btn-brand mb-3" }, "Let them watch"));
    onSubmit(form, async (values) => {
      if (!values.username_or_email.trim()) { invalid(form.elements.username_or_email, "Name somebody."); return; }
      const r = await post("/api/allow", { video_id: v.id, username_or_email: values.username_or_email.trim(),
        ends_at: values.until ? Math.floor(new Date(values.until).getTime() / 1000) : undefined });
      if (r.username && !(v.allow_users || []).includes(r.username)) v.allow_users = [...(v.allow_users || []), r.username];
      form.reset();
      clearErrors(form);
      drawNames();
      toast(`${r.username} may watch this video.`);
    });
    return h("div", {}, h("h3", { class: "h6" }, "Who may watch without paying"), names, form);
  }

  function draw() {
    stop?.();
    stop = null;
    const working = v.state === "queued" || v.state === "processing";
    const bar = working && progress(v.progress, `Preparing ${v.title}`), text = h("span", { class: "small text-body-secondary" });
    fill(extra);
    fill(el, h("div", { class: "d-flex gap-3 p-3" }, poster(v), h("div", { class: "flex-grow-1 min-w-0" },
      h("h2", { class: "h6 mb-1 wrap" }, v.title),
      h("div", { class: "d-flex flex-wrap gap-2 align-items-center small" }, stateBadge(v.state), v.visibility === "draft" && badge("Not listed", "secondary"),
        h("strong", { class: "amount" }, price(v)), v.sales > 0 && h("span", {}, `${v.sales} ${v.sales === 1 ? "sale" : "sales"}`),
        h("span", { class: "text-body-secondary" }, date(v.created_at))),
      working && h("div", { class: "mt-2" }, bar, text),
      v.state === "failed" && h("div", { class: "text-danger-emphasis small mt-2 wrap" }, v.error || "This film could not be prepared."))),
    h("div", { class: "d-flex flex-wrap gap-2 px-3 pb-3" }, actions()), extra);
    el.querySelector(".poster").classList.add("thumb");
    if (working) {
      stop = follow(v.id, (s) => {
        if (s.state === "processing" || s.state === "queued") {
          setProgress(bar, s.progress);
          text.textContent = s.state === "queued" ? "Waiting for its turn" : s.eta ? `${about(s.eta)} left` : "";
        } else refresh();
      });
    }
  }

  // The list knows more than the event: length, picture, the sentence of a failure.
  async function refresh() {
    try {
      const { video } = await get("/api/videos/" + v.id);
      change(film({ ...v, ...video, state: undefined }));
    } catch (e) { change({ state: "failed", error: sentence(e) }); }
  }

  draw();
  return el;
}

await requireUser();
paged(list, {
  fetchPage: async (cursor) => {
    const r = await get("/api/my_videos", { limit: 20, cursor });
    return { rows: r.videos, next: r.next_cursor };
  },
  row: item,
  skeleton: () => skeletonLines(6),
  none: () => empty("You have no videos yet", "Upload a film, set a price, and start selling.", h("a", { class: "btn btn-brand", href: "/public/upload.html" }, "Upload a video")),
});

const balance = $("#balance");
load(balance, () => get("/api/wallet/balance"), (b) => [h("div", { class: "small text-body-secondary" }, "In your wallet"),
  h("div", { class: "n" }, money(b.available_cents ?? b.balance_cents, b.currency || "USD")), h("a", { href: "/public/wallet.html" }, "Open the wallet")], [skeletonLines(1)]);

// ---- blocked people, loaded when looked at

const blocked = $("#blocked"), blockedList = $("#blocked-list");
function drawBlocked() {
  return load(blockedList, () => get("/api/creator/blocked_users"), ({ items }) => {
    const form = h("form", { class: "row g-2 align-items-end", novalidate: true },
      h("div", { class: "col-12 col-sm" }, field("User name", h("input", { name: "username", autocomplete: "off", maxlength: 40 }))),
      h("div", { class: "col-8 col-sm-auto" }, field("How", h("select", { name: "ban_type" }, h("option", { value: "soft" }, "No buying"), h("option", { value: "hard" }, "Full block")))),
      h("div", { class: "col-4 col-sm-auto" }, h("button", { type: "submit", class: "btn btn-outline-danger mb-3 w-100" }, "Block")));
    onSubmit(form, async (values) => {
      const name = values.username.trim();
      const { user } = name ? await get("/api/user_lookup", { username: name }) : { user: null };
      if (!user) { invalid(form.elements.username, name ? "There is nobody of this name." : "Name somebody."); return; }
      await post("/api/creator/block_user", { user_id: user.id, ban_type: values.ban_type });
      toast(`${user.username} is blocked.`);
      drawBlocked();
    });
    return [items.length > 0 && h("ul", { class: "list-group mb-3" }, items.map((b) => {
      const lift = button("Lift", () => busy(lift, async () => {
        await post("/api/creator/unblock_user", { user_id: b.blocked_user_id });
        drawBlocked();
      }), { "aria-label": `Lift the block of ${b.username}` });
      return h("li", { class: "list-group-item d-flex justify-content-between align-items-center gap-2" },
        h("span", { class: "wrap" }, b.username, " ", badge(b.ban_type === "hard" ? "Full block" : "No buying", "secondary"),
          b.expires_at && h("span", { class: "small text-body-secondary" }, ` until ${date(b.expires_at)}`)), lift);
    })), form];
  }, [skeletonLines(2)]);
}
blocked.addEventListener("toggle", () => { if (blocked.open) drawBlocked(); });
