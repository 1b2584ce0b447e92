-- SPDX-License-Identifier: Apache-2.0
return {
  name = "stripe", kind = "payment", api = "1.0", version = "1.0.0", title = "Stripe Checkout",
  caps = { "fetch", "fetch:api.stripe.com" }, limits = { cpu_ms = 200 },
  base_urls = { sandbox = "https://api.stripe.com", live = "https://api.stripe.com" },
  currencies = { "USD", "EUR", "GBP", "AUD", "CAD", "CHF", "CZK", "DKK", "HKD", "HUF", "IDR", "INR", "ISK", "JPY", "KRW", "MXN", "MYR",
    "NOK", "NZD", "PHP", "PLN", "RON", "SEK", "SGD", "THB", "TWD", "UGX", "VND", "BHD", "KWD" },
  features = { refund = true, partial_refund = true, evidence = true, cancel = true }, reversible = true,
  min_expiry_s = 2400, max_expiry_s = 86000, -- Stripe: 30 minutes to 24 hours when the request arrives
  settings = {
    { key = "environment", type = "enum", title = "Environment", values = { "sandbox", "live" }, default = "sandbox" },
    { key = "secret_key", type = "secret", title = "Secret key", required = true, default = "", help = "sk_test_... or sk_live_..." },
    { key = "webhook_secret", type = "secret", title = "Signing secret of the webhook", required = true, default = "",
      help = "whsec_..., shown with the endpoint in Stripe's dashboard." },
    { key = "base_url", type = "url", title = "Address of the service", default = "", help = "Blank: Stripe's own." },
  },
}
