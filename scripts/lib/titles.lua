-- SPDX-License-Identifier: Apache-2.0
-- Playlists and secrets of titles, kept in this state for the few films being watched. What ingest wrote never changes
-- under a video id and ready time, so the copy is only dropped to make room.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local time = require "ppv.time"
local errors = require "lib.errors"
local hls = require "lib.hls"

local M = { MAX = 24 }
local kept, count = {}, 0

local function make_room()
  if count < M.MAX then return end
  local oldest
  for id, t in pairs(kept) do if not oldest or t.used < kept[oldest].used then oldest = id end end
  kept[oldest] = nil
  count = count - 1
end

local function load(id)
  local v, err = db.read_one([[select title_secret, extract(epoch from ready_at)::bigint as version from videos
    where id = $1::uuid and state = 'ready']], id)
  if v == nil then return nil, err end
  if not v then return errors.fail("video.not_ready", "This video is not ready.") end
  local rows
  rows, err = db.read([[select name, kind, width, height, bandwidth, codecs, language, label, is_default, init_path, nsegments from renditions
    where video_id = $1::uuid order by kind desc, height desc nulls last, name]], id)
  if not rows then return nil, err end
  local secret = v.title_secret and crypto.open(v.title_secret)
  if not secret or #rows == 0 then return errors.fail("engine.internal", "title " .. id .. " has no keys or renditions") end
  local t = { id = id, secret = (secret:gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end)), version = v.version,
    checked = time.mono(), master = hls.master(rows), segments = {}, inits = {}, playlists = {} }
  for _, r in ipairs(rows) do
    t.segments[r.name] = r.nsegments
    t.inits[r.name] = r.init_path
  end
  return t
end

-- {id, secret (raw), master, segments = {rendition = count}}
function M.get(id)
  local t = kept[id]
  if t and time.mono() - t.checked > 60 then
    local v, err = db.read_one("select extract(epoch from ready_at)::bigint as version from videos where id = $1::uuid and state = 'ready'",
      id)
    if v == nil then return nil, err end
    if v and v.version == t.version then
      t.checked = time.mono()
    else
      kept[id], count, t = nil, count - 1, nil
    end
  end
  if not t then
    local err
    t, err = load(id)
    if not t then return nil, err end
    if not kept[id] then
      make_room()
      count = count + 1
    end
    kept[id] = t
  end
  t.used = time.mono()
  return t
end

-- The text of one rendition's playlist; false when there is no such rendition.
function M.playlist(t, name)
  if not t.segments[name] then return false end
  if t.playlists[name] then return t.playlists[name] end
  local row, err = db.read_one("select (segments->'a')::text as a from renditions where video_id = $1::uuid and name = $2", t.id, name)
  if not row then return nil, err or errors.new("engine.internal", "rendition vanished") end
  local segments = json.decode(row.a)
  if not segments then return errors.fail("engine.internal", "segment list is broken") end
  t.playlists[name] = hls.media(name, t.inits[name], segments)
  return t.playlists[name]
end

return M
