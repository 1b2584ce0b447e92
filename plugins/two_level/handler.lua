-- SPDX-License-Identifier: Apache-2.0
-- A sale through a link pays the creator's percentage to the owner of the link. Whoever brought the buyer to their first purchase
-- here gets a smaller share of every later sale, with or without a link. Both come out of the creator's share, the link's first.
local M = {}

function M.split(sale, settings)
  local lines, left = {}, sale.creator_share
  local function pay(to, bps, memo)
    local amount = math.min(math.floor(sale.amount * bps / 10000), left)
    if to and amount > 0 then
      lines[#lines + 1] = { to = to, amount = amount, memo = memo }
      left = left - amount
    end
  end
  pay(sale.direct, sale.pct * 100, "level 1")
  if sale.first ~= sale.direct then pay(sale.first, settings.second_bps, "level 2") end
  return lines
end

return M
