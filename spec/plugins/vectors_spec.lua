-- SPDX-License-Identifier: Apache-2.0
-- Webhooks of four services against recorded and published vectors: what counts as signed, and what a message may say.
local crypto = require "ppv.crypto"
local gateway = require "lib.gateway"
local registry = require "lib.registry"
local support = require "spec.support.gateway"

local function verify(name, settings, req)
  return support.call(name, "verify", settings, { headers = req.headers, body = req.body, now = req.now or os.time() })
end

-- true: signed as it should be (whatever is thought of the body)
local function signed(event, err) return event ~= nil or err.code == "payment.bad_event", err and err.message end

describe("Stripe's signature", function()
  local cases = support.vectors("stripe_webhook").cases

  it("counts as for the vendor's library, but times ahead are refused too", function()
    for _, c in ipairs(cases) do
      local good, why = signed(verify("stripe", { webhook_secret = c.secret }, { headers = { ["stripe-signature"] = c.header }, body = c.raw_body,
        now = c.now }))
      local want = c.stripe_node_23_1_0 == "accept" and not c.name:find "FUTURE"
      assert.equal(want, good, c.name .. ": " .. tostring(why))
    end
  end)

  it("says which order to look at", function()
    local c = cases[1]
    local function event(over, header)
      local s = { webhook_secret = c.secret }
      for k, v in pairs(over or {}) do s[k] = v end
      return verify("stripe", s, { headers = { ["stripe-signature"] = header or c.header }, body = c.raw_body, now = c.now })
    end
    assert.same({ key = "evt_1THROWAWAY", type = "checkout.session.completed", order = "inv-1", ref = "cs_test_1", payment_ref = "pi_1" }, event())
    local none, err = event { environment = "live" }
    assert.is_nil(none)
    assert.equal("payment.bad_event", err.code)
    for _, header in ipairs { "", ",", "t=", "t=,v1=", "v1=" .. ("a"):rep(64), "t=1700000000", c.header .. "\0", c.header:upper(), (c.header .. ","):rep(60),
      c.header:gsub("t=", "t=+") } do
      none, err = event(nil, header)
      assert.is_nil(none, header)
      assert.equal("payment.bad_signature", err.code)
    end
    none, err = event { webhook_secret = "" }
    assert.is_nil(none)
    assert.equal("payment.not_configured", err.code)
  end)

  it("does not make a thin event, a list or nonsense an event", function()
    local now = 1700000000
    for _, body in ipairs { '{"object":"v2.core.event","id":"evt_1","type":"v1.billing.meter.error_report_triggered"}', "[]", "null", "1", "{", "",
      '{"object":"event"}', '{"object":"event","id":1,"type":"x"}', '{"object":"event","id":"e"}', ("["):rep(1000000), "\0" } do
      local sig = "t=" .. now .. ",v1=" .. crypto.hmac_sha256("whsec_x", now .. "." .. body, "hex")
      local none, err = verify("stripe", { webhook_secret = "whsec_x" }, { headers = { ["stripe-signature"] = sig }, body = body, now = now })
      assert.is_nil(none, body:sub(1, 60))
      assert.equal("payment.bad_event", err.code)
    end
  end)
end)

describe("Midtrans' signature", function()
  local v = support.vectors "midtrans"

  local function notification(over)
    local n = {}
    for k, x in pairs(v.cases[4].notification) do n[k] = x end
    for k, x in pairs(over or {}) do n[k] = x or nil end
    return { headers = {}, body = require("ppv.json").encode(n) }
  end

  it("counts over the texts as received", function()
    for _, c in ipairs(v.cases) do
      local n = c.notification
      if c.recompute_with_gross_amount then n.gross_amount = c.recompute_with_gross_amount end
      local event, err = verify("midtrans", { server_key = v.server_key }, notification(n))
      assert.equal(c.expected_action ~= "signature mismatch", event ~= nil, c.name)
      if event then
        assert.equal(n.order_id, event.ref)
        assert.equal(n.transaction_id, event.payment_ref)
      else
        assert.equal("payment.bad_signature", err.code)
      end
    end
    local p = v.published
    local event = verify("midtrans", { server_key = p.server_key }, notification { order_id = p.order_id, gross_amount = p.gross_amount,
      status_code = p.status_code, signature_key = p.expected })
    assert.equal("1111", event.ref)
  end)

  it("has one reading only, and a key of its own when there is one", function()
    local n = v.cases[4].notification
    for _, over in ipairs { { order_id = "inv-12", status_code = "00" }, { order_id = "inv-", status_code = "1200" }, { order_id = 1 },
      { status_code = 200 }, { gross_amount = 75000 }, { gross_amount = "75000" }, { signature_key = n.signature_key:upper() }, { signature_key = false },
      { signature_key = "" }, { signature_key = n.signature_key .. " " } } do
      local event, err = verify("midtrans", { server_key = v.server_key }, notification(over))
      assert.is_nil(event, require("ppv.json").encode(over))
      assert.equal("payment.bad_signature", err.code)
    end
    assert.is_nil((verify("midtrans", { server_key = v.server_key, notification_key = "another" }, notification())))
    assert.is_table(verify("midtrans", { server_key = "another", notification_key = v.server_key }, notification()))
  end)

  it("gives messages about one payment different keys, and the same message one", function()
    local seen = {}
    for _, over in ipairs { {}, { transaction_status = "refund" }, { fraud_status = "challenge" }, { refund_amount = "1.00" } } do
      local event = verify("midtrans", { server_key = v.server_key }, notification(over))
      assert.is_nil(seen[event.key])
      seen[event.key] = true
      assert.equal(event.key, verify("midtrans", { server_key = v.server_key }, notification(over)).key)
    end
  end)
end)

describe("PayPal's signature", function()
  local v = support.vectors "paypal_webhook"
  local cache = require "ppv.cache"

  -- The certificates of the vectors lie in the plugin's cache, so nobody is asked for them.
  local function event(c, settings, req)
    local s = { webhook_id = c.webhook_id, webhook_ca = v.synthetic_cert_pem }
    for k, x in pairs(settings or {}) do s[k] = x end
    local url = c.cert_url or "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"
    cache.set("plugin:paypal:cert:" .. crypto.sha256(url, "hex"), c.cert_pem or v.synthetic_cert_pem, 60)
    local r = { headers = { ["paypal-transmission-id"] = c.transmission_id, ["paypal-transmission-time"] = c.transmission_time,
      ["paypal-transmission-sig"] = c.transmission_sig, ["paypal-cert-url"] = url, ["paypal-auth-algo"] = "SHA256withRSA" },
      body = c.raw_body, now = 1767323100 }
    for k, x in pairs(req or {}) do if k == "headers" then for n, y in pairs(x) do r.headers[n] = y or nil end else r[k] = x end end
    return verify("paypal", s, r)
  end

  -- The synthetic certificate is younger than its events: their time of receipt is put behind, within the three days that count.
  local function told(c, ...) return event(c, ...) end

  it("of the genuine event is good, on the day it was sent", function()
    local r = v.real_paypal_event
    local e = assert(event(r, { webhook_ca = r.cert_pem }, { now = 1431454500 }))
    assert.same({ key = r.transmission_id, type = "PAYMENT.SALE.COMPLETED", ignore = true }, e)
    local none, err = event(r, { webhook_ca = "" }, { now = 1431454500 })
    assert.is_nil(none)
    assert.equal("payment.bad_signature", err.code)
    assert.truthy(err.message:find "issuer")
    none, err = event(r, { webhook_ca = r.cert_pem }, { now = 1431454500, body = r.raw_body .. " " })
    assert.is_nil(none)
    assert.truthy(err.message:find "does not fit")
  end)

  it("counts only from PayPal's own addresses", function()
    local one = registry.by_name.paypal
    assert.is_table(one)
    for _, c in ipairs(v.cert_url_allow_list_cases) do
      local good = false
      for _, environment in ipairs { "sandbox", "live" } do
        local _, err = event({ webhook_id = "x", transmission_id = "t", transmission_time = "2026-01-02T03:04:06Z", transmission_sig = "AAAA",
          cert_url = c.url, raw_body = "{}" }, { environment = environment })
        assert.equal("payment.bad_signature", err.code)
        if not err.message:find "PayPal's address" then good = true end
      end
      assert.equal(c.expect == "accept", good, c.url)
    end
  end)

  it("is refused when it is old, ahead, of another kind or not there", function()
    local c = v.synthetic[1]
    for why, req in pairs { ["time"] = { now = 1767323046 + 3 * 86400 + 3601 }, ["off"] = { now = 1767323046 - 301 },
      ["known way"] = { headers = { ["paypal-auth-algo"] = "SHA1withRSA" } }, ["signed in"] = { headers = { ["paypal-transmission-id"] = false } },
      ["base64"] = { headers = { ["paypal-transmission-sig"] = "*" } }, ["address"] = { headers = { ["paypal-cert-url"] = "https://api.paypal.com/x" } },
      ["the time of"] = { headers = { ["paypal-transmission-time"] = "yesterday" } }, ["certificate"] = {} } do
      local none, err = told(c, nil, req)
      assert.is_nil(none)
      assert.equal("payment.bad_signature", err.code)
      assert.truthy(err.message:find(why, 1, true), why .. ": " .. err.message)
    end
  end)
end)

describe("Xendit's token", function()
  local v = support.vectors "xendit_webhook"

  it("is compared whole, and none configured lets nothing through", function()
    local body = require("ppv.json").encode(v.payloads.invoice_paid)
    for _, c in ipairs(v.cases) do
      local event, err = verify("xendit", { callback_token = v.configured_token }, { headers = { ["x-callback-token"] = c.header }, body = body })
      assert.equal(c.accept, event ~= nil, c.name)
      if not event then assert.equal("payment.bad_signature", err.code) end
      assert.is_nil((verify("xendit", {}, { headers = { ["x-callback-token"] = c.header or "" }, body = body })))
    end
  end)

  it("lets an invoice and a payout be looked up", function()
    local function event(name, id)
      return verify("xendit", { callback_token = v.configured_token }, { headers = { ["x-callback-token"] = v.configured_token, ["webhook-id"] = id },
        body = require("ppv.json").encode(v.payloads[name]) })
    end
    local e = event("invoice_paid", "wh-1")
    assert.same({ key = "wh-1", type = "invoice.PAID", ref = "579c8d61f23fa4ca35e52da4", order = "inv-1" }, e)
    e = event "payout_succeeded"
    assert.equal("po-1", e.payout)
    assert.equal("disb-7baa7335-a0b2-4678-bb8c-318c0167f332", e.payout_ref)
    assert.equal(64, #e.key)
    assert.equal(e.key, event("payout_succeeded").key)
  end)
end)

describe("amounts", function()
  it("are read and written digit by digit", function()
    for _, c in ipairs { { "75000.00", 2, 7500000 }, { "4.35", 2, 435 }, { "4.99", 2, 499 }, { "500", 0, 500 }, { "75000.00", 0, 75000 }, { "0.1", 2, 10 },
      { "007.50", 2, 750 }, { 75000, 2, 7500000 }, { "9007199254740.99", 2, 900719925474099 }, { "45.500", 2, 4550 }, { "0", 2, 0 } } do
      assert.equal(c[3], gateway.parse(c[1], c[2]), tostring(c[1]))
    end
    for _, bad in ipairs { "", ".", "1.", ".5", "-1", "+1", "1e3", " 1", "1 ", "1,00", "0x10", "1.001", "1.2.3", ("9"):rep(16), 4.35, -1, 1 / 0, true, {} } do
      assert.is_nil(gateway.parse(bad, 2), tostring(bad))
    end
    for _, c in ipairs { { 499, 2, 2, "4.99" }, { 5, 2, 2, "0.05" }, { 50000, 2, 0, "500" }, { 7, 0, 2, "7.00" },
      { 1234, 3, 3, "1.234" }, { 0, 2, 2, "0.00" } } do
      assert.equal(c[4], gateway.text(c[1], c[2], c[3]))
      assert.equal(c[1], gateway.parse(c[4], c[2]))
    end
    for _, bad in ipairs { { 499, 2, 0 }, { 4.5, 2, 2 }, { -1, 2, 2 }, { 1, nil, 2 }, { 1, 2, nil }, { 2 ^ 53, 0, 2 }, { "499", 2, 2 } } do
      assert.is_nil(gateway.scale(bad[1], bad[2], bad[3]))
    end
  end)

  it("follow each service's own decimals", function()
    local function refused(name, amount, currency)
      local _, err = support.call(name, "start", { secret_key = "sk_test_x", client_id = "x", client_secret = "x", server_key = "x" },
        support.order { amount = amount, currency = currency })
      return err.code == "payment.currency"
    end
    for _, c in ipairs { { "stripe", 101, "MGA" }, { "stripe", 1001, "KWD" }, { "stripe", 100, "XXX" }, { "paypal", 50050, "HUF" }, { "paypal", 100, "IDR" },
      { "paypal", 100, "ISK" }, { "midtrans", 7500050, "IDR" }, { "midtrans", 500, "USD" }, { "midtrans", 0, "IDR" }, { "xendit", 150, "IDR" },
      { "xendit", 500, "USD" } } do assert.is_true(refused(c[1], c[2], c[3]), table.concat(c, " ")) end
  end)

  it("and all that goes with them have the same bytes each time", function()
    local json = '{"a":[1,{"x":"1\\n"}],"b":{},"c":{"d":true,"e":7500000},"f":"4.99"}'
    assert.equal(json, gateway.json { f = "4.99", c = { e = 7500000, d = true }, b = {}, a = { 1, { x = "1\n" } } })
  end)

  it("are cut between characters", function()
    assert.equal("h\195\169", gateway.cut("h\195\169llo", 3))
    assert.equal("h", gateway.cut("h\195\169llo", 2))
    assert.equal("a b", gateway.cut("a\nb", 10))
    assert.equal("-", gateway.cut("", 10))
    assert.equal("", gateway.cut("\240\159\142\172", 3) == "-" and "" or "cut inside")
  end)
end)
