-- SPDX-License-Identifier: Apache-2.0
-- The viewer's name in the picture, as a player meets it: which segments, which key, which bytes, and what happens when the
-- encoder is busy, stuck or cannot do it.
local blob = require "ppv.blob"
local burst = require "ppv.burst"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local film = require "spec.support.film"
local h = require "spec.support"
local hls = require "lib.hls"
local json = require "ppv.json"
local titles = require "lib.titles"

local function unhex(s) return assert(crypto.hex_decode(s)) end

describe("visible bursts", function()
  local maker, f, r
  lazy_setup(function()
    maker = h.make.user()
    f = film.title(maker, { price = 0 }, { seconds = 12 })
    r = f.index.renditions[1]
  end)

  local function mark(fields)
    fields.id = f.id
    local got = maker:post("/api/video_update", fields)
    assert.equal(200, got.status, got.body)
  end

  -- A new viewer with a session: what they get for segment n.
  local function start()
    local v = h.make.user()
    local got = v:get("/api/request_play?video_id=" .. f.id)
    assert.equal(200, got.status, got.body)
    local base = got.json.playlist:gsub("master%.m3u8$", "")
    local p = { v = v, base = base }
    function p.open()
      local list = v:get(base .. r.name .. ".m3u8")
      assert.equal(200, list.status, list.body)
      p.names, p.ivs = {}, {}
      for iv, name in list.body:gmatch "IV=0x(%x+)\n#EXTINF:[^\n]*\n([^\n]+)\n" do
        p.names[#p.names + 1], p.ivs[#p.ivs + 1] = name, iv
      end
      return p
    end
    function p.key(n) return v:get(base .. "k-" .. r.name .. "-" .. n .. ".key") end
    function p.bytes(n) return v:get(base .. p.names[n + 1]) end
    function p.own(n) return hls.key(unhex(f.secret), r.name, "u" .. v.id, n) end
    function p.is_burst(n)
      local k = p.key(n)
      assert.equal(200, k.status, k.body)
      local plain = crypto.aes128_decrypt(k.body, unhex(p.ivs[n + 1]), p.bytes(n).body)
      assert.truthy(plain and plain:find("moof", 1, true), "key and bytes of segment " .. n .. " do not agree")
      return k.body == p.own(n)
    end
    return p
  end

  local function children(signal) for _, pid in ipairs(burst.children()) do os.execute("kill -" .. signal .. " " .. pid) end end

  it("burns every segment but the first two at 100 %, under the clean one's address and IV", function()
    mark { mark_visible = 0 }
    local clean = start().open()
    for n = 0, 5 do assert.is_false(clean.is_burst(n)) end
    mark { mark_visible = 100, mark_fail = "wait" }
    for n = 0, 5 do assert.is_false(clean.is_burst(n)) end -- a running session stays as it began
    local p = start().open()
    assert.equal(6, #p.names)
    for n = 0, 5 do assert.equal(n >= 2, p.is_burst(n), n) end
    assert.equal(p.key(3).body, p.key(3).body)
    h.eventually(function()
      return db.one("select count(distinct seq) as n from key_log where user_id = $1 and variant = 'u'", p.v.id).n == 4
    end)
    assert.is_true(tonumber(maker:get("/metrics").body:match "ppv_burst_encodes_total (%d+)") >= 4)
  end)

  it("leaves sound alone", function()
    mark { mark_visible = 100, mark_fail = "wait" }
    local p = start().open()
    local a = f.index.audio[1]
    assert.equal(hls.key(unhex(f.secret), a.name, "a", 3), p.v:get(p.base .. "k-" .. a.name .. "-3.key").body)
  end)

  it("draws other segments for each viewer, the share of them", function()
    mark { mark_visible = 50, mark_fail = "wait" }
    local seen, total = {}, 0
    for i = 1, 8 do
      local p, word = start().open(), ""
      for n = 2, 5 do
        local is = p.is_burst(n)
        word, total = word .. (is and "1" or "0"), total + (is and 1 or 0)
      end
      seen[word] = true
      assert.is_true(i > 0)
    end
    assert.is_true(total > 4 and total < 28, "drawn: " .. total .. " of 32")
    local kinds = 0
    for _ in pairs(seen) do kinds = kinds + 1 end
    assert.is_true(kinds > 1)
  end)

  it("goes on with the clean segment when the encoder hangs and the creator prefers that", function()
    mark { mark_visible = 100, mark_fail = "open" }
    local p = start()
    children "STOP"
    p.open()
    assert.is_false(p.is_burst(3))
    children "CONT"
    h.eventually(function() return burst.load() == 0 end, 20)
    assert.is_false(p.is_burst(3)) -- decided for the session
    assert.is_true(tonumber(maker:get("/metrics").body:match "ppv_burst_missed_total (%d+)") >= 1)
  end)

  it("waits, and then says try again, when the creator prefers that", function()
    mark { mark_visible = 100, mark_fail = "wait" }
    local p = start()
    children "STOP"
    p.open()
    local k = p.key(3)
    assert.equal(503, k.status, k.body)
    assert.truthy(k.headers["retry-after"])
    children "CONT"
    assert.is_true(p.is_burst(3))
  end)

  it("survives the death of its encoder", function()
    mark { mark_visible = 100, mark_fail = "wait" }
    local p = start()
    children "KILL"
    p.open()
    for n = 2, 5 do assert.is_true(p.is_burst(n)) end
  end)

  it("gives the key of the bytes to who fetches the bytes first", function()
    mark { mark_visible = 100, mark_fail = "wait" }
    local p = start().open()
    local bytes, key = p.bytes(4).body, p.key(4).body
    assert.equal(p.own(4), key)
    assert.truthy(crypto.aes128_decrypt(key, unhex(p.ivs[5]), bytes):find("moof", 1, true))
    mark { mark_fail = "open" }
    p = start()
    children "STOP"
    p.open()
    assert.equal(200, p.bytes(4).status)
    children "CONT"
    h.eventually(function() return burst.load() == 0 end, 20)
    assert.is_false(p.is_burst(4))
  end)

  it("makes a segment again that had to make room", function()
    mark { mark_visible = 100, mark_fail = "wait" }
    local p = start().open()
    assert.equal(p.own(2), p.key(2).body)
    h.eventually(function() return burst.load() == 0 end, 20)
    assert(blob.remove_tree("burst", f.id))
    assert.is_true(p.is_burst(2))
  end)

  it("serves clean what can never be burned", function()
    mark { mark_visible = 100, mark_fail = "wait" }
    local p = start().open()
    h.eventually(function() return burst.load() == 0 end, 20)
    assert(blob.remove_tree("burst", f.id))
    for _, v in ipairs { "a", "b" } do
      local s = (v == "a" and r.segments or r.segments_b)[6]
      local key = hls.key(unhex(f.secret), r.name, v, 5)
      assert(blob.write("media", f.id .. "/" .. s.name, crypto.aes128_encrypt(key, unhex(s.iv), "moof that is none")))
    end
    assert.is_false(p.is_burst(5))
  end)

  it("burns the file that the viewer's playlist names, also after a repair made new ones", function()
    mark { mark_visible = 100, mark_fail = "wait" }
    local p = start().open()
    local function again(list, variant)
      local out = {}
      for i, s in ipairs(list) do
        local key = hls.key(unhex(f.secret), r.name, variant, i - 1)
        local plain = assert(crypto.aes128_decrypt(key, unhex(s.iv), assert(blob.read("media", f.id .. "/" .. s.name, 2 ^ 22))))
        local iv = crypto.random(16)
        out[i] = { name = "again" .. variant .. i .. ".m4s", iv = crypto.hex_encode(iv), dur = s.dur }
        assert(blob.write("media", f.id .. "/" .. out[i].name, crypto.aes128_encrypt(key, iv, plain)))
      end
      return json.array(out)
    end
    assert(db.exec([[update renditions set previous = jsonb_build_object('init', init_path, 'segments', segments), segments = $3::jsonb
      where video_id = $1::uuid and name = $2]], f.id, r.name, json.encode { a = again(r.segments, "a"), b = again(r.segments_b, "b") }))
    titles.forget(f.id)
    local later = start().open()
    assert.not_equal(p.names[4], later.names[4])
    for n = 2, 4 do
      assert.is_true(p.is_burst(n))
      assert.is_true(later.is_burst(n))
    end
  end)

  it("takes sensible settings only, from the creator only", function()
    for _, bad in ipairs { { mark_visible = -1 }, { mark_visible = 101 }, { mark_visible = 2.5 }, { mark_fail = "never" } } do
      bad.id = f.id
      assert.equal(422, maker:post("/api/video_update", bad).status)
    end
    assert.equal(404, h.make.user():post("/api/video_update", { id = f.id, mark_visible = 5 }).status)
    mark { mark_visible = 35 }
    local got = maker:get("/api/my_videos/" .. f.id).json.video
    assert.equal(35, got.mark_visible)
    assert.equal("wait", got.mark_fail)
  end)
end)
