-- SPDX-License-Identifier: Apache-2.0
return {
  name = "tax_eu", kind = "tax", api = "1.0", version = "1.0.0", title = "European Union: VAT of the buyer's country",
  caps = {}, limits = { cpu_ms = 5 }, codes = { "vat_eu" },
  settings = {
    { key = "unknown", type = "string", title = "Country of buyers who tell none", default = "",
      help = "Two letters, for example DE. Empty: no tax." },
    { key = "rates", type = "string", title = "Rates that differ", default = "",
      help = "For example DE=19 FI=25.5; others are the standard rates of early 2026." },
  },
}
