// SPDX-License-Identifier: Apache-2.0
// Paying for a film from a wallet of the browser: token, wallet, network, permission, payment; then the order's page follows it.
import { get, post, query, signInUrl } from "./api.js";
import { allow, allowance, balance, onChain, payCall, permitCall, refusal, said, send, signTyped, wallets } from "./evmwallet.js";
import { nav } from "./nav.js";
import { $, badge, busy, empty, fill, h, notice, params, problem, sentence } from "./ui.js";

const video = params.get("video_id") || "", ref = params.get("ref") || "";
const box = $("#chainpay");
// What was chosen on the film's page: a code, a gift, and what is left to pay.
const kept = JSON.parse(sessionStorage.getItem("chainpay") || "{}");
const { due, more } = kept.video === video ? kept : {};
let options = null, tokens = [], found = [], state = null;

const film = () => "/public/watch.html" + query({ video_id: video, ref });
const tell = (text, kind = "info") => fill(state, notice(text, kind));
const chosen = () => tokens[Number($("input[name=token]:checked", box).value)];

// By one signature, sent by the site: true when it is done. Where that cannot be, the buyer is told and pays as usual.
async function bySignature(provider, o, amount) {
  tell(`Please sign for ${amount} in your wallet. There is no network fee: this site sends the payment.`);
  const signature = await signTyped(provider, o.invoice.payer, o.authorization);
  if (!signature) return false;
  tell("Signed. Your payment is being sent.");
  try {
    await post("/api/pay/x402/authorize", { invoice_uid: o.invoice_uid, id: o.invoice.id, signature });
    return true;
  } catch (error) {
    if (!["chain.sponsor", "relayer.funds", "rpc.down", "request.rate"].includes(error.code)) throw error;
    tell(`${sentence(error)} Nothing was paid yet.`, "warning");
    return false;
  }
}

// With the wallet's own transaction; a token's permission by signature where it takes one, else by a transaction before.
async function byTransaction(provider, o, amount, t) {
  const token = o.token_address, payer = o.invoice.payer;
  let data = null;
  if (token) {
    const now = await allowance(provider, token, payer, o.x402_contract);
    if (now < BigInt(o.amount_wei)) {
      if (o.permit) data = await permitCall(provider, o.x402_contract, o.invoice, o.signature, o.permit, tell);
      if (!data) await allow(provider, token, payer, o.x402_contract, o.amount_wei, now, tell);
    }
  }
  await onChain(provider, t.chain_id, t.chain);
  tell(`Please confirm ${amount} on ${o.chain} in your wallet.`);
  const hash = await send(provider, payer, o.x402_contract, data ?? payCall(o.invoice, o.signature, !token), token ? 0 : o.amount_wei);
  // Only makes it known sooner: the chain is watched anyway.
  await post("/api/pay/x402/confirm", { invoice_uid: o.invoice_uid, tx_hash: hash }).catch((error) => console.debug("confirm", error));
}

async function payWith({ provider }) {
  const t = chosen();
  tell("Please answer in your wallet.");
  const [payer] = await provider.request({ method: "eth_requestAccounts" });
  if (!payer) throw refusal("Your wallet gave no account.");
  await onChain(provider, t.chain_id, t.chain);
  const o = await post("/api/pay/x402/start", { video_id: video, chain_id: t.chain_id, symbol: t.symbol, token_address: t.erc20 || undefined,
    payer_address: payer, price_cents: options.price_cents, affiliate_ref: ref || undefined, ...more });
  const amount = `${o.amount_text} ${o.symbol}`;
  if (await balance(provider, o.token_address, payer) < BigInt(o.amount_wei)) throw refusal(`This account has less than ${amount} on ${o.chain}.`);
  if (!o.authorization || !await bySignature(provider, o, amount)) await byTransaction(provider, o, amount, t);
  tell("The payment is sent.", "success");
  location.assign(o.order_url);
}

function walletButton(w) {
  const button = h("button", { type: "button", class: "btn btn-brand", data: { wallet: w.info.rdns || w.info.uuid }, onclick: () => busy(button, () => payWith(w), (error) => {
    if (error.needsSignIn) return location.assign(signInUrl(location.pathname + location.search));
    const told = said(error);
    return tell(sentence(told), told.code === "wallet.rejected" ? "warning" : "danger");
  }) }, `Pay with ${w.info.name}`);
  return button;
}

function draw() {
  if (options.already_purchased && !more?.gift) return fill(box, notice("You have this film already.", "success"), h("a", { class: "btn btn-brand", href: film() }, "Watch now"));
  if (!tokens.length) return fill(box, empty("Not available", "Payment from a crypto wallet is switched off at the moment.", h("a", { class: "btn btn-brand", href: film() }, "Back to the video")));
  const choices = tokens.map((t, i) => h("div", { class: "form-check mb-1" },
    h("input", { class: "form-check-input", type: "radio", name: "token", id: "token" + i, value: String(i), checked: i === 0 }),
    h("label", { class: "form-check-label", for: "token" + i }, `${t.symbol} on ${t.chain} `, t.testnet && badge("test network", "warning"), t.fee_free && [" ", badge("no network fee", "success")])));
  state = h("div", { id: "state", class: "mt-3", role: "status", "aria-live": "polite" });
  return fill(box, h("div", { class: "card" }, h("div", { class: "card-body" },
    h("p", { class: "amount h4" }, due || options.price_display),
    h("fieldset", { class: "mb-3" }, h("legend", { class: "h6" }, "Pay in"), choices),
    found.length ? h("div", { class: "d-grid gap-2" }, found.map(walletButton))
      : notice("No wallet was found in this browser. Install one as an extension, or open this page in the browser of your wallet app.", "warning"),
    state,
    h("p", { class: "small text-body-secondary mt-3 mb-0" }, "The exact sum in the token is fixed when you choose the wallet, and holds for some minutes. " + (tokens.some((t) => t.fee_free) ? "Where no network fee is shown, you sign and this site sends the payment; else the fee is the wallet's." : "Network fees are the wallet's.")))),
  h("p", { class: "mt-3" }, h("a", { href: film() }, "Back to the video")));
}

async function show() {
  if (!video) return fill(box, empty("Which film?", "Choose the film first; its page leads here.", h("a", { class: "btn btn-brand", href: "/public/browse.html" }, "Browse")));
  try {
    [options, found] = await Promise.all([get("/api/pay/all_options", { video_id: video }), wallets()]);
    tokens = options.x402?.tokens || [];
    return draw();
  } catch (error) {
    return fill(box, problem(error, show));
  }
}
await nav();
show();
