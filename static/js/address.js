// SPDX-License-Identifier: Apache-2.0
// The own address on chains, proved by a signature of the browser's wallet or one pasted from elsewhere.
import { get, post, requireUser } from "./api.js";
import { said, wallets } from "./evmwallet.js";
import { $, badge, busy, confirmButton, failToast, field, fill, h, load, onSubmit, time, toast } from "./ui.js";

await requireUser();
const box = $("#address");

const bytes = (text) => "0x" + [...new TextEncoder().encode(text)].map((b) => b.toString(16).padStart(2, "0")).join("");

async function proveWith(wallet) {
  try {
    const [address] = await wallet.provider.request({ method: "eth_requestAccounts" });
    const c = await post("/api/chain/address/challenge", { address });
    const signature = await wallet.provider.request({ method: "personal_sign", params: [bytes(c.message), address] });
    await post("/api/chain/address/prove", { signature });
  } catch (error) { throw said(error); }
  toast("The address is proved.");
  draw();
}

function byHand() {
  const address = h("input", { name: "address", maxlength: 42, autocomplete: "off", spellcheck: "false" });
  const form = h("form", { novalidate: true }, field("Address", address, "0x and 40 hexadecimal digits."), h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-outline-secondary" }, "Get the text to sign")));
  onSubmit(form, async (v) => {
    const c = await post("/api/chain/address/challenge", { address: v.address.trim() });
    const sign = h("form", { novalidate: true }, field("Sign this text with your wallet", h("textarea", { rows: 9, readOnly: true, value: c.message })),
      field("Signature", h("input", { name: "signature", maxlength: 132, autocomplete: "off", spellcheck: "false" })), h("div", { class: "form-actions" }, h("button", { type: "submit", class: "btn btn-brand" }, "Prove it")));
    onSubmit(sign, async (s) => {
      await post("/api/chain/address/prove", { signature: s.signature.trim() });
      toast("The address is proved.");
      draw();
    });
    fill(form.parentNode, sign);
  });
  return h("details", { class: "mt-3" }, h("summary", {}, "Sign elsewhere"), h("div", { class: "mt-2" }, form));
}

function draw() {
  return load(box, async () => [await get("/api/chain/address"), await wallets()], ([{ address: a }, list]) => [
    a ? h("p", {}, h("code", { class: "wrap", id: "proved" }, a.address), " ", badge("proved", "success"), h("span", { class: "small d-block text-body-secondary" }, "since ", time(a.proved_at)),
      a.waits && h("span", { class: "small d-block" }, "Used from ", time(a.usable_at), "; until then your share is kept here."),
      !a.in_profile && h("span", { class: "small d-block text-danger" }, "Your profile names another address, so this one is not used."))
      : h("p", {}, "Prove an address to be paid on the chain itself, in the moment of the sale. Without one your share is credited to your wallet here."),
    h("div", { class: "d-flex flex-wrap gap-2" }, list.map((w) => { const b = h("button", { type: "button", class: "btn btn-brand", onclick: () => busy(b, () => proveWith(w), failToast) }, `${a ? "Change" : "Prove"} with ${w.info.name}`); return b; }),
      a && confirmButton("Forget the address", { question: "Sales will be credited here again?", yes: async () => { await post("/api/chain/address/remove"); draw(); } })),
    byHand()]);
}
draw();
