-- SPDX-License-Identifier: Apache-2.0
return {
  name = "paypal", kind = "payment", api = "1.0", version = "1.0.0", title = "PayPal",
  caps = { "fetch", "cache", "fetch:api-m.paypal.com", "fetch:api-m.sandbox.paypal.com", "fetch:api.paypal.com",
    "fetch:api.sandbox.paypal.com" },
  limits = { cpu_ms = 200 },
  base_urls = { sandbox = "https://api-m.sandbox.paypal.com", live = "https://api-m.paypal.com" },
  currencies = { "USD", "EUR", "GBP", "AUD", "BRL", "CAD", "CNY", "CZK", "DKK", "HKD", "HUF", "ILS", "JPY", "MYR", "MXN", "TWD", "NZD",
    "NOK", "PHP", "PLN", "RUB", "SGD", "SEK", "CHF", "THB" },
  features = { refund = true, partial_refund = true, payout = true, evidence = true }, reversible = true,
  min_expiry_s = 600, max_expiry_s = 10000, -- an approval that is not captured lapses after three hours
  settings = {
    { key = "environment", type = "enum", title = "Environment", values = { "sandbox", "live" }, default = "sandbox" },
    { key = "client_id", type = "string", title = "Client ID", required = true, default = "" },
    { key = "client_secret", type = "secret", title = "Client secret", required = true, default = "" },
    { key = "webhook_id", type = "string", title = "ID of the webhook", required = true, default = "",
      help = "Shown with the webhook in PayPal's dashboard; signatures are made for it." },
    { key = "brand_name", type = "string", title = "Name on PayPal's page", default = "" },
    { key = "webhook_ca", type = "string", title = "Certificates trusted for webhooks", default = "",
      help = "PEM, besides the system's: an intermediate that PayPal does not send, or the one of a test gateway." },
    { key = "base_url", type = "url", title = "Address of the service", default = "", help = "Blank: PayPal's own for the environment." },
  },
}
