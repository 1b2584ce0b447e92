-- SPDX-License-Identifier: Apache-2.0
return {
  name = "fixed_rate", kind = "rate", api = "1.0", version = "1.0.0", title = "Fixed exchange rate",
  caps = {}, limits = { cpu_ms = 5 },
  settings = {
    { key = "usd_to_idr", type = "string", title = "Rupiah for one dollar", default = "17000",
      help = "A decimal number, e.g. 16250.50." },
    { key = "tokens", type = "string", title = "Prices of tokens", default = "",
      help = "One token in a currency, e.g. USDC/USD = 0.9998, POL/USD = 0.21. A token without a price cannot be paid with." },
  },
}
