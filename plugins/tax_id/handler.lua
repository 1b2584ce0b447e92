-- SPDX-License-Identifier: Apache-2.0
-- Prices include PPN: of price p with rate r the tax is floor(p r / (1 + r)). The platform withholds PPh 22 of the rest for the seller.
-- Orientation, not advice: ask a tax adviser before you sell by it.
local M = {}

local function domestic(sale, settings) return sale.country == "ID" or (sale.country == "" and settings.everywhere) end

function M.lines(sale, settings)
  if not domestic(sale, settings) then return {} end
  local ppn = math.floor(sale.price * settings.ppn_bp / (10000 + settings.ppn_bp))
  local pph = math.floor((sale.price - ppn) * settings.pph22_bp / 10000)
  return { { code = "ppn", amount = ppn, title = ("PPN %g %%"):format(settings.ppn_bp / 100) },
    { code = "pph22", amount = pph, title = ("PPh 22, %g %% withheld"):format(settings.pph22_bp / 100) } }
end

return M
