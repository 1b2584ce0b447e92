-- SPDX-License-Identifier: Apache-2.0
-- Playback sessions: starting one, and everything a player asks of it. All addresses carry the session's token in the path
-- and need no cookie; one that is sent along is never read. Every wrong case is the same 404: the owner of the session
-- learns the reason from /api/playback/state. Access is looked at again at most 10 s after it was last seen, so that
-- refunds, bans, blocks and log-outs stop a stream.
local db = require "ppv.db"
local json = require "ppv.json"
local metrics = require "ppv.metrics"
local playback = require "ppv.playback"
local copies = require "lib.copies"
local delivery = require "lib.delivery"
local errors = require "lib.errors"
local hls = require "lib.hls"
local iso = require "lib.iso"
local titles = require "lib.titles"
local tracks = require "app.playback.tracks"
local ts = require "lib.tsnames"
local config = require "lib.config"
local burst = require "app.playback.burst"
local excerpt = require "app.playback.excerpt"
local tsfile = require "app.playback.tsfile"
local lease = require "app.playback.lease"

-- Players of other pages and of televisions fetch these addresses too; no cookie is ever involved.
local OPEN = { ["access-control-allow-origin"] = "*", ["cross-origin-resource-policy"] = "cross-origin" }

local function headers(cache, more)
  local out = { ["cache-control"] = cache }
  for k, v in pairs(OPEN) do out[k] = v end
  for k, v in pairs(more or {}) do out[k] = v end
  return out
end

local ENDED = "Your rental has ended."

-- The end of a rental as an RFC 3339 text, nil when access has none. The first play has set it.
local function access_end(ctx, v)
  if v.access ~= "rental" then return nil end
  local row, err = db.one("select " .. iso "expires_at" .. [[ as at from entitlements where user_id = $1 and video_id = $2::uuid
    and revoked_at is null]], ctx.user.id, v.id)
  if row == nil then return nil, err end
  return row and row.at
end

local function request_play(ctx, input)
  local v, err = db.read_one([[select v.id::text as id, v.title, v.price, v.currency::text as currency, v.state, v.duration_ms,
    ppv_access($2, v.id) as access, w.position_ms, exists (select from entitlements e where e.user_id = $2 and e.video_id = v.id
      and e.kind = 'rental' and e.revoked_at is null) as rented from videos v
    left join watch_progress w on w.video_id = v.id and w.user_id = $2
    where v.id = $1::uuid and v.state <> 'deleted']], input.video_id, ctx.user.id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  if not v.access then return errors.fail("access.denied", v.rented and ENDED or "no access") end
  if v.state ~= "ready" then
    return errors.fail("video.not_ready", "This video is not ready yet.", { extra = { status = v.state } })
  end
  local token
  token, err = lease.start(ctx, v)
  if not token then return nil, err end
  local ends
  ends, err = access_end(ctx, v)
  if err then return nil, err end
  metrics.count("plays_total", 1)
  return ctx:ok { session = token, playlist = "/hls/" .. token .. "/master.m3u8", video_id = v.id, title = v.title,
    price_cents = v.price, currency = v.currency, access = v.access, access_ends_at = ends or json.null, segment_seconds = 2, expires_in_seconds = lease.LIFE_S,
    duration = v.duration_ms and v.duration_ms / 1000 or json.null, resume_ms = v.position_ms or 0 }
end

local function answer(ext, body)
  return { status = 200, body = body, headers = headers("private, no-store", { ["content-type"] = hls.type_of(ext) }) }
end

local function is_mapped(map, n)
  local byte = map and map:byte(math.floor(n / 8) + 1)
  return byte ~= nil and math.floor(byte / 2 ^ (n % 8)) % 2 == 1
end

-- What tracks answered, or its error.
local function text(ext, body, err)
  if not body then return nil, err end
  return answer(ext, body)
end

local function playlist(s, t, file)
  local name, as_ts = ts.rendition(file)
  if name == "master" then
    local master = as_ts and t.ts_master or t.master
    if s.access == "excerpt" then return answer("m3u8", master) end -- without subtitles: their one file has the whole text
    return text("m3u8", tracks.master(t.id, master))
  end
  local r = t.renditions[name]
  if not r then return errors.not_found("playlist") end
  local list, err = titles.segments(t, name)
  if not list then return nil, err end
  local map
  map, err = burst.map(t, s)
  if err then return nil, err end
  local count
  count, err = excerpt.count(s, list.a)
  if not count then return nil, err end
  local mine, word, near, names = {}, titles.word(t, name, s.user_id, 0, r.count), {}, { list.init }
  for i = 1, count do
    mine[i] = word:byte(i) == 98 and list.b[i] or list.a[i]
    if is_mapped(map, i - 1) then near[i - 1] = true else names[#names + 1] = mine[i].name end
  end
  if map then burst.ahead(t, s, name, 0) end
  if as_ts then return answer("m3u8", hls.media(name, list.init, mine, { ts = true })) end
  local base, urls = delivery.addresses(t, names)
  return answer("m3u8", hls.media(name, list.init, mine, { base = base, urls = urls, near = near }))
end

local function paced(wait)
  metrics.count("hls_paced_total", 1)
  return errors.fail("request.rate", "Too much of the film in a short time. Please wait a moment.", { retry = true, retry_after = wait })
end

local function key(ctx, s, t, file)
  local name, n = hls.key_name(file)
  local r = name and t.renditions[name]
  if not r or n >= r.count then return errors.not_found("key") end
  if s.access == "excerpt" then
    local list, err = titles.segments(t, name)
    if not list then return nil, err end
    local count
    count, err = excerpt.count(s, list.a)
    if not count then return nil, err end
    if n >= count then return errors.not_found("key") end
  end
  local wait = playback.pace(s.user_id, s.video_id, r.audio, t.segment_ms, s)
  if wait > 0 then return paced(wait) end
  local variant, bytes, err = titles.word(t, name, s.user_id, n, 1), burst.key(t, s, name, n)
  if err then return nil, err end
  if bytes then variant = "u" else bytes = hls.key(t.secret, name, variant, n) end
  playback.log { session = s.id, video_id = s.video_id, user_id = s.user_id, rendition = name, variant = variant, seq = n, ip = ctx.ip }
  return answer("key", bytes)
end

-- A stored segment of the session, or its burst (key: that one's), as transport stream. Made for everyone who asks and kept for
-- nobody, so the session has an allowance of these that is like the one for keys.
local function stream(ctx, s, t, name, n, file, root, path, own)
  local wait = playback.pace(s.user_id, s.id, t.renditions[name].audio, t.segment_ms, s)
  if wait > 0 then return paced(wait) end
  local made, err = tsfile.make(t, name, file, { root = root, segment = path,
    key = own and hls.key(t.secret, name, "u" .. s.user_id, n) or hls.key(t.secret, name, titles.word(t, name, s.user_id, n, 1), n) })
  if not made then return nil, err end
  metrics.count("hls_segments_total", 1)
  return ctx:file_once("tmp", made, headers("private, max-age=3600"), hls.type_of "ts")
end

local function stored(ctx, s, t, file, ext)
  if ext == "ts" then file = ts.stored(file) end
  local name, variant, n = titles.find(t, file)
  if not name then return errors.not_found("segment") end
  local root, path, own = "media", s.video_id .. "/" .. file, nil
  if variant ~= "init" then
    if variant ~= titles.word(t, name, s.user_id, n, 1) then return errors.not_found("segment") end
    local err
    own, err = burst.segment(t, s, name, n, file)
    if err then return nil, err end
    if own then root, path = "burst", own end
  end
  if root == "media" then -- a playlist from before the copy in the storage was the only one
    local here, err = copies.need(s.video_id, file)
    if not here then return nil, err end
  end
  if ext == "ts" then return stream(ctx, s, t, name, n, file, root, path, own) end
  metrics.count("hls_segments_total", 1)
  return ctx:file(root, path, headers("private, max-age=3600"), hls.type_of(ext))
end

local function sheet(ctx, t, name)
  local ok, err = tracks.is_sheet(t.id, name)
  if not ok then return nil, err end
  return ctx:file("media", t.id .. "/" .. name, headers("private, max-age=3600"), hls.type_of("jpg"))
end

local function gone() return errors.not_found("playback session") end

-- Wrong cases look alike, whatever they are; failures of ours and the pace do not.
local function masked(answered, err)
  if answered or err.code == "request.rate" or errors.status(err) >= 500 then return answered, err end
  return gone()
end

local function file(ctx)
  local name = ctx.params.file
  local ext = hls.extension(name)
  local kind, id, expires = playback.open(ctx.params.session)
  if not ext or not kind or expires <= ctx.now then return gone() end
  if kind == "preview" then return masked(require("app.playback.preview").file(ctx, id, name, ext)) end
  local s, err = lease.of(ctx, id)
  if not s then return masked(nil, err) end
  local t
  t, err = titles.get(s.video_id)
  if not t then return masked(nil, err) end
  if s.access == "excerpt" and (tracks.is_mine(name) or ext == "jpg") then return gone() end
  if tracks.is_mine(name) then return masked(text(ext, tracks.file(t.id, name))) end
  if ext == "jpg" then return masked(sheet(ctx, t, name)) end
  if ext == "m3u8" then return masked(playlist(s, t, name:match("^(.*)%.m3u8$"))) end
  if ext == "key" then return masked(key(ctx, s, t, name)) end
  return masked(stored(ctx, s, t, name, ext))
end

-- Shared ciphertext for a content delivery network that fetches from here; there is no such address otherwise.
local function shared(ctx, input)
  if config.get("delivery") ~= "cdn" or not input.name:find("^[%w_-]+%.m[p4][4s]$") then return errors.not_found("file") end
  local t, err = titles.get(input.video)
  if not t then return masked(nil, err) end
  if not titles.find(t, input.name) then return errors.not_found("file") end
  local here
  here, err = copies.need(t.id, input.name)
  if not here then return masked(nil, err) end
  return ctx:file("media", input.video .. "/" .. input.name, headers("public, max-age=31536000, immutable"), hls.type_of(hls.extension(input.name)))
end

-- The id of one of the caller's own sessions, given as the token of its address or as the id itself.
local function session_id(given)
  local kind, id = playback.open(given)
  if kind == "session" then return id end
  return given:match("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$")
end

local WHY = { limit = "You started watching in another place, so it stopped here.", suspended = "This account is suspended.",
  closed = "This playback was ended.", expired = "This playback was idle for too long." }

-- Why a player got 404: for people, and for the player to decide whether to start again by itself.
local function state(ctx, input)
  local id = session_id(input.session)
  if not id then return errors.not_found("playback session") end
  local row, err = db.read_one([[select p.state, p.end_reason, ppv_play_access(p.user_id, p.video_id, p.access) as access, p.expires_at <= now() as late,
    p.access as began from playback_sessions p where p.id = $1::uuid and p.user_id = $2]], id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return errors.not_found("playback session") end
  local reason = not row.access and "access" or row.end_reason or row.late and "expired" or nil
  local message = reason and (WHY[reason] or WHY.closed)
  if reason == "access" then message = row.began == "rental" and ENDED or "You no longer have access to this video." end
  return ctx:ok { playing = reason == nil and row.state == "ready", reason = reason or json.null, message = message or json.null }
end

local function stop(ctx, input)
  local id = session_id(input.session)
  if not id then return ctx:ok() end
  local row, err = db.one([[update playback_sessions set state = 'ended', end_reason = 'closed', ended_at = now()
    where id = $1::uuid and user_id = $2 and state = 'ready' returning id::text as id]], id, ctx.user.id)
  if row == nil then return nil, err end
  if row then playback.drop(row.id) end
  return ctx:ok()
end

local SESSION = { session = { type = "string", max = 64, required = true } }

return { routes = {
  { method = "GET", path = "/api/request_play", auth = "user", guest = true, rate = "60/m", summary = "Start watching",
    input = { video_id = { type = "uuid", required = true } }, handler = request_play },
  { method = "GET", path = "/hls/:session/:file", auth = "none", fast = "key", summary = "Playlists, keys and segments of a session",
    handler = file },
  { method = "GET", path = "/media/seg/:video/:name", auth = "none", summary = "Shared ciphertext, with delivery = cdn",
    input = { video = { type = "uuid", required = true }, name = { type = "string", max = 80, required = true } }, handler = shared },
  { method = "POST", path = "/api/playback/stop", auth = "user", guest = true, rate = "120/m", summary = "End a playback session",
    input = SESSION, handler = stop },
  { method = "GET", path = "/api/playback/state", auth = "user", guest = true, rate = "120/m", summary = "Whether a playback session goes on, and why not",
    input = SESSION, handler = state },
} }
