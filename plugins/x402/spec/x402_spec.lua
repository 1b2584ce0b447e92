-- SPDX-License-Identifier: Apache-2.0
-- The plugin itself; buying is shown in spec/chain/x402.mjs, the protocol in spec/unit/x402_spec.lua.
local payments = require "lib.payments"
local gateway = require "spec.support.gateway"

describe("the x402 plugin", function()
  it("is no way to pay for people", function()
    for _, p in ipairs(assert(payments.providers())) do
      if p.provider == "x402" then assert.is_false(p.enabled) end
    end
    local none, err = gateway.call("x402", "start", {}, { id = "x" })
    assert.is_nil(none)
    assert.equal("payment.not_configured", err.code)
  end)

  it("leaves a refund to the chain", function()
    local handler = require("lib.registry").by_name.x402.handler
    local ctx = { x402 = { refund = function(r) return { ref = r.key, state = "pending" } end } }
    assert.same({ ref = "k", state = "pending" }, handler.refund(ctx, { id = "x" }, { key = "k" }))
  end)
end)
