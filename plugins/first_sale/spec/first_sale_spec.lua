-- SPDX-License-Identifier: Apache-2.0
local rule = dofile("plugins/first_sale/handler.lua")
local settings = { bonus_bps = 500 }

local function sale(t)
  local s = { amount = 10000, creator_share = 9000, pct = 20, direct = 3, referrers = { 3 } }
  for k, v in pairs(t or {}) do s[k] = v end
  return s
end

describe("affiliate rule first_sale", function()
  it("adds the bonus for a new buyer only, out of the creator's share", function()
    assert.equal(2500, rule.split(sale { new_buyer = true }, settings)[1].amount)
    assert.equal(2000, rule.split(sale(), settings)[1].amount)
    assert.equal(2000, rule.split(sale { new_buyer = true, creator_share = 2000 }, settings)[1].amount)
    assert.equal(249, rule.split(sale { new_buyer = true, amount = 999 }, settings)[1].amount)
  end)

  it("pays nobody without a link", function()
    local s = sale { new_buyer = true }
    s.direct = nil
    assert.same({}, rule.split(s, settings))
  end)
end)
