-- SPDX-License-Identifier: Apache-2.0
-- Rate limits: counters in the cache that all workers share. A limit is "20/5m" (count / s, m, h or d with a factor).
local cache = require "ppv.cache"
local errors = require "lib.errors"

local M = {}
local UNIT = { s = 1, m = 60, min = 60, h = 3600, d = 86400 }
local parsed = {}

-- {count=, seconds=} or nil when the text is no limit.
function M.parse(text)
  local got = parsed[text]
  if got then return got end
  local count, factor, unit = tostring(text):match("^(%d+)/(%d*)(%a+)$")
  if not count or not UNIT[unit] then return nil end
  got = { count = tonumber(count), seconds = (tonumber(factor) or 1) * UNIT[unit] }
  parsed[text] = got
  return got
end

-- An IPv6 customer owns a /64, so that is what is counted.
function M.address(ip)
  if not ip or not ip:find(":", 1, true) then return ip or "-" end
  local groups, head = {}, ip:match("^(.-)::") or ip
  for g in head:gmatch("%x+") do groups[#groups + 1] = g:lower() end
  while #groups < 4 do groups[#groups + 1] = "0" end
  return table.concat(groups, ":", 1, 4) .. "::/64"
end

local function refuse(seconds)
  return errors.fail("request.rate", "Too many attempts. Please wait and try again.",
    { retry = true, retry_after = seconds, reason = "too_many_attempts" })
end

-- Counts one hit on `name` by `who`; nil, err when over the limit.
function M.hit(name, who, limit)
  local n = cache.incr("rate:" .. name .. ":" .. who, 1, limit.seconds)
  if n and n > limit.count then return refuse(limit.seconds) end
  return true
end

-- Slow-down per account: after five failures each further one doubles a wait from 1 s up to 15 minutes. Never a lock.
function M.account_wait(account)
  local blocked = cache.get("wait:" .. account)
  if not blocked then return true end
  return errors.fail("auth.throttled", "Too many failed attempts for this account. Please wait and try again.",
    { retry = true, retry_after = tonumber(blocked) or 1, reason = "too_many_attempts" })
end

function M.account_failed(account)
  local n = cache.incr("fails:" .. account, 1, 3600) or 0
  if n > 5 then
    local wait = math.min(2 ^ (n - 6), 900)
    cache.set("wait:" .. account, ("%d"):format(wait), wait)
  end
end

function M.account_ok(account)
  cache.del("fails:" .. account)
  cache.del("wait:" .. account)
end

return M
