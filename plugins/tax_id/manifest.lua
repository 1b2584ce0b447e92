-- SPDX-License-Identifier: Apache-2.0
return {
  name = "tax_id", kind = "tax", api = "1.0", version = "1.0.0", title = "Indonesia: PPN and withholding",
  caps = {}, limits = { cpu_ms = 5 }, codes = { "ppn", "pph22" },
  settings = {
    { key = "ppn_bp", type = "bps", title = "PPN, basis points of the net price", default = 1100,
      help = "12 % of 11/12 of the price is 11 %: 1100." },
    { key = "pph22_bp", type = "bps", title = "Withheld from the seller (PPh 22), basis points", default = 50,
      help = "Of the price without PPN; 0 for sellers who are exempt." },
    { key = "everywhere", type = "bool", title = "Tax buyers of unknown country too", default = true },
  },
}
