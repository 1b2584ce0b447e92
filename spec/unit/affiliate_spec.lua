-- SPDX-License-Identifier: Apache-2.0
-- What the platform checks of a commission rule, and how a quote is made.
local affiliate = require "lib.affiliate"
local registry = require "lib.registry"

local SALE = { amount = 1000, fee = 100, creator_share = 900, pct = 10, buyer = 1, creator = 2, direct = 3, first = 4, referrers = { 3, 4 } }

describe("a commission rule's answer", function()
  for name, lines in pairs {
    ["nobody"] = {}, ["one line"] = { { to = 3, amount = 100 } }, ["the whole share"] = { { to = 3, amount = 900 } },
    ["a line of nothing beside one"] = { { to = 3, amount = 100 }, { to = 4, amount = 0 } },
    ["two who share all"] = { { to = 3, amount = 500 }, { to = 4, amount = 400 } },
  } do it("is accepted: " .. name, function() assert.is_nil(affiliate.wrong(lines, SALE)) end) end

  for name, lines in pairs {
    ["no list"] = "x", ["nothing at all"] = false, ["a map"] = { to = 3, amount = 1 }, ["a hole"] = { nil, { to = 3, amount = 1 } },
    ["a fraction"] = { { to = 3, amount = 0.5 } }, ["not a number"] = { { to = 3, amount = 0 / 0 } }, ["infinite"] = { { to = 3, amount = 1 / 0 } },
    ["negative"] = { { to = 3, amount = -1 } }, ["a text"] = { { to = 3, amount = "100" } }, ["no amount"] = { { to = 3 } },
    ["the buyer"] = { { to = 1, amount = 1 } }, ["the creator"] = { { to = 2, amount = 1 } }, ["a stranger"] = { { to = 99, amount = 1 } },
    ["nobody named"] = { { amount = 1 } }, ["twice the same"] = { { to = 3, amount = 1 }, { to = 3, amount = 1 } },
    ["more than the share"] = { { to = 3, amount = 901 } }, ["more than the share in sum"] = { { to = 3, amount = 900 }, { to = 4, amount = 1 } },
    ["lines that are no tables"] = { 100 },
  } do
    it("is refused: " .. name, function()
      local why = affiliate.wrong(lines, SALE)
      assert.is_string(why)
      assert.is_true(#why > 8)
    end)
  end
end)

describe("a rule that misbehaves", function()
  local rule, original
  before_each(function()
    rule = registry.by_name.percent
    original = rule.handler.split
  end)
  after_each(function() rule.handler.split = original end)

  for name, fn in pairs {
    ["raises"] = function() error "boom" end, ["raises a table"] = function() error { message = "boom" } end,
    ["answers an error"] = function() return nil, { message = "not today" } end, ["answers nothing"] = function() end,
    ["answers too much"] = function(sale) return { { to = sale.direct, amount = sale.creator_share + 1 } } end,
    ["answers functions"] = function() return { print } end,
    ["answers itself"] = function() local t = {} t[1] = t return t end,
  } do
    it("loses its commission, not the sale: " .. name, function()
      rule.handler.split = fn
      local lines, used = affiliate.lines(SALE, { id = "00000000-0000-7000-8000-000000000000" })
      assert.same({}, lines)
      assert.equal("percent", used)
    end)
  end

  it("pays what the installed one says", function()
    local lines = affiliate.lines(SALE, { id = "00000000-0000-7000-8000-000000000000" })
    assert.same({ { to = 3, amount = 100, memo = "10 %" } }, lines)
  end)
end)
