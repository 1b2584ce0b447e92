-- SPDX-License-Identifier: Apache-2.0
-- The free preview: the segments a title begins with, without keys, for everybody. What is handed out are clear copies of
-- variant a, made when first asked for and kept beside the title under a name no playlist has ("clear-..."). They stay few,
-- which is why they come from the engine with delivery = cdn too: the network never learns a key nor a clear byte, and
-- nothing but ciphertext has a shared address.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local metrics = require "ppv.metrics"
local playback = require "ppv.playback"
local copies = require "lib.copies"
local errors = require "lib.errors"
local hls = require "lib.hls"
local titles = require "lib.titles"
local ts = require "lib.tsnames"
local rules = require "app.playback.rules"
local tsfile = require "app.playback.tsfile"

local M = { LIFE_S = 3600 }
local SLACK_S = 0.05 -- what rounding takes from the length of a segment

-- What is public of a video now: {state, preview_ms, title, embed_origins}. Not kept, so that a change counts at once everywhere.
function M.look(id)
  local v, err = db.read_one([[select v.state, v.preview_ms, v.title, v.embed_origins from videos v join users u on u.id = v.owner_id
    where v.id = $1::uuid and v.state <> 'deleted' and v.visibility = 'published' and u.disabled_at is null]], id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  return v
end

-- How many of the segments (in the order of the film) are free, and their seconds: those that begin within preview_ms and end
-- within the first half.
local function free(segments, preview_ms)
  local half, n, at = 0, 0, 0
  for _, s in ipairs(segments) do half = half + s.dur / 2 end
  for _, s in ipairs(segments) do
    if n > 0 and at + SLACK_S >= preview_ms / 1000 or at + s.dur > half + SLACK_S then break end
    n, at = n + 1, at + s.dur
  end
  return n, at
end

-- The title and what is public of it; an error when nothing is.
local function open(id)
  local v, err = M.look(id)
  if not v then return nil, err end
  if v.state ~= "ready" then
    return errors.fail("video.not_ready", "This video is not ready yet.", { extra = { status = v.state } })
  end
  if v.preview_ms == 0 then return errors.fail("preview.none", "This video has no free preview.") end
  local t
  t, err = titles.get(id)
  if not t then return nil, err end
  return t, v
end

local function preview(ctx, input)
  local t, v = open(input.video_id)
  if not t then return nil, v end
  local ok, err = rules.check(ctx, { user_id = 0, video_id = t.id })
  if not ok then return nil, err end
  local shown
  for _, name in ipairs(t.names) do
    if not t.renditions[name].audio then shown = name break end
  end
  local list
  list, err = titles.segments(t, shown or t.names[1])
  if not list then return nil, err end
  local n, seconds = free(list.a, v.preview_ms)
  if n == 0 then return errors.fail("preview.none", "This video has no free preview.") end
  metrics.count("previews_total", 1)
  local token = playback.token("preview", t.id, math.floor(ctx.now) + M.LIFE_S)
  return ctx:ok { playlist = "/hls/" .. token .. "/master.m3u8", seconds = seconds, video_id = t.id, title = v.title,
    expires_in_seconds = M.LIFE_S }
end

local function headers(cache, ctype)
  return { ["cache-control"] = cache, ["content-type"] = ctype, ["access-control-allow-origin"] = "*",
    ["cross-origin-resource-policy"] = "cross-origin" }
end

local function playlist(t, v, file)
  local name, as_ts = ts.rendition(file)
  local body = as_ts and t.ts_master or t.master
  if name ~= "master" then -- which lists no subtitles: their one file has the whole text
    if not t.renditions[name] then return errors.not_found("playlist") end
    local list, err = titles.segments(t, name)
    if not list then return nil, err end
    local first = {}
    for i = 1, (free(list.a, v.preview_ms)) do first[i] = list.a[i] end
    body = hls.media(name, list.init, first, { clear = true, ts = as_ts })
  end
  return { status = 200, body = body, headers = headers("private, no-store", hls.type_of "m3u8") }
end

-- The clear copy of segment n of a rendition; made now when there is none.
local function clear(t, name, n, segment)
  local from, to = t.id .. "/" .. segment.name, t.id .. "/clear-" .. segment.name
  if blob.exists("media", to) then return to end
  local iv = crypto.hex_decode((segment.iv:gsub("^0[xX]", "")))
  if not iv or #iv ~= 16 then return errors.fail("engine.internal", "segment list is broken") end
  local ok, err = copies.need(t.id, segment.name)
  if not ok then return nil, err end
  ok, err = playback.unseal(from, to, hls.key(t.secret, name, "a", n), iv)
  if not ok then return nil, err end
  return to
end

local function stream(ctx, t, name, n, segment)
  local ok, err = copies.need(t.id, segment.name)
  if not ok then return nil, err end
  local made
  made, err = tsfile.make(t, name, segment.name, { segment = t.id .. "/" .. segment.name, key = hls.key(t.secret, name, "a", n), clear = true })
  if not made then return nil, err end
  return ctx:file_once("tmp", made, headers("private, max-age=3600", hls.type_of "ts"))
end

-- Answers /hls/<preview token>/<file>.
function M.file(ctx, id, file, ext)
  local t, v = open(id)
  if not t then return nil, v end
  if ext == "m3u8" then return playlist(t, v, file:match("^(.*)%.m3u8$")) end
  if ext == "ts" then file = ts.stored(file) end
  local name, variant, n = titles.find(t, file) -- knows the encode before, too: that one is not shown any more
  if not name then return errors.not_found("segment") end
  local path = t.id .. "/" .. file
  if variant ~= "init" then
    local list, err = titles.segments(t, name)
    if not list then return nil, err end
    local segment = list.a[n + 1]
    if segment.name ~= file or n >= free(list.a, v.preview_ms) then return errors.not_found("segment") end
    if ext == "ts" then return stream(ctx, t, name, n, segment) end
    path, err = clear(t, name, n, segment)
    if not path then return nil, err end
  end
  return ctx:file("media", path, headers "private, max-age=3600", hls.type_of(ext))
end

M.routes = {
  { method = "GET", path = "/api/preview", auth = "none", rate = "120/m", summary = "The free beginning of a video",
    input = { video_id = { type = "uuid", required = true } }, handler = preview },
}

return M
