-- SPDX-License-Identifier: Apache-2.0
-- The affiliate whose link was followed gets the creator's percentage of the price, out of the creator's share.
local M = {}

function M.split(sale, settings)
  if not sale.direct then return {} end
  local pct = math.min(sale.pct, settings.max_pct)
  local amount = math.min(math.floor(sale.amount * pct / 100), sale.creator_share)
  if amount <= 0 then return {} end
  return { { to = sale.direct, amount = amount, memo = pct .. " %" } }
end

return M
