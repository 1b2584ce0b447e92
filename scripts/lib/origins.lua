-- SPDX-License-Identifier: Apache-2.0
-- Lists of web origins ("https://example.org"), kept as the sources of a Content-Security-Policy: separated by one space.
local M = { MAX = 20 }

-- The origins somebody wrote, separated by space, comma or line end, in one form; or nil and the first one that is none.
-- An address is cut to its origin, so that a copied one does. Nothing else gets through: the list goes into a header.
function M.read(text)
  local out, known = {}, {}
  for word in text:gmatch "[^%s,;]+" do
    local scheme, host, rest = word:lower():match "^(https?)://([a-z0-9][a-z0-9.-]*)(.*)$"
    local port = rest and (rest:match "^(:%d%d?%d?%d?%d?)$" or rest:match "^(:%d%d?%d?%d?%d?)/")
    if not host or #host > 253 or not (port or rest == "" or rest:sub(1, 1) == "/") then return nil, word end
    local origin = scheme .. "://" .. host .. (port or "")
    if not known[origin] then out[#out + 1], known[origin] = origin, true end
  end
  if #out > M.MAX then return nil, out[M.MAX + 1] end
  return table.concat(out, " ")
end

return M
