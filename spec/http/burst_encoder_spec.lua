-- SPDX-License-Identifier: Apache-2.0
-- Segments with a viewer's name: made by the sandboxed encoder, kept encrypted, bounded in number and bytes.
local blob = require "ppv.blob"
local burst = require "ppv.burst"
local conf = require "ppv.conf"
local crypto = require "ppv.crypto"
local film = require "spec.support.film"
local h = require "spec.support"

local function unhex(s) return assert(crypto.hex_decode(s)) end

describe("ppv.burst", function()
  local f, serial = nil, 0
  lazy_setup(function() f = film.make { seconds = 8, id = "burst-spec" } end)

  -- The job for segment n of the smallest rendition, for a user that nobody else has.
  local function spec(n, over)
    local r = f.index.renditions[1]
    local s = r.segments[n + 1]
    serial = serial + 1
    local out = { path = ("%s/%d-%s-%d-x"):format(f.id, serial, r.name, n), init = f.id .. "/" .. r.init, segment = f.id .. "/" .. s.name,
      key = crypto.hkdf(unhex(f.secret), ("v1|%s|a|%d"):format(r.name, n), 16), iv = unhex(s.iv), own = ("k"):rep(16),
      place = ("\16"):rep(10), name = "viewer", tail = "2026-11-25", owner = "me" }
    for k, v in pairs(over or {}) do out[k] = v end
    return out, s
  end

  it("makes a segment that decrypts with its own key and is not the clean one", function()
    local s, clean = spec(2)
    assert.equal("ready", burst.make(s, 15000))
    local bytes = assert(blob.read("burst", s.path))
    local opened = assert(crypto.aes128_decrypt(s.own, s.iv, bytes))
    local was = assert(crypto.aes128_decrypt(s.key, s.iv, assert(blob.read("media", f.id .. "/" .. clean.name))))
    assert.equal(was:sub(5, 84), opened:sub(5, 84)) -- number, decode time and frames
    assert.not_equal(was, opened)
    assert.not_equal(opened, (crypto.aes128_decrypt(s.key, s.iv, bytes)))
    assert.equal("ready", burst.make(s))
    assert.equal(1, #burst.children())
  end)

  it("goes on after its encoder is killed", function()
    local s = spec(1)
    local pid = assert(burst.children()[1])
    assert.equal("late", burst.make(s))
    assert.equal(0, os.execute("kill -9 " .. pid))
    assert.equal("ready", burst.make(s, 15000))
    assert.not_equal(pid, burst.children()[1])
  end)

  it("refuses what is not sealed with the key, what is no segment, and remembers it", function()
    local s = spec(1, { key = ("x"):rep(16) })
    assert.equal("refused", burst.make(s, 15000))
    assert.equal("refused", burst.make(s))
    assert(blob.write("media", f.id .. "/noise", crypto.aes128_encrypt(("n"):rep(16), ("i"):rep(16), ("noise"):rep(999))))
    assert.equal("refused", burst.make(spec(1, { segment = f.id .. "/noise", key = ("n"):rep(16), iv = ("i"):rep(16) }), 15000))
    assert.equal("failed", burst.make(spec(1, { segment = f.id .. "/none" }), 15000))
    assert.equal("ready", burst.make(spec(1), 15000))
  end)

  it("draws any name", function()
    for _, name in ipairs { "\0\1\2", "%s$(id)`'\"\\:,;=|", ("W"):rep(200), "\240\159\146\169", "\255\254", "שלום" } do
      assert.equal("ready", burst.make(spec(1, { name = name }), 15000), name)
    end
  end)

  it("has a bounded queue, a quota for each owner, and room for who waits", function()
    local states = {}
    for i = 1, 12 do states[i] = burst.make((spec(1, { owner = "greedy" }))) end
    assert.equal("full", states[12])
    assert.equal("late", states[8])
    local full
    for i = 1, 80 do full = burst.make((spec(1, { owner = "o" .. i }))) == "full" or full end
    assert.is_true(full)
    assert.is_true(burst.load() <= 64)
    assert.equal("ready", burst.make(spec(1), 15000))
    assert.is_true(burst.load() > 0) -- it went before the others
    assert.equal("late", burst.make(spec(1), 1, true)) -- and what is not needed any more leaves
    h.eventually(function() return burst.load() == 0 end, 60)
  end)

  it("keeps below its space on disk", function()
    local cap = tonumber(conf.get "burst_cache")
    assert.is_true(cap <= 2 ^ 20, "the engine of the specifications runs with a small burst_cache")
    for _ = 1, math.ceil(cap * 1.3 / 60000) do assert.equal("ready", burst.make(spec(2), 15000)) end
    assert.is_true(assert(blob.size("burst", f.id)) <= cap * 17 / 16)
  end)
end)
