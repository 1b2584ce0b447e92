-- SPDX-License-Identifier: Apache-2.0
-- Buying without an account: the address is where receipt and link go, and proves nothing until a link of a mail to it was used.
-- Every answer is the same for addresses that have an account, that bought before, and that are new.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local errors = require "lib.errors"
local mailer = require "lib.mailer"
local password_rules = require "lib.password_rules"
local payments = require "lib.payments"
local session = require "lib.session"

local FORGOT = "/public/auth/forgot_password.html"
local EMAIL = { type = "email", required = true }

local function me(u) return { id = u.id, username = u.username, email = u.email, guest = true, proven = u.proven == true } end

-- An account of its own for this browser; the one it has goes on while the address is the same.
local function start(ctx, input)
  if not payments.enabled("guest") then return errors.fail("auth.guest_off", "Buying without an account is switched off.") end
  local u = ctx.user
  if u and not u.guest then return errors.fail("auth.signed_in", "You are signed in; buy with your account.", { status = 409 }) end
  if u and u.email:lower() == input.email:lower() then return ctx:ok { user = me(u) } end
  local row, err = db.one("select id, username::text as username from ppv_guest_new($1::citext, false)", input.email)
  if not row then return nil, err end
  local ok
  ok, err = session.start(ctx, row, "user")
  if not ok then return nil, err end
  row.email = input.email
  return ctx:ok { user = me(row) }
end

-- The job finds out whether anything was bought with the address.
local function link(ctx, input)
  local ok, err = db.exec("select ppv_job_add('guest_link', $1::jsonb, null, $2, now(), 5, 3, null)",
    json.encode { email = input.email, ip = ctx.ip }, "guest_link:" .. crypto.sha256(input.email:lower(), "hex"))
  if not ok then return nil, err end
  return ctx:ok { message = "If something was bought with this address, a mail with a link is on its way." }
end

-- add: the account that is signed in takes the purchases over; otherwise the link opens them in this browser.
local function open(ctx, input)
  local u = ctx.user
  if input.add and (not u or u.guest) then return errors.fail("auth.required", "not logged in", { reason = "not_logged_in" }) end
  local row, err = db.one("select ppv_guest_open($1, $2)::text as r", db.bytes(crypto.sha256(input.token)), input.add and u.id or nil)
  if not row then return nil, err end
  local r = json.decode(row.r)
  if not input.add then
    local ok
    ok, err = session.start(ctx, r, "user")
    if not ok then return nil, err end
  end
  return ctx:ok { user = { id = r.id, username = r.username, email = r.email, guest = not input.add }, has_account = r.account }
end

-- A guest who has proven the address gets a password and a name; every other session of these purchases ends.
local function keep(ctx, input)
  local u = ctx.user
  if not u.guest then return errors.fail("auth.signed_in", "This account has a password.", { status = 409 }) end
  if not u.proven then
    return errors.fail("auth.unproven", "Open the link in the mail we sent you first; it shows that the address is yours.", { status = 409 })
  end
  local ok, err = password_rules.check(input.password, { username = input.username, email = u.email })
  if not ok then return nil, err end
  local phc
  phc, err = crypto.hash_password(input.password)
  if not phc then return nil, err end
  ok, err = db.tx(function(tx)
    local taken, e = tx.one([[select (select count(*) from users where email = $1 and not guest) as email,
      (select count(*) from users where username = $2 and id <> $3) as name]], u.email, input.username, u.id)
    if not taken then return nil, e end
    if taken.email > 0 then
      return errors.fail("auth.has_account", "This address has an account already. Sign in there, then open a new link to add these purchases.",
        { status = 409 })
    end
    if taken.name > 0 then return errors.fail("user.username_taken", "This user name is taken.", { reason = "username_taken", status = 409 }) end
    local row
    row, e = tx.one([[update users set guest = false, email = guest_email, guest_email = null, username = $2, password_hash = $3,
      password_changed_at = now() where id = $1 and guest returning email::text as email]], u.id, input.username, phc)
    if not row then return nil, e or errors.new("auth.signed_in", "This account has a password.", { status = 409 }) end
    local n
    n, e = session.revoke_all(u.id, ctx.session.id, tx)
    if not n then return nil, e end
    -- A browser that goes on buying for it would buy what no link leads to any more; it can sign in now.
    local browsers
    browsers, e = tx.query("select id from users where claimed_by = $1 and guest", u.id)
    if not browsers then return nil, e end
    for _, b in ipairs(browsers) do
      n, e = session.revoke_all(b.id, nil, tx)
      if not n then return nil, e end
    end
    n, e = audit.write(tx, ctx, "guest.keep", "user:" .. u.id)
    if not n then return nil, e end
    return mailer.queue(tx, row.email, "guest_full", { username = input.username, url = ctx:url(FORGOT) })
  end)
  if not ok then return nil, err end
  session.refresh(u.id)
  return ctx:ok { username = input.username }
end

return { routes = {
  { method = "POST", path = "/api/guest", auth = "public", rate = "30/h", summary = "Buy without an account", input = { email = EMAIL }, handler = start },
  { method = "POST", path = "/auth/guest/link", auth = "public", rate = "20/5m", summary = "Ask for a link to what was bought with an address",
    input = { email = EMAIL }, handler = link },
  { method = "POST", path = "/auth/guest/open", auth = "public", rate = "20/5m", summary = "Use such a link", handler = open,
    input = { token = { type = "string", required = true, max = 200, reason = "invalid_token" }, add = { type = "bool", default = false } } },
  { method = "POST", path = "/auth/guest/keep", auth = "user", guest = true, rate = "20/5m", summary = "Turn a guest into an account with a password",
    handler = keep, input = { username = { type = "username", required = true },
      password = { type = "string", raw = true, bytes = true, required = true, max = 4096, reason = "weak_password" } } },
} }
