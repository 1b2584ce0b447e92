-- SPDX-License-Identifier: Apache-2.0
local tax = dofile("plugins/tax_eu/handler.lua")

describe("tax rule tax_eu", function()
  local function amount(price, country, settings) return (tax.lines({ price = price, country = country }, settings or {})[1] or {}).amount end
  it("takes the VAT of the buyer's country out of the price", function()
    assert.equal(1900, amount(11900, "DE"))
    assert.equal(2550, amount(12550, "FI"))
    assert.equal(2000, amount(12000, "FR"))
  end)
  it("is nothing elsewhere, and the default country for those who tell none", function()
    assert.is_nil(amount(1000, "US"))
    assert.is_nil(amount(1000, ""))
    assert.equal(1900, amount(11900, "", { unknown = "de" }))
  end)
  it("follows the operator's own rates", function() assert.equal(1600, amount(11600, "DE", { rates = "FI=25.5 DE=16" })) end)
end)
