-- SPDX-License-Identifier: Apache-2.0
-- Playback sessions: starting one, and everything a player asks of it. Access is looked at again at most 10 s after it
-- was last seen, so that refunds, bans, blocks and log-outs stop a stream.
local cache = require "ppv.cache"
local db = require "ppv.db"
local json = require "ppv.json"
local metrics = require "ppv.metrics"
local errors = require "lib.errors"
local hls = require "lib.hls"
local settings = require "lib.settings"
local titles = require "lib.titles"

local LIFE_S, MAX_S = 3600, 12 * 3600
local CACHE_S = 10
local SEGMENT_S = 2
local KEYS_PER_MINUTE = 900

local function end_surplus(ctx, id)
  local max = settings.get("playback.max_streams", 3)
  local rows = db.query([[update playback_sessions set state = 'ended', end_reason = 'too many streams', ended_at = now()
    where id in (select id from playback_sessions where user_id = $1 and state = 'ready' and id <> $2::uuid
    and last_seen_at > now() - interval '60 seconds' order by last_seen_at desc offset $3) returning id::text as id]],
    ctx.user.id, id, max - 1)
  for _, row in ipairs(rows or {}) do cache.del("play:" .. row.id) end
end

local function request_play(ctx, input)
  local v, err = db.read_one([[select v.id::text as id, v.title, v.price, v.currency::text as currency, v.state, v.duration_ms,
    ppv_access($2, v.id) as access, w.position_ms from videos v
    left join watch_progress w on w.video_id = v.id and w.user_id = $2
    where v.id = $1::uuid and v.state <> 'deleted']], input.video_id, ctx.user.id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  if not v.access then return errors.fail("access.denied", "no access") end
  if v.state ~= "ready" then
    return errors.fail("video.not_ready", "This video is not ready yet.", { extra = { status = v.state } })
  end
  local agent = (ctx:header("user-agent") or ""):gsub("[^\32-\126]", "?"):sub(1, 300)
  local s
  s, err = db.one([[insert into playback_sessions (user_id, video_id, session_id, access, ip, user_agent, expires_at)
    values ($1, $2::uuid, $3, $4, $5::inet, $6, now() + make_interval(secs => $7)) returning id::text as id]],
    ctx.user.id, v.id, ctx.session.id, v.access, ctx.ip, agent, LIFE_S)
  if not s then return nil, err end
  end_surplus(ctx, s.id)
  metrics.count("plays_total", 1)
  return ctx:ok { session = s.id, playlist = "/hls/" .. s.id .. "/master.m3u8", video_id = v.id, title = v.title,
    price_cents = v.price, currency = v.currency, access = v.access, segment_seconds = SEGMENT_S, expires_in_seconds = LIFE_S,
    duration = v.duration_ms and v.duration_ms / 1000 or json.null, resume_ms = v.position_ms or 0 }
end

local function gone() return errors.fail("request.gone", "This playback session is over.") end

-- The session's row, from the cache or the database; false when there is none that may still play.
local function look_up(id)
  local text = cache.get("play:" .. id)
  if text then return json.decode(text) end
  local row, err = db.read_one([[select p.user_id, p.video_id::text as video_id, coalesce(p.session_id, 0) as login, p.state,
    extract(epoch from p.expires_at)::bigint as expires, extract(epoch from p.last_seen_at)::bigint as seen,
    ppv_access(p.user_id, p.video_id) as access from playback_sessions p where p.id = $1::uuid]], id)
  if row == nil then return nil, err end
  if row then
    local now = os.time()
    if row.state == "ready" and row.expires > now and row.access and now - row.seen > 30 then
      local n = db.exec([[update playback_sessions set last_seen_at = now(),
        expires_at = least(created_at + make_interval(secs => $3), now() + make_interval(secs => $2))
        where id = $1::uuid and state = 'ready']], id, LIFE_S, MAX_S)
      if n and n > 0 then row.expires = now + CACHE_S * 2 end
    end
    cache.set("play:" .. id, json.encode(row), CACHE_S)
  end
  return row
end

local function session_of(ctx, id)
  local row, err = look_up(id)
  if row == nil then return nil, err end
  if not row or row.state ~= "ready" or row.expires <= ctx.now then return gone() end
  if row.user_id ~= ctx.user.id or row.login ~= ctx.session.id then
    return errors.fail("access.denied", "This playback session is not yours.")
  end
  if not row.access then return errors.fail("access.denied", "no access") end
  return row
end

local function answer(ext, body)
  return { status = 200, body = body, headers = { ["content-type"] = hls.type_of(ext), ["cache-control"] = "private, no-store" } }
end

local function playlist(s, file)
  local t, err = titles.get(s.video_id)
  if not t then return nil, err end
  local name = file:match("^(.*)%.m3u8$")
  if name == "master" then return answer("m3u8", t.master) end
  local text
  text, err = titles.playlist(t, name)
  if text == nil then return nil, err end
  if not text then return errors.not_found("playlist") end
  return answer("m3u8", text)
end

local function key(ctx, s, id, file)
  local name, n = hls.key_name(file)
  local t, err = titles.get(s.video_id)
  if not t then return nil, err end
  local count = name and t.segments[name]
  if not count or n >= count then return errors.not_found("key") end
  local paced = cache.incr("pace:" .. id, 1, 60)
  if paced and paced > KEYS_PER_MINUTE then
    return errors.fail("request.rate", "Too many keys in a short time.", { retry = true, retry_after = 30 })
  end
  local ok
  ok, err = db.exec([[insert into key_log (playback_id, user_id, video_id, rendition, variant, seq, ip)
    values ($1::uuid, $2, $3::uuid, $4, 'a', $5, $6::inet)]], id, s.user_id, s.video_id, name, n, ctx.ip)
  if not ok then return nil, err end
  metrics.count("hls_keys_total", 1)
  return answer("key", hls.key(t.secret, name, "a", n))
end

local function file(ctx)
  local id, name = ctx.params.session, ctx.params.file
  local ext = hls.extension(name)
  if #id > 64 or not id:find("^[%w_-]+$") or not ext then
    return errors.fail("request.bad", "This is not a file of a playback session.")
  end
  if not ctx.user then return errors.fail("auth.required", "not logged in") end
  if not id:find("^%x+%-%x+%-%x+%-%x+%-%x+$") or #id ~= 36 then return gone() end
  local s, err = session_of(ctx, id:lower())
  if not s then return nil, err end
  if ext == "m3u8" then return playlist(s, name) end
  if ext == "key" then return key(ctx, s, id:lower(), name) end
  metrics.count("hls_segments_total", 1)
  return ctx:file("media", s.video_id .. "/" .. name, { ["cache-control"] = "private, max-age=3600" }, hls.type_of(ext))
end

local function save_progress(ctx, input)
  local n, err = db.exec([[insert into watch_progress (user_id, video_id, position_ms, watched_ms, completed)
    select $1, v.id, least($3::bigint, coalesce(v.duration_ms, $3::bigint)), $4, $5 from videos v
    where v.id = $2::uuid and v.state <> 'deleted'
    on conflict (user_id, video_id) do update set position_ms = excluded.position_ms,
    watched_ms = watch_progress.watched_ms + excluded.watched_ms,
    completed = watch_progress.completed or excluded.completed, updated_at = now()]],
    ctx.user.id, input.id, input.position_ms, input.watched_ms, input.completed)
  if not n then return nil, err end
  if n == 0 then return errors.not_found("video") end
  return ctx:ok()
end

local function get_progress(ctx, input)
  local row, err = db.read_one([[select position_ms, watched_ms, completed from watch_progress
    where user_id = $1 and video_id = $2::uuid]], ctx.user.id, input.id)
  if row == nil then return nil, err end
  return ctx:ok(row or { position_ms = 0, watched_ms = 0, completed = false })
end

local function continue(ctx)
  local rows, err = db.read([[select w.video_id::text as video_id, v.title, w.position_ms, v.duration_ms, w.completed,
    case when v.poster is not null then '/media/poster/' || v.id end as poster
    from watch_progress w join videos v on v.id = w.video_id and v.state = 'ready'
    where w.user_id = $1 order by w.updated_at desc limit 50]], ctx.user.id)
  if not rows then return nil, err end
  return ctx:ok { items = json.array(rows) }
end

local function stop(ctx, input)
  local row, err = db.one([[update playback_sessions set state = 'ended', end_reason = 'closed', ended_at = now()
    where id = $1::uuid and user_id = $2 and state = 'ready' returning id::text as id]], input.session, ctx.user.id)
  if row == nil then return nil, err end
  if row then cache.del("play:" .. row.id) end
  return ctx:ok()
end

local ID = { id = { type = "uuid", required = true } }

return { routes = {
  { method = "GET", path = "/api/request_play", auth = "user", rate = "60/m", summary = "Start watching",
    input = { video_id = { type = "uuid", required = true } }, handler = request_play },
  { method = "GET", path = "/hls/:session/:file", auth = "public", summary = "Playlists, keys and segments of a session",
    handler = file },
  { method = "POST", path = "/api/playback/stop", auth = "user", rate = "120/m", summary = "End a playback session",
    input = { session = { type = "uuid", required = true } }, handler = stop },
  { method = "GET", path = "/api/videos/:id/progress", auth = "user", summary = "Where I stopped", input = ID, handler = get_progress },
  { method = "POST", path = "/api/videos/:id/progress", auth = "user", rate = "120/m", summary = "Remember where I am",
    handler = save_progress, input = { id = { type = "uuid", required = true },
      position_ms = { type = "int", min = 0, max = 43200000, required = true },
      watched_ms = { type = "int", min = 0, max = 600000, default = 0 }, completed = { type = "bool", default = false } } },
  { method = "GET", path = "/api/watch/continue", auth = "user", summary = "What I was watching", handler = continue },
} }
