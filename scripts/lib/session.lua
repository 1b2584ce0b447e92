-- SPDX-License-Identifier: Apache-2.0
-- Log-in sessions. The cookie holds a signed 256-bit token; the table holds its SHA-256. A looked-up session is kept in
-- the shared cache for at most 10 s, and dropped from it the moment it is revoked.
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local config = require "lib.config"
local referral = require "lib.referral"

local M = { MAX = 10 }
local CACHE_S = 10
local DAY = 86400
-- idle and absolute life in seconds
local LIFE = { viewer = { config.int("session_idle", 7 * DAY), 30 * DAY }, creator = { DAY, 7 * DAY },
  admin = { config.int("admin_session_idle", 15 * 60), 8 * 3600 } }

-- Cookie headers whose signature was checked in the last 10 s: {hash, hex, key} by the cookie's name and the whole header.
-- Whether the session still lives is not kept here: the shared cache or the database is asked each time.
local VERIFIED_MAX, VERIFIED_BYTES = 500, 1024
local verified, verified_n, verified_until = {}, 0, 0

local function known(ctx, name)
  if ctx.now >= verified_until or verified_until > ctx.now + CACHE_S or verified_n >= VERIFIED_MAX then
    verified, verified_n, verified_until = {}, 0, ctx.now + CACHE_S
  end
  if not verified[name] then verified[name] = {} end
  return verified[name]
end

local function ticket_of(ctx)
  local name, header = ctx:session_cookie_name(), ctx:header("cookie")
  if not header then return nil end
  local tickets = known(ctx, name)
  if tickets[header] then return tickets[header] end
  local value = ctx:cookies()[name]
  local token = value and #value < 300 and crypto.verify("session", value)
  if not token then return nil end
  local hex = crypto.sha256(token, "hex")
  local ticket = { hash = crypto.sha256(token), hex = hex, key = "sess:" .. hex }
  if #header <= VERIFIED_BYTES then
    tickets[header] = ticket
    verified_n = verified_n + 1
  end
  return ticket
end

-- The row of a cached text; decoded once as long as the text stays the same. Not to be changed.
local function row_of(ticket, text)
  if ticket.text ~= text then ticket.text, ticket.row = text, json.decode(text) end
  return ticket.row
end

local SELECT = [[
select s.id as sid, s.kind, s.user_id as id, u.username::text as username, u.email::text as email, u.is_admin,
  u.guest, u.guest_email::text as guest_email, u.email_verified_at is not null as proven,
  extract(epoch from s.idle_expires_at)::bigint as idle, extract(epoch from s.expires_at)::bigint as expires,
  extract(epoch from s.last_seen_at)::bigint as seen, extract(epoch from s.reauth_at)::bigint as reauth,
  exists (select from user_totp t where t.user_id = u.id and t.confirmed_at is not null) as totp
from sessions s join users u on u.id = s.user_id
where s.token_hash = $1 and now() < least(s.idle_expires_at, s.expires_at) and u.disabled_at is null
  and (s.kind <> 'admin' or u.is_admin)]]

local function touch(row, hex)
  local life = LIFE[row.kind == "admin" and "admin" or "viewer"][1]
  local span = math.min(row.idle - row.seen, life) -- creators keep their shorter idle time
  local ok, err = db.exec([[update sessions set last_seen_at = now(),
    idle_expires_at = least(expires_at, now() + make_interval(secs => $2)) where id = $1]], row.sid, span)
  if not ok then log.warn("session.touch", { code = err.code }) end
  cache.del("sess:" .. hex)
end

-- Sets ctx.session and ctx.user when the cookie names a live session. true, or nil, err when the database failed
-- (then nobody is logged in: fail closed).
function M.load(ctx)
  if ctx.session_loaded then return true end
  local ticket = ticket_of(ctx)
  if not ticket then
    ctx.session_loaded = true
    return true
  end
  local hex = ticket.hex
  local text, row = cache.get(ticket.key), nil
  if text then
    row = row_of(ticket, text)
    if row.idle <= ctx.now or row.expires <= ctx.now then row = nil end
  end
  if not row then
    local err
    row, err = db.read_one(SELECT, db.bytes(ticket.hash))
    if row == nil then return nil, err end
    if row then
      if ctx.now - row.seen > 60 then touch(row, hex) end
      cache.set(ticket.key, json.encode(row), CACHE_S)
    end
  end
  ctx.session_loaded = true
  if row then
    ctx.session = { id = row.sid, kind = row.kind, hex = hex, reauth = row.reauth }
    ctx.user = { id = row.id, username = row.username, email = row.email, is_admin = row.is_admin == true,
      totp = row.totp == true }
    if row.guest then ctx.user.guest, ctx.user.email, ctx.user.proven = true, row.guest_email, row.proven end
  end
  return true
end

local function forget(rows) for _, row in ipairs(rows) do cache.del("sess:" .. row.hex) end end

-- What is cached of a user's sessions is read again at the next request.
function M.refresh(user_id)
  local rows, err = db.query("select encode(token_hash, 'hex') as hex from sessions where user_id = $1", user_id)
  if not rows then return nil, err end
  forget(rows)
  return true
end

-- Starts a session for the user and sets the cookie. Any session of the request ends (log-in rotates the id).
function M.start(ctx, user, kind)
  M.finish(ctx)
  local token = crypto.random_token(32)
  local creator = kind ~= "admin" and db.read_one("select 1 as yes from videos where owner_id = $1 limit 1", user.id)
  local life = LIFE[kind == "admin" and "admin" or (creator and "creator" or "viewer")]
  local agent = (ctx:header("user-agent") or ""):gsub("[^\32-\126]", "?"):sub(1, 300)
  local ok, err = db.exec([[insert into sessions (token_hash, user_id, kind, ip, user_agent, idle_expires_at, expires_at, reauth_at)
    values ($1, $2, $3, $4::inet, $5, now() + make_interval(secs => $6), now() + make_interval(secs => $7), now())]],
    db.bytes(crypto.sha256(token)), user.id, kind, ctx.ip, agent, life[1], life[2])
  if not ok then return nil, err end
  local gone = db.query([[delete from sessions where id in (select id from sessions where user_id = $1
    order by last_seen_at desc, id desc offset $2) returning encode(token_hash, 'hex') as hex]], user.id, M.MAX)
  if gone then forget(gone) end
  if kind ~= "admin" then
    referral.join(ctx, user.id)
    referral.device(ctx, user.id)
  end
  ctx:cookie(ctx:session_cookie_name(), crypto.sign("session", token),
    { max_age = kind ~= "admin" and life[2] or nil })
  return true
end

-- A log-in that nobody holds a cookie of, for playback that was let in otherwise (x402): one per account, renewed. Sets ctx.session.
local NO_COOKIE = "x402"
function M.play_only(ctx, user)
  local row, err = db.one([[update sessions set last_seen_at = now(), idle_expires_at = now() + make_interval(secs => $3),
    expires_at = now() + make_interval(secs => $3) where id = (select id from sessions where user_id = $1 and kind = 'user' and user_agent = $2
    and least(idle_expires_at, expires_at) > now() order by id limit 1) returning id]], user.id, NO_COOKIE, DAY)
  if row == false then
    row, err = db.one([[insert into sessions (token_hash, user_id, kind, ip, user_agent, idle_expires_at, expires_at)
      values ($1, $2, 'user', $3::inet, $4, now() + make_interval(secs => $5), now() + make_interval(secs => $5)) returning id]],
      db.bytes(crypto.random(32)), user.id, ctx.ip, NO_COOKIE, DAY)
  end
  if not row then return nil, err end
  ctx.session = { id = row.id, kind = "user" }
  return true
end

-- Ends the session of this request, if any, and clears the cookie.
function M.finish(ctx)
  local ticket = ticket_of(ctx)
  if ticket then
    local ok, err = db.exec("delete from sessions where token_hash = $1", db.bytes(ticket.hash))
    cache.del(ticket.key)
    if not ok then return nil, err end
  end
  if ctx:has_session_cookie() then ctx:cookie(ctx:session_cookie_name(), "", { max_age = 0 }) end
  return true
end

-- Ends all sessions of a user; keep: a session id to spare. tx: optional transaction to do it in.
function M.revoke_all(user_id, keep, tx)
  local rows, err = (tx or db).query([[delete from sessions where user_id = $1 and id is distinct from $2
    returning encode(token_hash, 'hex') as hex]], user_id, keep)
  if not rows then return nil, err end
  forget(rows)
  return #rows
end

-- One session of the user. Number of ended sessions.
function M.revoke(user_id, id)
  local rows, err = db.query([[delete from sessions where user_id = $1 and id = $2
    returning encode(token_hash, 'hex') as hex]], user_id, id)
  if not rows then return nil, err end
  forget(rows)
  return #rows
end

return M
