// SPDX-License-Identifier: Apache-2.0
// At the checkout: a field for a coupon, and the choice to buy for somebody else.
import { post } from "./api.js";
import { busy, field, fill, h, invalid, money, sentence } from "./ui.js";

// offer(): {offer, currency} that is chosen; changed() runs when the price or the kind of purchase is another. -> {el, off(currency): minor
// units of a price in it, free(), fields(): of the request that buys, or null when something is missing, sync(): another offer is chosen}
export function codesBox(video, { offer, changed, code = "", gift = false }) {
  let quote = null;
  const input = h("input", { id: "coupon", class: "form-control", maxlength: 40, autocomplete: "off", autocapitalize: "characters", value: code,
    "aria-label": "Code", onkeydown: (e) => { if (e.key === "Enter") { e.preventDefault(); apply.click(); } } });
  const apply = h("button", { type: "button", class: "btn btn-outline-secondary", id: "apply-coupon", onclick: () => busy(apply, ask, refused) }, "Apply");
  const say = h("div", { class: "small mt-1", role: "status", id: "coupon-says" });
  const line = h("div", { class: "mb-3" }, h("div", { class: "input-group" }, input, apply), say);
  const open = h("button", { type: "button", class: "btn btn-link btn-sm px-0", id: "have-coupon", onclick: () => { fill(coupon, line); input.focus(); } }, "I have a code");
  const coupon = h("div", {}, code ? line : open);
  const email = h("input", { type: "email", id: "gift-email", maxlength: 254, autocomplete: "off" });
  const message = h("textarea", { id: "gift-message", rows: 2, maxlength: 500 });
  const details = h("div", { hidden: !gift }, field("Their e-mail (optional)", email, "They get the code by mail; you get it in any case."), field("A few words (optional)", message));
  const box = h("input", { type: "checkbox", class: "form-check-input", id: "gift", checked: gift, onchange: () => { details.hidden = !box.checked; changed(); } });

  let asked = null;
  const giving = () => box.checked && offer()?.offer === "purchase";

  async function ask() {
    invalid(input, null);
    fill(say);
    quote = null;
    asked = offer();
    if (input.value.trim()) {
      quote = await post("/api/coupon", { video_id: video.id, code: input.value.trim(), offer: asked?.offer, currency: asked?.currency });
      fill(say, `${money(quote.discount_cents, quote.currency)} less: `, h("strong", { class: "amount", id: "coupon-price" }, quote.free ? "free" : money(quote.price_cents, quote.currency)));
    }
    changed();
  }
  function refused(error) {
    quote = null;
    invalid(input, sentence(error));
    changed();
  }
  if (code) busy(apply, ask, refused);
  const present = h("div", {}, field("Buy it for somebody else", box), details);

  return {
    el: h("div", { class: "mt-2" }, coupon, present),
    off: (currency) => (quote && quote.currency === currency ? quote.discount_cents : 0),
    free: () => !!quote?.free && !giving(),
    sync: () => {
      const now = offer();
      present.hidden = now?.offer !== "purchase"; // only a title for good can be given away
      if (asked && (asked.offer !== now?.offer || asked.currency !== now?.currency)) {
        quote = null;
        busy(apply, ask, refused);
      }
    },
    fields: () => {
      const fine = !giving() || !email.value.trim() || email.checkValidity();
      invalid(email, fine ? null : "This does not look like an e-mail address.");
      if (!fine) return null;
      return { coupon: quote?.code, ...(giving() ? { gift: true, gift_email: email.value.trim() || undefined, gift_message: message.value.trim() || undefined } : {}) };
    },
  };
}
