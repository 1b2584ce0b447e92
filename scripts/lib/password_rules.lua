-- SPDX-License-Identifier: Apache-2.0
-- What a password must be: 8..256 bytes (administrators 15), not a common one, not made of the owner's own names.
-- No rules about kinds of characters, no trimming.
local errors = require "lib.errors"
local common = require "lib.common_passwords"

local M = { MIN = 8, MIN_ADMIN = 15, MAX = 256 }

local function weak(message) return errors.invalid(message, { reason = "weak_password", field = "password" }) end

-- "Summer2024!" -> "summer": decoration at the ends does not make a name a password.
local function core(s) return (s:lower():gsub("^[%d%p%s]+", ""):gsub("[%d%p%s]+$", "")) end

local function contexts(who)
  local out = { ppv = true, ppvstream = true, payperview = true }
  for _, word in ipairs { who.username or "", (who.email or ""):match("^[^@]*") or "", who.email or "" } do
    if #word >= 3 then out[word:lower()] = true end
  end
  return out
end

-- who: {username=, email=, admin=bool}. true, or nil, err.
function M.check(password, who)
  local min = who.admin and M.MIN_ADMIN or M.MIN
  if type(password) ~= "string" or #password < min then
    return weak(("The password must have at least %d characters."):format(min))
  end
  if #password > M.MAX then return weak(("The password must have at most %d bytes."):format(M.MAX)) end
  local low = password:lower()
  if common[low] or common[core(password)] then return weak("This password is on the list of the most used passwords.") end
  local words = contexts(who)
  if words[low] or words[core(password)] then return weak("The password must not be your own name or address.") end
  if password == password:sub(1, 1):rep(#password) then
    return weak("The password must not be one character repeated.")
  end
  return true
end

return M
