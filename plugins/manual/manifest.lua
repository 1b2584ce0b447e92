-- SPDX-License-Identifier: Apache-2.0
return {
  name = "manual", kind = "payment", api = "1.0", version = "1.0.0", title = "Bank transfer",
  caps = {}, limits = { cpu_ms = 20 },
  features = { refund = true, partial_refund = true, cancel = true, desk = "proof" }, reversible = false,
  min_expiry_s = 86400, max_expiry_s = 1209600,
  settings = {
    { key = "account", type = "string", title = "Account to pay to", required = true, default = "",
      help = "Bank, number and holder, as the buyer should type them." },
    { key = "text", type = "string", title = "What else the buyer should know", default = "" },
    { key = "days", type = "int", title = "Days to pay", default = 3, min = 1, max = 14 },
  },
}
