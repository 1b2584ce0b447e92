-- SPDX-License-Identifier: Apache-2.0
-- The operator's own rate. A rate is a decimal text: it is multiplied exactly, never as a float.
local M = {}

local function good(rate) return rate:find("^%d+%.?%d*$") and rate:find("[1-9]") end

-- "USDC/USD = 0.9998, POL/USD = 0.21": the price of one token in a currency.
local function token(ctx, base, quote)
  for pair, rate in tostring(ctx.settings.tokens or ""):gmatch "([%w.]+/%u+)%s*=%s*([%d.]+)" do
    if pair == base .. "/" .. quote and good(rate) then return { rate = rate, source = "fixed" } end
  end
  return nil, ctx:err("rate.unknown", ("the setting tokens has no price of %s in %s"):format(base, quote))
end

function M.quote(ctx, base, quote)
  if base ~= "USD" then return token(ctx, base, quote) end
  if quote ~= "IDR" then
    return nil, ctx:err("rate.unknown", "this source knows USD to IDR only")
  end
  local rate = tostring(ctx.settings.usd_to_idr or "")
  if not good(rate) then
    return nil, ctx:err("rate.unset", "the setting usd_to_idr is not a positive decimal number")
  end
  return { rate = rate, source = "fixed" }
end

return M
