-- SPDX-License-Identifier: Apache-2.0
-- A film as transport streams: the same session, variant, keys and limits as its fMP4 segments.
local blob = require "ppv.blob"
local burst = require "ppv.burst"
local crypto = require "ppv.crypto"
local film = require "spec.support.film"
local h = require "spec.support"
local hls = require "lib.hls"
local playback = require "ppv.playback"

local function unhex(s) return assert(crypto.hex_decode(s)) end
local function play(c, id) return c:get("/api/request_play?video_id=" .. id) end
local function dir(r) return (r.json.playlist:gsub("master%.m3u8$", "")) end

describe("transport streams", function()
  local maker, viewer, f, pictures, sound, base
  lazy_setup(function()
    maker, viewer = h.make.user(), h.make.user()
    f = film.title(maker, { price = 500 }, { seconds = 8 })
    pictures, sound = f.index.renditions[1], f.index.audio[1]
    assert.equal(200, maker:post("/api/allow", { video_id = f.id, username = viewer.username }).status)
    base = dir(play(viewer, f.id))
  end)

  -- {{name, iv, key file}} of a playlist.
  local function list(c, at, r)
    local got = c:get(at .. r.name .. "-ts.m3u8")
    assert.equal(200, got.status, got.body)
    local out = {}
    for key, iv, name in got.body:gmatch 'URI="([^"]+)",IV=0x(%x+)\n#EXTINF:[^\n]*\n([^\n]+)\n' do out[#out + 1] = { name = name, iv = iv, key = key } end
    return out, got.body
  end

  -- What a player makes of segment n: clear packets.
  local function opened(c, at, s)
    local bytes, key = c:get(at .. s.name), c:get(at .. s.key)
    assert.equal(200, bytes.status, bytes.body)
    assert.equal("video/mp2t", bytes.headers["content-type"])
    assert.equal("*", bytes.headers["access-control-allow-origin"])
    assert.is_nil(bytes.headers["set-cookie"])
    return assert(crypto.aes128_decrypt(key.body, unhex(s.iv), bytes.body)), key.body
  end

  local function remuxed(r, variant, n, s)
    local file = assert(playback.ts { segment = f.id .. "/" .. s.name, init = f.id .. "/" .. r.init, clear = true, iv = unhex(s.iv),
      key = hls.key(unhex(f.secret), r.name, variant, n) })
    local bytes = assert(blob.read("tmp", file, 2 ^ 22))
    blob.remove_tree("tmp", file)
    return bytes
  end

  it("are listed under names of their own, without a header, with the keys of the session", function()
    local master = viewer:get(base .. "master-ts.m3u8")
    assert.equal(200, master.status, master.body)
    assert.truthy(master.body:find("#EXT-X-VERSION:4\n", 1, true))
    assert.truthy(master.body:find('URI="' .. sound.name .. '-ts.m3u8"', 1, true), master.body)
    assert.truthy(master.body:find("\n" .. pictures.name .. "-ts.m3u8\n", 1, true), master.body)
    local plain = viewer:get(base .. pictures.name .. ".m3u8").body
    local mine, text = list(viewer, base, pictures)
    assert.is_nil(text:find("EXT-X-MAP", 1, true))
    assert.truthy(text:find("#EXT-X-VERSION:4\n", 1, true))
    assert.equal(4, #mine)
    for _, s in ipairs(mine) do
      assert.truthy(plain:find(s.name:gsub("%.ts$", ".m4s"), 1, true), s.name)
      assert.truthy(plain:find(('URI="%s",IV=0x%s'):format(s.key, s.iv), 1, true), s.name)
    end
  end)

  it("are the viewer's own variant in other packets, under the segment's key", function()
    local word = playback.word(unhex(f.secret), viewer.id, f.index.code, 0, 4)
    for n, s in ipairs(list(viewer, base, pictures)) do
      local variant = word:sub(n, n)
      local mine, other = pictures[variant == "a" and "segments" or "segments_b"][n], pictures[variant == "a" and "segments_b" or "segments"][n]
      local clear, key = opened(viewer, base, s)
      assert.equal(hls.key(unhex(f.secret), pictures.name, variant, n - 1), key)
      assert.is_true(clear == remuxed(pictures, variant, n - 1, mine))
      assert.equal(0, #clear % 188)
      for at = 1, #clear, 188 do assert.equal(0x47, clear:byte(at)) end
      local twin = remuxed(pictures, variant == "a" and "b" or "a", n - 1, other)
      assert.is_true(#twin == #clear and twin ~= clear) -- lengths do not tell
      assert.equal(404, viewer:get(base .. other.name:gsub("%.m4s$", ".ts")).status)
    end
    for n, s in ipairs(list(viewer, base, sound)) do assert.is_true(opened(viewer, base, s) == remuxed(sound, "a", n - 1, sound.segments[n])) end
  end)

  it("leave nothing behind, and answer a part of them", function()
    local s = list(viewer, base, pictures)[2]
    local all, part = viewer:get(base .. s.name), viewer:get(base .. s.name, { headers = { range = "bytes=16-31" } })
    assert.same({ 206, all.body:sub(17, 32) }, { part.status, part.body })
    assert.equal(200, viewer:request("HEAD", base .. s.name, {}).status)
    assert.same({}, assert(blob.list("tmp", "", ".part")))
  end)

  it("are nobody else's, and nothing but segments is one", function()
    local name, init = list(viewer, base, pictures)[1].name, pictures.init:gsub("%.mp4$", ".ts")
    local token, id = base:match "/hls/([^/]+)/", select(2, playback.open(base:match "/hls/([^/]+)/"))
    for _, t in ipairs { "x" .. token:sub(2), playback.token("session", id, os.time() - 1), playback.token("session", f.id, os.time() + 60) } do
      for _, file in ipairs { "master-ts.m3u8", pictures.name .. "-ts.m3u8", name } do
        local r = h.client():get("/hls/" .. t .. "/" .. file)
        assert.same({ 404, "request.not_found" }, { r.status, r.json.code }, file)
      end
    end
    local stranger = h.make.user()
    for _, path in ipairs { "/media/" .. f.id .. "/" .. name, "/media/seg/" .. f.id .. "/" .. name, "/api/videos/" .. f.id .. "/early/" .. name } do
      assert.is_true(stranger:get(path).status >= 400, path)
    end
    for _, file in ipairs { init, "none.ts", "index.ts", "..%2f" .. f.id .. "%2f" .. name, name .. "%00.m4s", "none-ts.m3u8", "sub-1-ts.m3u8", "ref-ts.m3u8",
      "-ts.m3u8", "master-ts-ts.m3u8", "fp-ts.m3u8",
      f.index.fingerprint[1].name:gsub("%.m4s$", ".ts"), f.index.reference.segments[1].name:gsub("%.m4s$", ".ts") } do
      assert.is_true(viewer:get(base .. file).status >= 400, file)
    end
  end)

  it("stop when the access is taken back", function()
    local v = h.make.user()
    assert.equal(200, maker:post("/api/allow", { video_id = f.id, username = v.username }).status)
    local at = dir(play(v, f.id))
    local name = list(v, at, pictures)[2].name
    assert.equal(200, v:get(at .. name).status)
    assert.equal(200, maker:post("/api/allow/revoke", { video_id = f.id, username = v.username }).status)
    h.eventually(function() return v:get(at .. name).status == 404 end, 12)
    assert.equal(404, v:get(at .. "master-ts.m3u8").status)
  end)

  it("are not made faster than anybody can watch", function()
    local set = require("lib.settings").set
    local function pace(ahead, seek, speed)
      assert(set(nil, { ["playback.ahead_s"] = ahead, ["playback.seek_s"] = seek, ["playback.speed_pct"] = speed }))
    end
    local v = h.make.user()
    maker:post("/api/allow", { video_id = f.id, username = v.username })
    pace(4, 4, 100)
    finally(function() pace(120, 600, 300) end)
    local at = dir(play(v, f.id))
    local name = list(v, at, pictures)[1].name
    for i = 1, 4 do assert.equal(200, v:get(at .. name).status, i) end
    local r
    h.eventually(function() r = v:get(at .. name) return r.status == 429 end)
    assert.is_true(tonumber(r.headers["retry-after"]) >= 1)
  end)

  it("carry the viewer's name where the segment does", function()
    assert.equal(200, maker:post("/api/video_update", { id = f.id, mark_visible = 100, mark_fail = "wait" }).status)
    finally(function() maker:post("/api/video_update", { id = f.id, mark_visible = 0 }) end)
    local v = h.make.user()
    maker:post("/api/allow", { video_id = f.id, username = v.username })
    local at = dir(play(v, f.id))
    local mine = list(v, at, pictures)
    local own = hls.key(unhex(f.secret), pictures.name, "u" .. v.id, 3)
    local clear, key = opened(v, at, mine[4])
    assert.equal(own, key)
    assert.equal(0, #clear % 188)
    local word = playback.word(unhex(f.secret), v.id, f.index.code, 3, 1)
    assert.is_false(clear == remuxed(pictures, word, 3, pictures[word == "a" and "segments" or "segments_b"][4]))
    h.eventually(function() return burst.load() == 0 end, 20)
  end)

  it("are clear in the free preview, and end with it", function()
    assert.equal(200, maker:post("/api/video_update", { id = f.id, preview_ms = 4000 }).status)
    local guest = h.client()
    local at = dir(guest:get("/api/preview?video_id=" .. f.id))
    assert.truthy(guest:get(at .. "master-ts.m3u8").body:find(pictures.name .. "-ts.m3u8", 1, true))
    local text = guest:get(at .. pictures.name .. "-ts.m3u8").body
    assert.is_nil(text:find("EXT-X-KEY", 1, true))
    local n = 0
    for name in text:gmatch "\n(%x+%.ts)" do
      n = n + 1
      assert.is_true(guest:get(at .. name).body == remuxed(pictures, "a", n - 1, pictures.segments[n]))
    end
    assert.equal(2, n)
    for _, s in ipairs { pictures.segments[3], pictures.segments_b[1] } do assert.equal(404, guest:get(at .. s.name:gsub("%.m4s$", ".ts")).status) end
  end)

  it("are refused for what is no segment of ours", function()
    local s = pictures.segments[1]
    local key = hls.key(unhex(f.secret), pictures.name, "a", 0)
    local function make(bytes, init)
      assert(blob.write("media", f.id .. "/clear-bad.m4s", crypto.aes128_encrypt(key, unhex(s.iv), bytes)))
      return playback.ts { segment = f.id .. "/clear-bad.m4s", init = f.id .. "/" .. (init or pictures.init), key = key, iv = unhex(s.iv) }
    end
    for _, bytes in ipairs { "", "moof", ("\0"):rep(1000), (crypto.random(1000):rep(5)) } do
      local got, err = make(bytes)
      assert.is_nil(got)
      assert.equal("media.bad_segment", err.detail or err.code)
    end
    assert.is_nil((make("x", "index.json")))
    assert.is_nil((playback.ts { segment = f.id .. "/" .. s.name, init = f.id .. "/" .. pictures.init, key = ("x"):rep(16), iv = unhex(s.iv) }))
    assert.is_nil((playback.ts { segment = "../x", init = f.id .. "/" .. pictures.init, key = key, iv = unhex(s.iv) }))
    blob.remove_tree("media", f.id .. "/clear-bad.m4s")
  end)
end)
