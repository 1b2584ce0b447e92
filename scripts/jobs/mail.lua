-- SPDX-License-Identifier: Apache-2.0
-- Sending queued mail, and the links of forgotten passwords.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local mailer = require "lib.mailer"
local rate = require "lib.rate"

local RESET_MINUTES = 30

local function send(job)
  local p = job.payload
  if not mailer.templates[p.template or ""] then
    return nil, { code = "mail.template", message = "unknown template " .. tostring(p.template), retry = false }
  end
  local ok, err = mailer.send(p.to, p.template, p.values)
  if not ok then return nil, err end
  return { sent = true }
end

-- One account gets at most five links an hour; nobody learns whether the account exists.
local function forgot(job)
  local p = job.payload
  local user, err = db.read_one("select id, username::text as username from users where email = $1 and disabled_at is null", p.email)
  if user == nil then return nil, err end
  if not user or not rate.hit("forgot", crypto.sha256(p.email, "hex"), { count = 5, seconds = 3600 }) then return { sent = false } end
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

return { jobs = {
  mail = { run = send, timeout = 60 },
  forgot = { run = forgot, timeout = 60 },
} }
