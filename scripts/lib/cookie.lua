-- SPDX-License-Identifier: Apache-2.0
-- Cookie header in, Set-Cookie values out.
local M = {}

function M.parse(header)
  local out = {}
  if not header or #header > 8192 then return out end
  for name, value in header:gmatch("([^%s=;]+)=([^;]*)") do
    if out[name] == nil then out[name] = (value:match('^%s*"?(.-)"?%s*$')) end
  end
  return out
end

-- o: secure, max_age (seconds, nil = browser session, 0 = delete), http_only (default true), same_site (default Lax)
function M.build(name, value, o)
  local parts = { name .. "=" .. value, "Path=/" }
  if o.max_age then parts[#parts + 1] = ("Max-Age=%d"):format(o.max_age) end
  if o.http_only ~= false then parts[#parts + 1] = "HttpOnly" end
  if o.secure then parts[#parts + 1] = "Secure" end
  parts[#parts + 1] = "SameSite=" .. (o.same_site or "Lax")
  return table.concat(parts, "; ")
end

return M
