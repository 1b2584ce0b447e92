// SPDX-License-Identifier: Apache-2.0
import { del, get, postForm } from "../api.js";
import { busy, failToast, field, h, invalid, load, onSubmit, toast } from "../ui.js";

const LANGUAGES = "ar bg bn ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nb nl pl pt pt-BR ro ru sk sl sr sv ta th tr uk vi zh zh-TW".split(" ");

function named(tag) {
  try { return new Intl.DisplayNames(undefined, { type: "language" }).of(tag); } catch { return tag; }
}

function draw(v) {
  if (v.state === "deleted") return null;
  const at = `/api/videos/${v.id}/subtitles`, items = h("div", {});
  const show = () => load(items, () => get(at), (r) => (r.items.length
    ? h("ul", { class: "list-group mb-3" }, r.items.map((s) => h("li", { class: "list-group-item d-flex flex-wrap justify-content-between align-items-center gap-2" },
      h("span", { class: "wrap" }, s.name, h("span", { class: "text-body-secondary small" }, ` · ${s.cues} ${s.cues === 1 ? "text" : "texts"}${s.source === "embedded" ? " · from the film" : ""}`)),
      h("button", { type: "button", class: "btn btn-sm btn-outline-danger", "aria-label": `Remove ${s.name}`, onclick: (e) => remove(e.currentTarget, s) }, "Remove"))))
    : h("p", { class: "text-body-secondary" }, "There are none yet.")));
  const remove = (button, s) => busy(button, async () => {
    await del(`${at}/${s.id}`);
    toast(`${s.name} removed.`);
    await show();
    form.elements.file.focus();
  }, failToast);
  const form = h("form", { novalidate: true },
    field("File", h("input", { type: "file", name: "file", accept: ".srt,.vtt,.ass,.ssa,text/vtt", class: "form-control" }), "SubRip, WebVTT or ASS as UTF-8, up to 2 MB."),
    field("Language", h("select", { name: "language" }, h("option", { value: "" }, "Unknown"),
      LANGUAGES.map((t) => [named(t), t]).sort((a, b) => a[0].localeCompare(b[0])).map(([text, value]) => h("option", { value }, text)))),
    field("Name in the menu", h("input", { name: "label", maxlength: 60, autocomplete: "off" }), "Only where the language does not say it all: “English for the hard of hearing”."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Add subtitles")));
  onSubmit(form, async () => {
    if (!form.elements.file.files.length) { invalid(form.elements.file, "Choose a file."); return; }
    const r = await postForm(at, new FormData(form));
    form.reset();
    toast(`Added ${r.cues} ${r.cues === 1 ? "text" : "texts"}.`);
    await show();
  });
  show();
  return [items, form];
}

export default { id: "subtitles", title: "Subtitles", draw };
