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

local SEGMENT_S = 2

local function answer(ext, body)
  return { status = 200, body = body, headers = { ["cache-control"] = "private, no-store", ["content-type"] = hls.type_of(ext) } }
end

local function not_yet() return errors.fail("video.not_ready", "Nothing of this video can be watched yet.", { retry = true, retry_after = 2 }) end

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
local function growing(ctx, v, name, ext)
  local list, by = early.read(v.id)
  if not list then
    if by then return nil, by end
    if name == "master" then return not_yet() end
    return moving(ctx, v, name .. "." .. ext)
  end
  if name == "master" and ext == "m3u8" then
    if not early.begun(list) then return not_yet() end
    return answer(ext, hls.master(list))
  end
  if ext == "m3u8" then
    local r = by[name]
    if not r or not r.segments then return errors.not_found("playlist") end
    return answer(ext, early.media(name, r.init, r.segments, SEGMENT_S, false))
  end
  for _, r in ipairs(list) do
    local file = name .. "." .. ext
    local mine = r.init == file
    for _, s in ipairs(r.segments) do mine = mine or s.name == file end
    if mine then return ctx:file("media", early.directory(v.id) .. "/" .. file, { ["cache-control"] = "private, no-store" }, hls.type_of(ext)) end
  end
  return errors.not_found("segment")
end

-- When it is ready.
local function whole(ctx, v, name, ext)
  local t, err = titles.get(v.id)
  if not t then return nil, err end
  if name == "master" and ext == "m3u8" then return answer(ext, t.master) end
  if ext == "m3u8" then
    if not t.renditions[name] then return errors.not_found("playlist") end
    local list
    list, err = titles.segments(t, name)
    if not list then return nil, err end
    return answer(ext, early.media(name, list.init, list.a, SEGMENT_S, true))
  end
  local file = name .. "." .. ext
  local found, variant = titles.find(t, file)
  if not found or variant == "b" then return errors.not_found("segment") end
  return ctx:file("media", v.id .. "/" .. file, { ["cache-control"] = "private, no-store" }, hls.type_of(ext))
end

local function file(ctx, input)
  local ext = hls.extension(input.file)
  if ext ~= "m3u8" and ext ~= "key" and ext ~= "mp4" and ext ~= "m4s" then return errors.not_found("file") end
  local v, err = db.one([[select id::text as id, state, title_secret from videos where id = $1::uuid and owner_id = $2
    and state in ('queued', 'processing', 'ready')]], input.id, ctx.user.id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  if ext == "key" then
    local name, n = hls.key_name(input.file)
    local secret = v.title_secret and crypto.open(v.title_secret)
    if not name or name == "ref" or name == "fp" or not secret then return errors.not_found("key") end
    return answer(ext, hls.key(crypto.hex_decode(secret), name, "a", n))
  end
  local name = input.file:match("^(.*)%.%w+$")
  if v.state == "ready" then return whole(ctx, v, name, ext) end
  return growing(ctx, v, name, ext)
end

return { routes = {
  { method = "GET", path = "/api/videos/:id/early/:file", auth = "user", summary = "A film of one's own while it is being encoded",
    input = { id = { type = "uuid", required = true }, file = { type = "string", max = 160, required = true } }, handler = file },
} }
