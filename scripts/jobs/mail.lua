-- SPDX-License-Identifier: Apache-2.0
-- Sending queued mail, the links of forgotten passwords, receipts and links of guests.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local context = require "lib.ctx"
local display = require "lib.display"
local gifts = require "lib.gifts"
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
  if not o or not o.email or o.email:find "%.invalid$" then return { sent = false } end -- the account of a paying address
  local ok
  ok, err = send_link(o.email, nil, "guest_receipt", { title = o.title, amount = display.money(o.charge, o.currency), order = o.uid })
  if not ok then return nil, err end
  return { sent = true }
end

-- To the buyer with the code, and to the address the gift is for.
local function gift_mail(job)
  local g, err = db.read_one([[select g.code_sealed, g.email::text as email, g.message, g.state, v.title, u.guest, u.username::text as username,
    coalesce(u.guest_email, u.email)::text as buyer from gifts g join orders o on o.id = g.order_id join videos v on v.id = g.video_id
    join users u on u.id = o.buyer_id where g.id = $1]], job.payload.gift)
  if g == nil then return nil, err end
  if not g or g.state ~= "open" then return { sent = false } end
  local page = context.base_url() .. "/public/gift.html"
  local values = { title = g.title, code = gifts.read(g.code_sealed), page = page }
  values.url = page .. "#code=" .. values.code
  values.sent = g.email and "It was also sent to " .. g.email .. "." or ""
  local ok
  ok, err = db.tx(function(tx)
    local n, e = mailer.queue(tx, g.buyer, "gift_bought", values)
    if not n or not g.email then return n, e end
    values.giver, values.message = g.guest and "Somebody" or g.username, mailer.defang(g.message)
    return mailer.queue(tx, g.email, "gift", values)
  end)
  if not ok then return nil, err end
  return { sent = true }
end

local function grant_mail(job)
  local g, err = db.read_one([[select v.id::text as video, v.title, c.username::text as giver, u.guest, coalesce(u.guest_email, u.email)::text as email,
    to_char(e.expires_at at time zone 'utc', 'YYYY-MM-DD HH24:MI') as ends from entitlements e join videos v on v.id = e.video_id
    join users u on u.id = e.user_id join users c on c.id = e.granted_by where e.id = $1 and e.revoked_at is null]], job.payload.grant)
  if g == nil then return nil, err end
  if not g then return { sent = false } end
  local values = { title = g.title, giver = g.giver, ["until"] = g.ends and " until " .. g.ends .. " (UTC)" or "" }
  local ok
  if g.guest then
    ok, err = send_link(g.email, nil, "grant", values)
  else
    values.url = context.base_url() .. "/public/watch.html?video_id=" .. g.video
    ok, err = mailer.queue(nil, g.email, "grant", values)
  end
  if not ok then return nil, err end
  return { sent = true }
end

return { jobs = {
  gift_mail = { run = gift_mail, timeout = 60 },
  grant_mail = { run = grant_mail, timeout = 60 },
  guest_link = { run = guest_link, timeout = 60 },
  guest_receipt = { run = guest_receipt, timeout = 60 },
  mail = { run = send, timeout = 60 },
  forgot = { run = forgot, timeout = 60 },
} }
