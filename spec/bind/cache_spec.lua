-- SPDX-License-Identifier: Apache-2.0
local cache = require "ppv.cache"
local h = require "spec.support"
local time = require "ppv.time"

local n = 0
local function key()
  n = n + 1
  return "spec:cache:" .. n
end

describe("ppv.cache", function()
  it("keeps bytes, replaces and forgets", function()
    local k = key()
    assert.is_nil(cache.get(k))
    assert.is_true(cache.set(k, "a\0b", 60))
    assert.equal("a\0b", cache.get(k))
    assert.is_true(cache.set(k, "", 60))
    assert.equal("", cache.get(k))
    assert.is_true(cache.del(k))
    assert.is_false(cache.del(k))
    assert.is_nil(cache.get(k))
  end)

  it("ends an entry at its time and not before", function()
    local k, for_ever = key(), key()
    cache.set(k, "x", 0.2)
    cache.set(for_ever, "y")
    assert.equal("x", cache.get(k))
    h.eventually(function() return cache.get(k) == nil end, 2)
    assert.equal("y", cache.get(for_ever))
  end)

  it("adds once", function()
    local k = key()
    assert.is_true(cache.add(k, "first", 60))
    assert.is_false(cache.add(k, "second", 60))
    assert.equal("first", cache.get(k))
  end)

  it("counts, and a counter keeps its first time to live", function()
    local k = key()
    assert.equal(1, cache.incr(k, 1, 0.3))
    assert.equal(6, cache.incr(k, 5, 60))
    assert.equal(4, cache.incr(k, -2, 60))
    assert.equal(5, cache.incr(k))
    h.eventually(function() return cache.get(k) == nil end, 2)
    assert.equal(1, cache.incr(k))
  end)

  it("takes the longest key and value, not longer ones", function()
    local long, big = key() .. ("k"):rep(480), ("v"):rep(256 * 1024)
    assert.is_true(cache.set(long, "x", 5))
    local k = key()
    if cache.set(k, big, 5) then assert.equal(#big, #cache.get(k)) end
    assert.has_error(function() cache.set(("k"):rep(513), "x") end)
    assert.has_error(function() cache.set("k", big .. "v") end)
  end)

  it("never gives a wrong value under pressure", function()
    for i = 1, 5000 do cache.set("spec:press:" .. i, ("v" .. i):rep(200), 60) end
    for i = 1, 5000 do
      local v = cache.get("spec:press:" .. i)
      assert.is_true(v == nil or v == ("v" .. i):rep(200), "entry " .. i)
    end
    for i = 1, 5000 do cache.del("spec:press:" .. i) end
  end)

  it("raises for wrong use", function()
    for _, call in ipairs { function() cache.get() end, function() cache.get "" end, function() cache.get {} end, function() cache.set("k") end,
      function() cache.set("k", {}) end, function() cache.set("k", "v", -1) end, function() cache.set("k", "v", "soon") end,
      function() cache.incr("k", 1.5) end, function() cache.set("k", "v", 0 / 0) end } do assert.has_error(call) end
  end)

  it("is quick", function()
    local started = time.mono()
    for i = 1, 20000 do cache.set("spec:quick", i .. "") cache.get "spec:quick" end
    assert.is_true(time.mono() - started < 3)
  end)
end)
