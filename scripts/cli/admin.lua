-- SPDX-License-Identifier: Apache-2.0
-- ppv admin create NAME [EMAIL]     makes an administrator with a random password, printed once
-- ppv admin password NAME           a new random password; all sessions of the account end
-- ppv admin totp-off NAME           ends two-step sign-in of whoever lost the phone and the recovery codes
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local schema = require "lib.schema"

local action, name, email = ...

local function fail(text)
  print("ppv admin: " .. text)
  return 1
end

local function show(username, password)
  print(("administrator %s\npassword      %s\nIt is shown this once. Sign in at /public/admin/login.html with the e-mail address."):format(
    username, password))
  return 0
end

local function create()
  email = email or (name .. "@localhost.localdomain")
  local ok, why = schema.types.username(name, "NAME", {})
  if not ok then return fail(why) end
  if not schema.is_email(email) then return fail("EMAIL is not an e-mail address") end
  local password = crypto.random_token(18)
  local hash, err = crypto.hash_password(password)
  if not hash then return fail(err.message) end
  local row
  row, err = db.tx(function(tx)
    local got, e = tx.one("insert into users (username, email, password_hash, is_admin) values ($1, $2, $3, true) returning id",
      name, email:lower(), hash)
    if not got then return nil, e end
    local n
    n, e = tx.exec("select ppv_audit(null, 'admin.create', $1, '{\"via\":\"cli\"}')", "user:" .. got.id)
    if not n then return nil, e end
    return got
  end)
  if not row then return fail(err.code == "db.conflict" and "this name or address is taken" or tostring(err.message)) end
  print("e-mail        " .. email:lower())
  return show(name, password)
end

local function password()
  local fresh = crypto.random_token(18)
  local hash, err = crypto.hash_password(fresh)
  if not hash then return fail(err.message) end
  local n
  n, err = db.tx(function(tx)
    local row, e = tx.one("update users set password_hash = $2, password_changed_at = now() where username = $1 and is_admin returning id",
      name, hash)
    if row == nil then return nil, e end
    if not row then return nil, { message = "there is no administrator of this name" } end
    local gone
    gone, e = tx.exec("delete from sessions where user_id = $1", row.id)
    if not gone then return nil, e end
    return tx.exec("select ppv_audit(null, 'admin.password', $1, '{\"via\":\"cli\"}')", "user:" .. row.id)
  end)
  if not n then return fail(tostring(err.message)) end
  return show(name, fresh)
end

local function totp_off()
  local n, err = db.tx(function(tx)
    local row, e = tx.one("select id from users where username = $1", name)
    if row == nil then return nil, e end
    if not row then return nil, { message = "there is no account of this name" } end
    local gone
    gone, e = tx.exec("delete from user_totp where user_id = $1", row.id)
    if not gone then return nil, e end
    if gone == 0 then return nil, { message = "two-step sign-in of this account is off" } end
    gone, e = tx.exec("delete from sessions where user_id = $1", row.id)
    if not gone then return nil, e end
    return tx.exec("select ppv_audit(null, 'totp.disable', $1, '{\"via\":\"cli\"}')", "user:" .. row.id)
  end)
  if not n then return fail(tostring(err.message)) end
  print("two-step sign-in of " .. name .. " is off; all sessions of the account are ended")
  return 0
end

if action == "create" and name then return create() end
if action == "password" and name then return password() end
if action == "totp-off" and name then return totp_off() end
print("usage: ppv admin create NAME [EMAIL]\n       ppv admin password NAME\n       ppv admin totp-off NAME")
return 2
