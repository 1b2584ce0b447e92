-- SPDX-License-Identifier: Apache-2.0
return {
  name = "x402", kind = "payment", api = "1.0", version = "1.0.0", title = "x402",
  caps = {}, limits = { cpu_ms = 50 },
  features = { refund = true, partial_refund = true, machine = true }, reversible = false,
  min_expiry_s = 3600, max_expiry_s = 3600,
  settings = {
    { key = "enabled", type = "bool", title = "Sell to programs", default = false },
    { key = "environment", type = "enum", title = "Environment", values = { "sandbox", "live" }, default = "sandbox",
      help = "live: a real chain. sandbox: a test chain; what is paid is practice money." },
    { key = "chain_id", type = "int", title = "Chain", default = 84532, min = 1, max = 9007199254740991,
      help = "One that is switched on under Chains: its node is asked, its treasury is paid. 84532 is Base Sepolia (a test chain), 8453 is Base." },
    { key = "token", type = "string", title = "Token", default = "USDC",
      help = "The symbol of a token of that chain, listed under Chains, that takes payments by signature (EIP-3009)." },
    { key = "facilitator_url", type = "string", title = "Facilitator", default = "",
      help = "Address of a facilitator that settles. Empty: this site sends the payment itself with the key `relayer` (ppv key new relayer)." },
    { key = "confirmations", type = "int", title = "Blocks until the program is let in", default = 1, min = 1, max = 1000,
      help = "The payment is looked at further until it is final by the chain's own setting." },
  },
}
