// SPDX-License-Identifier: Apache-2.0
// node spec/support/gateways/serve.mjs NAME...: starts the services named (stripe, paypal, midtrans, xendit, or record, which answers
// what it is told to) and prints one line of JSON: addresses and secrets of each. Ends with its standard input.
import { Gateway } from "./kit.mjs";

class Record extends Gateway {
  constructor() {
    const answer = () => this.queue.shift() ?? {};
    super(["GET", "POST"].map(m => [m, /./, answer]));
    this.queue = [];
  }
  say(...answers) { this.queue.push(...answers); }
}

const CLASS = { stripe: "Stripe", paypal: "PayPal", midtrans: "Midtrans", xendit: "Xendit" };
const out = {};
for (const name of process.argv.slice(2)) {
  const g = await new (name === "record" ? Record : (await import(`./${name}.mjs`))[CLASS[name]])().listen();
  const { url, key, secret, token, client, webhook_id, certs } = g;
  out[name] = { url, key, secret, token, client, webhook_id, root: certs?.root };
}
console.log(JSON.stringify(out));
process.stdin.resume().on("end", () => process.exit());
