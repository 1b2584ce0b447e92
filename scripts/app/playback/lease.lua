-- SPDX-License-Identifier: Apache-2.0
-- Whether a playback session may go on. The answer is a lease in the shared cache, at most 10 s old, from which all workers
-- serve; the row ends LIFE_S after its last use, so a copied address dies with the player it was copied from. A native
-- player reads a VOD playlist once and cannot be given new addresses, which is why the token in them may live MAX_S: it
-- opens nothing that the lease does not.
local db = require "ppv.db"
local playback = require "ppv.playback"
local errors = require "lib.errors"
local rules = require "app.playback.rules"
local settings = require "lib.settings"
local titles = require "lib.titles"
local burst = require "app.playback.burst"
local excerpt = require "app.playback.excerpt"

local M = { LIFE_S = 3600, MAX_S = 12 * 3600 }
local TOUCH_S, QUIET_S = 20, 60

local function limits()
  return settings.get("playback.max_streams", 3), settings.get("playback.max_devices", 0), settings.get("playback.over_limit", "oldest") ~= "refuse"
end

-- A new session of ctx.user for video v {id, access}: its token.
function M.start(ctx, v)
  local ok, err = rules.check(ctx, { user_id = ctx.user.id, video_id = v.id })
  if not ok then return nil, err end
  local agent = (ctx:header("user-agent") or ""):gsub("[^\32-\126]", "?"):sub(1, 300)
  local streams, devices, oldest = limits()
  local row
  row, err = db.one("select ppv_play_start($1, $2::uuid, $3, $4, $5::inet, $6, $7, $8, $9, $10)::text as id", ctx.user.id, v.id,
    ctx.session.id, v.access, ctx.ip, agent, M.LIFE_S, streams, devices, oldest)
  if not row then return nil, err end
  return playback.token("session", row.id, math.floor(ctx.now) + M.MAX_S)
end

-- Keeps the row alive. After a pause the session takes a place anew, or is refused one.
local function touch(id, row, now)
  if now - row.seen > QUIET_S then
    local streams, devices, oldest = limits()
    local ok, err = db.one("select ppv_play_room($1::uuid, $2, $3, $4) as n", id, streams, devices, oldest)
    if not ok then return nil, err end
  end
  local n, err = db.exec([[update playback_sessions set last_seen_at = now(),
    expires_at = least(created_at + make_interval(secs => $3), now() + make_interval(secs => $2))
    where id = $1::uuid and state = 'ready']], id, M.LIFE_S, M.MAX_S)
  if not n then return nil, err end
  return n > 0
end

local function look(ctx, id)
  local row, err = db.read_one([[select p.user_id, p.video_id::text as video_id, coalesce(p.session_id, 0) as login_id, p.state,
    extract(epoch from p.expires_at)::bigint as expires, extract(epoch from p.last_seen_at)::bigint as seen,
    ppv_play_access(p.user_id, p.video_id, p.access) as access, (select extract(epoch from e.expires_at)::bigint from entitlements e
      where e.user_id = p.user_id and e.video_id = p.video_id and e.revoked_at is null) as access_until,
    coalesce((select least(s.idle_expires_at, s.expires_at) > now() from sessions s where s.id = p.session_id), false) as login
    from playback_sessions p where p.id = $1::uuid]], id)
  if row == nil then return nil, err end
  if not row then return errors.not_found("playback session") end
  row.over = row.state ~= "ready" or row.expires <= ctx.now or not row.access or not row.login
  if not row.over then
    local ok
    ok, err = rules.check(ctx, row)
    if not ok then return nil, err end
    if ctx.now - row.seen > TOUCH_S then
      ok, err = touch(id, row, ctx.now)
      if ok == nil then return nil, err end
      row.over = not ok
    end
  end
  row.access = row.access or ""
  row.ahead_ms = 1000 * settings.get("playback.ahead_s", 120)
  row.seek_ms = 1000 * settings.get("playback.seek_s", 600)
  row.speed_pct = settings.get("playback.speed_pct", 300)
  return row
end

-- The lease of a session: {id, user_id, video_id, access, version, expires, ...}; nil, err when it may not go on.
function M.of(ctx, id)
  local s = playback.lease_of(id)
  if not s then
    local err
    s, err = look(ctx, id)
    if not s then return nil, err end
    local map
    if not s.over then
      local t
      t, err = titles.get(s.video_id)
      if not t then return nil, err end
      s.id, s.version = id, t.version
      map, err = burst.map(t, s)
      if err then return nil, err end
      if s.access == "excerpt" then map = excerpt.ALL end
    end
    -- Expiry moves with use: the lease bounds what it says by its own ten seconds.
    s.expires = math.floor(ctx.now) + 60
    if s.access == "rental" or s.access == "grant" then s.expires = math.min(s.expires, s.access_until or s.expires) end
    playback.lease(id, s, map)
  end
  if s.over then return errors.fail("request.gone", "This playback session is over.") end
  s.id = id
  titles.get(s.video_id) -- this worker knows the title from now on
  return s
end

return M
