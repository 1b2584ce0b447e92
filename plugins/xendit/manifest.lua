-- SPDX-License-Identifier: Apache-2.0
return {
  name = "xendit", kind = "payment", api = "1.0", version = "1.0.0", title = "Xendit",
  caps = { "fetch", "fetch:api.xendit.co" }, limits = { cpu_ms = 200 },
  base_urls = { sandbox = "https://api.xendit.co", live = "https://api.xendit.co" },
  currencies = { "IDR", "PHP", "THB", "MYR", "VND" }, features = { refund = true, partial_refund = true, payout = true, cancel = true },
  reversible = true, min_expiry_s = 600, max_expiry_s = 2592000,
  settings = {
    { key = "environment", type = "enum", title = "Environment", values = { "sandbox", "live" }, default = "sandbox" },
    { key = "secret_key", type = "secret", title = "Secret key for payments", required = true, default = "",
      help = "xnd_development_... or xnd_production_..." },
    { key = "payout_key", type = "secret", title = "Secret key for payouts", default = "", help = "Blank: the one for payments." },
    { key = "callback_token", type = "secret", title = "Webhook verification token", required = true, default = "" },
    { key = "base_url", type = "url", title = "Address of the service", default = "", help = "Blank: Xendit's own." },
  },
}
