-- SPDX-License-Identifier: Apache-2.0
return {
  name = "two_level", kind = "affiliate", api = "1.0", version = "1.0.0", title = "Two levels: the link, then who came first",
  caps = {}, limits = { cpu_ms = 5 },
  settings = {
    { key = "second_bps", type = "bps", title = "Second level, basis points of the price", default = 200,
      help = "Paid to whoever brought the buyer to their first purchase, beside the owner of the link that was followed now." },
  },
}
