-- SPDX-License-Identifier: Apache-2.0
-- Query strings and urlencoded forms. The first value of a name wins; at most 100 fields are read.
local M = {}

local HEX = {}
for i = 0, 255 do HEX[("%02x"):format(i)] = string.char(i) end

local function hex(h) return HEX[h:lower()] end

-- nil when the text holds a broken escape, a NUL or invalid UTF-8.
function M.unescape(s, plus)
  if plus then s = s:gsub("+", " ") end
  if s:find("%%%X") or s:find("%%%x%X") or s:find("%%%x?$") then return nil end
  s = s:gsub("%%(%x%x)", hex)
  if s:find("%z") then return nil end
  return s
end

function M.decode(text)
  local out, n = {}, 0
  for pair in (text or ""):gmatch("[^&]+") do
    n = n + 1
    if n > 100 then return nil, "too many fields" end
    local key, value = pair:match("^([^=]*)=?(.*)$")
    key, value = M.unescape(key, true), M.unescape(value, true)
    if not key or not value then return nil, "a field is not encoded correctly" end
    if key ~= "" and out[key] == nil then out[key] = value end
  end
  return out
end

function M.escape(s)
  return (tostring(s):gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- Sorted, so that the same table gives the same text.
function M.encode(t)
  local keys, out = {}, {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  for _, k in ipairs(keys) do out[#out + 1] = M.escape(k) .. "=" .. M.escape(t[k]) end
  return table.concat(out, "&")
end

return M
