-- SPDX-License-Identifier: Apache-2.0
-- The creator's percentage, but never more than the operator's limit for one sale.
local M = {}

function M.split(sale, settings)
  if not sale.direct then return {} end
  local amount = math.min(math.floor(sale.amount * sale.pct / 100), settings.cap, sale.creator_share)
  if amount <= 0 then return {} end
  return { { to = sale.direct, amount = amount, memo = "at most " .. settings.cap } }
end

return M
