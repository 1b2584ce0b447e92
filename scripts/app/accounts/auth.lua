-- SPDX-License-Identifier: Apache-2.0
-- Registering, logging in and out, forgotten and changed passwords.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local errors = require "lib.errors"
local mailer = require "lib.mailer"
local password_rules = require "lib.password_rules"
local referral = require "lib.referral"
local session = require "lib.session"
local totp = require "lib.totp"
local users = require "lib.users"

local PASSWORD = { type = "string", raw = true, bytes = true, required = true, max = 4096, reason = "weak_password" }
local OLD_PASSWORD = { type = "string", raw = true, bytes = true, required = true, max = 4096, reason = "bad_credentials" }
local LOGIN = "/public/auth/login.html"
local REGISTER = "/public/auth/register.html"
local FORGOT = "/public/auth/forgot_password.html"
local RESET = "/public/auth/reset_password.html"
local ADMIN_LOGIN = "/public/admin/login.html"
local RATE = "20/5m"

-- A known address gets the same answer after the same work, and its owner a mail.
local function register(ctx, input)
  local ok, err = password_rules.check(input.password, input)
  if not ok then return nil, err end
  local phc
  phc, err = crypto.hash_password(input.password)
  if not phc then return nil, err end
  local row
  row, err = db.one([[insert into users (username, email, password_hash) values ($1, $2, $3)
    on conflict (email) do nothing returning id]], input.username, input.email, phc)
  if row == nil then
    if err.code == "db.conflict" then
      return errors.fail("user.username_taken", "This user name is taken.", { reason = "username_taken", status = 409 })
    end
    return nil, err
  end
  if row == false then
    local old = db.read_one("select username::text as username from users where email = $1", input.email)
    if old then mailer.queue(nil, input.email, "exists", { username = old.username, url = ctx:url(FORGOT) }) end
  else
    referral.join(ctx, row.id) -- the first log-in may be on another device
  end
  return ctx:done(LOGIN, { message = "You can sign in now." })
end

local function login(ctx, input)
  local user, err = users.authenticate(input.email, input.password)
  if not user then return nil, err end
  local ok
  ok, err = totp.challenge(user.id, input.code)
  if not ok then return nil, err end
  ok, err = session.start(ctx, user, "user")
  if not ok then return nil, err end
  db.exec("update users set last_login_at = now() where id = $1", user.id)
  return ctx:done("/public/dashboard.html", { user = { id = user.id, username = user.username, email = user.email } })
end

local function admin_login(ctx, input)
  local user, err = users.authenticate(input.email, input.password)
  if not user then return nil, err end
  if not user.is_admin then
    return errors.fail("auth.not_admin", "this account is not an administrator", { reason = "not_admin" })
  end
  local ok
  ok, err = totp.challenge(user.id, input.code)
  if not ok then return nil, err end
  ok, err = session.start(ctx, user, "admin")
  if not ok then return nil, err end
  ctx.user = user
  ok, err = audit.write(nil, ctx, "admin.login", "user:" .. user.id)
  if not ok then return nil, err end
  return ctx:done("/public/admin/dashboard.html", { user = { id = user.id, username = user.username } })
end

local function logout_to(page)
  return function(ctx)
    local ok, err = session.finish(ctx)
    if not ok then return nil, err end
    return ctx:done(page)
  end
end

-- Always the same answer; the job finds out whether there is such an account.
local function forgot(ctx, input)
  local ok, err = db.exec("select ppv_job_add('forgot', $1::jsonb, null, $2, now(), 5, 3, null)",
    json.encode { email = input.email, ip = ctx.ip, base_url = ctx.base_url }, "forgot:" .. crypto.sha256(input.email, "hex"))
  if not ok then return nil, err end
  return ctx:done(LOGIN, { message = "If there is such an account, a mail with a link is on its way." })
end

local function token_problem(row)
  if not row then return errors.fail("auth.token", "This link is not valid.", { reason = "invalid_token", status = 400 }) end
  if row.used then return errors.fail("auth.token", "This link was used already.", { reason = "token_used", status = 400 }) end
  return errors.fail("auth.token", "This link is too old. Ask for a new one.", { reason = "token_expired", status = 400 })
end

local function reset(ctx, input)
  local hash = db.bytes(crypto.sha256(input.token))
  local row, err = db.read_one([[select r.used_at is not null as used, r.expires_at > now() as fresh, u.id,
    u.username::text as username, u.email::text as email, u.is_admin as admin
    from password_resets r join users u on u.id = r.user_id where r.token_hash = $1]], hash)
  if row == nil then return nil, err end
  if not row or row.used or not row.fresh then return token_problem(row) end
  local ok, phc
  ok, err = password_rules.check(input.password, row)
  if not ok then return nil, err end
  phc, err = crypto.hash_password(input.password)
  if not phc then return nil, err end
  local done
  done, err = db.tx(function(tx)
    local got, e = tx.one([[update password_resets set used_at = now()
      where token_hash = $1 and used_at is null and expires_at > now() returning user_id]], hash)
    if got == nil then return nil, e end
    if not got then return token_problem { used = true } end
    local n
    n, e = tx.exec("update users set password_hash = $2, password_changed_at = now() where id = $1", got.user_id, phc)
    if not n then return nil, e end
    n, e = session.revoke_all(got.user_id, nil, tx)
    if not n then return nil, e end
    n, e = audit.write(tx, ctx, "password.reset", "user:" .. got.user_id)
    if not n then return nil, e end
    return mailer.queue(tx, row.email, "changed", { username = row.username, url = ctx:url(FORGOT) })
  end)
  if not done then return nil, err end
  return ctx:done(LOGIN, { message = "The password was changed. You can sign in now." })
end

local function change_password(ctx, input)
  local who = { username = ctx.user.username, email = ctx.user.email, admin = ctx.user.is_admin }
  local ok, err = users.prove(ctx.user.id, input.current_password)
  if not ok then return nil, err end
  if input.new_password == input.current_password then
    return errors.invalid("new password must differ from current", { reason = "weak_password", field = "new_password" })
  end
  ok, err = password_rules.check(input.new_password, who)
  if not ok then return nil, err end
  local phc
  phc, err = crypto.hash_password(input.new_password)
  if not phc then return nil, err end
  local done
  done, err = db.tx(function(tx)
    local n, e = tx.exec("update users set password_hash = $2, password_changed_at = now() where id = $1", ctx.user.id, phc)
    if not n then return nil, e end
    n, e = session.revoke_all(ctx.user.id, ctx.session.id, tx)
    if not n then return nil, e end
    n, e = audit.write(tx, ctx, "password.change", "user:" .. ctx.user.id)
    if not n then return nil, e end
    return mailer.queue(tx, ctx.user.email, "changed", { username = who.username, url = ctx:url(FORGOT) })
  end)
  if not done then return nil, err end
  return ctx:ok()
end

local function page(path)
  return function(ctx) return ctx:redirect(path) end
end

local credentials = { email = { type = "email", required = true }, password = OLD_PASSWORD,
  code = { type = "string", max = 40 } }
local change = { current_password = OLD_PASSWORD, new_password = PASSWORD }

return { routes = {
  { method = "POST", path = "/auth/register", auth = "public", rate = RATE, pages = { fail = REGISTER },
    summary = "Create an account", handler = register,
    input = { username = { type = "username", required = true }, email = { type = "email", required = true },
      password = PASSWORD } },
  { method = "POST", path = "/auth/login", auth = "public", rate = RATE, pages = { fail = LOGIN },
    summary = "Log in", input = credentials, handler = login },
  { method = "POST", path = "/auth/logout", auth = "public", pages = { fail = LOGIN }, summary = "Log out",
    handler = logout_to(LOGIN) },
  { method = "POST", path = "/auth/forgot", auth = "public", rate = RATE, pages = { fail = FORGOT },
    summary = "Ask for a link to set a new password", input = { email = { type = "email", required = true } }, handler = forgot },
  { method = "POST", path = "/auth/reset", auth = "public", rate = RATE, pages = { fail = RESET },
    summary = "Set a new password with the link's token", handler = reset,
    input = { token = { type = "string", required = true, max = 200, reason = "invalid_token" }, password = PASSWORD } },
  { method = "POST", path = "/api/change_password", auth = "user", rate = RATE, summary = "Change the own password",
    input = change, handler = change_password },
  { method = "POST", path = "/admin/login", auth = "public", rate = RATE, pages = { fail = ADMIN_LOGIN },
    summary = "Log in as administrator", input = credentials, handler = admin_login },
  { method = "POST", path = "/admin/logout", auth = "public", pages = { fail = ADMIN_LOGIN }, summary = "Log out",
    handler = logout_to(ADMIN_LOGIN) },
  { method = "POST", path = "/admin/change_password", auth = "admin", rate = RATE,
    summary = "Change the administrator's password", input = change, handler = change_password },
  { method = "GET", path = "/auth/register", auth = "none", hidden = true, handler = page(REGISTER) },
  { method = "GET", path = "/auth/login", auth = "none", hidden = true, handler = page(LOGIN) },
  { method = "GET", path = "/auth/forgot", auth = "none", hidden = true, handler = page(FORGOT) },
  { method = "GET", path = "/auth/reset", auth = "none", hidden = true, handler = page(RESET) },
  { method = "GET", path = "/admin/login", auth = "none", hidden = true, handler = page(ADMIN_LOGIN) },
} }
