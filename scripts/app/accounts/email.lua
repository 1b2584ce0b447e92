-- SPDX-License-Identifier: Apache-2.0
-- Another e-mail address: asked for with the password, confirmed by the link in a mail to the new address; the old one is told
-- about both. The link is a signed token that names the account as it was, so it works once and ends with any later change.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local errors = require "lib.errors"
local mailer = require "lib.mailer"
local session = require "lib.session"
local users = require "lib.users"

local PURPOSE, MINUTES = "email.change", 30
local CONFIRM, FORGOT = "/public/auth/confirm_email.html", "/public/auth/forgot_password.html"

-- The account's state that a link belongs to.
local function state(q, id)
  return q.one([[select id, username::text as username, email::text as email,
    extract(epoch from password_changed_at)::text as since from users where id = $1 and disabled_at is null]], id)
end

-- An address somebody else has gets the same answer, and its owner a mail.
local function ask(ctx, input)
  local ok, err = users.prove(ctx.user.id, input.password)
  if not ok then return nil, err end
  local u
  u, err = state(db, ctx.user.id)
  if not u then return nil, err or errors.new("auth.required", "user not found") end
  if input.email:lower() == u.email:lower() then return errors.invalid("This is your address already.", { field = "email" }) end
  local taken
  taken, err = db.one("select username::text as username from users where email = $1", input.email)
  if taken == nil then return nil, err end
  local token = crypto.sign(PURPOSE, json.encode { id = u.id, old = u.email, new = input.email, since = u.since,
    ends = math.floor(ctx.now) + MINUTES * 60 })
  ok, err = db.tx(function(tx)
    local n, e = audit.write(tx, ctx, "email.ask", "user:" .. u.id)
    if not n then return nil, e end
    n, e = mailer.queue(tx, u.email, "email_asked", { username = u.username, url = ctx:url(FORGOT) })
    if not n then return nil, e end
    if taken then return mailer.queue(tx, input.email, "exists", { username = taken.username, url = ctx:url(FORGOT) }) end
    return mailer.queue(tx, input.email, "email_confirm", { username = u.username, url = ctx:url(CONFIRM) .. "#token=" .. token })
  end)
  if not ok then return nil, err end
  return ctx:ok { message = "Open the link in the mail to the new address. Until then nothing changes." }
end

local function bad_link(text, reason) return errors.fail("auth.token", text, { reason = reason, status = 400 }) end

local function confirm(ctx, input)
  local text = crypto.verify(PURPOSE, input.token)
  if not text then return bad_link("This link is not valid.", "invalid_token") end
  local t = json.decode(text)
  if t.ends < ctx.now then return bad_link("This link is too old. Ask for a new one.", "token_expired") end
  local done, err = db.tx(function(tx)
    local row, e = tx.one([[update users set email = $2, email_verified_at = now() where id = $1 and email = $3 and disabled_at is null
      and extract(epoch from password_changed_at)::text = $4 returning username::text as username]], t.id, t.new, t.old, t.since)
    if row == nil then
      if e.code == "db.conflict" then return bad_link("Another account has this address by now.", "invalid_token") end
      return nil, e
    end
    if not row then return bad_link("This link was used already, or the account has changed since.", "token_used") end
    -- Links that went to the old address end with it.
    local n
    n, e = tx.exec("update password_resets set used_at = now() where user_id = $1 and used_at is null", t.id)
    if not n then return nil, e end
    n, e = audit.write(tx, ctx, "email.change", "user:" .. t.id)
    if not n then return nil, e end
    return mailer.queue(tx, t.old, "email_changed", { username = row.username })
  end)
  if not done then return nil, err end
  session.refresh(t.id)
  return ctx:ok { email = t.new }
end

return { routes = {
  { method = "POST", path = "/api/email", auth = "user", step_up = true, rate = "10/h", summary = "Ask for another e-mail address", handler = ask,
    input = { email = { type = "email", required = true },
      password = { type = "string", raw = true, bytes = true, required = true, max = 4096, reason = "bad_credentials" } } },
  { method = "POST", path = "/auth/email", auth = "public", rate = "20/5m", summary = "Confirm the new address with the link's token",
    handler = confirm, input = { token = { type = "string", required = true, max = 1500, reason = "invalid_token" } } },
} }
