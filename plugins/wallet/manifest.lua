-- SPDX-License-Identifier: Apache-2.0
return {
  name = "wallet", kind = "payment", api = "1.0", version = "1.0.0", title = "Wallet balance",
  caps = {}, limits = { cpu_ms = 5 }, settings = {},
}
