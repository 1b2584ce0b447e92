-- SPDX-License-Identifier: Apache-2.0
-- One-time codes (RFC 6238: SHA-1, 6 digits, 30 s) as a second factor. A step counts once, one step of clock drift is
-- accepted to each side. Secrets are sealed at rest, recovery codes are kept as hashes only.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local time = require "ppv.time"
local config = require "lib.config"
local errors = require "lib.errors"
local form = require "lib.form"
local rate = require "lib.rate"
local settings = require "lib.settings"

local M = { STEP = 30, WINDOW = 1, RECOVERY = 10 }
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

-- RFC 4648 base 32 without padding.
function M.base32(s)
  local out, acc, bits = {}, 0, 0
  for i = 1, #s do
    acc, bits = bit.bor(bit.lshift(bit.band(acc, 0xff), 8), s:byte(i)), bits + 8
    while bits >= 5 do
      bits = bits - 5
      local n = bit.band(bit.rshift(acc, bits), 31)
      out[#out + 1] = ALPHABET:sub(n + 1, n + 1)
    end
  end
  if bits > 0 then
    local n = bit.band(bit.lshift(acc, 5 - bits), 31)
    out[#out + 1] = ALPHABET:sub(n + 1, n + 1)
  end
  return table.concat(out)
end

function M.step(now) return math.floor((now or time.now()) / M.STEP) end

-- The code of a step as six digits. secret: raw bytes.
function M.code(secret, step)
  local bytes = {}
  for i = 8, 1, -1 do
    bytes[i] = string.char(step % 256)
    step = math.floor(step / 256)
  end
  local mac = crypto.hmac_sha1(secret, table.concat(bytes))
  local at = mac:byte(20) % 16
  local a, b, c, d = mac:byte(at + 1, at + 4)
  return ("%06d"):format(((((a % 128) * 256 + b) * 256 + c) * 256 + d) % 1000000)
end

-- The step a code belongs to, or nil. All steps of the window are compared, so the time tells nothing.
function M.match(secret, code, now)
  local found
  for step = M.step(now) - M.WINDOW, M.step(now) + M.WINDOW do
    if crypto.equal(M.code(secret, step), code) then found = step end
  end
  return found
end

-- {enabled=, pending=, left=} of a user.
function M.state(user_id)
  local row, err = db.one([[select confirmed_at is not null as enabled, jsonb_array_length(recovery_hashes) as left
    from user_totp where user_id = $1]], user_id)
  if row == nil then return nil, err end
  return { enabled = row and row.enabled or false, pending = row and not row.enabled or false, left = row and row.left or 0 }
end

-- A new secret that does not count before a code of it was shown: base 32 text and otpauth address, or nil, err.
function M.begin(user)
  local secret = crypto.random(20)
  local n, err = db.exec([[insert into user_totp (user_id, secret_sealed) values ($1, $2)
    on conflict (user_id) do update set secret_sealed = excluded.secret_sealed, last_step = 0, recovery_hashes = '[]',
    created_at = now() where user_totp.confirmed_at is null]], user.id, crypto.seal(secret))
  if not n then return nil, err end
  if n == 0 then return errors.fail("auth.totp_enabled", "Two-step sign-in is already on.", { status = 409 }) end
  local text, site = M.base32(secret), tostring(config.get("site_name", "PPV")):gsub(":", " ")
  local label = (form.encode { x = site .. ":" .. user.email }):sub(3):gsub("%+", "%%20")
  return { secret = text, uri = ("otpauth://totp/%s?%s&algorithm=SHA1&digits=6&period=30"):format(label,
    (form.encode { secret = text }) .. "&" .. (form.encode { issuer = site }):gsub("%+", "%%20")) }
end

local function wrong(message) return errors.fail("auth.totp_wrong", message or "This code is wrong or was used already.",
  { reason = "totp_wrong", field = "code", status = 403 }) end

local function digits(code) return (code:gsub("[%s-]", "")) end

-- Spends the code's step. true, false (wrong or used), or nil, err.
local function spend(tx, user_id, row, code)
  local secret = crypto.open(row.secret_sealed)
  if not secret then return errors.fail("engine.internal", "the secret of the second factor cannot be opened") end
  local step = code:find("^%d%d%d%d%d%d$") and M.match(secret, code)
  if not step then return false end
  local n, err = tx.exec("update user_totp set last_step = $2 where user_id = $1 and last_step < $2", user_id, step)
  if not n then return nil, err end
  return n == 1
end

local function hash_of(code) return crypto.sha256("recovery:" .. code:upper(), "hex") end

local function spend_recovery(tx, user_id, code)
  if not code:find("^%w+$") or #code ~= 16 then return false end
  local n, err = tx.exec([[update user_totp set recovery_hashes = recovery_hashes - $2::text
    where user_id = $1 and confirmed_at is not null and jsonb_exists(recovery_hashes, $2::text)]], user_id, hash_of(code))
  if not n then return nil, err end
  return n == 1
end

-- Proves the second factor of a user who has one. recovery: recovery codes count too. true, or nil, err.
function M.prove(user_id, code, recovery)
  local account = crypto.sha256("totp:" .. user_id, "hex")
  local ok, err = rate.account_wait(account)
  if not ok then return nil, err end
  local row
  row, err = db.one("select secret_sealed from user_totp where user_id = $1 and confirmed_at is not null", user_id)
  if row == nil then return nil, err end
  code = digits(code)
  local good = false
  if row then
    good, err = spend(db, user_id, row, code)
    if good == false and recovery then good, err = spend_recovery(db, user_id, code) end
    if good == nil then return nil, err end
  end
  if not good then
    rate.account_failed(account)
    return wrong()
  end
  rate.account_ok(account)
  return true
end

-- The second step of a log-in: true when the user has none or the code is right.
function M.challenge(user_id, code)
  local state, err = M.state(user_id)
  if not state then return nil, err end
  if not state.enabled then return true end
  local ok
  if code then
    ok, err = M.prove(user_id, code, true)
    if ok then return true end
    if err.code ~= "auth.totp_wrong" then return nil, err end
  end
  return errors.fail("auth.totp_required", code and err.message or "Enter the code of your authenticator app.",
    { reason = code and "totp_wrong" or "totp_required", status = 401, field = "code" })
end

local function fresh_codes()
  local codes, hashes = {}, {}
  for i = 1, M.RECOVERY do
    local code = M.base32(crypto.random(10))
    codes[i] = code:gsub("(....)", "%1-"):sub(1, 19)
    hashes[i] = hash_of(code)
  end
  return codes, json.encode(json.array(hashes))
end

-- Switches it on with a code of the new secret. The recovery codes, shown once, or nil, err.
function M.confirm(tx, user_id, code)
  local row, err = tx.one("select secret_sealed from user_totp where user_id = $1 and confirmed_at is null for update", user_id)
  if row == nil then return nil, err end
  if not row then return errors.fail("auth.totp_start", "Start with a new secret first.", { status = 409 }) end
  local good
  good, err = spend(tx, user_id, row, digits(code))
  if good == nil then return nil, err end
  if not good then return wrong() end
  local codes, hashes = fresh_codes()
  local n
  n, err = tx.exec("update user_totp set confirmed_at = now(), recovery_hashes = $2::jsonb where user_id = $1", user_id, hashes)
  if not n then return nil, err end
  return codes
end

-- Replaces the recovery codes.
function M.renew(tx, user_id)
  local codes, hashes = fresh_codes()
  local n, err = tx.exec("update user_totp set recovery_hashes = $2::jsonb where user_id = $1 and confirmed_at is not null",
    user_id, hashes)
  if not n then return nil, err end
  return codes
end

function M.remove(tx, user_id) return tx.exec("delete from user_totp where user_id = $1", user_id) end

-- Must administrators have a second factor? The setting decides, then admin_totp of ppv.conf, then development.
function M.admin_required()
  local on = settings.get("security.admin_totp_required")
  if on ~= nil then return on == true end
  local word = tostring(config.get("admin_totp", "auto"))
  if word ~= "auto" then return word == "true" end
  return tostring(config.get("development", true)) ~= "true"
end

return M
