-- SPDX-License-Identifier: Apache-2.0
-- A rate out of any JSON answer. The number is taken as its text: it never becomes a float.
local fetch = require "ppv.fetch"
local json = require "ppv.json"

local M = {}

-- The value at "a.b[1].c", nil when there is none.
local function at(value, path)
  for name in path:gmatch "([^.%[%]]+)%]?" do
    if type(value) ~= "table" then return nil end
    value = value[tonumber(name) or name]
  end
  return value
end

local function fill(text, base, quote) return (text:gsub("{base}", base):gsub("{quote}", quote)) end

-- -> {rate = decimal text, source}, or nil, err. Yields.
function M.quote(ctx, base, quote)
  local s = ctx.settings
  if (s.url or "") == "" then return nil, ctx:err("rate.unset", "the setting url is empty") end
  local r, err = fetch.get { url = fill(s.url, base, quote), timeout = 10, max_body = 262144 }
  if not r then return nil, err end
  if r.status ~= 200 then return nil, ctx:err("rate.down", "the source answered with status " .. r.status, true) end
  local body = json.decode(r.body, { exact = true })
  local rate = at(body, fill(s.path or "", base, quote))
  if type(rate) == "number" then rate = ("%.0f"):format(rate) end
  if type(rate) ~= "string" or not rate:find "^%d+%.?%d*$" or not rate:find "[1-9]" then
    return nil, ctx:err("rate.unusable", "there is no positive decimal number at " .. tostring(s.path))
  end
  if (s.time_path or "") ~= "" then
    local seconds = tonumber(at(body, s.time_path))
    if not seconds or ctx.now - seconds > 86400 then return nil, ctx:err("rate.stale", "the source's rate is older than a day") end
  end
  return { rate = rate, source = "json_rate" }
end

return M
