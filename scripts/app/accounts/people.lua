-- SPDX-License-Identifier: Apache-2.0
-- Who am I, profiles, looking people up, and the own sessions.
local db = require "ppv.db"
local json = require "ppv.json"
local errors = require "lib.errors"
local iso = require "lib.iso"
local session = require "lib.session"
local stepup = require "lib.stepup"
local users = require "lib.users"

local function me(ctx)
  local u = ctx.user
  return ctx:ok { user = { id = u.id, username = u.username, email = u.email, is_admin = u.is_admin,
    admin_session = ctx.session.kind == "admin", totp = u.totp, guest = u.guest == true, proven = u.proven } }
end

local function profile(ctx)
  local p, err = db.read_one([[select id, username::text as username, email::text as email, coalesce(bank_account, '') as bank_account,
    coalesce(wallet_account, '') as wallet_account, wallet_chain_id, coalesce(whatsapp, '') as whatsapp, profile_desc
    from users where id = $1]], ctx.user.id)
  if not p then return nil, err or errors.new("auth.required", "user not found") end
  p.wallet_chain_id = p.wallet_chain_id or json.null
  return ctx:ok { profile = p }
end

local PROFILE = {
  bank_account = { type = "string", max = 200 }, wallet_account = { type = "evm" },
  wallet_chain_id = { type = "int", min = 1 }, whatsapp = { type = "string", max = 40 },
  profile_desc = { type = "string", max = 5000, multiline = true, default = "" },
}

-- Where money goes to changes only after a fresh proof.
local function payee_guard(ctx, input)
  if stepup.check(ctx) then return true end
  local old, err = db.one("select bank_account, wallet_account, wallet_chain_id from users where id = $1", ctx.user.id)
  if not old then return nil, err or errors.new("auth.required", "user not found") end
  for _, name in ipairs { "bank_account", "wallet_account", "wallet_chain_id" } do
    if (old[name] or "") ~= (input[name] or "") then return stepup.check(ctx) end
  end
  return true
end

local function profile_update(ctx, input)
  local ok, problem = payee_guard(ctx, input)
  if not ok then return nil, problem end
  local n, err = db.exec([[update users set bank_account = $2, wallet_account = $3, wallet_chain_id = $4, whatsapp = $5,
    profile_desc = $6 where id = $1]], ctx.user.id, input.bank_account, input.wallet_account, input.wallet_chain_id,
    input.whatsapp, input.profile_desc)
  if not n then return nil, err end
  return ctx:ok()
end

local function user_profile(ctx, input)
  if not input.user_id and not input.username then return errors.invalid("missing user_id/username") end
  local p, err = db.read_one([[select id, username::text as username, profile_desc from users
    where disabled_at is null and (id = $1::bigint or ($1::bigint is null and username = $2::citext))]],
    input.user_id, input.username)
  if p == nil then return nil, err end
  if not p then return errors.not_found("user") end
  return ctx:ok { profile = p }
end

local function user_lookup(ctx, input)
  if input.email then return errors.invalid("email lookup is disabled") end
  if input.username then
    local u, err = users.by_name(input.username)
    if u == nil then return nil, err end
    return ctx:ok { user = u or json.null }
  end
  if not input.q then return ctx:ok { users = json.array {} } end
  local rows, err = db.read([[select id, username::text as username from users where disabled_at is null
    and not guest and username::text ilike '%' || $1 || '%' order by username limit 20]], (input.q:gsub("[\\%%_]", "\\%0")))
  if not rows then return nil, err end
  return ctx:ok { users = json.array(rows) }
end

local function sessions(ctx)
  local rows, err = db.read("select id, kind, host(ip) as ip, user_agent, " .. iso "created_at" .. " as created_at, "
    .. iso "last_seen_at" .. " as last_seen_at, " .. iso "least(idle_expires_at, expires_at)" .. [[ as expires_at from sessions
    where user_id = $1 and now() < least(idle_expires_at, expires_at) order by last_seen_at desc]], ctx.user.id)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do row.current = row.id == ctx.session.id end
  return ctx:ok { sessions = json.array(rows) }
end

local function revoke(ctx, input)
  local n, err = session.revoke(ctx.user.id, input.id)
  if not n then return nil, err end
  if n == 0 then return errors.not_found("session") end
  return ctx:ok { removed = n }
end

local function revoke_others(ctx)
  local n, err = session.revoke_all(ctx.user.id, ctx.session.id)
  if not n then return nil, err end
  return ctx:ok { removed = n }
end

local ID = { id = { type = "int", min = 1, required = true } }

return { routes = {
  { method = "GET", path = "/api/me", auth = "user", guest = true, summary = "The logged-in user", handler = me },
  { method = "GET", path = "/api/profile", auth = "user", summary = "The own profile", handler = profile },
  { method = "POST", path = "/api/profile", auth = "user", rate = "60/m", summary = "Change the own profile", where = true,
    input = PROFILE, handler = profile_update },
  { method = "POST", path = "/api/profile_update", auth = "user", rate = "60/m", summary = "Change the own profile", where = true,
    input = PROFILE, handler = profile_update },
  { method = "GET", path = "/api/user_profile", auth = "public", rate = "120/m", summary = "A public profile",
    input = { user_id = { type = "int", min = 1 }, username = { type = "string", max = 40 } }, handler = user_profile },
  { method = "GET", path = "/api/user_lookup", auth = "user", rate = "120/m", summary = "Find people by name",
    input = { username = { type = "string", max = 40 }, email = { type = "string", max = 254 }, q = { type = "string", max = 40 } },
    handler = user_lookup },
  { method = "GET", path = "/api/sessions", auth = "user", summary = "The own log-in sessions", handler = sessions },
  { method = "DELETE", path = "/api/sessions/:id", auth = "user", summary = "End one session", input = ID, handler = revoke },
  { method = "POST", path = "/api/sessions/:id/revoke", auth = "user", summary = "End one session", input = ID, handler = revoke },
  { method = "POST", path = "/api/sessions/revoke_others", auth = "user", summary = "End all other sessions",
    handler = revoke_others },
} }
