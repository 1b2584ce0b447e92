// SPDX-License-Identifier: Apache-2.0
// Wallets of the browser: found by EIP-6963, asked by EIP-1193, their refusals as sentences; and the few calls of tokens and of
// the splitter contract that paying takes, encoded here.

import { ApiError } from "./api.js";

export const refusal = (text, code = "wallet.failed") => new ApiError(text, { code });

// Wallets announce themselves; an older one is window.ethereum. [{info: {uuid, name}, provider}]
export function wallets() {
  return new Promise((resolve) => {
    const found = [];
    const hear = (e) => { if (!found.some((w) => w.info.uuid === e.detail.info.uuid)) found.push(e.detail); };
    window.addEventListener("eip6963:announceProvider", hear);
    window.dispatchEvent(new Event("eip6963:requestProvider"));
    setTimeout(() => {
      window.removeEventListener("eip6963:announceProvider", hear);
      if (!found.length && window.ethereum) found.push({ info: { uuid: "", name: "Browser wallet" }, provider: window.ethereum });
      resolve(found);
    }, 200);
  });
}

// What a wallet refused, as a person would say it. Errors of the server pass through.
export function said(error) {
  if (error?.code === 4001) return refusal("You rejected the request in your wallet. Nothing was changed.", "wallet.rejected");
  if (error?.code === -32002) return refusal("Your wallet is asking already. Please open it and answer there.");
  return Number.isInteger(error?.code) ? refusal(`The wallet said: ${error.message}`) : error;
}

const number = (n) => "0x" + BigInt(n).toString(16);

// Brings the wallet to the chain; asks it again afterwards, as some answer without having switched.
export async function onChain(provider, id, name) {
  const there = async () => BigInt(await provider.request({ method: "eth_chainId" })) === BigInt(id);
  if (await there()) return;
  try {
    await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId: number(id) }] });
  } catch (error) {
    if (error?.code === 4902) throw refusal(`Your wallet does not know ${name}. Please add this network in the wallet, then try again.`);
    if (error?.code === 4001) throw refusal(`Your wallet stayed on another network. This payment is on ${name}.`);
    throw error;
  }
  if (!await there()) throw refusal(`Your wallet is on another network. Please choose ${name} there, then try again.`);
}

// ---- calls

const word = (x) => BigInt(x).toString(16).padStart(64, "0");
const NATIVE = { true: "0xe57e22ce", false: "0xef09191d" }; // payNative, payToken ((bytes32,address,uint256,address,(address,uint256)[],uint64),bytes)

// Calldata that pays a signed invoice: two offsets, `more` words, the invoice with its payees after its six words, the signature.
function encode(selector, i, signature, more = []) {
  const list = i.payees.map((p) => word(p.to) + word(p.amount)).join("");
  const invoice = word(i.id) + word(i.token) + word(i.amount) + word(i.payer) + word(6 * 32) + word(i.deadline) + word(i.payees.length) + list;
  const sig = signature.slice(2);
  const head = 64 + more.length * 32;
  return selector + word(head) + word(head + invoice.length / 2) + more.map(word).join("") + invoice + word(sig.length / 2) + sig.padEnd(Math.ceil(sig.length / 64) * 64, "0");
}
export const payCall = (i, signature, native) => encode(NATIVE[native], i, signature);

// Signatures instead of transactions. Some wallets cannot: null then.
export async function signTyped(provider, who, data) {
  try {
    return await provider.request({ method: "eth_signTypedData_v4", params: [who, JSON.stringify(data)] });
  } catch (error) {
    if (error?.code === 4200 || error?.code === -32601) return null;
    throw error;
  }
}
const DOMAIN = [["name", "string"], ["version", "string"], ["chainId", "uint256"], ["verifyingContract", "address"]];
const PERMIT = [["owner", "address"], ["spender", "address"], ["value", "uint256"], ["nonce", "uint256"], ["deadline", "uint256"]];
const fields = (list) => list.map(([name, type]) => ({ name, type }));

// Calldata that allows by a signature (EIP-2612) and pays at once; null when the wallet cannot sign that.
export async function permitCall(provider, contract, i, signature, domain, tell) {
  const nonce = await provider.request({ method: "eth_call", params: [{ to: i.token, data: "0x7ecebe00" + word(i.payer) }, "latest"] });
  tell("Please sign the permission for the exact amount in your wallet. Nothing is paid by this yet.");
  const sig = await signTyped(provider, i.payer, { domain, types: { EIP712Domain: fields(DOMAIN), Permit: fields(PERMIT) }, primaryType: "Permit",
    message: { owner: i.payer, spender: contract, value: i.amount, nonce: BigInt(nonce).toString(), deadline: String(i.deadline) } });
  if (!sig) return null;
  const v = Number.parseInt(sig.slice(130, 132), 16);
  return encode("0xd5ee76db", i, signature, [i.deadline, v < 27 ? v + 27 : v, sig.slice(0, 66), "0x" + sig.slice(66, 130)]);
}

// The receipt once it is in a block; asks every two seconds.
async function mined(provider, hash) {
  for (;;) {
    const r = await provider.request({ method: "eth_getTransactionReceipt", params: [hash] });
    if (r) return r;
    await new Promise((resolve) => { setTimeout(resolve, 2000); });
  }
}

export const balance = async (provider, token, who) => BigInt(token ? await provider.request({ method: "eth_call", params: [{ to: token, data: "0x70a08231" + word(who) }, "latest"] })
  : await provider.request({ method: "eth_getBalance", params: [who, "latest"] }));

// What the contract may take of the token.
export const allowance = async (provider, token, from, contract) =>
  BigInt(await provider.request({ method: "eth_call", params: [{ to: token, data: "0xdd62ed3e" + word(from) + word(contract) }, "latest"] }));

// Lets the contract take exactly the amount; now: what it may take already. tell(sentence) before the wallet is asked.
export async function allow(provider, token, from, contract, amount, now, tell) {
  const approve = (n) => ({ from, to: token, data: "0x095ea7b3" + word(contract) + word(n) });
  const steps = [approve(amount)];
  // Some tokens (USDT) change an approval only through zero.
  if (now > 0n) await provider.request({ method: "eth_call", params: [steps[0], "latest"] }).catch(() => steps.unshift(approve(0)));
  for (const step of steps) {
    tell("Please allow the exact amount in your wallet. Nothing is paid by this yet.");
    const hash = await provider.request({ method: "eth_sendTransaction", params: [step] });
    tell("Waiting until the permission is in a block.");
    if ((await mined(provider, hash)).status !== "0x1") throw refusal("The token refused the permission. Nothing was paid.");
  }
}

// Sends the payment and answers its hash as soon as the wallet has it.
export const send = (provider, from, to, data, value) =>
  provider.request({ method: "eth_sendTransaction", params: [{ from, to, data, ...(BigInt(value) ? { value: number(value) } : {}) }] });
