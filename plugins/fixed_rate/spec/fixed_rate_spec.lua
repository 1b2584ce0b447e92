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

  for _, bad in ipairs { "", "0", "0.0", "-1", "1e3", "1,5", "abc" } do
    it("refuses the setting '" .. bad .. "'", function()
      local rate, err = source.quote(ctx(bad), "USD", "IDR")
      assert.is_nil(rate)
      assert.equal("rate.unset", err.code)
    end)
  end
end)
