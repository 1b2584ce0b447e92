-- SPDX-License-Identifier: Apache-2.0
-- Against an imitated Stripe that keeps what it is told; Stripe's own library is content with it (spec/live/gateways_sdk.mjs).
local support = require "spec.support.gateway"
local services, stop = support.start "stripe"
local stripe = services.stripe
teardown(stop)

local function settings(over)
  local s = { base_url = stripe.url, secret_key = stripe.key, webhook_secret = stripe.secret }
  for k, v in pairs(over or {}) do s[k] = v end
  return s
end
local function call(fn, ...) return support.call("stripe", fn, settings(), ...) end

local function started(over)
  local order = support.order(over)
  local r = assert(call("start", order))
  order.ref = r.ref
  return order, r
end

local function paid(over)
  local order = started(over)
  stripe.call("pay", order.ref)
  order.payment_ref = assert(call("fetch", order)).payment_ref
  return order
end

local function verify(message, over)
  return support.call("stripe", "verify", settings(over), { headers = message.headers, body = message.body, now = os.time() })
end

describe("payment plugin stripe", function()
  it("opens a page at Stripe and reads back what happened there", function()
    local order, r = started()
    assert.equal("redirect", r.action)
    assert.truthy(r.url:find "^https://checkout%.stripe%.com/")
    local facts = assert(call("fetch", order))
    assert.same({ "pending", 499, "USD", false, order.ref }, { facts.state, facts.amount, facts.currency, facts.live, facts.ref })
    local event = assert(verify(stripe.call("pay", order.ref)))
    assert.equal(order.id, event.order)
    assert.equal(order.ref, event.ref)
    facts = assert(call("confirm", order, {}))
    assert.same({ "paid", 499, "USD", 0, 44 }, { facts.state, facts.amount, facts.currency, facts.refunded, facts.fee })
    assert.truthy(facts.payment_ref:find "^pi_")
    assert.equal("fp_" .. facts.payment_ref, facts.instrument)
  end)

  it("opens one page for one attempt, whatever is lost", function()
    local order = support.order()
    assert.equal("payment.gateway_refused", select(2, call("fetch", { ref = "cs_test_none" })).code) -- a connection is kept from here on
    stripe.call "reset"
    stripe.call("fault", "POST /v1/checkout/sessions", "lost", { times = 6 })
    local none, err = call("start", order)
    assert.is_nil(none)
    assert.equal("payment.gateway_down", err.code)
    assert.equal(1, #stripe.call "log", "what is done is asked for once")
    stripe.call "reset"
    local first, second = assert(call("start", order)), assert(call("start", order))
    assert.equal(first.ref, second.ref)
    order.attempt = 2
    assert.not_equal(first.ref, assert(call("start", order)).ref)
  end)

  it("does not take a delayed method for paid before it is", function()
    local order = started()
    stripe.call("pay", order.ref, "later")
    assert.equal("pending", call("fetch", order).state)
    stripe.call("settle", order.ref, true)
    assert.equal("paid", call("fetch", order).state)
    order = started()
    stripe.call("pay", order.ref, "later")
    stripe.call("settle", order.ref, false)
    assert.equal("failed", call("fetch", order).state)
  end)

  it("closes a page once, and not one that was paid", function()
    local order = started()
    assert.is_true(call("cancel", order))
    assert.is_true(call("cancel", order))
    assert.equal("expired", call("fetch", order).state)
    local none, err = call("cancel", paid())
    assert.is_nil(none)
    assert.equal("payment.gateway_refused", err.code)
  end)

  it("refunds once for a key, and finds what was refunded while the answer was lost", function()
    local order = paid()
    local refund = { id = "r1", key = "refund:" .. order.id, amount = 200, currency = "USD", reason = "customer" }
    stripe.call("fault", "POST /v1/refunds", "lost")
    local none, err = call("refund", order, refund)
    assert.is_nil(none)
    assert.equal("payment.gateway_down", err.code)
    local done = assert(call("refund_fetch", order, refund))
    assert.equal("done", done.state)
    assert.equal(done.ref, assert(call("refund", order, refund)).ref)
    refund.ref = done.ref
    assert.equal("done", assert(call("refund_fetch", order, refund)).state)
    assert.equal(200, call("fetch", order).refunded)
    none, err = call("refund", order, { id = "r2", key = "k2" .. order.id, amount = 300, currency = "USD" })
    assert.is_nil(none)
    assert.equal("payment.gateway_refused", err.code)
    assert.truthy(err.message:find "greater than unrefunded")
  end)

  it("tells of a dispute, hands in evidence and learns who won", function()
    for _, won in ipairs { true, false } do
      local order = paid()
      local event = assert(verify(stripe.call("dispute", order.ref)))
      assert.equal(order.payment_ref, event.payment_ref)
      local d = call("fetch", order).dispute
      assert.same({ "open", 499 }, { d.state, d.amount })
      assert.is_true(d.due > os.time())
      assert.is_true(call("evidence", order, d, "watched 93 % on 2 days"))
      stripe.call("judge", order.ref, won)
      assert.equal(won and "won" or "lost", call("fetch", order).dispute.state)
    end
  end)

  it("believes no answer that it cannot read, and passes on what is another", function()
    local order = paid()
    local read = "GET /v1/checkout/sessions/" .. order.ref
    for _, patch in ipairs { { amount_total = 4.99 }, { amount_total = "499" }, { amount_total = -1 }, { currency = "xxx" } } do
      stripe.call("fault", read, "lie", { patch = patch })
      local none, err = call("fetch", order)
      assert.is_nil(none)
      assert.equal("payment.gateway_refused", err.code)
    end
    for _, c in ipairs { { { amount_total = 498 }, "amount", 498 }, { { currency = "eur" }, "currency", "EUR" }, { { livemode = true }, "live", true },
      { { id = "cs_test_other" }, "ref", "cs_test_other" }, { { payment_status = "unpaid" }, "state", "pending" } } do
      stripe.call("fault", read, "lie", { patch = c[1] })
      assert.equal(c[3], call("fetch", order)[c[2]])
    end
  end)

  it("says that the outcome is open when Stripe is out of order", function()
    local order = paid()
    support.breakdowns(stripe, "GET /v1/checkout", { stripe.key }, function() return call("fetch", order) end)
    support.breakdowns(stripe, "POST /v1/refunds", { stripe.key }, function()
      return call("refund", order, { id = "x", key = "x", amount = 1, currency = "USD" })
    end)
  end)

  it("is not set up with keys that are blank, wrong or of another environment, and shows none", function()
    for _, over in ipairs { { secret_key = "" }, { secret_key = "sk_test_wrong_key_of_ours" }, { secret_key = "sk_live_x" }, { environment = "live" },
      { base_url = "http://192.0.2.1" } } do
      local none, err = support.call("stripe", "start", settings(over), support.order())
      assert.is_nil(none)
      assert.equal("payment.not_configured", err.code)
      assert.is_nil(err.message:find("wrong_key", 1, true))
    end
  end)

  it("charges in Stripe's own decimals", function()
    for _, c in ipairs { { "JPY", 500, "500" }, { "IDR", 7500000, "7500000" }, { "ISK", 500, "50000" }, { "KWD", 1230, "1230" } } do
      local order = started { currency = c[1], amount = c[2] }
      local log = stripe.call "log"
      assert.truthy(log[#log].raw:find("[unit_amount]=" .. c[3] .. "&", 1, true), c[1])
      stripe.call("pay", order.ref)
      local facts = call("fetch", order)
      assert.same({ c[1], c[2] }, { facts.currency, facts.amount })
    end
  end)
end)
