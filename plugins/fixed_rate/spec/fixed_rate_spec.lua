-- SPDX-License-Identifier: Apache-2.0
local source = dofile("plugins/fixed_rate/handler.lua")

local function ctx(rate)
  return { settings = { usd_to_idr = rate }, err = function(_, code, message) return { code = code, message = message } end }
end

describe("rate source fixed_rate", function()
  it("answers the setting as text", function() assert.same({ rate = "16250.5", source = "fixed" }, source.quote(ctx "16250.5", "USD", "IDR")) end)

  it("refuses other currencies", function()
    local rate, err = source.quote(ctx "1", "EUR", "IDR")
    assert.is_nil(rate)
    assert.equal("rate.unknown", err.code)
  end)

  it("knows the prices of tokens that the operator wrote down, and no others", function()
    local c = ctx "17000"
    c.settings.tokens = "USDC/USD = 0.9998, POL/USD=0.21, BAD/USD = 0, X/EUR = 3"
    assert.same({ rate = "0.9998", source = "fixed" }, source.quote(c, "USDC", "USD"))
    assert.equal("0.21", source.quote(c, "POL", "USD").rate)
    for _, pair in ipairs { { "USDC", "EUR" }, { "ETH", "USD" }, { "BAD", "USD" }, { "C", "USD" } } do
      local rate, err = source.quote(c, pair[1], pair[2])
      assert.is_nil(rate)
      assert.equal("rate.unknown", err.code)
    end
  end)

  for _, bad in ipairs { "", "0", "0.0", "-1", "1e3", "1,5", "abc" } do
    it("refuses the setting '" .. bad .. "'", function()
      local rate, err = source.quote(ctx(bad), "USD", "IDR")
      assert.is_nil(rate)
      assert.equal("rate.unset", err.code)
    end)
  end
end)
