-- SPDX-License-Identifier: Apache-2.0
-- Against an imitated Xendit that keeps what it is told; Xendit's own library is content with it (spec/live/gateways_sdk.mjs).
local support = require "spec.support.gateway"
local services, stop = support.start "xendit"
local xendit = services.xendit
teardown(stop)

local function settings(over)
  local s = { base_url = xendit.url, secret_key = xendit.key, callback_token = xendit.token }
  for k, v in pairs(over or {}) do s[k] = v end
  return s
end
local function call(fn, ...) return support.call("xendit", fn, settings(), ...) end

local function started(over)
  local order = support.order { currency = "IDR", amount = 7500000, email = "buyer@example.org" }
  for k, v in pairs(over or {}) do order[k] = v end
  order.ref = assert(call("start", order)).ref
  return order
end

local function paid()
  local order = started()
  xendit.call("pay", order.ref)
  order.payment_ref = assert(call("fetch", order)).payment_ref
  return order
end

local function verify(message) return call("verify", { headers = message.headers, body = message.body, now = os.time() }) end

describe("payment plugin xendit", function()
  it("opens an invoice and reads back what happened to it", function()
    local order = started()
    assert.equal("pending", call("fetch", order).state)
    local event = assert(verify(xendit.call("pay", order.ref)))
    assert.same({ order.ref, order.id }, { event.ref, event.order })
    local facts = assert(call("confirm", order, {}))
    assert.same({ "paid", 7500000, "IDR", false, order.ref }, { facts.state, facts.amount, facts.currency, facts.live, facts.ref })
    xendit.call("settled", order.ref)
    assert.equal("paid", call("fetch", order).state)
  end)

  it("counts what was paid, not what was asked for", function()
    local order = started()
    xendit.call("pay", order.ref, 74999)
    assert.same({ "paid", 7499900 }, { call("fetch", order).state, call("fetch", order).amount })
  end)

  it("tells the first and last digits of a card", function()
    local order = started()
    xendit.call("pay", order.ref)
    assert.is_nil(call("fetch", order).alike)
    xendit.call("card", order.ref, "400000XXXXXX0002")
    assert.equal("400000XXXXXX0002", call("fetch", order).alike)
  end)

  it("finds the invoice of an attempt whose answer was lost", function()
    local order = support.order { currency = "IDR", amount = 7500000 }
    xendit.call "reset"
    xendit.call("fault", "POST /v2/invoices/", "lost", { times = 6 })
    assert.is_nil((call("start", order)))
    local posts = 0
    for _, r in ipairs(xendit.call "log") do if r.method == "POST" then posts = posts + 1 end end
    assert.equal(1, posts, "what is done is asked for once")
    xendit.call "reset"
    local first = assert(call("start", order))
    assert.equal(first.ref, assert(call("start", order)).ref)
    for _, r in ipairs(xendit.call "log") do assert.equal("GET", r.method) end
    order.attempt = 2
    assert.not_equal(first.ref, assert(call("start", order)).ref)
  end)

  it("closes an open invoice once, and not one that was paid", function()
    local order = started()
    assert.is_true(call("cancel", order))
    assert.is_true(call("cancel", order))
    assert.equal("expired", call("fetch", order).state)
    local none, err = call("cancel", paid())
    assert.is_nil(none)
    assert.equal("payment.gateway_refused", err.code)
  end)

  it("refunds once for a key, later or never", function()
    local order = paid()
    local refund = { id = "r1", key = "refund-1-" .. order.id, amount = 500000, currency = "IDR", reason = "x" }
    xendit.call("fault", "POST /refunds", "lost")
    assert.is_nil((call("refund", order, refund)))
    local r = assert(call("refund_fetch", order, refund))
    assert.equal("pending", r.state)
    assert.equal(r.ref, assert(call("refund", order, refund)).ref)
    assert.equal(0, call("fetch", order).refunded)
    local event = assert(verify(xendit.call("refunded", order.ref)))
    assert.equal(order.ref, event.ref)
    refund.ref = r.ref
    assert.equal("done", call("refund_fetch", order, refund).state)
    assert.equal(500000, call("fetch", order).refunded)
    xendit.call "no_refunds"
    local none, err = call("refund", order, { id = "r2", key = "another", amount = 100, currency = "IDR" })
    assert.is_nil(none)
    assert.truthy(err.message:find "REFUND_NOT_SUPPORTED")
  end)

  it("pays out once for a key, and takes the way back", function()
    local item = { id = "po-9-" .. os.time(), key = "payout:9:" .. os.time(), amount = 6750000, currency = "IDR",
      destination = { channel_code = "ID_BCA", account_holder_name = "A", account_number = "1234567890" } }
    xendit.call("fault", "POST /v2/payouts", "lost")
    assert.is_nil((call("payout", item)))
    local sent = assert(call("payout_fetch", item))
    assert.equal("sent", sent.state)
    assert.equal(sent.ref, assert(call("payout", item)).ref)
    item.ref = sent.ref
    for _, c in ipairs { { "SUCCEEDED", "paid" }, { "REVERSED", "reversed" }, { "FAILED", "failed" }, { "LOCKED", "sent" } } do
      local event = assert(verify(xendit.call("pay_out", sent.ref, c[1])))
      assert.same({ item.id, sent.ref }, { event.payout, event.payout_ref })
      local state = call("payout_fetch", item)
      assert.equal(c[2], state.state)
      if c[1] == "FAILED" then assert.equal("INVALID_DESTINATION", state.failure) end
    end
    item.destination, item.ref = { channel_code = "ID_BCA" }, nil
    item.id = "po-other"
    assert.equal("payment.gateway_refused", select(2, call("payout", item)).code)
  end)

  it("believes no amount that it cannot read, and passes on what is another", function()
    local order = paid()
    local function lie(patch)
      xendit.call("fault", "GET /v2/invoices", "lie", { patch = patch })
      return call("fetch", order)
    end
    for _, sum in ipairs { 75000.005, "75,000", -1, true } do assert.is_nil((lie { paid_amount = sum }), tostring(sum)) end
    for _, patch in ipairs { { status = "SOMETHING_NEW" }, { currency = "XXX" }, { currency = 5 } } do assert.is_nil((lie(patch))) end
    assert.equal(7500050, lie({ paid_amount = 75000.5 }).amount)
    assert.equal("PHP", lie({ currency = "PHP" }).currency)
    assert.equal("another", lie({ id = "another" }).ref)
  end)

  it("keeps the decimals of currencies that have them", function()
    local order = started { currency = "PHP", amount = 4550 }
    xendit.call("pay", order.ref)
    assert.same({ 4550, "PHP" }, { call("fetch", order).amount, call("fetch", order).currency })
    order = started { currency = "VND", amount = 50000 }
    xendit.call("pay", order.ref)
    assert.equal(50000, call("fetch", order).amount)
  end)

  it("says that the outcome is open when Xendit is out of order", function()
    local order = paid()
    support.breakdowns(xendit, "GET /v2/invoices", { xendit.key }, function() return call("fetch", order) end)
    support.breakdowns(xendit, "POST /v2/invoices", { xendit.key }, function() return call("start", support.order { currency = "IDR", amount = 100 }) end)
  end)

  it("is not set up with keys that are blank, wrong or of another environment", function()
    for _, over in ipairs { { secret_key = "" }, { secret_key = "xnd_development_wrong" }, { environment = "live" }, { secret_key = "xnd_production_x" } } do
      local none, err = support.call("xendit", "start", settings(over), support.order { currency = "IDR", amount = 100 })
      assert.is_nil(none)
      assert.equal("payment.not_configured", err.code)
      assert.is_nil(err.message:find "_wrong")
    end
  end)
end)
