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

  it("records a refund that was made by hand", function()
    assert.same({ ref = "k", state = "done" }, gateway.call("x402", "refund", {}, { id = "x" }, { key = "k" }))
  end)
end)
