-- SPDX-License-Identifier: Apache-2.0
local rule = dofile("plugins/percent/handler.lua")

local function sale(t)
  local s = { amount = 1000, fee = 100, creator_share = 900, pct = 10, buyer = 1, creator = 2, direct = 3, referrers = { 3 } }
  for k, v in pairs(t or {}) do s[k] = v end
  return s
end

describe("affiliate rule percent", function()
  it("pays the floor of the percentage to the direct referrer", function()
    assert.same({ { to = 3, amount = 99, memo = "10 %" } }, rule.split(sale { amount = 999, creator_share = 899 }, { max_pct = 90 }))
  end)

  it("pays nobody when nobody referred the buyer", function()
    local s = sale()
    s.direct = nil
    assert.same({}, rule.split(s, { max_pct = 90 }))
  end)

  it("never pays more than the creator's share", function()
    assert.equal(10, rule.split(sale { pct = 90, creator_share = 10 }, { max_pct = 90 })[1].amount)
  end)

  it("pays nothing when the amount rounds to zero", function()
    assert.same({}, rule.split(sale { amount = 5, creator_share = 4 }, { max_pct = 90 }))
  end)

  it("respects the operator's limit", function()
    assert.equal(200, rule.split(sale { pct = 50 }, { max_pct = 20 })[1].amount)
  end)
end)
