-- SPDX-License-Identifier: Apache-2.0
-- The creator's percentage, and a bonus for who brings somebody that has never bought here.
local M = {}

function M.split(sale, settings)
  if not sale.direct then return {} end
  local bps = sale.pct * 100 + (sale.new_buyer and settings.bonus_bps or 0)
  local amount = math.min(math.floor(sale.amount * bps / 10000), sale.creator_share)
  if amount <= 0 then return {} end
  return { { to = sale.direct, amount = amount, memo = sale.new_buyer and "new buyer" or "" } }
end

return M
