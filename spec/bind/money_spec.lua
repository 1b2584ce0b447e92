-- SPDX-License-Identifier: Apache-2.0
local money = require "ppv.money"
local MAX, MIN = "9223372036854775807", "-9223372036854775808"

local function refused(...)
  local v, err = ...
  assert.is_nil(v)
  assert.equal("input.invalid", err.code)
  assert.is_false(err.retry)
  assert.is_true(#err.message > 3)
end

describe("ppv.money", function()
  it("adds to the edge of int64 and not beyond", function()
    assert.equal(3, money.add(1, 2))
    assert.equal(MAX, money.add("9223372036854775806", 1))
    assert.equal(MIN, money.add("-9223372036854775807", -1))
    assert.equal(-1, money.add(MAX, MIN))
    assert.equal(9007199254740992, money.add(9007199254740991, 1))
    assert.equal("9007199254740993", money.add("9007199254740992", 1))
    refused(money.add(MAX, 1))
    refused(money.add(MIN, -1))
  end)

  it("multiplies exactly", function()
    assert.equal("9223372036854775800", money.mul("922337203685477580", 10))
    assert.equal(0, money.mul(0, MIN))
    assert.equal(MIN, money.mul(MIN, 1))
    refused(money.mul(MIN, -1))
    refused(money.mul("3037000500", "3037000500"))
  end)

  it("takes basis points of the largest amount without loss", function()
    assert.equal(MAX, money.bp(MAX, 10000))
    assert.equal("922337203685477580", money.bp(MAX, 1000))
    assert.equal(0, money.bp(9999, 1))
    assert.equal(1, money.bp(10000, 1))
    refused(money.bp(-1, 1))
    refused(money.bp(1, 10001))
    refused(money.bp(1, -1))
  end)

  it("splits so that nothing is lost, the platform keeps the rest and the commission stays within the share", function()
    assert.same({ platform = 100, creator = 650, commission = 250 }, money.split(1000, 1000, 25))
    assert.same({ platform = 0, creator = 0, commission = 0 }, money.split(0, 1000, 25))
    assert.same({ platform = 1000, creator = 0, commission = 0 }, money.split(1000, 10000, 100))
    assert.same({ platform = 0, creator = 0, commission = 1000 }, money.split(1000, 0, 100))
    assert.same({ platform = 1, creator = 0, commission = 0 }, money.split(1, 1000, 90))
    refused(money.split(-1, 1000))
    local seed = 5
    local function pick(lo, hi)
      seed = (seed * 16807) % 2147483647
      return lo + seed % (hi - lo + 1)
    end
    for _ = 1, 3000 do
      local price, fee, pct = pick(0, 1) == 1 and pick(0, 50) or pick(0, 2000000000), pick(0, 10000), pick(0, 100)
      local s = money.split(price, fee, pct)
      assert.equal(price, s.platform + s.creator + s.commission)
      assert.is_true(s.platform >= 0 and s.creator >= 0 and s.commission >= 0)
      assert.equal(price - math.floor(price * (10000 - fee) / 10000), s.platform)
      assert.equal(math.min(math.floor(price * pct / 100), price - s.platform), s.commission)
    end
    local s = money.split(MAX, 1000, 0)
    assert.equal(MAX, money.add(s.platform, s.creator))
  end)

  it("formats and parses by the currency's decimals", function()
    for _, case in ipairs { { 0, "USD", "0.00" }, { 5, "USD", "0.05" }, { 1234, "USD", "12.34" }, { 1234, "JPY", "1234" }, { 1234, "KWD", "1.234" },
      { 1700000, "IDR", "17000.00" }, { MAX, "USD", "92233720368547758.07" }, { 100, "EUR", "1.00" } } do
      assert.equal(case[3], money.format(case[1], case[2]))
      assert.equal(case[1], money.parse(case[3], case[2]))
    end
    assert.equal("-0.05", money.format(-5, "USD"))
    assert.equal("-92233720368547758.08", money.format(MIN, "USD"))
    assert.equal(1200, money.parse("12", "USD"))
    assert.equal(1230, money.parse("12.3", "USD"))
  end)

  for _, bad in ipairs { "", "-1", "+1", " 1", "1 ", "1.234", "1,5", "1e3", ".", "1.", ".5", "0x1", "abc", "NaN", "\0",
    "92233720368547758.08", ("9"):rep(40), "1.0.0", "\217\161" } do
    it("does not parse " .. ("%q"):format(bad), function() refused(money.parse(bad, "USD")) end)
  end

  it("refuses decimals where a currency has none, and unknown currencies", function()
    refused(money.parse("1.5", "JPY"))
    refused(money.parse("1", "ZZZ"))
    refused(money.format(1, "ZZZ"))
    refused(money.parse("1", "usd"))
    assert.equal(2, money.exponent "USD")
    assert.equal(0, money.exponent "JPY")
    assert.equal(3, money.exponent "KWD")
    assert.is_nil(money.exponent "ZZZ")
    assert.is_nil(money.exponent "")
  end)

  it("raises for floats and for what is no number", function()
    for _, bad in ipairs { 1.5, 0 / 0, 1 / 0, 2 ^ 60, "1.5", "", "x", " 1", "9223372036854775808", true, {} } do
      assert.has_error(function() money.add(bad, 1) end)
      assert.has_error(function() money.mul(1, bad) end)
    end
    assert.has_error(function() money.add(1) end)
    assert.has_error(function() money.split(1000, 10001) end)
    assert.has_error(function() money.split(1000, 1000, 101) end)
    assert.has_error(function() money.split(1000, 1000, -1) end)
    assert.has_error(function() money.parse(5, "USD") end)
  end)
end)
