-- SPDX-License-Identifier: Apache-2.0
-- The free beginning of a title: what is in it, that nothing else is, and the page that shows it on other sites.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local h = require "spec.support"
local hls = require "lib.hls"
local json = require "ppv.json"
local origins = require "lib.origins"
local playback = require "ppv.playback"

local IV = ("0a"):rep(16)

-- A film of 6 segments of 2 s, sealed as ingest seals them: pictures in two variants, one sound.
local function film(owner, over)
  local hex = crypto.sha256(crypto.random(32), "hex")
  local secret = crypto.hex_decode(hex)
  local id = h.make.video(owner, { duration_ms = 12000 })
  assert(db.exec("update videos set title_secret = $2, ready_at = now() where id = $1::uuid", id, crypto.seal(hex)))
  local function segments(r, v)
    local out = {}
    for n = 0, 5 do
      local name = ("%s%s%d.m4s"):format(r, v, n)
      local bytes = crypto.aes128_encrypt(hls.key(secret, r, v, n), crypto.hex_decode(IV), ("clear %s %s %d"):format(r, v, n))
      assert(blob.write("media", id .. "/" .. name, bytes))
      out[n + 1] = { name = name, dur = 2, iv = IV, size = #bytes }
    end
    return json.array(out)
  end
  for r, kind in pairs { v360 = "video", audio = "audio" } do
    assert(db.exec([[insert into renditions (video_id, name, kind, width, height, bandwidth, codecs, init_path, segments, nsegments, bytes)
      values ($1::uuid, $2, $3, 640, 360, 500000, 'avc1.64001e', $4, $5::jsonb, 6, 10)]], id, r, kind, "init_" .. r .. ".mp4",
      json.encode { a = segments(r, "a"), b = kind == "video" and segments(r, "b") or nil }))
    assert(blob.write("media", id .. "/init_" .. r .. ".mp4", "init " .. r))
  end
  for k, v in pairs(over or {}) do assert(db.exec("update videos set " .. k .. " = $1 where id = $2", v, id)) end
  return id
end

local function ask(c, id) return c:get("/api/preview?video_id=" .. id) end
local function dir(r) return (r.json.playlist:gsub("master%.m3u8$", "")) end

describe("the free preview", function()
  local maker, guest, id
  lazy_setup(function()
    maker, guest = h.make.user(), h.client()
    id = film(maker)
    assert.equal(200, maker:post("/api/video_update", { id = id, preview_ms = 4000 }).status)
  end)

  it("is the first segments without keys, for anybody", function()
    local r = ask(guest, id)
    assert.equal(200, r.status, r.body)
    assert.equal(4, r.json.seconds)
    local base = dir(r)
    assert.equal(200, guest:get(r.json.playlist).status)
    for _, name in ipairs { "v360", "audio" } do
      local list = guest:get(base .. name .. ".m3u8")
      assert.equal(200, list.status, list.body)
      assert.is_nil(list.body:find("EXT-X-KEY", 1, true))
      local _, count = list.body:gsub("%.m4s", "")
      assert.equal(2, count)
      for n = 0, 1 do
        local seg = guest:get(("%s%sa%d.m4s"):format(base, name, n))
        assert.equal(("clear %s a %d"):format(name, n), seg.body)
        assert.equal("*", seg.headers["access-control-allow-origin"])
        assert.is_nil(seg.headers["set-cookie"])
      end
      assert.equal("init " .. name, guest:get(base .. "init_" .. name .. ".mp4").body)
    end
    local again = guest:get(base .. "v360a0.m4s", { headers = { range = "bytes=0-4" } })
    assert.same({ 206, "clear" }, { again.status, again.body })
  end)

  it("opens nothing beyond: no later segment, no other variant, no key, no other file or film", function()
    local base = dir(ask(guest, id))
    local other = film(maker)
    local names = { "index.json", "poster.jpg", "none.m3u8", "clear-v360a0.m4s", "clear-v360a2.m4s", "..%2f" .. other .. "%2fv360a0.m4s",
      "k-v360-0.key", "k-v360-5.key", "k-audio-0.key" }
    for n = 0, 5 do
      names[#names + 1] = ("v360b%d.m4s"):format(n)
      if n > 1 then
        names[#names + 1] = ("v360a%d.m4s"):format(n)
        names[#names + 1] = ("audioa%d.m4s"):format(n)
      end
    end
    for _, c in ipairs { guest, maker } do
      for _, name in ipairs(names) do
        local r = c:get(base .. name)
        assert.equal(name:find("%", 1, true) and 400 or 404, r.status, name .. " " .. r.body)
        assert.is_false(blob.exists("media", id .. "/clear-v360a2.m4s"))
      end
    end
    for _, t in ipairs { playback.token("preview", other, os.time() + 60), playback.token("preview", id, os.time() - 1),
      playback.token("session", id, os.time() + 60) } do
      for _, name in ipairs { "master.m3u8", "v360.m3u8", "v360a0.m4s" } do
        assert.equal(404, guest:get("/hls/" .. t .. "/" .. name).status, name)
      end
    end
    for _, path in ipairs { "/media/" .. id .. "/clear-v360a0.m4s", "/media/seg/" .. id .. "/clear-v360a0.m4s" } do
      assert.equal(404, guest:get(path).status)
    end
    assert.equal(403, h.make.user():get("/api/request_play?video_id=" .. id).status)
  end)

  it("ends within the first half, rounded up to a segment", function()
    for ms, seconds in pairs { [1] = 2, [2000] = 2, [2100] = 4, [6000] = 6 } do
      assert.equal(200, maker:post("/api/video_update", { id = id, preview_ms = ms }).status)
      assert.equal(seconds, ask(guest, id).json.seconds, ms)
    end
    local r = maker:post("/api/video_update", { id = id, preview_ms = 6001 })
    assert.equal(422, r.status)
    assert.truthy(r.json.error:find("6 seconds", 1, true))
    assert.equal("preview_ms", r.json.field)
    db.exec("update videos set preview_ms = 9000 where id = $1::uuid", id) -- set before the length was known
    assert.equal(6, ask(guest, id).json.seconds)
    assert.equal(404, h.make.user():post("/api/video_update", { id = id, preview_ms = 2000 }).status)
    for _, bad in ipairs { -1, 1.5, "x" } do assert.equal(422, maker:post("/api/video_update", { id = id, preview_ms = bad }).status) end
    assert.equal(9000, maker:get("/api/my_videos/" .. id).json.video.preview_ms)
  end)

  it("ends at once when the creator takes it back, hides or deletes the film", function()
    local mine = film(maker, { preview_ms = 4000 })
    local function now(status, code)
      local r = ask(guest, mine)
      assert.equal(status, r.status, r.body)
      assert.equal(code, r.json.code)
    end
    local base = dir(ask(guest, mine))
    assert.equal(200, guest:get(base .. "v360a1.m4s").status)
    local function ends(status, code)
      now(status, code)
      for _, name in ipairs { "master.m3u8", "v360.m3u8", "v360a1.m4s", "init_v360.mp4" } do
        assert.equal(404, guest:get(base .. name).status, code .. " " .. name)
      end
    end
    maker:post("/api/video_update", { id = mine, preview_ms = 2000 })
    assert.equal(404, guest:get(base .. "v360a1.m4s").status)
    assert.equal(200, guest:get(base .. "v360a0.m4s").status)
    maker:post("/api/video_update", { id = mine, preview_ms = 0 })
    ends(404, "preview.none")
    maker:post("/api/video_update", { id = mine, preview_ms = 4000, visibility = "draft" })
    ends(404, "request.not_found")
    maker:post("/api/video_update", { id = mine, visibility = "published" })
    assert.equal(200, ask(guest, mine).status)
    maker:post("/api/video_delete", { id = mine })
    ends(404, "request.not_found")
    db.exec("update videos set state = 'processing', deleted_at = null where id = $1::uuid", mine)
    ends(409, "video.not_ready")
    assert.equal(422, guest:get("/api/preview?video_id=x").status)
  end)

  it("leaves its copies to the clean-up only when their film's file goes", function()
    local mine = film(maker, { preview_ms = 4000 })
    assert.equal("clear v360 a 0", guest:get(dir(ask(guest, mine)) .. "v360a0.m4s").body)
    assert(blob.write("media", mine .. "/index.json", "{}"))
    assert(blob.write("media", mine .. "/clear-old.m4s", "x"))
    local sums = {}
    for _, f in ipairs(assert(blob.list("media", mine))) do
      if not f.name:find "^clear%-" then
        sums[#sums + 1] = crypto.sha256(assert(blob.read("media", mine .. "/" .. f.name)), "hex") .. "  " .. f.name .. "\n"
      end
    end
    assert(blob.write("media", mine .. "/SHA256SUMS", table.concat(sums)))
    assert.is_true(blob.exists("media", mine .. "/clear-v360a0.m4s"))
    assert.same({ "clear-old.m4s" }, assert(require("lib.mediafiles").superseded(mine, os.time() + 60)))
  end)
end)

describe("the page for other sites", function()
  local maker, guest, id
  lazy_setup(function()
    maker, guest = h.make.user(), h.client()
    id = film(maker, { preview_ms = 4000 })
  end)
  local function page(film_id) return guest:get("/embed/" .. film_id, { headers = { accept = "text/html" } }) end
  local function allow(list) return maker:post("/api/video_update", { id = id, embed_origins = list }) end

  it("is refused with a sentence until the creator allows a site", function()
    local r = page(id)
    assert.equal(403, r.status)
    assert.truthy(r.body:find("does not offer it on other sites", 1, true))
    assert.is_nil(r.body:find("<script", 1, true))
    assert.equal(404, page("00000000-0000-7000-8000-000000000000").status)
    assert.equal(422, page("x").status)
  end)

  it("may be framed by those sites and by no others", function()
    assert.equal(200, allow("https://Example.org/films?x=1\nhttp://blog.example.net:8081, https://example.org").status)
    assert.equal("https://example.org http://blog.example.net:8081", maker:get("/api/my_videos/" .. id).json.video.embed_origins)
    local r = page(id)
    assert.equal(200, r.status)
    local policy = r.headers["content-security-policy"]
    assert.equal("https://example.org http://blog.example.net:8081", policy:match "frame%-ancestors (.*)$")
    assert.is_nil(r.headers["x-frame-options"])
    assert.is_nil(r.headers["set-cookie"])
    assert.truthy(r.body:find("/public/js/embed.js", 1, true))
    assert.equal(r.body, maker:get("/embed/" .. id).body) -- whoever asks
    assert.equal("DENY", guest:get("/public/embed.html").headers["x-frame-options"])
    assert.equal("", allow("").json and maker:get("/api/my_videos/" .. id).json.video.embed_origins)
    assert.equal(403, page(id).status)
  end)

  it("takes nothing into its policy that is no origin", function()
    for _, bad in ipairs { "example.org", "*", "https://*", "https://*.example.org", "https://a.b'unsafe-inline'", "javascript:alert(1)", "https://",
      "https://[::1]", "https://a.b:123456", "https://a.b:80x", "https://u@a.b", "https://a.b?x", "'self'", "data:" } do
      assert.is_nil(origins.read(bad), bad)
      local r = allow(bad)
      assert.equal(422, r.status, bad)
      assert.equal("embed_origins", r.json.field)
    end
    local many = {}
    for i = 1, origins.MAX + 1 do many[i] = ("https://a%d.example"):format(i) end
    assert.equal(422, allow(table.concat(many, " ")).status)
  end)
end)
