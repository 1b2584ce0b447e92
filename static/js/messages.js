// SPDX-License-Identifier: Apache-2.0
// Messages: the list of threads beside the open one; on a phone one of the two. Serves members and administrators.
import { get, post, query, requireUser } from "./api.js";
import { nav } from "./nav.js";
import { $, badge, busy, date, empty, failToast, field, fill, formError, h, onSubmit, params, problem, skeletonLines } from "./ui.js";

const admin = location.pathname.startsWith("/public/admin/");
if (admin) await (await import("./admin/common.js")).requireAdmin();
else await requireUser();
await nav();

const list = $("#threads"), pane = $("#thread"), box = $("#messages");
let open = params.get("c"), threads = [];

function show(id) {
  open = id;
  history.replaceState(null, "", location.pathname + query({ c: id }));
  box.classList.toggle("reading", !!id);
  drawList();
  drawThread();
}

function entry(t) {
  return h("button", { type: "button", class: "list-group-item list-group-item-action" + (t.id === open ? " active" : ""),
    "aria-current": t.id === open ? "true" : null, onclick: () => show(t.id) },
    h("span", { class: "d-flex justify-content-between gap-2" }, h("strong", { class: "text-truncate" }, t.title), t.unread > 0 && badge(String(t.unread), "danger")),
    h("span", { class: "d-block small text-truncate" }, t.last_message ? `${t.last_sender_name}: ${t.last_message}` : "Nothing written yet"));
}

function drawList() {
  fill(list, threads.length ? h("div", { class: "list-group" }, threads.map(entry)) : empty("No messages", "Members who write to support appear here."));
}

function bubble(m) {
  return h("div", { class: "bubble" + (m.is_self ? " mine" : "") },
    h("div", { class: "small text-body-secondary" }, m.is_self ? "You" : m.sender_username, m.sender_is_admin && !m.is_self && [" ", badge("Support", "info")], " · ", date(m.created_at)),
    h("div", { class: "text-pre" }, m.body));
}

async function drawThread() {
  const t = threads.find((x) => x.id === open);
  if (!open) { fill(pane, empty("Choose a thread", "Or write to somebody new.")); return; }
  const log = h("div", { class: "log", role: "log", "aria-live": "polite", tabindex: "0", "aria-label": "Messages" }, skeletonLines(4));
  const input = h("textarea", { name: "body", rows: 2, maxlength: 4000, required: true, onkeydown: (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) form.requestSubmit();
  } });
  const form = h("form", { novalidate: true, class: "mt-2" }, field("Message", input, "Ctrl+Enter sends."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Send")));
  onSubmit(form, async (v) => {
    if (!v.body.trim()) { input.focus(); return; }
    const r = await post(`/api/chat/conversations/${open}/messages`, { body: v.body });
    input.value = "";
    log.querySelector(".empty")?.remove();
    log.append(bubble(r.message));
    log.scrollTop = log.scrollHeight;
    refresh();
    input.focus();
  });
  fill(pane, h("div", { class: "d-flex gap-2 align-items-center mb-2" },
    h("button", { type: "button", class: "btn btn-sm btn-outline-secondary back", onclick: () => show(null) }, "All threads"),
    h("h2", { class: "h5 mb-0 text-truncate" }, t ? t.title : "Thread")), log, form);
  await readThread(log);
}

async function readThread(log) {
  const id = open;
  try {
    const r = await get(`/api/chat/conversations/${id}/messages`);
    if (id !== open) return;
    const older = r.more && h("button", { type: "button", class: "btn btn-sm btn-outline-secondary mb-2", onclick: () => busy(older, async () => {
      const more = await get(`/api/chat/conversations/${id}/messages`, { before: older.dataset.before });
      older.after(...more.messages.map(bubble));
      if (more.more) older.dataset.before = more.messages[0].id; else older.remove();
    }, failToast), "data-before": r.messages[0]?.id }, "Show older");
    fill(log, older, r.messages.length ? r.messages.map(bubble) : empty("Nothing written yet", "The first message is yours."));
    log.scrollTop = log.scrollHeight;
    const t = threads.find((x) => x.id === id);
    if (t && t.unread) { t.unread = 0; drawList(); }
  } catch (e) {
    fill(log, problem(e, () => readThread(log)));
  }
}

async function refresh() {
  const r = await get("/api/chat/conversations");
  threads = r.conversations;
  drawList();
}

// Somebody else wrote: the list, and the open thread when it is that one.
function listen() {
  const source = new EventSource("/api/chat/events");
  source.addEventListener("message", async (e) => {
    const { conversation_id: id } = JSON.parse(e.data);
    try {
      await refresh();
      const log = pane.querySelector(".log");
      if (id === open && log) await readThread(log);
    } catch { /* the next event or a reload shows it */ }
  });
  addEventListener("pagehide", () => source.close());
}

function people() {
  const input = h("input", { name: "q", type: "search", maxlength: 60, autocomplete: "off" });
  const out = h("div", { class: "list-group mb-3" });
  const form = h("form", { role: "search", novalidate: true }, field("Write to a member", input), h("div", { class: "form-actions d-none" }, h("button", { type: "submit" }, "Search")));
  let timer;
  const search = async () => {
    const q = input.value.trim();
    if (!q) { fill(out); return; }
    try {
      const r = await get("/api/chat/users", { q });
      if (q !== input.value.trim()) return;
      fill(out, r.users.length ? r.users.map((u) => h("button", { type: "button", class: "list-group-item list-group-item-action", onclick: async () => {
        try {
          const made = await post("/api/chat/conversations/direct", { target_user_id: u.id });
          input.value = "";
          fill(out);
          await refresh();
          show(made.conversation_id);
        } catch (e) { failToast(e); }
      } }, u.username)) : h("p", { class: "small text-body-secondary" }, "Nobody of that name."));
    } catch (e) { formError(form, e); }
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 250); });
  form.addEventListener("submit", (e) => { e.preventDefault(); search(); });
  return [form, out];
}

if (!admin) fill($("#people"), people());
fill(list, skeletonLines(4));
try {
  await refresh();
  show(open && threads.some((t) => t.id === open) ? open : !matchMedia("(max-width: 700px)").matches && threads[0] ? threads[0].id : null);
  listen();
} catch (e) {
  fill(list, problem(e, () => location.reload()));
}
