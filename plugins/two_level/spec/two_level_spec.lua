-- SPDX-License-Identifier: Apache-2.0
local rule = dofile("plugins/two_level/handler.lua")
local settings = { second_bps = 200 }

local function sale(t)
  local s = { amount = 10000, fee = 1000, creator_share = 9000, pct = 10, buyer = 1, creator = 2, referrers = {} }
  for k, v in pairs(t) do s[k] = v end
  return s
end

describe("affiliate rule two_level", function()
  it("pays both levels", function()
    assert.same({ { to = 3, amount = 1000, memo = "level 1" }, { to = 4, amount = 200, memo = "level 2" } },
      rule.split(sale { direct = 3, first = 4 }, settings))
  end)

  it("pays one line to who is both", function()
    assert.same({ { to = 3, amount = 1000, memo = "level 1" } }, rule.split(sale { direct = 3, first = 3 }, settings))
  end)

  it("leaves the second level what the creator's share still has", function()
    assert.same({ { to = 3, amount = 1000, memo = "level 1" }, { to = 4, amount = 50, memo = "level 2" } },
      rule.split(sale { direct = 3, first = 4, creator_share = 1050 }, settings))
    assert.same({ { to = 3, amount = 900, memo = "level 1" } }, rule.split(sale { direct = 3, first = 4, creator_share = 900 }, settings))
  end)

  it("pays who came first when there was no link", function()
    assert.same({ { to = 4, amount = 200, memo = "level 2" } }, rule.split(sale { first = 4 }, settings))
  end)

  it("pays nobody when nobody is known", function() assert.same({}, rule.split(sale {}, settings)) end)
end)
