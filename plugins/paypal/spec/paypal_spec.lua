-- SPDX-License-Identifier: Apache-2.0
-- Against an imitated PayPal that keeps what it is told; PayPal's own library is content with it (spec/live/gateways_sdk.mjs).
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local support = require "spec.support.gateway"
local services, stop = support.start "paypal"
local paypal = services.paypal
teardown(stop)

local function settings(over)
  local s = { base_url = paypal.url, client_id = paypal.client, client_secret = paypal.secret, webhook_id = paypal.webhook_id, webhook_ca = paypal.root }
  for k, v in pairs(over or {}) do s[k] = v end
  return s
end
local function call(fn, ...) return support.call("paypal", fn, settings(), ...) end

local function started(over)
  local order = support.order(over)
  local r = assert(call("start", order))
  order.ref = r.ref
  return order, r
end

local function paid()
  local order = started()
  paypal.call("approve", order.ref)
  order.payment_ref = assert(call("confirm", order, {})).payment_ref
  return order
end

local function verify(message, over)
  return support.call("paypal", "verify", settings(over), { headers = message.headers, body = message.body, now = os.time() })
end

local function last() local list = paypal.call "deliveries" return list[#list] end

describe("payment plugin paypal", function()
  before_each(function() paypal.call("become", "COMPLETED") end)

  it("sends the buyer to PayPal, captures what they approved, and only that is paid", function()
    local order, r = started()
    assert.truthy(r.url:find "^https://www%.sandbox%.paypal%.com/checkoutnow")
    assert.equal("pending", call("fetch", order).state)
    assert.equal("pending", call("confirm", order, {}).state)
    local event = assert(verify(paypal.call("approve", order.ref)))
    assert.same({ order.id, order.ref, true }, { event.order, event.ref, event.approved })
    local facts = call("fetch", order)
    assert.same({ "pending", true }, { facts.state, facts.approved })
    facts = assert(call("confirm", order, {}))
    assert.same({ "paid", 499, "USD", 66, 0 }, { facts.state, facts.amount, facts.currency, facts.fee, facts.refunded })
    assert.equal("P" .. order.ref, facts.instrument)
    event = assert(verify(last()))
    assert.same({ "PAYMENT.CAPTURE.COMPLETED", order.id, order.ref, facts.payment_ref }, { event.type, event.order, event.ref, event.payment_ref })
    assert.same(facts, call("confirm", order, {}))
  end)

  it("knows what a completed order with another capture is", function()
    for state, want in pairs { PENDING = "hold", DECLINED = "failed", FAILED = "failed", REFUSED = "pending" } do
      paypal.call("become", state)
      local order = started()
      paypal.call("approve", order.ref)
      assert.equal(want, call("confirm", order, {}).state, state)
      if state == "PENDING" then
        paypal.call("settle", order.ref, "COMPLETED")
        assert.equal("paid", call("fetch", order).state)
      end
    end
  end)

  it("makes one order and one capture, whatever is lost", function()
    local order = support.order()
    paypal.call("fault", "POST /v2/checkout/orders", "lost")
    assert.is_nil((call("start", order)))
    order.ref = assert(call("start", order)).ref
    assert.equal(order.ref, assert(call("start", order)).ref)
    paypal.call("approve", order.ref)
    paypal.call("fault", "POST .*/capture", "lost")
    local none, err = call("confirm", order, {})
    assert.is_nil(none)
    assert.equal("payment.gateway_down", err.code)
    assert.equal("paid", call("confirm", order, {}).state)
  end)

  it("asks for a token once, and again when PayPal has forgotten it", function()
    local function tokens()
      local n = 0
      for _, r in ipairs(paypal.call "log") do if r.path == "/v1/oauth2/token" then n = n + 1 end end
      return n
    end
    local order = started()
    local before = tokens()
    call("fetch", order)
    call("fetch", order)
    assert.equal(before, tokens())
    paypal.call "forget_tokens"
    assert.equal("pending", call("fetch", order).state)
    assert.equal(before + 1, tokens())
  end)

  it("refunds once for a key and finds a dispute", function()
    local order = paid()
    local refund = { id = "r1", key = "refund:" .. order.id, amount = 200, currency = "USD", reason = "x" }
    paypal.call("fault", "POST .*/refund", "lost")
    assert.is_nil((call("refund", order, refund)))
    local done = assert(call("refund_fetch", order, refund))
    assert.equal("done", done.state)
    assert.equal(order.payment_ref, assert(verify(last())).payment_ref)
    refund.ref = done.ref
    assert.same(done, call("refund_fetch", order, refund))
    local facts = call("fetch", order)
    assert.same({ "paid", 200, { { ref = done.ref, amount = 200, state = "done" } } }, { facts.state, facts.refunded, facts.refunds })
    local none, err = call("refund", order, { id = "r2", key = "k" .. order.id, amount = 300, currency = "USD" })
    assert.is_nil(none)
    assert.truthy(err.message:find "REFUND_AMOUNT_EXCEEDED")
    local event = assert(verify(paypal.call("dispute", order.ref)))
    assert.same({ order.id, order.payment_ref }, { event.order, event.payment_ref })
    local d = call("fetch", order).dispute
    assert.same({ "open", 499 }, { d.state, d.amount })
    assert.truthy(d.due:find "^%d%d%d%d%-%d%d%-%d%dT")
    assert.is_true(call("evidence", order, d, ("watched on 2 days\n"):rep(500)))
    assert.is_nil((call("evidence", order, d, "once more"))) -- it is under review
    paypal.call("judge", order.ref, false)
    assert.equal("lost", call("fetch", order).dispute.state)
  end)

  it("pays out once for a key, also when the answer was lost", function()
    local item = { id = "po-7", key = "payout:7:" .. os.time(), amount = 1234, currency = "USD", destination = { email = "creator@example.org" } }
    paypal.call("fault", "POST /v1/payments/payouts", "lost")
    assert.is_nil((call("payout", item)))
    local sent = assert(call("payout_fetch", item))
    assert.equal("sent", sent.state)
    item.ref = sent.ref
    for state, want in pairs { SUCCESS = "paid", FAILED = "failed", RETURNED = "reversed", UNCLAIMED = "sent" } do
      local event = assert(verify(paypal.call("pay_out", sent.ref, state)))
      assert.same({ "po-7", sent.ref }, { event.payout, event.payout_ref })
      assert.equal(want, call("payout_fetch", item).state)
    end
    local none, err = call("payout", { id = "x", key = "x", amount = 1, currency = "USD", destination = {} })
    assert.is_nil(none)
    assert.equal("payment.gateway_refused", err.code)
  end)

  it("takes an event only with PayPal's certificate behind it", function()
    local order = started()
    local good = paypal.call("approve", order.ref)
    local key = "plugin:paypal:cert:" .. crypto.sha256(good.headers["paypal-cert-url"], "hex")
    assert.is_table(verify(good))
    assert.is_table(verify(good, { webhook_ca = (paypal.root:gsub("\n", "")) }))
    assert.is_string(cache.get(key), "the certificate is kept")
    local function refused(message, over)
      local none, err = verify(message, over)
      assert.is_nil(none)
      assert.equal("payment.bad_signature", err.code)
    end
    refused(good, { webhook_ca = "" })
    refused(good, { webhook_id = "another" })
    refused { headers = good.headers, body = good.body .. " " }
    cache.set(key, (support.vectors "paypal_webhook").synthetic_cert_pem, 60)
    refused(good)
    cache.del(key)
    paypal.call("fault", "GET /v1/notifications", "status", { status = 500 })
    local none, err = verify(good)
    assert.is_nil(none)
    assert.equal("payment.gateway_down", err.code, "the sender shall come again")
    assert.is_table(verify(good))
  end)

  it("gives a forged body with the same checksum the key of the message it was copied from", function()
    local v = support.vectors "paypal_webhook"
    assert.equal(crypto.crc32(v.synthetic[1].raw_body), crypto.crc32(v.crc_collision.raw_body))
    local good = paypal.call("signed", { id = "WH-1", event_type = "PAYMENT.CAPTURE.COMPLETED", resource = { custom_id = "inv-1" } })
    assert.equal(good.headers["paypal-transmission-id"], assert(verify(good)).key)
  end)

  it("says that the outcome is open when PayPal is out of order", function()
    local order = paid()
    support.breakdowns(paypal, "GET /v2/checkout", { paypal.secret }, function() return call("fetch", order) end)
    support.breakdowns(paypal, "POST /v1/payments/payouts", { paypal.secret }, function()
      return call("payout", { id = "y", key = "y" .. crypto.random_token(9), amount = 1, currency = "USD", destination = { email = "a@example.org" } })
    end)
  end)

  it("believes no amount that it cannot read, and passes on what is another", function()
    local order = paid()
    local function lie(capture)
      paypal.call("fault", "GET /v2/checkout", "lie", { patch = { purchase_units = { ["0"] = { payments = { captures = { ["0"] = capture } } } } } })
      return call("fetch", order)
    end
    for _, value in ipairs { "4.999", "-4.99", "4,99", "", "1e3" } do assert.is_nil((lie { amount = { value = value } }), value) end
    assert.equal(498, lie({ amount = { value = "4.98" } }).amount)
    assert.equal("EUR", lie({ amount = { currency_code = "EUR" } }).currency)
    assert.equal("pending", lie({ status = "SOMETHING_NEW" }).state)
  end)

  it("is not set up without what it needs", function()
    for _, over in ipairs { { client_id = "" }, { client_secret = "" }, { client_secret = "a wrong secret" } } do
      local none, err = support.call("paypal", "start", settings(over), support.order())
      assert.is_nil(none)
      assert.equal("payment.not_configured", err.code)
      assert.is_nil(err.message:find "wrong secret")
    end
    local none, err = verify(paypal.call("signed", {}), { webhook_id = "" })
    assert.is_nil(none)
    assert.equal("payment.not_configured", err.code)
  end)
end)
