-- SPDX-License-Identifier: Apache-2.0
-- Sending queued mail, the links of forgotten passwords, receipts and links of guests.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local context = require "lib.ctx"
local display = require "lib.display"
local mailer = require "lib.mailer"
local rate = require "lib.rate"

local RESET_MINUTES, GUEST_MINUTES = 30, 60

local function send(job)
  local p = job.payload
  if not mailer.templates[p.template or ""] then
    return nil, { code = "mail.template", message = "unknown template " .. tostring(p.template), retry = false }
  end
  local ok, err = mailer.send(p.to, p.template, p.values)
  if not ok then return nil, err end
  return { sent = true }
end

-- Queues a mail with a new link to what was bought with this address.
local function send_link(email, ip, template, values)
  local token = crypto.random_token(32)
  values.page = context.base_url() .. "/public/guest.html"
  values.url = values.page .. "#token=" .. token
  return db.tx(function(tx)
    local n, e = tx.exec([[insert into guest_links (token_hash, email, expires_at, ip)
      values ($1, $2, now() + make_interval(mins => $3::int), $4::inet)]], db.bytes(crypto.sha256(token)), email, GUEST_MINUTES, ip)
    if not n then return nil, e end
    return mailer.queue(tx, email, template, values)
  end)
end

-- At most five an hour for an address, and nobody learns whether anything was bought with it.
local function guest_link(job)
  local p = job.payload
  local known, err = db.read_one([[select 1 as yes from users u where u.guest and u.guest_email = $1 and u.disabled_at is null
    and (u.email_verified_at is not null or exists (select from entitlements e where e.user_id = u.id)) limit 1]], p.email)
  if known == nil then return nil, err end
  if not known or not rate.hit("guest_link", crypto.sha256(p.email, "hex"), { count = 5, seconds = 3600 }) then return { sent = false } end
  local ok
  ok, err = send_link(p.email, p.ip, "guest_link", {})
  if not ok then return nil, err end
  return { sent = true }
end

-- One account gets at most five links an hour; nobody learns whether the account exists. A guest has no password: the link to the
-- purchases is sent instead.
local function forgot(job)
  local p = job.payload
  local user, err = db.read_one("select id, username::text as username from users where email = $1 and not guest and disabled_at is null", p.email)
  if user == nil then return nil, err end
  if not user then return guest_link(job) end
  if not rate.hit("forgot", crypto.sha256(p.email, "hex"), { count = 5, seconds = 3600 }) then return { sent = false } end
  local token = crypto.random_token(32)
  local ok
  ok, err = db.tx(function(tx)
    local n, e = tx.exec([[insert into password_resets (token_hash, user_id, expires_at, ip)
      values ($1, $2, now() + make_interval(mins => $3::int), $4::inet)]], db.bytes(crypto.sha256(token)), user.id,
      RESET_MINUTES, p.ip)
    if not n then return nil, e end
    return mailer.queue(tx, p.email, "reset", { username = user.username,
      url = p.base_url .. "/public/auth/reset_password.html#token=" .. token })
  end)
  if not ok then return nil, err end
  return { sent = true }
end

local function guest_receipt(job)
  local o, err = db.read_one([[select o.uid::text as uid, o.charge, o.charge_currency::text as currency, v.title, u.guest_email::text as email
    from orders o join videos v on v.id = o.video_id join users u on u.id = o.buyer_id where o.id = $1]], job.payload.order)
  if o == nil then return nil, err end
  if not o or not o.email then return { sent = false } end
  local ok
  ok, err = send_link(o.email, nil, "guest_receipt", { title = o.title, amount = display.money(o.charge, o.currency), order = o.uid })
  if not ok then return nil, err end
  return { sent = true }
end

return { jobs = {
  guest_link = { run = guest_link, timeout = 60 },
  guest_receipt = { run = guest_receipt, timeout = 60 },
  mail = { run = send, timeout = 60 },
  forgot = { run = forgot, timeout = 60 },
} }
