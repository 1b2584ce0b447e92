-- SPDX-License-Identifier: Apache-2.0
-- Playlists and secrets of titles, kept in this state for the few films being watched. What ingest wrote never changes
-- under a video id and ready time, so the copy is only dropped to make room.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local playback = require "ppv.playback"
local time = require "ppv.time"
local errors = require "lib.errors"
local hls = require "lib.hls"

local M = { MAX = 16 }
local kept, count = {}, 0

local function make_room()
  if count < M.MAX then return end
  local oldest
  for id, t in pairs(kept) do if not oldest or t.used < kept[oldest].used then oldest = id end end
  kept[oldest] = nil
  count = count - 1
end

-- Tells the engine's own key answers what they need to know.
local function publish(t, rows)
  local list = {}
  for i, r in ipairs(rows) do
    list[i] = { name = r.name, segments = r.nsegments, two = r.two, audio = r.kind == "audio" }
  end
  playback.title(t.id, { version = t.version, secret = t.secret, code = t.code, segment_ms = t.segment_ms, renditions = list })
end

local function load(id)
  local v, err = db.read_one([[select title_secret, extract(epoch from ready_at)::bigint as version, preview_ms, c.place,
    coalesce(index->>'code', 'half') as code, coalesce((index->>'segment_s')::numeric, 2)::float8 as segment_s,
    coalesce((index->>'fps')::numeric, 60)::float8 as fps
    from videos v left join video_copies c on c.video_id = v.id and c.version = v.ready_at where v.id = $1::uuid and state = 'ready']], id)
  if v == nil then return nil, err end
  if not v then return errors.fail("video.not_ready", "This video is not ready.") end
  local rows
  rows, err = db.read([[select name, kind, width, height, bandwidth, codecs, language, label, is_default, nsegments,
    coalesce(jsonb_array_length(segments->'b'), 0) = nsegments as two
    from renditions where video_id = $1::uuid order by kind desc, height desc nulls last, name]], id)
  if not rows then return nil, err end
  local secret = v.title_secret and crypto.open(v.title_secret)
  secret = secret and crypto.hex_decode(secret)
  if not secret or #secret ~= 32 or #rows == 0 then
    return errors.fail("engine.internal", "title " .. id .. " has no keys or renditions")
  end
  local t = { id = id, secret = secret, version = v.version, code = v.code == "nuida" and "nuida" or "half",
    segment_ms = math.max(1, math.floor(v.segment_s * 1000)), preview_ms = v.preview_ms, place = v.place,
    checked = time.mono(), master = hls.master(rows), ts_master = hls.ts_master(rows, v.fps), renditions = {}, names = {}, lists = {} }
  for i, r in ipairs(rows) do
    t.names[i] = r.name
    t.renditions[r.name] = { name = r.name, count = r.nsegments, two = r.two, audio = r.kind == "audio" }
  end
  publish(t, rows)
  return t
end

-- Still what the database says? Looked at once a minute.
local function is_current(t)
  if time.mono() - t.checked <= 60 then return true end
  local v, err = db.read_one([[select extract(epoch from ready_at)::bigint as version, preview_ms, c.place from videos v
    left join video_copies c on c.video_id = v.id and c.version = v.ready_at where v.id = $1::uuid and state = 'ready']], t.id)
  if v == nil then return nil, err end
  if not v or v.version ~= t.version or v.preview_ms ~= t.preview_ms or v.place ~= t.place then return false end
  t.checked = time.mono()
  return true
end

-- {id, secret (raw), version, place (of a complete copy in the storage), code, segment_ms, master, ts_master, names, renditions = {name = {count, two, audio}}}
function M.get(id)
  local t = kept[id]
  if t then
    local ok, err = is_current(t)
    if ok == nil then return nil, err end
    if not ok then kept[id], count, t = nil, count - 1, nil end
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

-- What M.get would fetch is read anew: something about the title was changed.
function M.forget(id)
  if kept[id] then kept[id], count = nil, count - 1 end
end

-- Remembers where each file of a segment list stands.
local function index(find, both, init, n)
  for _, variant in ipairs { "a", "b" } do
    for i, s in ipairs(both[variant] or {}) do
      if i <= n then find[s.name] = { variant, i - 1, iv = s.iv, init = init } end
      s.size = nil
    end
  end
end

-- The segments of a rendition: {init, a = list, b = list or nil, find = {file name = {variant, number, iv =, init =}}}; list of {name, dur, iv}.
-- find knows the files of the encode before too: who was watching it goes on.
function M.segments(t, name)
  local got = t.lists[name]
  if got then return got end
  local row, err = db.read_one("select init_path, segments::text as text, previous::text as previous from renditions where video_id = $1::uuid and name = $2",
    t.id, name)
  if not row then return nil, err or errors.new("engine.internal", "rendition vanished") end
  local both = json.decode(row.text)
  if not both or type(both.a) ~= "table" then return errors.fail("engine.internal", "segment list is broken") end
  local n = t.renditions[name].count
  got = { init = row.init_path, a = both.a, b = t.renditions[name].two and both.b or nil, find = {} }
  local previous = row.previous and json.decode(row.previous)
  if previous then
    got.find[previous.init] = { "init", -1 }
    index(got.find, previous.segments, previous.init, n)
  end
  index(got.find, got, got.init, n)
  t.lists[name] = got
  return got
end

-- Which variant the user has: "abba..." for n segments from `from` on.
function M.word(t, name, user_id, from, n)
  if not t.renditions[name].two then return ("a"):rep(n) end
  return playback.word(t.secret, user_id, t.code, from, n)
end

-- Rendition, variant and number of a stored file's name; nil for what is no segment or init of the title.
function M.find(t, file)
  for _, name in ipairs(t.names) do
    local list, err = M.segments(t, name)
    if not list then return nil, err end
    if list.init == file then return name, "init", -1 end
    local at = list.find[file]
    if at then return name, at[1], at[2] end
  end
  return nil
end

return M
