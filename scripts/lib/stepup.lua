-- SPDX-License-Identifier: Apache-2.0
-- Step-up: what moves money or opens doors needs a proof of who is there that is at most five minutes old.
-- Setting security.step_up: "on" for everybody, "off" for nobody, "auto" (default) for accounts with a second factor.
local cache = require "ppv.cache"
local db = require "ppv.db"
local errors = require "lib.errors"
local settings = require "lib.settings"

local M = { FRESH = 300 }

function M.wanted(ctx)
  local word = settings.get("security.step_up", "auto")
  if word == true or word == "on" then return true end
  if word == false or word == "off" then return false end
  return ctx.user.totp == true
end

-- true, or nil, err with code auth.step_up. always: whatever the setting says.
function M.check(ctx, always)
  if not always and not M.wanted(ctx) then return true end
  local age = ctx.now - (ctx.session.reauth or 0)
  if age <= M.FRESH then return true end
  return errors.fail("auth.step_up", "Please confirm that it is you.", { reason = "step_up",
    extra = { totp = ctx.user.totp == true } })
end

-- Call after a proof.
function M.done(ctx)
  local n, err = db.exec("update sessions set reauth_at = now() where id = $1", ctx.session.id)
  if not n then return nil, err end
  cache.del("sess:" .. ctx.session.hex)
  return true
end

return M
