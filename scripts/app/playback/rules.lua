-- SPDX-License-Identifier: Apache-2.0
-- Rules about places: asked when a session starts and every ten seconds while it plays. The operator's proxy may say the
-- country of a visitor (setting playback.country_header, such as cf-ipcountry); it is believed as far as the proxy is.
local errors = require "lib.errors"
local settings = require "lib.settings"

local M = {}

local function listed(list, country)
  for c in list:upper():gmatch("%a%a") do if c == country then return true end end
  return false
end

-- s: {user_id, video_id}. true, or nil, err.
function M.check(ctx, s) -- luacheck: ignore 212
  local header = settings.get("playback.country_header", "")
  local blocked = settings.get("playback.blocked_countries", "")
  if header == "" or blocked == "" then return true end
  local country = (ctx:header(header:lower()) or ""):upper()
  if country == "" or not listed(blocked, country) then return true end
  return errors.fail("access.country", "This video cannot be watched in your country.", { status = 403 })
end

return M
