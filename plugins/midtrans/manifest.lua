-- SPDX-License-Identifier: Apache-2.0
return {
  name = "midtrans", kind = "payment", api = "1.0", version = "1.0.0", title = "Midtrans Snap",
  caps = { "fetch", "fetch:api.midtrans.com", "fetch:app.midtrans.com", "fetch:api.sandbox.midtrans.com",
    "fetch:app.sandbox.midtrans.com" },
  limits = { cpu_ms = 200 },
  base_urls = { sandbox = "https://api.sandbox.midtrans.com", live = "https://api.midtrans.com" },
  currencies = { "IDR" }, features = { refund = true, partial_refund = true, cancel = true }, reversible = true,
  min_expiry_s = 600, max_expiry_s = 604800,
  settings = {
    { key = "environment", type = "enum", title = "Environment", values = { "sandbox", "live" }, default = "sandbox" },
    { key = "server_key", type = "secret", title = "Server key", required = true, default = "", help = "SB-Mid-server-... or Mid-server-..." },
    { key = "notification_key", type = "secret", title = "Key of notifications", default = "",
      help = "Only when the dashboard shows another one than the server key." },
    { key = "base_url", type = "url", title = "Address of the service", default = "", help = "Blank: Midtrans' own for the environment." },
  },
}
