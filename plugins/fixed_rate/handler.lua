-- SPDX-License-Identifier: Apache-2.0
-- The operator's own rate. A rate is a decimal text: it is multiplied exactly, never as a float.
local M = {}

function M.quote(ctx, base, quote)
  if base ~= "USD" or quote ~= "IDR" then
    return nil, ctx:err("rate.unknown", "this source knows USD to IDR only")
  end
  local rate = tostring(ctx.settings.usd_to_idr or "")
  if not rate:find("^%d+%.?%d*$") or not rate:find("[1-9]") then
    return nil, ctx:err("rate.unset", "the setting usd_to_idr is not a positive decimal number")
  end
  return { rate = rate, source = "fixed" }
end

return M
