-- SPDX-License-Identifier: Apache-2.0
-- Who may watch, for how long, and what a session's addresses answer.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local h = require "spec.support"
local hls = require "lib.hls"
local json = require "ppv.json"
local playback = require "ppv.playback"
local time = require "ppv.time"

-- A film with one rendition of two (made-up) segments. -> id, secret in hex
local function film(owner, over)
  local secret = crypto.sha256(crypto.random(32), "hex")
  local id = h.make.video(owner, over)
  assert(db.exec("update videos set title_secret = $2, ready_at = now() where id = $1::uuid", id, crypto.seal(secret)))
  local segments = { { name = "s0.m4s", dur = 2, iv = ("0a"):rep(16), size = 5 }, { name = "s1.m4s", dur = 2, iv = ("0b"):rep(16), size = 5 } }
  assert(db.exec([[insert into renditions (video_id, name, kind, width, height, bandwidth, codecs, init_path, segments, nsegments, bytes)
    values ($1::uuid, 'v360', 'video', 640, 360, 500000, 'avc1.64001e', 'init_v360.mp4', $2::jsonb, 2, 10)]], id,
    json.encode { a = json.array(segments) }))
  for name, bytes in pairs { ["s0.m4s"] = "seg-0", ["s1.m4s"] = "seg-1", ["init_v360.mp4"] = "init!", ["index.json"] = "{}",
    ["poster.jpg"] = "\255\216jpg" } do
    assert(blob.write("media", id .. "/" .. name, bytes))
  end
  return id, secret
end

local function play(c, id) return c:get("/api/request_play?video_id=" .. id) end
local function dir(r) return (r.json.playlist:gsub("master%.m3u8$", "")) end
local function id_of(base) return select(2, playback.open(base:match "/hls/([^/]+)/")) end
local function unhex(s) return assert(crypto.hex_decode(s)) end

describe("playback", function()
  local maker, viewer, stranger, id, secret
  lazy_setup(function()
    maker, viewer, stranger = h.make.user(), h.make.user(), h.make.user()
    id, secret = film(maker)
    assert.equal(200, maker:post("/api/allow", { video_id = id, username = viewer.username }).status)
  end)

  it("gives playlists, keys and segments to who has access", function()
    local r = play(viewer, id)
    assert.equal(200, r.status, r.body)
    local base = dir(r)
    local master = viewer:get(r.json.playlist)
    assert.equal(200, master.status, master.body)
    assert.equal("application/vnd.apple.mpegurl", master.headers["content-type"])
    assert.truthy(master.headers["cache-control"]:find("no-store", 1, true))
    assert.truthy(master.body:find("v360.m3u8", 1, true))
    local list = viewer:get(base .. "v360.m3u8")
    assert.equal(200, list.status, list.body)
    for _, name in ipairs { "init_v360.mp4", "s0.m4s", "s1.m4s", "k-v360-0.key", "k-v360-1.key" } do
      assert.truthy(list.body:find(name, 1, true), name)
      assert.equal(200, viewer:get(base .. name).status, name)
    end
    assert.equal("seg-1", viewer:get(base .. "s1.m4s").body)
    for n = 0, 1 do assert.equal(hls.key(unhex(secret), "v360", "a", n), viewer:get(base .. "k-v360-" .. n .. ".key").body) end
    h.eventually(function()
      return assert(db.one("select count(*) as n from key_log where playback_id = $1::uuid", (id_of(base)))).n == 4 end)
  end)

  it("answers ranges of a segment", function()
    local r = viewer:get(dir(play(viewer, id)) .. "s0.m4s", { headers = { range = "bytes=1-2" } })
    assert.equal(206, r.status)
    assert.equal("eg", r.body)
  end)

  it("is started by nobody without access", function()
    assert.equal(403, play(stranger, id).status)
    assert.equal(401, play(h.client(), id).status)
  end)

  it("needs no cookie, and none does harm: televisions and other pages have none of ours", function()
    local base = dir(play(viewer, id))
    for who, c in pairs { nobody = h.client(), stranger = stranger, maker = maker } do
      for _, name in ipairs { "master.m3u8", "v360.m3u8", "k-v360-0.key", "s0.m4s", "init_v360.mp4" } do
        local r = c:get(base .. name)
        assert.equal(200, r.status, who .. " " .. name)
        assert.equal("*", r.headers["access-control-allow-origin"])
        assert.equal("cross-origin", r.headers["cross-origin-resource-policy"])
        assert.is_nil(r.headers["set-cookie"])
      end
    end
  end)

  it("answers every wrong address with the same 404", function()
    local base = dir(play(viewer, id))
    local token = base:match "/hls/([^/]+)/"
    local wrong = { token:sub(1, -2) .. (token:sub(-1) == "A" and "B" or "A"), "B" .. token:sub(2), token .. "A", token:sub(1, 40),
      playback.token("session", id_of(base), os.time() - 1), playback.token("session", id, os.time() + 60),
      playback.token("session", "0190a000-0000-7000-8000-000000000000", os.time() + 60), (token:gsub("^....", "%%2e%%2e")) }
    for i, t in ipairs(wrong) do
      for _, name in ipairs { "master.m3u8", "k-v360-0.key", "s0.m4s" } do
        local r = viewer:get("/hls/" .. t .. "/" .. name)
        assert.equal(404, r.status, i .. " " .. name .. " " .. r.body)
        assert.equal("request.not_found", r.json.code)
      end
    end
  end)

  it("does not know sessions that are none", function()
    for _, session in ipairs { "0190a000-0000-7000-8000-000000000000", "none", "x", ("a"):rep(64), ("a"):rep(65), "%00", "..", "a.b",
      "0190a000-0000-7000-8000-00000000000g" } do
      local r = viewer:get("/hls/" .. session .. "/master.m3u8")
      assert.is_true(r.status >= 400 and r.status < 500, session .. " " .. r.status)
      assert.is_nil(r.body:find("#EXTM3U", 1, true))
    end
  end)

  it("serves its own kinds of files and nothing beside them", function()
    local base = dir(play(viewer, id))
    local other = film(maker)
    for _, name in ipairs { "index.json", "poster.jpg", "none.m3u8", "none.m4s", "k-v360-2.key", "k-v360-99999.key", "k-none-0.key", "k-v360-0", "v360",
      "..%2f" .. other .. "%2fs0.m4s", "%2e%2e/" .. other .. "/s0.m4s", "../" .. other .. "/s0.m4s", "..%5cs0.m4s", "%2fetc%2fpasswd",
        "s0.m4s%00.key", "s0.m4s/",
      ".m4s", "....m4s", "a/s0.m4s", "%252e%252e%252fs0.m4s", "s0.m4s%0a", "S0.M4S", "\226\128\174.m4s", ("a"):rep(200) .. ".m4s",
        "master.m3u8/../s0.m4s%2f.." } do
      local r = viewer:get(base .. name)
      assert.is_true(r.status >= 400 and r.status < 500, name .. " " .. r.status .. " " .. r.body:sub(1, 80))
      assert.is_nil(r.body:find("seg-", 1, true), name)
    end
    for _, path in ipairs { "/media/" .. id .. "/s0.m4s", "/media/" .. id .. "/index.json", "/public/../media/" .. id .. "/s0.m4s",
      "/media/poster/..%2f" .. id } do
      assert.is_true(viewer:get(path).status >= 400, path)
    end
  end)

  it("stops within ten seconds of the access being taken back", function()
    local v = h.make.user()
    assert.equal(200, maker:post("/api/allow", { video_id = id, username = v.username }).status)
    local base = dir(play(v, id))
    for _, name in ipairs { "master.m3u8", "v360.m3u8", "k-v360-0.key" } do assert.equal(200, v:get(base .. name).status) end
    local asked = time.mono()
    assert.equal(200, maker:post("/api/allow/revoke", { video_id = id, username = v.username }).status)
    h.eventually(function() return v:get(base .. "k-v360-0.key").status == 404 end, 12)
    assert.is_true(time.mono() - asked < 11, "it took " .. (time.mono() - asked) .. " s")
    for _, name in ipairs { "master.m3u8", "v360.m3u8", "k-v360-1.key", "s0.m4s" } do assert.equal(404, v:get(base .. name).status, name) end
    local why = v:get("/api/playback/state?session=" .. base:match "/hls/([^/]+)/")
    assert.equal("access", why.json.reason)
    assert.is_false(why.json.playing)
    assert.equal(404, stranger:get("/api/playback/state?session=" .. base:match "/hls/([^/]+)/").status)
    assert.equal(403, play(v, id).status)
  end)

  -- What the cache of a session would keep until then is dropped, so that each case does not take its ten seconds.
  local function later(base) playback.drop(id_of(base)) end

  it("stops for bans, disabled accounts, deletion, the end of the log-in and of the session", function()
    local function start()
      local v = h.make.user()
      local film_id = film(maker)
      assert.equal(200, maker:post("/api/allow", { video_id = film_id, username = v.username }).status)
      local base = dir(play(v, film_id))
      assert.equal(200, v:get(base .. "k-v360-0.key").status)
      return v, base, film_id
    end
    local function ends(v, base)
      later(base)
      for _, name in ipairs { "master.m3u8", "v360.m3u8", "k-v360-0.key", "s0.m4s" } do
        local r = v:get(base .. name)
        assert.equal(404, r.status, name .. " " .. r.body:sub(1, 99))
      end
    end
    local v, base = start()
    assert.equal(200, maker:post("/api/creator/block_user", { user_id = v.id, ban_type = "hard" }).status)
    ends(v, base)
    v, base = start()
    db.exec("update users set disabled_at = now() where id = $1", v.id)
    ends(v, base)
    local film_id
    v, base, film_id = start()
    assert.equal(200, maker:post("/api/video_delete", { id = film_id }).status)
    ends(v, base)
    v, base = start()
    assert.equal(200, v:post("/auth/logout", {}).status)
    ends(v, base)
    v, base = start()
    db.exec("update playback_sessions set expires_at = now() - interval '1 second' where user_id = $1", v.id)
    ends(v, base)
    v, base = start()
    assert.equal(200, v:post("/api/playback/stop", { session = base:match "/hls/([^/]+)/" }).status)
    ends(v, base)
  end)

  it("keeps to three streams at a time", function()
    local v = h.make.user()
    maker:post("/api/allow", { video_id = id, username = v.username })
    local bases = {}
    for i = 1, 4 do bases[i] = dir(play(v, id)) end
    assert.equal(404, v:get(bases[1] .. "master.m3u8").status)
    assert.equal("limit", v:get("/api/playback/state?session=" .. bases[1]:match "/hls/([^/]+)/").json.reason)
    for i = 2, 4 do assert.equal(200, v:get(bases[i] .. "master.m3u8").status, i) end
  end)

  local function set(values)
    for k, v in pairs(values) do assert(require("lib.settings").set(nil, { [k] = v })) end
  end

  it("refuses the new stream when the operator wants it so", function()
    local v = h.make.user()
    maker:post("/api/allow", { video_id = id, username = v.username })
    set { ["playback.max_streams"] = 2, ["playback.over_limit"] = "refuse" }
    finally(function() set { ["playback.max_streams"] = 3, ["playback.over_limit"] = "oldest" } end)
    local first = dir(play(v, id))
    assert.equal(200, play(v, id).status)
    local r = play(v, id)
    assert.equal(409, r.status, r.body)
    assert.equal("playback.limit", r.json.code)
    assert.truthy(r.json.error:find("Stop one of them", 1, true))
    assert.equal(200, v:get(first .. "master.m3u8").status)
    assert.equal(200, v:post("/api/playback/stop", { session = first:match "/hls/([^/]+)/" }).status)
    assert.equal(200, play(v, id).status)
  end)

  it("keeps an account to so many devices, whatever their streams", function()
    local v = h.make.user()
    maker:post("/api/allow", { video_id = id, username = v.username })
    set { ["playback.max_devices"] = 1 }
    finally(function() set { ["playback.max_devices"] = 0 } end)
    local base, again = dir(play(v, id)), dir(play(v, id))
    assert.equal(200, v:get(base .. "master.m3u8").status)
    local other = h.client()
    assert.equal(200, other:post("/auth/login", { email = v.email, password = v.password }).status)
    assert.equal(200, play(other, id).status)
    h.eventually(function() return v:get(base .. "master.m3u8").status == 404 end)
    h.eventually(function() return v:get(again .. "master.m3u8").status == 404 end)
  end)

  it("does not hand out a film's keys faster than anybody can watch", function()
    local v = h.make.user()
    maker:post("/api/allow", { video_id = id, username = v.username })
    set { ["playback.ahead_s"] = 4, ["playback.seek_s"] = 4, ["playback.speed_pct"] = 100 }
    finally(function() set { ["playback.ahead_s"] = 120, ["playback.seek_s"] = 600, ["playback.speed_pct"] = 300 } end)
    local got = {}
    for _ = 1, 3 do -- a new session gives no new allowance
      local base = dir(play(v, id))
      for n = 0, 1 do got[#got + 1] = v:get(base .. "k-v360-" .. n .. ".key") end
    end
    for i = 1, 4 do assert.equal(200, got[i].status, i) end
    assert.equal(429, got[6].status)
    assert.is_true(tonumber(got[6].headers["retry-after"]) >= 1)
  end)

  it("gives each viewer one variant of every segment and never the other", function()
    local two, root = film(maker)
    local list = function(v) local out = {}
      for n = 0, 1 do out[n + 1] = { name = v .. n .. ".m4s", dur = 2, iv = ("0c"):rep(16), size = 5 } end
      return json.array(out) end
    assert(db.exec("update renditions set segments = $2::jsonb where video_id = $1::uuid", two, json.encode { a = list "s", b = list "t" }))
    for n = 0, 1 do assert(blob.write("media", two .. "/t" .. n .. ".m4s", "var-b")) end
    local seen = {}
    for _ = 1, 12 do
      local v = h.make.user()
      maker:post("/api/allow", { video_id = two, username = v.username })
      local word = playback.word(unhex(root), v.id, "half", 0, 2)
      for _ = 1, 2 do -- the same in every session
        local base = dir(play(v, two))
        local text = v:get(base .. "v360.m3u8").body
        for n = 0, 1 do
          local variant = word:sub(n + 1, n + 1)
          seen[variant] = true
          local mine, other = (variant == "a" and "s" or "t") .. n .. ".m4s", (variant == "a" and "t" or "s") .. n .. ".m4s"
          assert.truthy(text:find(mine, 1, true))
          assert.is_nil(text:find(other, 1, true))
          assert.equal(200, v:get(base .. mine).status)
          assert.equal(404, v:get(base .. other).status)
          assert.equal(hls.key(unhex(root), "v360", variant, n), v:get(base .. "k-v360-" .. n .. ".key").body)
        end
      end
    end
    assert.is_true(seen.a and seen.b)
  end)

  it("has no public address of a segment when all goes through the site", function()
    assert.equal(404, viewer:get("/media/seg/" .. id .. "/s0.m4s").status)
  end)

  it("lists what was watched, and forgets it when asked", function()
    local v = h.make.user()
    local one, two = film(maker, { price = 0 }), film(maker, { price = 0 })
    for _, film_id in ipairs { one, two } do v:post("/api/videos/" .. film_id .. "/progress", { position_ms = 1000 }) end
    local r = v:get("/api/watch/history?limit=1")
    assert.equal(two, r.json.items[1].video_id)
    assert.equal(one, v:get("/api/watch/history?limit=1&cursor=" .. r.json.next_cursor).json.items[1].video_id)
    assert.equal(1, v:request("DELETE", "/api/watch/history/" .. two).json.removed)
    assert.equal(1, #v:get("/api/watch/history").json.items)
    assert.equal(1, v:request("DELETE", "/api/watch/history").json.removed)
    assert.equal(0, #v:get("/api/watch/history").json.items)
  end)

  it("starts only films that are ready and exist", function()
    for _, state in ipairs { "queued", "processing", "failed" } do
      local r = play(maker, h.make.video(maker, { state = state }))
      assert.equal(409, r.status, r.body)
      assert.equal(state, r.json.status)
    end
    assert.equal(404, play(maker, "00000000-0000-7000-8000-000000000000").status)
    assert.equal(404, play(maker, h.make.video(maker, { state = "deleted" })).status)
    assert.equal(200, play(stranger, film(maker, { price = 0 })).status)
    assert.equal(403, play(stranger, film(maker, { price = 0, visibility = "draft" })).status)
  end)

  it("remembers where somebody stopped, for themselves only", function()
    local path = "/api/videos/" .. id .. "/progress"
    assert.same(0, viewer:get(path).json.position_ms)
    local r = viewer:post(path, { position_ms = 4000, watched_ms = 4000 })
    assert.equal(200, r.status, r.body)
    assert.equal(4000, viewer:get(path).json.position_ms)
    assert.equal(4000, play(viewer, id).json.resume_ms)
    assert.equal(0, maker:get(path).json.position_ms)
    assert.equal(200, viewer:post(path, { position_ms = 43200000 }).status)
    assert.equal(8000, viewer:get(path).json.position_ms)
    for _, bad in ipairs { {}, { position_ms = -1 }, { position_ms = 1.5 }, { position_ms = 43200001 }, { position_ms = "x" } } do
      assert.equal(422, viewer:post(path, bad).status)
    end
    assert.equal(id, viewer:get("/api/watch/continue").json.items[1].video_id)
  end)
end)
