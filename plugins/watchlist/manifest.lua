-- SPDX-License-Identifier: Apache-2.0
return {
  name = "watchlist", kind = "route", api = "1.0", version = "1.0.0", title = "Watch list",
  caps = { "cache" }, limits = { cpu_ms = 50 },
  settings = {
    { key = "max_items", type = "int", title = "Films on one list", default = 50 },
  },
}
