-- SPDX-License-Identifier: Apache-2.0
return {
  name = "percent", kind = "affiliate", api = "1.0", version = "1.0.0", title = "Percentage of the price",
  caps = {}, limits = { cpu_ms = 5 },
  settings = {
    { key = "max_pct", type = "int", title = "Highest percentage", default = 90,
      help = "A creator's percentage above this counts as this." },
  },
}
