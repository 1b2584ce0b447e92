-- SPDX-License-Identifier: Apache-2.0
return {
  name = "capped", kind = "affiliate", api = "1.0", version = "1.0.0", title = "Percentage with a limit per sale",
  caps = {}, limits = { cpu_ms = 5 },
  settings = {
    { key = "cap", type = "money", title = "Most per sale", default = 1000,
      help = "In the smallest unit of the site's currency: 1000 is 10.00." },
  },
}
