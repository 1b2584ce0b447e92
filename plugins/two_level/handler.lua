-- SPDX-License-Identifier: Apache-2.0
-- A sale through a link pays the creator's percentage to the owner of the link. A sale without one pays a smaller share to
-- whoever brought the buyer to their first purchase here.
local M = {}

function M.split(sale, settings)
  local who, amount, memo
  if sale.direct then
    who, amount, memo = sale.direct, math.floor(sale.amount * sale.pct / 100), "level 1"
  elseif sale.first then
    who, amount, memo = sale.first, math.floor(sale.amount * settings.second_bps / 10000), "level 2"
  else
    return {}
  end
  amount = math.min(amount, sale.creator_share)
  if amount <= 0 then return {} end
  return { { to = who, amount = amount, memo = memo } }
end

return M
