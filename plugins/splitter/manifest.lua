-- SPDX-License-Identifier: Apache-2.0
return {
  name = "splitter", kind = "payment", api = "1.0", version = "1.0.0", title = "Crypto wallet",
  caps = {}, limits = { cpu_ms = 50 },
  features = { refund = true, partial_refund = true, chain = true }, reversible = false,
  min_expiry_s = 600, max_expiry_s = 7200,
  settings = {
    { key = "environment", type = "enum", title = "Environment", values = { "sandbox", "live" }, default = "sandbox",
      help = "live: real chains only. sandbox: test chains only; what is paid there is practice money." },
    { key = "deadline_s", type = "int", title = "Seconds to pay an invoice", default = 900, min = 120, max = 7200,
      help = "How long the price in a token holds." },
    { key = "sponsor", type = "bool", title = "Pay the network's fee for buyers", default = false,
      help = "Buyers sign, this site sends with the key `relayer` (ppv key new relayer). For tokens that take payments by signature (EIP-3009)." },
    { key = "sponsor_buyer", type = "int", title = "... at most, for one buyer in 24 hours", default = 5, min = 1, max = 1000 },
    { key = "sponsor_day", type = "int", title = "... at most, in all in 24 hours", default = 500, min = 1, max = 1000000 },
  },
}
