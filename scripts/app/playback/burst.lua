-- SPDX-License-Identifier: Apache-2.0
-- Visible bursts in the stream of one viewer: single segments with the viewer's name and the date burned in. Address, IV and
-- place in the playlist are those of the clean segment; bytes and key are the viewer's own. Burst or clean is decided when
-- key or bytes of a segment are first asked (hls.js asks both at once) and stays so for the session.
--   t: the title (lib/titles), s: the lease {id, user_id, video_id, ...}, name: the rendition, n: the segment
local blob = require "ppv.blob"
local burst = require "ppv.burst"
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local copies = require "lib.copies"
local errors = require "lib.errors"
local hls = require "lib.hls"
local titles = require "lib.titles"

local M = {}

local FIRST = 2            -- a film begins without waiting for an encoder
local AHEAD, AT_ONCE = 15, 4 -- how far ahead and how many at a time are made before their keys are asked
local OPEN_MS, WAIT_MS = 800, 5000
local BUSY = 24            -- jobs in a process from which on titles that prefer going on get fewer bursts
local PLAN_S, PIN_S = 600, 1200
local PART = 8160          -- the most that one derivation gives
local PLANS = 200          -- maps kept per title and worker

-- What a session was started with; a change by the creator is for those who start later. {share, wait, name}
local function plan_of(s)
  local text = cache.get("burst:" .. s.id)
  if text then return json.decode(text) end
  local row, err = db.read_one([[select p.burst_share as share, p.burst_wait as wait, u.username::text as name
    from playback_sessions p join users u on u.id = p.user_id where p.id = $1::uuid]], s.id)
  if row == nil then return nil, err end
  if not row then return errors.not_found("playback session") end
  cache.set("burst:" .. s.id, json.encode(row), PLAN_S)
  return row
end

-- One byte per segment: a segment is scheduled when its byte is below share * 2.56. Nobody without the title's secret can
-- tell which ones they are, and all renditions agree.
local function lots(t, user_id, count)
  local out = {}
  for part = 0, math.floor((count - 1) / PART) do
    out[#out + 1] = crypto.hkdf(t.secret, ("v1|burst|u%d|%d"):format(user_id, part), math.min(PART, count - part * PART))
  end
  return table.concat(out)
end

local function is_drawn(byte, share) return byte * 100 < share * 256 end

-- {lots, map} of a user and a share; kept, because every key of a scheduled segment asks for it.
local function schedule(t, user_id, share)
  t.bursts = t.bursts or { n = 0 }
  local id = user_id .. ":" .. share
  local got = t.bursts[id]
  if got then return got end
  local count = 0
  for _, r in pairs(t.renditions) do count = math.max(count, r.count) end
  local bytes, map, acc = lots(t, user_id, count), {}, 0
  for n = 0, count - 1 do
    if n >= FIRST and is_drawn(bytes:byte(n + 1), share) then acc = acc + 2 ^ (n % 8) end
    if n % 8 == 7 or n == count - 1 then map[#map + 1], acc = string.char(acc), 0 end
  end
  if t.bursts.n >= PLANS then t.bursts = { n = 0 } end
  got = { lots = bytes, map = table.concat(map), count = count }
  t.bursts[id], t.bursts.n = got, t.bursts.n + 1
  return got
end

local function is_scheduled(t, s, p, n)
  if n < FIRST or p.share <= 0 then return false end
  local byte = schedule(t, s.user_id, p.share).lots:byte(n + 1)
  return byte ~= nil and is_drawn(byte, p.share)
end

-- The segments that may be bursts as a bit map (byte n / 8, value 2 ^ (n % 8)), or nil for none. Their keys are asked of
-- key() below instead of being answered by the engine; with delivery = cdn their bytes come from the engine too.
function M.map(t, s)
  local p, err = plan_of(s)
  if not p then return nil, err end
  return p.share > 0 and schedule(t, s.user_id, p.share).map or nil
end

-- The encoder's job for one segment. file: its clean file when that is known; a playlist may be older than the last repair.
local function job(t, s, p, name, n, file)
  local list, err = titles.segments(t, name)
  if not list then return nil, err end
  local variant = titles.word(t, name, s.user_id, n, 1)
  file = file or list[variant][n + 1].name
  local clean, day = list.find[file], os.date "!%Y-%m-%d"
  local iv = clean.iv:gsub("^0[xX]", "")
  local hash = crypto.sha256(p.name .. "|" .. day .. "|" .. iv, "hex"):sub(1, 16)
  return { path = ("%s/%d-%s-%d-%s"):format(t.id, s.user_id, name, n, hash), init = t.id .. "/" .. clean.init,
    segment = t.id .. "/" .. file, key = hls.key(t.secret, name, variant, n), iv = crypto.hex_decode(iv),
    own = hls.key(t.secret, name, "u" .. s.user_id, n), place = crypto.hkdf(t.secret, ("v1|place|u%d|%d"):format(s.user_id, n), 10),
    name = p.name, tail = day, owner = s.id }
end

local function pin_key(s, name, n) return ("pin:%s:%s:%d"):format(s.id, name, n) end

-- What was decided for this session: "burst", "clean", or false when nothing was.
local function decided(s, name, n)
  local pin = cache.get(pin_key(s, name, n))
  if pin then return pin end
  local row, err = db.read_one([[select variant from key_log where playback_id = $1::uuid and rendition = $2 and seq = $3
    order by id desc limit 1]], s.id, name, n)
  if row == nil then return nil, err end
  return row and (row.variant == "u" and "burst" or "clean")
end

-- The encoder reads the clean segment on this machine.
local function encode(t, spec, ...)
  if not blob.exists("burst", spec.path) then
    local here, err = copies.need(t.id, spec.segment:match "[^/]+$")
    if not here then
      log.warn("burst.segment", { video = t.id, error = err.message })
      return "failed"
    end
  end
  return burst.make(spec, ...)
end

-- Makes the next scheduled segments before they are asked for. What finds no room is left to chance.
function M.ahead(t, s, name, n)
  local p = plan_of(s)
  local r = t.renditions[name]
  if not p or p.share <= 0 or not r or r.audio then return end
  local asked = 0
  for i = n + 1, math.min(n + AHEAD, r.count - 1) do
    if is_scheduled(t, s, p, i) then
      local spec = job(t, s, p, name, i)
      if not spec or encode(t, spec) == "full" then return end
      asked = asked + 1
      if asked == AT_ONCE then return end
    end
  end
end

-- The share that a busy encoder leaves to titles that prefer going on.
local function is_cut(t, s, p, n, jobs)
  return jobs > BUSY and not is_drawn(schedule(t, s.user_id, p.share).lots:byte(n + 1), p.share * BUSY / jobs)
end

local function busy()
  return errors.fail("engine.busy", "The film is being prepared for you. Please wait a moment.", { retry = true, retry_after = 1 })
end

-- "ready", or why the burst is not to be had now.
local function make(t, s, p, n, spec)
  if blob.exists("burst", spec.path) then
    metrics.count("burst_cache_hits_total", 1)
    return "ready"
  end
  if p.wait then return encode(t, spec, WAIT_MS) end
  local jobs, waited = burst.load()
  if waited > 1 or is_cut(t, s, p, n, jobs) then return "late" end
  return encode(t, spec, OPEN_MS, true)
end

-- "burst" or "clean", decided now if it was not before; nil, err: not now.
local function decide(t, s, p, name, n, file)
  local what, err = decided(s, name, n)
  if what ~= false then return what, err end
  local spec
  spec, err = job(t, s, p, name, n, file)
  if not spec then return nil, err end
  local state = make(t, s, p, n, spec)
  if state ~= "ready" and state ~= "refused" and p.wait then return busy() end
  what = state == "ready" and "burst" or "clean"
  -- Key and bytes may decide at the same time: the first one counts.
  local id = pin_key(s, name, n)
  if not cache.add(id, what, PIN_S) then return cache.get(id) or what end
  if what == "clean" then metrics.count("burst_missed_total", 1) end
  return what
end

local function scheduled(t, s, name, n)
  if n < FIRST or t.renditions[name].audio then return false end
  local p, err = plan_of(s)
  if not p then return nil, err end
  return is_scheduled(t, s, p, n) and p
end

-- When the KEY of a segment is asked: the 16 bytes of the burst's key; nil: clean; nil, err: not now.
function M.key(t, s, name, n)
  local p, err = scheduled(t, s, name, n)
  if not p then return nil, err end
  local what
  what, err = decide(t, s, p, name, n)
  if not what then return nil, err end
  M.ahead(t, s, name, n)
  return what == "burst" and hls.key(t.secret, name, "u" .. s.user_id, n) or nil
end

-- When the BYTES of a segment are asked: the burst's path below the root "burst"; nil: clean; nil, err: not now.
function M.segment(t, s, name, n, file)
  local p, err = scheduled(t, s, name, n)
  if not p then return nil, err end
  local what, spec
  what, err = decide(t, s, p, name, n, file)
  if what ~= "burst" then return nil, err end
  spec, err = job(t, s, p, name, n, file)
  if not spec then return nil, err end
  -- It was there when that was decided; since then it may have made room for others.
  if encode(t, spec, WAIT_MS) == "ready" then return spec.path end
  return busy()
end

return M
