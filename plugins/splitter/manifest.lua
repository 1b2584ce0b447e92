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
  },
}
