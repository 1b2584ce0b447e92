-- SPDX-License-Identifier: Apache-2.0
-- What the plugins send, through the real HTTP client to a recorder, equals what the vendors' own libraries send. The differences are
-- listed here, each with its reason; there are no others.
local crypto = require "ppv.crypto"
local json = require "ppv.json"
local registry = require "lib.registry"
local support = require "spec.support.gateway"

local golden = support.vectors "wire"
local services, stop = support.start "record"
local recorder = services.record
teardown(stop)

local NOW = 1700000000
local order = { id = "inv-1", attempt = 1, title = "Video", currency = "USD", amount = 499, return_url = "http://127.0.0.1/ok?s={CHECKOUT_SESSION_ID}",
  cancel_url = "http://127.0.0.1/c", expires_at = NOW + 1800, ids = {} }
local function but(over)
  local o = {}
  for k, v in pairs(order) do o[k] = v end
  for k, v in pairs(over) do o[k] = v end
  return o
end

-- The last request of a call, while the recorder answers one body after another.
local function sent(name, fn, settings, answers, ...)
  recorder.call "reset"
  for _, a in ipairs(answers) do recorder.call("say", a) end
  settings.base_url, settings.now = recorder.url, NOW
  support.call(name, fn, settings, ...)
  local log = recorder.call "log"
  return log[#log], log
end

local IGNORED = { host = true, ["user-agent"] = true, connection = true, ["content-length"] = true }

local function fields(text)
  local out = {}
  for pair in (text or ""):gmatch "[^&]+" do
    local k, v = pair:match "^(.-)=(.*)$"
    out[#out + 1] = { k, (v:gsub("%%(%x%x)", function(h) return string.char(tonumber(h, 16)) end)) }
  end
  return out
end

-- o.gone: members of the golden body (or header names) that we do not send; o.more: those that we add; o.idempotency: ours, where the
-- library makes one up; o.path: ours. Bodies "{}" of GET and "null" of POST are nothing that the library's HTTP client made something of.
local function compare(want, got, o)
  o = o or {}
  local path = want.path:gsub("%?$", "")
  assert.equal(want.method, got.method)
  assert.equal(o.path or path, got.path)
  local gone, more = {}, {}
  for _, k in ipairs(o.gone or {}) do gone[k] = true end
  for _, k in ipairs(o.more or {}) do more[k] = true end
  for k, v in pairs(want.headers) do
    if not gone[k] then assert.equal(v == "<uuid>" and o.idempotency or v, got.headers[k], k) end
  end
  for k in pairs(got.headers) do
    assert.is_true(want.headers[k] ~= nil or IGNORED[k] or more[k] or false, "header " .. k .. " is not sent by the library")
  end
  local raw = want.raw_body
  if raw == "{}" and want.method == "GET" or raw == "null" then raw = nil end
  if want.form then -- the order of fields counts, and how they are escaped
    local a, b = {}, {}
    for part in raw:gmatch "[^&]+" do if not gone[part:match "^[^=]+"] then a[#a + 1] = part end end
    for part in got.raw:gmatch "[^&]+" do if not more[part:match "^[^=]+"] then b[#b + 1] = part end end
    assert.same(a, b)
    for i, f in ipairs(fields(table.concat(b, "&"))) do
      assert.equal(fields(table.concat(a, "&"))[i][2], f[2])
    end
  elseif raw then
    local function without(t, drop, at)
      local out = {}
      for k, v in pairs(t) do
        local name = (at and at .. "." or "") .. tostring(k)
        if not drop[name] then out[k] = type(v) == "table" and without(v, drop, name) or v end
      end
      return out
    end
    assert.same(without(json.decode(raw), gone), without(json.decode(got.raw), more))
  else
    assert.equal("", got.raw)
  end
end

-- Which golden request: by method and path.
local function find(name, method, path)
  for _, r in ipairs(golden[name]) do if r.method == method and r.path == path then return r end end
  error(name .. " " .. method .. " " .. path)
end

describe("requests of the plugins are those of the vendors' libraries:", function()
  it("the addresses", function()
    for name, url in pairs { stripe = "https://api.stripe.com", paypal = "https://api-m.sandbox.paypal.com", midtrans = "https://api.sandbox.midtrans.com",
      xendit = "https://api.xendit.co" } do
      assert.equal(url, registry.base_url(registry.by_name[name].manifest, { environment = "sandbox", base_url = "" }))
      local seen = false
      for _, r in ipairs(golden[name]) do seen = seen or "https://" .. r.host == url end
      assert.is_true(seen, name)
    end
    -- Snap's own host, told by the host that the sandbox refuses when the plugin may not fetch from it
    local p = registry.by_name.midtrans
    local caps = p.manifest.caps
    local kept = { unpack(caps) }
    for i = #caps, 1, -1 do caps[i] = i == 1 and "fetch" or nil end
    local _, err = support.call("midtrans", "start", { server_key = "k" }, but { currency = "IDR", amount = 7500000 })
    for i, c in ipairs(kept) do caps[i] = c end
    assert.truthy(err.message:find("host app.sandbox.midtrans.com", 1, true), err.message)
  end)

  it("Stripe", function()
    local s = function() return { secret_key = "sk_test_throwaway" } end
    local split = { "payment_intent_data[application_fee_amount]", "payment_intent_data[transfer_data][destination]",
      "payment_intent_data[transfer_group]" } -- shares are kept in our own ledger, not at Stripe
    local got = sent("stripe", "start", s(), {}, order)
    compare(find("stripe", "POST", "/v1/checkout/sessions"), got, { gone = split })
    assert.truthy(sent("stripe", "start", s(), {}, but { email = "a@example.org" }).raw:find "&customer_email=a%%40example.org$")
    assert.equal("inv-1.3", sent("stripe", "start", s(), {}, but { attempt = 3 }).headers["idempotency-key"])
    -- the fee is read in the same call
    compare(find("stripe", "GET", "/v1/checkout/sessions/cs_1?expand[0]=payment_intent.latest_charge"), (sent("stripe", "fetch", s(), {},
      but { ref = "cs_1" })), { path = "/v1/checkout/sessions/cs_1?expand[0]=payment_intent.latest_charge"
      .. "&expand[1]=payment_intent.latest_charge.balance_transaction" })
    compare(find("stripe", "POST", "/v1/checkout/sessions/cs_1/expire"), (sent("stripe", "cancel", s(), {}, but { ref = "cs_1" })),
      { idempotency = "expire-cs_1" })
    compare(find("stripe", "POST", "/v1/refunds"), (sent("stripe", "refund", s(), {}, but { payment_ref = "pi_1" },
      { id = "7", key = "r1", amount = 100, currency = "USD" })), { gone = { "reverse_transfer", "refund_application_fee" },
      more = { "metadata[refund_id]" } })
    compare(find("stripe", "POST", "/v1/disputes/dp_1"), (sent("stripe", "evidence", s(), {}, order, { ref = "dp_1" }, "log")),
      { idempotency = "evidence-dp_1-" .. crypto.sha256("log", "hex"):sub(1, 16) })
  end)

  it("PayPal", function()
    local token = { access_token = "A21TOKEN", expires_in = 5 } -- too short-lived to be kept
    local s = function() return { client_id = "CID", client_secret = "CSECRET", brand_name = "PPV" } end
    local o = but { return_url = "http://127.0.0.1/r", cancel_url = "http://127.0.0.1/c" }
    local got, log = sent("paypal", "start", s(), { token }, o)
    compare(golden.paypal[1], log[1])
    compare(find("paypal", "POST", "/v2/checkout/orders"), got, { gone = { "purchase_units.1.payee", "purchase_units.1.payment_instruction" } })
    o.ref, o.payment_ref = "5O190127TN364715T", "3C679366HH908993F"
    compare(find("paypal", "GET", "/v2/checkout/orders/5O190127TN364715T"), (sent("paypal", "fetch", s(), { token }, o)))
    got, log = sent("paypal", "confirm", s(), { token, {}, token }, o)
    compare(find("paypal", "POST", "/v2/checkout/orders/5O190127TN364715T/capture"), log[2])
    compare(find("paypal", "GET", "/v2/checkout/orders/5O190127TN364715T"), got)
    local refund = { id = "1", key = "rf-1", amount = 100, currency = "USD", reason = "x" }
    compare(find("paypal", "POST", "/v2/payments/captures/3C679366HH908993F/refund"), (sent("paypal", "refund", s(), { token }, o, refund)))
    refund.ref = "r"
    compare(find("paypal", "GET", "/v2/payments/refunds/r"), (sent("paypal", "refund_fetch", s(), { token }, o, refund)))
    -- the payouts library is older: it asks for nothing in particular, and has a subject and a note
    local item = { id = "it-1", key = "batch-1", amount = 400, currency = "USD", destination = { email = "a@example.invalid" } }
    compare(find("paypal", "POST", "/v1/payments/payouts?"), (sent("paypal", "payout", s(), { token }, item)),
      { gone = { "sender_batch_header.email_subject", "items.1.note" }, more = { "accept", "prefer" } })
    item.ref = "B1"
    compare(find("paypal", "GET", "/v1/payments/payouts/B1?"), (sent("paypal", "payout_fetch", s(), { token }, item)),
      { gone = { "content-type" }, more = { "accept" } })
  end)

  it("Midtrans", function()
    local s = function() return { server_key = "SB-Mid-server-THROWAWAY" } end
    local o = but { currency = "IDR", amount = 7500000, return_url = "http://127.0.0.1/f", ref = "inv-1", notify_url = "https://shop.example/n" }
    -- the page's own life is limited too, the order's id names the item, and notices come to this shop
    local got = sent("midtrans", "start", s(), {}, o)
    compare(find("midtrans", "POST", "/snap/v1/transactions"), got, { gone = { "item_details.1.id" },
      more = { "item_details.1.id", "page_expiry", "x-override-notification" } })
    assert.equal("https://shop.example/n", got.headers["x-override-notification"])
    assert.same({ unit = "minutes", duration = 30 }, json.decode(got.raw).page_expiry)
    compare(find("midtrans", "GET", "/v2/inv-1/status"), (sent("midtrans", "fetch", s(), {}, o)))
    compare(find("midtrans", "POST", "/v2/inv-1/expire"), (sent("midtrans", "cancel", s(), {}, o)))
    compare(find("midtrans", "POST", "/v2/inv-1/refund"), (sent("midtrans", "refund", s(), {}, o,
      { id = "1", key = "r1", amount = 500000, currency = "IDR", reason = "x" })))
  end)

  it("Xendit", function()
    local s = function() return { secret_key = "xnd_development_THROWAWAY" } end
    local o = but { currency = "IDR", amount = 7500000, return_url = "http://127.0.0.1/ok", cancel_url = "http://127.0.0.1/f",
      email = "a@example.invalid", ref = "abc" }
    local got, log = sent("xendit", "start", s(), { json.array() }, o)
    compare(find("xendit", "GET", "/v2/invoices?external_id=inv-1"), log[1])
    compare(find("xendit", "POST", "/v2/invoices/"), got)
    got = sent("xendit", "start", s(), { json.array() }, but { currency = "PHP", amount = 4550 })
    assert.truthy(got.raw:find('"amount":45.50,', 1, true))
    compare(find("xendit", "GET", "/v2/invoices/abc"), (sent("xendit", "fetch", s(), {}, o)))
    compare(find("xendit", "POST", "/invoices/abc/expire!"), (sent("xendit", "cancel", s(), {}, o)))
    compare(find("xendit", "POST", "/refunds"), (sent("xendit", "refund", s(), {}, o, { id = "1", key = "rf-1", amount = 500000, currency = "IDR" })))
    -- no account of another seller; the library's example has another text
    local item = { id = "po-1", key = "po-1", amount = 6750000, currency = "IDR", destination = { channel_code = "ID_BCA", account_holder_name = "A",
      account_number = "1234567890" } }
    compare(find("xendit", "POST", "/v2/payouts"), (sent("xendit", "payout", s(), {}, item)), { gone = { "for-user-id", "description" },
      more = { "description" } })
    compare(find("xendit", "GET", "/v2/payouts?reference_id=po-1"), (select(2, sent("xendit", "payout_fetch", s(), {}, item)))[1])
    item.ref = "disb-1"
    compare(find("xendit", "GET", "/v2/payouts/disb-1"), (sent("xendit", "payout_fetch", s(), {}, item)))
  end)
end)
