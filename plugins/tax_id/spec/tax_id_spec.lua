-- SPDX-License-Identifier: Apache-2.0
local tax = dofile("plugins/tax_id/handler.lua")
local S = { ppn_bp = 1100, pph22_bp = 50, everywhere = true }

describe("tax rule tax_id", function()
  it("takes PPN out of the price and withholds of the rest", function()
    assert.same({ { code = "ppn", amount = 1100, title = "PPN 11 %" }, { code = "pph22", amount = 50, title = "PPh 22, 0.5 % withheld" } },
      tax.lines({ price = 11100, country = "ID" }, S))
  end)
  it("never takes more than the price, whatever it is", function()
    for price = 1, 3000 do
      local l = tax.lines({ price = price, country = "" }, S)
      assert.is_true(l[1].amount >= 0 and l[2].amount >= 0 and l[1].amount + l[2].amount < price)
    end
  end)
  it("leaves foreign buyers alone", function() assert.same({}, tax.lines({ price = 100, country = "DE" }, S)) end)
end)
