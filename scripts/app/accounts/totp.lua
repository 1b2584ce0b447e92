-- SPDX-License-Identifier: Apache-2.0
-- Two-step sign-in of the own account, and proving again who one is.
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local errors = require "lib.errors"
local mailer = require "lib.mailer"
local session = require "lib.session"
local stepup = require "lib.stepup"
local totp = require "lib.totp"
local users = require "lib.users"

local CODE = { type = "string", max = 40, trim = true }
local PASSWORD = { type = "string", raw = true, bytes = true, max = 4096 }

local function show(ctx)
  local state, err = totp.state(ctx.user.id)
  if not state then return nil, err end
  return ctx:ok { enabled = state.enabled, pending = state.pending, recovery_left = state.left,
    required = ctx.user.is_admin and totp.admin_required() or false }
end

local function missing(field) return errors.invalid(field .. " is required", { field = field, reason = "missing_field" }) end

local act = {}

-- The secret leaves the server here and never again.
function act.start(ctx)
  local ok, err = stepup.check(ctx, true)
  if not ok then return nil, err end
  local made
  made, err = totp.begin(ctx.user)
  if not made then return nil, err end
  return ctx:ok { secret = made.secret, uri = made.uri }
end

local function change(ctx, action, template, fn)
  local done, err = db.tx(function(tx)
    local got, e = fn(tx)
    if not got then return nil, e end
    local ok
    ok, e = audit.write(tx, ctx, action, "user:" .. ctx.user.id)
    if not ok then return nil, e end
    ok, e = mailer.queue(tx, ctx.user.email, template, { username = ctx.user.username })
    if not ok then return nil, e end
    return got
  end)
  session.refresh(ctx.user.id)
  if not done then return nil, err end
  return done
end

function act.confirm(ctx, input)
  if not input.code then return missing "code" end
  local codes, err = change(ctx, "totp.enable", "totp_on", function(tx)
    local got, e = totp.confirm(tx, ctx.user.id, input.code)
    if not got then return nil, e end
    local n
    n, e = session.revoke_all(ctx.user.id, ctx.session.id, tx)
    if not n then return nil, e end
    n, e = tx.exec("update sessions set reauth_at = now() where id = $1", ctx.session.id)
    if not n then return nil, e end
    return got
  end)
  if not codes then return nil, err end
  return ctx:ok { enabled = true, recovery_codes = json.array(codes) }
end

local function both(ctx, input)
  if not input.password then return missing "password" end
  if not input.code then return missing "code" end
  local ok, err = users.prove(ctx.user.id, input.password)
  if not ok then return nil, err end
  return totp.prove(ctx.user.id, input.code, true)
end

function act.disable(ctx, input)
  local ok, err = both(ctx, input)
  if not ok then return nil, err end
  ok, err = change(ctx, "totp.disable", "totp_off", function(tx) return totp.remove(tx, ctx.user.id) end)
  if not ok then return nil, err end
  return ctx:ok { enabled = false }
end

function act.recovery(ctx, input)
  local ok, err = both(ctx, input)
  if not ok then return nil, err end
  local codes
  codes, err = change(ctx, "totp.recovery", "totp_recovery", function(tx) return totp.renew(tx, ctx.user.id) end)
  if not codes then return nil, err end
  return ctx:ok { enabled = true, recovery_codes = json.array(codes) }
end

local function post(ctx, input) return act[input.action](ctx, input) end

local function step_up(ctx, input)
  local ok, err
  if input.code then
    ok, err = totp.prove(ctx.user.id, input.code, true)
  elseif input.password then
    ok, err = users.prove(ctx.user.id, input.password)
  else
    return missing "password"
  end
  if not ok then return nil, err end
  ok, err = stepup.done(ctx)
  if not ok then return nil, err end
  return ctx:ok { seconds = stepup.FRESH }
end

return { routes = {
  { method = "GET", path = "/api/totp", auth = "user", summary = "Is two-step sign-in on", handler = show },
  { method = "POST", path = "/api/totp", auth = "user", rate = "30/5m", summary = "Set up or end two-step sign-in",
    input = { action = { type = "enum", values = { "start", "confirm", "disable", "recovery" }, required = true },
      code = CODE, password = PASSWORD }, handler = post },
  { method = "POST", path = "/api/step_up", auth = "user", rate = "20/5m", summary = "Prove again who is there",
    input = { code = CODE, password = PASSWORD }, handler = step_up },
} }
