-- SPDX-License-Identifier: Apache-2.0
local rule = dofile("plugins/capped/handler.lua")

local function sale(t)
  local s = { amount = 10000, creator_share = 9000, pct = 20, direct = 3, referrers = { 3 } }
  for k, v in pairs(t or {}) do s[k] = v end
  return s
end

describe("affiliate rule capped", function()
  it("pays the percentage up to the limit and never more than the creator's share", function()
    for _, case in ipairs { { {}, 5000, 2000 }, { {}, 1500, 1500 }, { { pct = 90, creator_share = 700 }, 5000, 700 }, { { amount = 999 }, 5000, 199 } } do
      assert.equal(case[3], rule.split(sale(case[1]), { cap = case[2] })[1].amount)
    end
  end)

  it("pays nobody without a link, nor when it comes to nothing", function()
    local s = sale()
    s.direct = nil
    assert.same({}, rule.split(s, { cap = 5000 }))
    assert.same({}, rule.split(sale(), { cap = 0 }))
    assert.same({}, rule.split(sale { amount = 4 }, { cap = 5000 }))
  end)
end)
