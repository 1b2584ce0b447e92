-- SPDX-License-Identifier: Apache-2.0
-- Subtitles from a creator's file to a viewer's player, and for nobody else.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local h = require "spec.support"

local SRT = "1\n00:00:01,000 --> 00:00:02,000\n<i>Hello</i> <script>\n"

local function form(content, fields)
  local out = {}
  for k, v in pairs(fields or {}) do out[#out + 1] = ('--mark\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n'):format(k, v) end
  if content then
    out[#out + 1] = '--mark\r\ncontent-disposition: form-data; name="file"; filename="../a.srt"\r\n\r\n' .. content .. "\r\n"
  end
  return table.concat(out) .. "--mark--\r\n"
end

local function send(u, id, content, fields)
  return u:request("POST", "/api/videos/" .. id .. "/subtitles", { body = form(content, fields),
    headers = { ["content-type"] = "multipart/form-data; boundary=mark" } })
end

local function list(u, id) return u:get("/api/videos/" .. id .. "/subtitles") end

local function film(owner)
  local id = h.make.video(owner)
  assert(db.exec("update videos set title_secret = $2, ready_at = now() where id = $1::uuid", id,
    crypto.seal(crypto.sha256(crypto.random(32), "hex"))))
  assert(db.exec([[insert into renditions (video_id, name, kind, width, height, bandwidth, codecs, init_path, segments, nsegments)
    values ($1::uuid, 'v360', 'video', 640, 360, 500000, 'avc1.64001e', 'i.mp4', '{"a":[{"name":"s.m4s","dur":8,"iv":"00"}]}', 1)]], id))
  return id
end

describe("subtitles", function()
  local maker, other, id
  lazy_setup(function() maker, other = h.make.user(), h.make.user() end)
  before_each(function() id = film(maker) end)

  it("are added, listed, played within the session and removed", function()
    local r = send(maker, id, SRT, { language = "PT-br" })
    assert.equal(201, r.status, r.body)
    assert.equal(1, r.json.cues)
    local sub = r.json.subtitle_id
    assert.same({ { id = sub, source = "uploaded", language = "pt-BR", cues = 1, name = "Português (BR)" } }, list(maker, id).json.items)

    local play = maker:get("/api/request_play?video_id=" .. id)
    local base = play.json.playlist:gsub("master%.m3u8$", "")
    local master = maker:get(play.json.playlist)
    assert.truthy(master.body:find(('URI="sub-%d.m3u8"'):format(sub), 1, true), master.body)
    local one = maker:get(base .. "sub-" .. sub .. ".m3u8")
    assert.equal(200, one.status, one.body)
    assert.truthy(one.body:find("#EXTINF:8.000000,\nsub-" .. sub .. ".vtt\n", 1, true), one.body)
    local vtt = maker:get(base .. "sub-" .. sub .. ".vtt")
    assert.equal("text/vtt; charset=utf-8", vtt.headers["content-type"])
    assert.truthy(vtt.body:find("00:00:01.000 --> 00:00:02.000\n<i>Hello</i> &lt;script&gt;\n", 1, true), vtt.body)
    assert.is_true(h.client():get("/hls/00000000-0000-4000-8000-000000000000/sub-" .. sub .. ".vtt").status >= 400)
    -- The session of one film gives no other film's text.
    local foreign = send(maker, film(maker), SRT).json.subtitle_id
    for _, bad in ipairs { "sub-" .. foreign .. ".vtt", "sub-" .. foreign .. ".m3u8", "sub-" .. sub .. ".key", "sub-.vtt", "sub-1x.vtt",
      "sub-" .. ("9"):rep(30) .. ".vtt" } do
      assert.is_true(maker:get(base .. bad).status >= 400, bad)
    end

    assert.equal(404, other:request("DELETE", "/api/videos/" .. id .. "/subtitles/" .. sub).status)
    assert.equal(404, list(other, id).status)
    assert.equal(200, maker:request("DELETE", "/api/videos/" .. id .. "/subtitles/" .. sub).status)
    assert.same({}, list(maker, id).json.items)
    assert.equal(404, maker:request("DELETE", "/api/videos/" .. id .. "/subtitles/" .. sub).status)
    assert.is_nil(maker:get(play.json.playlist).body:find("SUBTITLES", 1, true))
  end)

  it("come with a storyboard that lists its own sheets only", function()
    local sheet, poster = ("ab"):rep(16) .. ".jpg", ("cd"):rep(16) .. ".jpg"
    assert(db.exec("update videos set index = $2::jsonb where id = $1::uuid", id, ([[{"storyboard":{"w":160,"h":90,"columns":2,"rows":1,"count":3,
      "interval":3,"sheets":["%s","%s"]}}]]):format(sheet, sheet)))
    for _, name in ipairs { sheet, poster } do assert(blob.write("media", id .. "/" .. name, "jpeg")) end
    local base = maker:get("/api/request_play?video_id=" .. id).json.playlist:gsub("master%.m3u8$", "")
    assert.equal(("WEBVTT\n\n00:00:00.000 --> 00:00:03.000\n%s#xywh=0,0,160,90\n\n00:00:03.000 --> 00:00:06.000\n%s#xywh=160,0,160,90\n\n"
      .. "00:00:06.000 --> 00:00:08.000\n%s#xywh=0,0,160,90\n"):format(sheet, sheet, sheet), maker:get(base .. "tiles.vtt").body)
    local r = maker:get(base .. sheet)
    assert.same({ 200, "image/jpeg", "jpeg" }, { r.status, r.headers["content-type"], r.body })
    for _, bad in ipairs { poster, "poster.jpg", "tiles.m3u8" } do assert.equal(404, maker:get(base .. bad).status, bad) end
    assert.equal(404, h.client():get("/hls/" .. ("a"):rep(36) .. "/" .. sheet).status)
  end)

  it("are refused with a sentence", function()
    for name, case in pairs {
      ["no file"] = { nil, {} }, ["no subtitles"] = { "hello" }, ["Latin-1"] = { "1\n00:00:01,000 --> 00:00:02,000\n\252\n" },
      ["a bad language"] = { SRT, { language = "English!" } }, ["a label that is too long"] = { SRT, { label = ("x"):rep(61) } },
    } do
      local r = send(maker, id, case[1], case[2])
      assert.equal(422, r.status, name .. ": " .. r.body)
      assert.is_true(#r.json.error > 12, r.body)
    end
    assert.equal(413, send(maker, id, ("x"):rep(2 * 1024 * 1024 + 1)).status)
    assert.equal(404, send(other, id, SRT).status)
    assert.equal(401, send(h.client(), id, SRT).status)
    assert.same({}, list(maker, id).json.items)
  end)

  it("are at most forty", function()
    assert(db.exec([[insert into subtitles (video_id, source, cues, vtt) select $1::uuid, 'uploaded', 1, 'WEBVTT' from generate_series(1, 40)]], id))
    assert.equal(422, send(maker, id, SRT).status)
  end)
end)
