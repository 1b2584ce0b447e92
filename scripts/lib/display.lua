-- SPDX-License-Identifier: Apache-2.0
-- Amounts as people read them.
local money = require "ppv.money"

local M = {}
local SIGN = { USD = "$", EUR = "€", GBP = "£", JPY = "¥" }

-- 1234 -> "$12.34"; a sign in front for what leaves.
function M.money(amount, currency)
  currency = currency or "USD"
  local minus = amount < 0 and "-" or ""
  local text = money.format(math.abs(amount), currency)
  if SIGN[currency] then return minus .. SIGN[currency] .. text end
  return minus .. currency .. " " .. text
end

-- -1234, "USD" -> "-12.34", for files.
function M.plain(amount, currency)
  if amount == nil then return "" end
  return (amount < 0 and "-" or "") .. money.format(math.abs(amount), currency)
end

return M
