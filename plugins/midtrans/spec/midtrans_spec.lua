-- SPDX-License-Identifier: Apache-2.0
-- Against an imitated Midtrans that keeps what it is told; Midtrans' own library is content with it (spec/live/gateways_sdk.mjs).
local json = require "ppv.json"
local support = require "spec.support.gateway"
local services, stop = support.start "midtrans"
local midtrans = services.midtrans
teardown(stop)

local function settings(over)
  local s = { base_url = midtrans.url, server_key = midtrans.key }
  for k, v in pairs(over or {}) do s[k] = v end
  return s
end
local function call(fn, ...) return support.call("midtrans", fn, settings(), ...) end

local function started(over)
  local order = support.order { currency = "IDR", amount = 7500000 }
  for k, v in pairs(over or {}) do order[k] = v end
  order.ref = assert(call("start", order)).ref
  return order
end

local function verify(message) return call("verify", { headers = message.headers, body = message.body, now = os.time() }) end

describe("payment plugin midtrans", function()
  it("opens a page and reads back what happened there", function()
    local order = started()
    assert.equal(order.id, order.ref)
    assert.equal("pending", call("fetch", order).state)
    local event = assert(verify(midtrans.call("pay", order.ref)))
    assert.equal(order.ref, event.ref)
    local facts = assert(call("confirm", order, {}))
    assert.same({ "paid", 7500000, "IDR", false, order.ref, 0 }, { facts.state, facts.amount, facts.currency, facts.live, facts.ref, facts.refunded })
    assert.equal(event.payment_ref, facts.payment_ref)
    assert.equal(order.id .. ".2", started({ id = order.id, attempt = 2 }).ref)
  end)

  it("judges each status, and a card under challenge is not paid", function()
    for _, c in ipairs { { "settlement", "accept", "paid" }, { "capture", "accept", "paid" }, { "capture", "challenge", "hold" },
      { "capture", "deny", "failed" },
      { "capture", "something", "hold" }, { "authorize", "accept", "hold" },
      { "pending", "accept", "pending" }, { "deny", "deny", "pending" },
      { "expire", "accept", "expired" }, { "failure", "accept", "failed" }, { "cancel", "accept", "cancelled" }, { "something_new", "accept", "hold" } } do
      local order = started()
      midtrans.call("pay", order.ref, c[1], c[2], "credit_card")
      assert.equal(c[3], call("fetch", order).state, c[1] .. " " .. c[2])
      order.expires_at = os.time() - 1
      if c[1] == "deny" then assert.equal("failed", call("fetch", order).state) end
    end
    local order = started()
    midtrans.call("pay", order.ref, "capture", "challenge", "credit_card")
    midtrans.call("decide", order.ref, "approve")
    assert.same({ "paid", "48111111-1114 bni" }, { call("fetch", order).state, call("fetch", order).alike })
    order = started { expires_at = os.time() - 1 }
    assert.equal("expired", call("fetch", order).state, "nothing was ever chosen")
  end)

  it("does not believe a notification's status, which is not signed", function()
    local order = started()
    local message = midtrans.call("pay", order.ref, "pending")
    local forged = json.decode(message.body)
    forged.transaction_status = "settlement"
    assert.equal(order.ref, assert(verify { headers = {}, body = json.encode(forged) }).ref)
    assert.equal("pending", call("fetch", order).state)
  end)

  it("tells a cancelled, refunded or charged-back payment that was paid before", function()
    local order = started()
    midtrans.call("pay", order.ref, "capture", "accept", "credit_card")
    order.payment_ref = call("fetch", order).payment_ref
    midtrans.call("pay", order.ref, "cancel", "accept", "credit_card")
    assert.same({ "paid", 7500000 }, { call("fetch", order).state, call("fetch", order).refunded })
    midtrans.call("pay", order.ref, "chargeback", "accept", "credit_card")
    assert.same({ "lost", 7500000 }, { call("fetch", order).dispute.state, call("fetch", order).dispute.amount })
  end)

  it("closes an open payment, and one that nobody began", function()
    local order = started()
    assert.is_true(call("cancel", order))
    midtrans.call("pay", order.ref, "pending")
    assert.is_true(call("cancel", order))
    assert.equal("expired", call("fetch", order).state)
    midtrans.call("pay", order.ref)
    local none, err = call("cancel", order)
    assert.is_nil(none)
    assert.equal("payment.gateway_refused", err.code)
  end)

  it("takes another id when the answer with the page was lost", function()
    local order = support.order { currency = "IDR", amount = 7500000 }
    midtrans.call("fault", "POST /snap", "lost")
    assert.is_nil((call("start", order)))
    local r = assert(call("start", order))
    assert.truthy(r.ref:find(order.id, 1, true) and r.ref ~= order.id)
    assert.is_true(#r.ref <= 50)
  end)

  it("refunds once for a key, and says so where nothing can be refunded", function()
    local order = started()
    midtrans.call("pay", order.ref)
    order.payment_ref = call("fetch", order).payment_ref
    local refund = { id = "r1", key = "refund-1-" .. order.id, amount = 500000, currency = "IDR", reason = "x" }
    midtrans.call("fault", "POST .*/refund", "lost")
    assert.is_nil((call("refund", order, refund)))
    local done = { ref = refund.key, state = "done" }
    assert.same(done, call("refund_fetch", order, refund))
    assert.same(done, call("refund", order, refund))
    local facts = call("fetch", order)
    assert.same({ "paid", 500000, 1 }, { facts.state, facts.refunded, #facts.refunds })
    assert.same({ ref = "rest", state = "done" }, call("refund_fetch", order, { id = "r2", key = "rest", amount = 7000000, currency = "IDR" }))
    assert.equal(7500000, call("fetch", order).refunded)
    midtrans.call "no_refunds"
    local other = started()
    midtrans.call("pay", other.ref)
    local none, err = call("refund", other, refund)
    assert.is_nil(none)
    assert.equal("payment.gateway_refused", err.code)
  end)

  it("believes no amount that it cannot read, and passes on what is another", function()
    local order = started()
    midtrans.call("pay", order.ref)
    local function lie(patch)
      midtrans.call("fault", "GET /v2", "lie", { patch = patch })
      return call("fetch", order)
    end
    for _, sum in ipairs { "75000.005", "75,000.00", "-75000.00", "" } do assert.is_nil((lie { gross_amount = sum }), sum) end
    assert.equal(7500050, lie({ gross_amount = "75000.50" }).amount)
    assert.equal("USD", lie({ currency = "USD" }).currency)
    assert.equal("another", lie({ order_id = "another" }).ref)
  end)

  it("says that the outcome is open when Midtrans is out of order", function()
    local order = started()
    midtrans.call("pay", order.ref)
    support.breakdowns(midtrans, "GET /v2", { midtrans.key }, function() return call("fetch", order) end)
    support.breakdowns(midtrans, "POST /snap", { midtrans.key }, function() return call("start", support.order { currency = "IDR", amount = 100 }) end)
    midtrans.call("fault", "GET /v2", "lie", { patch = { status_code = "503" } })
    assert.equal("payment.gateway_down", select(2, call("fetch", order)).code)
  end)

  it("is not set up with keys that are blank, wrong or of another environment", function()
    for _, over in ipairs { { server_key = "" }, { server_key = "SB-Mid-server-wrong" }, { environment = "live" } } do
      local none, err = support.call("midtrans", "start", settings(over), support.order { currency = "IDR", amount = 100 })
      assert.is_nil(none)
      assert.equal("payment.not_configured", err.code)
      assert.is_nil(err.message:find "server%-wrong")
    end
  end)
end)
