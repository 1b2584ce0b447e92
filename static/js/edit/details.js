// SPDX-License-Identifier: Apache-2.0
import { checkbox, field, h, invalid, money, onSubmit, parseMoney, plainMoney, toast } from "../ui.js";

function draw(v, page) {
  if (v.state === "deleted") return null;
  const price = h("input", { name: "price_cents", inputmode: "decimal", autocomplete: "off", value: plainMoney(v.price_cents, v.currency) });
  const form = h("form", { novalidate: true },
    field("Title", h("input", { name: "title", value: v.title, maxlength: 200, required: true, autocomplete: "off" })),
    field("Description", h("textarea", { name: "description", rows: 5, maxlength: 5000, value: v.description || "" })),
    field(`Price in ${v.currency}`, price, "0 makes it free. Those who paid keep it."),
    field("Show it in the catalogue", checkbox("published", v.visibility !== "draft"), "Otherwise only those who bought it or were let in can watch it."),
    h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Save")));
  onSubmit(form, async (values) => {
    const cents = parseMoney(values.price_cents, v.currency);
    if (!values.title.trim()) { invalid(form.elements.title, "A title is needed."); return; }
    if (cents === null) { invalid(price, "Write an amount like 4.99."); return; }
    await page.save({ title: values.title.trim(), description: values.description, price_cents: cents, visibility: values.published ? "published" : "draft" });
    toast(cents ? `Saved. New viewers pay ${money(cents, v.currency)}.` : "Saved. It is free to watch.");
  });
  return form;
}

export default { id: "details", title: "Title and price", draw };
