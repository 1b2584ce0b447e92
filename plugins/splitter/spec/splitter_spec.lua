-- SPDX-License-Identifier: Apache-2.0
-- What the plugin itself decides; payments through it are in spec/http/chain_spec.lua and, on a real chain, spec/chain/watch.mjs.
local splitter = dofile("plugins/splitter/handler.lua")

describe("payment plugin splitter", function()
  local asked
  local function ctx(answer, why)
    return { settings = { deadline_s = 900 }, err = function(_, code, message) return { code = code, message = message } end,
      chain = { invoice = function(...) asked = { ... } return answer, why end, facts = function() return { state = "pending" } end } }
  end
  local CHOICE = { chain_id = 137, symbol = "USDC", payer_address = "0x" .. ("ab"):rep(20) }

  it("asks for the choice of the buyer, and for nothing without it", function()
    for missing in pairs(CHOICE) do
      local choice = {}
      for k, v in pairs(CHOICE) do if k ~= missing then choice[k] = v end end
      local r, err = splitter.start(ctx {}, { id = "o" }, choice)
      assert.is_nil(r)
      assert.equal("input.invalid", err.code)
    end
    assert.is_nil(asked)
  end)

  it("passes the invoice on, and waits for its payment an hour beyond its deadline", function()
    local i = { amount_text = "5.01", symbol = "USDC", chain = "Polygon", payer = CHOICE.payer_address, deadline = 1000 }
    local r = splitter.start(ctx(i), { id = "o" }, CHOICE)
    assert.same({ CHOICE, 900 }, asked)
    assert.same({ "o", 4600, i }, { r.ref, r.expires, r.invoice })
    assert.same({ "Pay exactly", "5.01 USDC" }, r.lines[1])
  end)

  it("says why there is no invoice", function()
    local r, err = splitter.start(ctx(nil, { code = "rate.unset" }), { id = "o" }, CHOICE)
    assert.is_nil(r)
    assert.equal("rate.unset", err.code)
  end)
end)
