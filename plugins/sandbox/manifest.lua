-- SPDX-License-Identifier: Apache-2.0
return {
  name = "sandbox", kind = "payment", api = "1.0", version = "1.0.0", title = "Practice payment",
  caps = {}, limits = { cpu_ms = 20 },
  features = { refund = true, partial_refund = true, cancel = true, desk = "practice" }, reversible = true,
  settings = {
    { key = "environment", type = "enum", title = "Environment", values = { "sandbox" }, default = "sandbox" },
    { key = "on", type = "bool", title = "Offer practice payments to every visitor", default = false,
      help = "For trying out only: whoever chooses it gets the video without paying." },
  },
}
