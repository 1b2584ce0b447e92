// SPDX-License-Identifier: Apache-2.0
// Chains: how they stand, what they are set to, tokens, payments that are not certain yet and those that vanished.
import { get, post } from "../api.js";
import { $, badge, busy, checkbox, failToast, field, fill, h, onSubmit, problem, table, time, toast } from "../ui.js";
import { ask, requireAdmin, small } from "./common.js";

await requireAdmin();
const wrap = (...x) => h("span", { class: "d-inline-flex flex-wrap gap-2 justify-content-end" }, x);
const code = (x) => (x ? h("code", { class: "wrap" }, x) : "");
const dash = (x) => x ?? "–";

// ---- dialogs ----

function dialog(title, form, button, go) {
  const yes = h("button", { type: "submit", class: "btn btn-brand" }, button);
  form.className = "modal-content";
  form.noValidate = true;
  const body = h("div", { class: "modal-body" }, ...form.childNodes);
  form.replaceChildren(h("div", { class: "modal-header" }, h("h2", { class: "modal-title h5", id: "dialog-title" }, title),
    h("button", { type: "button", class: "btn-close", "data-bs-dismiss": "modal", "aria-label": "Close" })), body,
  h("div", { class: "modal-footer" }, h("button", { type: "button", class: "btn btn-outline-secondary", "data-bs-dismiss": "modal" }, "Cancel"), yes));
  const el = h("div", { class: "modal", tabindex: "-1", "aria-labelledby": "dialog-title" }, h("div", { class: "modal-dialog modal-dialog-scrollable modal-lg" }, form));
  document.body.append(el);
  const modal = new window.bootstrap.Modal(el);
  el.addEventListener("hidden.bs.modal", () => { modal.dispose(); el.remove(); });
  onSubmit(form, async (v) => { await go(v); modal.hide(); load(); });
  modal.show();
}
const text = (name, value, rest = {}) => h("input", { name, value: value ?? "", autocomplete: "off", spellcheck: "false", ...rest });
const check = (name, label, on) => h("div", { class: "form-check mb-3" }, h("label", { class: "form-check-label" }, checkbox(name, on), label));

// What the deploy script wrote fills the fields that it knows.
function paste(form) {
  const area = h("textarea", { rows: 2, spellcheck: "false", oninput: () => {
    let d;
    try { d = JSON.parse(area.value); } catch { return; }
    for (const [name, value] of Object.entries({ contract: d.address, code_hash: d.codeHash, start_block: d.block, chain_id: d.chainId }))
      if (value !== undefined && form.elements[name] && !form.elements[name].readOnly) form.elements[name].value = value;
  } });
  return field("What the deploy script wrote (JSON, optional)", area, "Fills contract, code hash and first block.");
}

function edit(c) {
  const form = h("form", {});
  const isNew = !c;
  c = c || { name: "", testnet: true, finality: "finalized", confirmations: 12, range: 2000, poll_s: 12, second_above: 50000, start_block: 0 };
  const num = (name, value, min = 0) => text(name, value, { type: "number", min, step: 1, inputmode: "numeric" });
  form.append(h("div", { class: "row" },
    h("div", { class: "col-sm-6" }, field("Chain id", num("chain_id", c.chain_id, 1))), h("div", { class: "col-sm-6" }, field("Name", text("name", c.name, { maxlength: 60 })))),
  isNew ? check("testnet", " A test network: what is paid there is practice money", true) : "",
  paste(form),
  field("Splitter contract", text("contract", c.contract)), field("Hash of its code", text("code_hash", c.code_hash), "Blank: not compared."),
  field("Treasury", text("treasury", c.treasury), "Where the platform's part goes, and that of everybody without a proved address."),
  h("div", { class: "row" }, h("div", { class: "col-sm-6" }, field("Node (JSON-RPC)", text("rpc", "", { placeholder: c.has_rpc ? "unchanged" : "https://" }), "It may hold a key and is never shown again.")),
    h("div", { class: "col-sm-6" }, field("Second node", text("rpc2", "", { placeholder: c.has_rpc2 ? "unchanged" : "none" }), "A single - takes it away."))),
  h("div", { class: "row" }, h("div", { class: "col-sm-6" }, field("Final is what", h("select", { name: "finality" }, [["finalized", "the chain calls finalized"], ["safe", "the chain calls safe"], ["count", "has enough confirmations"]]
    .map(([v, t]) => h("option", { value: v, selected: v === c.finality }, t))))), h("div", { class: "col-sm-6" }, field("Confirmations, at least", num("confirmations", c.confirmations, 1)))),
  h("div", { class: "row" }, h("div", { class: "col-sm-6" }, field("Both nodes must agree from (smallest unit of the price)", num("second_above", c.second_above ?? ""), "Blank: never.")),
    h("div", { class: "col-sm-6" }, field("First block", num("start_block", c.start_block)))),
  h("div", { class: "row" }, h("div", { class: "col-sm-6" }, field("Blocks asked for at a time", num("range", c.range, 1))), h("div", { class: "col-sm-6" }, field("Seconds between looks", num("poll_s", c.poll_s, 1)))),
  field("Block explorer", text("explorer", c.explorer), "Address without a slash at the end."), check("enabled", " Offer this chain to buyers", c.enabled));
  if (!isNew) form.elements.chain_id.readOnly = true;
  dialog(isNew ? "New chain" : c.name, form, "Save", async (v) => {
    const body = { chain_id: Number(v.chain_id), enabled: form.elements.enabled.checked, explorer: v.explorer, code_hash: v.code_hash, finality: v.finality };
    for (const k of ["name", "contract", "treasury", "rpc", "rpc2"]) if (v[k]) body[k] = v[k];
    for (const k of ["start_block", "confirmations", "range", "poll_s"]) if (v[k] !== "") body[k] = Number(v[k]);
    if (v.second_above === "") body.second_never = true; else body.second_above = Number(v.second_above);
    if (isNew) body.testnet = form.elements.testnet.checked;
    await post("/admin/chains", body);
    toast("Saved.");
  });
}

function editToken(t, chains) {
  const form = h("form", {});
  form.append(field("Chain", h("select", { name: "chain_id", disabled: !!t.symbol }, chains.map((c) => h("option", { value: c.chain_id, selected: c.chain_id === t.chain_id }, c.name)))),
    field("Symbol", text("symbol", t.symbol, { readOnly: !!t.symbol, maxlength: 20 }), "As the rate source knows it."), field("Decimals", text("decimals", t.decimals ?? 18, { type: "number", min: 0, max: 36 })),
    field("Contract", text("erc20", t.erc20), "Blank: the chain's own coin. Only tokens that move exactly what they are told to."), check("active", " Offer it to buyers", t.active ?? true));
  dialog(t.symbol || "New token", form, "Save", async (v) => {
    await post("/admin/chains/token", { chain_id: t.chain_id || Number(v.chain_id), symbol: v.symbol, decimals: Number(v.decimals), erc20: v.erc20 || undefined, active: form.elements.active.checked });
    toast("Saved.");
  });
}

// ---- lists ----

function state(c) {
  const out = [c.testnet && badge("test", "info"), " ", c.ready ? badge("on", "success") : badge(c.enabled ? "not set up" : "off", "secondary")];
  if (c.problem && c.ready) out.push(h("div", { class: "small text-danger", data: { problem: c.chain_id } }, c.problem));
  if (c.problem2 && c.ready) out.push(h("div", { class: "small text-warning-emphasis" }, "Second node: ", c.problem2));
  if (c.relayer_low && c.enabled) out.push(h("div", { class: "small text-danger", data: { low: c.chain_id } }, `The relayer can pay the fee of about ${c.relayer_left} payments. Send it some of the chain's coin.`));
  return out;
}
// An amount of the chain's coin, shortened for the eye.
const coin = (text) => h("span", { title: text }, text.replace(/(\.\d{4})\d+$/, "$1…"));
const keys = (c) => [c.relayer && [h("div", { class: "small" }, "Relayer ", coin(c.relayer_text)), code(c.relayer)], c.treasury_text && h("div", { class: "small" }, "Treasury ", coin(c.treasury_text))];
const chainTable = () => table([
  { head: "Chain", cell: (c) => [h("strong", {}, c.name), h("div", { class: "small text-body-secondary" }, c.chain_id)] },
  { head: "State", class: "wrap", cell: state },
  { head: "Head", end: true, cell: (c) => [dash(c.head), c.head_at && h("div", { class: "small text-body-secondary" }, time(new Date(c.head_at * 1000).toISOString()))] },
  { head: "Final", end: true, cell: (c) => dash(c.final) },
  { head: "Cursor", end: true, cell: (c) => [dash(c.cursor), c.lag > 0 && h("div", { class: "small text-warning-emphasis" }, `${c.lag} behind`)] },
  { head: "Second node", end: true, cell: (c) => (c.has_rpc2 ? [dash(c.head2), c.lag2 > 0 && h("div", { class: "small" }, `${c.lag2} behind the first`)] : "none") },
  { head: "Contract", class: "wrap", cell: (c) => code(c.contract) },
  { head: "Coin for fees", class: "wrap", cell: keys },
  { head: "", end: true, cell: (c) => wrap(small("Set up", () => edit(c)), c.ready && small("Look now", async () => { await post("/admin/chains/look", { chain_id: c.chain_id }); toast("It is looked at now."); })) },
], "Chains");

const tx = (x) => (x.explorer ? h("a", { href: `${x.explorer}/tx/${x.tx_hash}`, rel: "noreferrer" }, code(x.tx_hash.slice(0, 14) + "…")) : code(x.tx_hash.slice(0, 14) + "…"));
const COLUMNS = [{ head: "When", cell: (x) => time(x.created_at) }, { head: "Chain", cell: (x) => x.chain }, { head: "Transaction", cell: tx },
  { head: "Video", class: "wrap", cell: (x) => [x.title ?? "", h("div", { class: "small text-body-secondary" }, x.buyer ?? "")] }, { head: "Amount", end: true, cell: (x) => `${x.amount_text} ${x.symbol}` }];
const giveUp = (x, way = "payments") => ask({ title: "Undo this sale?", button: "Undo the sale", danger: true, label: "Note (optional)", text: ["The payment's block is gone and it was not included again. The sale is taken back; access has ended already."],
  go: async () => { const r = await post(`/admin/chains/${way}/${x.id}/give_up`); toast(`The order is ${r.state}.`); load(); } });
// A refund is sent by hand: what, how much exactly, to whom; then the transaction is named and looked at.
function nameRefund(x) {
  const form = h("form", {});
  form.append(h("p", {}, "Send exactly ", h("strong", {}, `${x.amount_text} ${x.symbol}`), ` on ${x.chain} from the treasury to`), h("p", {}, code(x.payer)),
    h("p", { class: "small" }, x.token ? ["Token ", code(x.token)] : "It is the chain's own coin.", ` In smallest units: ${x.amount}.`),
    field("Transaction that sent it", text("tx_hash", x.tx_hash, { maxlength: 66, placeholder: "0x…" }), "The refund is closed when this transfer is found in a final block."));
  dialog("Refund on chain", form, "Look at it", async (v) => { await post(`/admin/chains/refunds/${x.id}`, { tx_hash: v.tx_hash.trim() }); toast("It is looked at."); });
}
const voidRefund = (x) => ask({ title: "Not send this refund?", button: "Do not send it", danger: true, label: "Note (optional)", text: ["Nothing goes back to the buyer; the sale stays as it is."],
  go: async () => { await post(`/admin/chains/refunds/${x.id}`, { void: true }); toast("It will not be sent."); load(); } });
const LISTS = [
  ["refunds", "Refunds to send", [{ head: "When", cell: (x) => time(x.created_at) }, { head: "Send exactly", class: "wrap", cell: (x) => [h("strong", {}, `${x.amount_text} ${x.symbol}`), ` on ${x.chain}`, x.token && h("div", { class: "small" }, "token ", code(x.token))] },
    { head: "To", class: "wrap", cell: (x) => code(x.payer) }, { head: "Video", class: "wrap", cell: (x) => [x.title, h("div", { class: "small text-body-secondary" }, x.buyer)] },
    { head: "State", class: "wrap", cell: (x) => [x.tx_hash ? tx(x) : "waits for its transaction", x.problem && h("div", { class: "small text-warning-emphasis" }, x.problem)] },
    { head: "", end: true, cell: (x) => wrap(small("Transaction", () => nameRefund(x)), x.state === "open" && small("Do not send", () => voidRefund(x), { kind: "outline-danger" })) }]],
  ["provisional", "Seen, not final yet", [...COLUMNS, { head: "Confirmations", end: true, cell: (x) => dash(x.confirmations) }, { head: "Why it waits", class: "wrap", cell: (x) => x.problem }]],
  ["orphaned", "Vanished from the chain", [...COLUMNS, { head: "Order", cell: (x) => x.order_state ?? "" }, { head: "", end: true, cell: (x) => (x.disputed ? small("Undo the sale", () => giveUp(x), { kind: "outline-danger" }) : "") }]],
  ["orphaned_x402", "Vanished from the chain, paid by programs (x402)", [...COLUMNS, { head: "Order", cell: (x) => x.order_state ?? "" }, { head: "", end: true, cell: (x) => (x.disputed ? small("Undo the sale", () => giveUp(x, "x402"), { kind: "outline-danger" }) : "") }]],
  ["unknown", "Signed by our key, but not in these books", COLUMNS],
];
const section = (id, title, columns, rows, extra) => {
  const t = table(columns, title);
  t.body.append(...rows.map(t.row));
  return h("section", { class: "mb-4", id }, h("h2", { class: "h5" }, title, " ", h("span", { class: "badge text-bg-secondary" }, rows.length)), h("div", { class: "card" }, t.el), extra);
};

function drawSigner(r) {
  if (r.signer) return fill($("#signer"), "Invoices are signed by ", code(r.signer), ". The contracts must trust this address; it holds no money.");
  const make = h("button", { type: "button", class: "btn btn-brand btn-sm ms-2", id: "make-signer", onclick: () => busy(make, async () => { await post("/admin/chains/signer"); load(); }, failToast) }, "Make the key");
  return fill($("#signer"), "There is no key yet that signs invoices.", make);
}

async function load() {
  try {
    const r = await get("/admin/chains");
    drawSigner(r);
    const t = chainTable();
    t.body.append(...r.chains.map(t.row));
    fill($("#chains"), h("section", { class: "mb-4" }, h("div", { class: "card" }, t.el), h("div", { class: "mt-2" }, small("New chain", () => edit(null), { id: "new-chain" }))));
    const full = LISTS.filter(([name]) => r[name].length), clear = LISTS.filter(([name]) => !r[name].length);
    fill($("#payments"), full.map(([name, title, columns]) => section("list-" + name, title, columns, r[name])),
      clear.length ? h("p", { class: "small text-body-secondary" }, "No payments under: ", clear.map(([, title]) => title.toLowerCase()).join("; "), ".") : "");
    fill($("#tokens"), section("list-tokens", "Tokens", [{ head: "Chain", cell: (x) => [x.chain, " ", x.testnet && badge("test", "info")] }, { head: "Symbol", cell: (x) => h("strong", {}, x.symbol) },
      { head: "Contract", class: "wrap", cell: (x) => [code(x.erc20) || "the chain's own coin", (x.eip3009 || x.eip2612) && h("div", { class: "small text-body-secondary" }, x.eip3009 ? "takes payments by signature" : "takes permissions by signature")] }, { head: "Decimals", end: true, cell: (x) => x.decimals },
      { head: `Price in ${r.currency}`, end: true, class: "wrap", cell: (x) => x.rate ?? h("span", { class: "small text-body-secondary" }, x.rate_problem ?? "") },
      { head: "", cell: (x) => (x.active ? badge("on", "success") : badge("off", "secondary")) }, { head: "", end: true, cell: (x) => small("Change", () => editToken(x, r.chains)) }],
    r.tokens, h("div", { class: "mt-2" }, small("New token", () => editToken({}, r.chains)))));
  } catch (error) { fill($("#chains"), problem(error, load)); }
}
load();
