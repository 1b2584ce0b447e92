-- SPDX-License-Identifier: Apache-2.0
return {
  name = "first_sale", kind = "affiliate", api = "1.0", version = "1.0.0", title = "Percentage, and a bonus for a new buyer",
  caps = {}, limits = { cpu_ms = 5 },
  settings = {
    { key = "bonus_bps", type = "bps", title = "Bonus, basis points of the price", default = 500,
      help = "Added to the creator's percentage when the buyer has never bought here before." },
  },
}
