-- SPDX-License-Identifier: Apache-2.0
-- A film for its creator while it is still being encoded: playlists that grow, keys and segments, behind the creator's own
-- session. Everybody else plays through a playback session, when the film is ready. A player that began early goes on to the
-- end here: once the film is ready the same addresses answer with all of it. The creator gets variant a; the original is
-- theirs, so that there is nothing to trace.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local early = require "lib.early"
local errors = require "lib.errors"
local hls = require "lib.hls"
local titles = require "lib.titles"
local ts = require "lib.tsnames"
local tsfile = require "app.playback.tsfile"

local SEGMENT_S, MANY_FPS = 2, 60

local function answer(ext, body)
  return { status = 200, body = body, headers = { ["cache-control"] = "private, no-store", ["content-type"] = hls.type_of(ext) } }
end

local function not_yet() return errors.fail("video.not_ready", "Nothing of this video can be watched yet.", { retry = true, retry_after = 2 }) end

-- A segment as transport stream. segment: {name, iv, init}, number n of rendition name.
local function stream(ctx, v, dir, name, n, segment)
  local made, err = tsfile.remux(segment, dir, { segment = dir .. "/" .. segment.name, key = hls.key(v.secret, name, "a", n) })
  if not made then return nil, err end
  return ctx:file_once("tmp", made, { ["cache-control"] = "private, no-store" }, hls.type_of "ts")
end

-- The files move to their place, and a moment later the film is ready: players try again after such an answer.
local function moving(ctx, v, file)
  for _, dir in ipairs { v.id .. ".new/", v.id .. "/" } do
    if blob.exists("media", dir .. file) then
      return ctx:file("media", dir .. file, { ["cache-control"] = "private, no-store" }, hls.type_of(hls.extension(file)))
    end
  end
  return errors.fail("engine.busy", "The video is being put in its place. Please try again.", { retry = true, retry_after = 1 })
end

-- While it is encoded.
local function growing(ctx, v, file, ext)
  local name, as_ts = ts.rendition(file:match "^(.*)%.%w+$")
  local stored = ts.stored(file)
  local list, by = early.read(v.id)
  if not list then
    if by then return nil, by end
    if name == "master" or ext == "ts" then return not_yet() end
    return moving(ctx, v, file)
  end
  if name == "master" and ext == "m3u8" then
    if not early.begun(list) then return not_yet() end
    return answer(ext, as_ts and hls.ts_master(list, MANY_FPS) or hls.master(list))
  end
  if ext == "m3u8" then
    local r = by[name]
    if not r or not r.segments then return errors.not_found("playlist") end
    return answer(ext, early.media(name, r.init, r.segments, SEGMENT_S, false, as_ts))
  end
  for _, r in ipairs(list) do
    local mine = r.init == file
    for i, s in ipairs(r.segments) do
      if s.name == stored and ext == "ts" then
        return stream(ctx, v, early.directory(v.id), r.name, i - 1, { name = stored, iv = s.iv, init = r.init })
      end
      mine = mine or s.name == file
    end
    if mine then return ctx:file("media", early.directory(v.id) .. "/" .. file, { ["cache-control"] = "private, no-store" }, hls.type_of(ext)) end
  end
  return errors.not_found("segment")
end

-- When it is ready.
local function whole(ctx, v, file, ext)
  local name, as_ts = ts.rendition(file:match "^(.*)%.%w+$")
  local t, err = titles.get(v.id)
  if not t then return nil, err end
  if name == "master" and ext == "m3u8" then return answer(ext, as_ts and t.ts_master or t.master) end
  if ext == "m3u8" then
    if not t.renditions[name] then return errors.not_found("playlist") end
    local list
    list, err = titles.segments(t, name)
    if not list then return nil, err end
    return answer(ext, early.media(name, list.init, list.a, SEGMENT_S, true, as_ts))
  end
  local stored = ts.stored(file)
  local found, variant, n = titles.find(t, stored)
  if not found or variant == "b" then return errors.not_found("segment") end
  if ext == "ts" then
    local segment = titles.segments(t, found).find[stored]
    return stream(ctx, v, v.id, found, n, { name = stored, iv = segment.iv, init = segment.init })
  end
  return ctx:file("media", v.id .. "/" .. file, { ["cache-control"] = "private, no-store" }, hls.type_of(ext))
end

local function file(ctx, input)
  local ext = hls.extension(input.file)
  if ext ~= "m3u8" and ext ~= "key" and ext ~= "mp4" and ext ~= "m4s" and ext ~= "ts" then return errors.not_found("file") end
  local v, err = db.one([[select id::text as id, state, title_secret from videos where id = $1::uuid and owner_id = $2
    and state in ('queued', 'processing', 'ready')]], input.id, ctx.user.id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  if ext == "key" or ext == "ts" then
    local secret = v.title_secret and crypto.open(v.title_secret)
    if not secret then return errors.not_found("key") end
    v.secret = crypto.hex_decode(secret)
  end
  if ext == "key" then
    local name, n = hls.key_name(input.file)
    if not name or name == "ref" or name == "fp" then return errors.not_found("key") end
    return answer(ext, hls.key(v.secret, name, "a", n))
  end
  if v.state == "ready" then return whole(ctx, v, input.file, ext) end
  return growing(ctx, v, input.file, ext)
end

return { routes = {
  { method = "GET", path = "/api/videos/:id/early/:file", auth = "user", summary = "A film of one's own while it is being encoded",
    input = { id = { type = "uuid", required = true }, file = { type = "string", max = 160, required = true } }, handler = file },
} }
