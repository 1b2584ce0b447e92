-- SPDX-License-Identifier: Apache-2.0
-- Finding people and checking passwords without telling who exists.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local errors = require "lib.errors"
local rate = require "lib.rate"

local M = {}

function M.by_name(name)
  return db.read_one("select id, username::text as username from users where username = $1 and disabled_at is null", name)
end

function M.by_id(id)
  return db.read_one("select id, username::text as username from users where id = $1 and disabled_at is null", id)
end

local function bad() return errors.fail("auth.bad_credentials", "wrong e-mail address or password", { reason = "bad_credentials" }) end

-- Checks a log-in: the user row, or nil, err. Failures slow the account down.
function M.authenticate(email, password)
  local account = crypto.sha256("login:" .. email, "hex")
  local ok, err = rate.account_wait(account)
  if not ok then return nil, err end
  if #password > 256 then return bad() end
  local user
  user, err = db.read_one([[select id, username::text as username, email::text as email, password_hash, is_admin,
    disabled_at is not null as disabled from users where email = $1 and not guest]], email)
  if user == nil then return nil, err end
  -- without a hash the same work is done against a dummy: both answers take the same time
  local good, weak = crypto.verify_password(password, user and user.password_hash or nil)
  if good == nil then return nil, weak end
  if not user or not good then
    rate.account_failed(account)
    return bad()
  end
  rate.account_ok(account)
  if user.disabled then return errors.fail("auth.suspended", "this account is suspended", { reason = "suspended" }) end
  if weak then
    local fresh = crypto.hash_password(password)
    if fresh then db.exec("update users set password_hash = $2 where id = $1", user.id, fresh) end
  end
  return user
end

-- Proves the password of somebody who is logged in.
function M.prove(user_id, password)
  local account = crypto.sha256("prove:" .. user_id, "hex")
  local ok, err = rate.account_wait(account)
  if not ok then return nil, err end
  local row
  row, err = db.read_one("select password_hash from users where id = $1 and disabled_at is null", user_id)
  if row == nil then return nil, err end
  if not row then return errors.fail("auth.required", "user not found") end
  local good = false
  if #password > 0 and #password <= 256 then -- longer than any that was ever accepted
    local why
    good, why = crypto.verify_password(password, row.password_hash)
    if good == nil then return nil, why end
  end
  if not good then
    rate.account_failed(account)
    return errors.fail("auth.bad_credentials", "the current password is wrong", { reason = "bad_credentials", status = 403 })
  end
  rate.account_ok(account)
  return true
end

return M
