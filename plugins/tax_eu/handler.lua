-- SPDX-License-Identifier: Apache-2.0
-- Prices include the VAT of the buyer's country (electronically supplied services are taxed where the buyer is). Standard rates in
-- tenths of a percent. Orientation, not advice: check them before you sell by it.
local M = {}

local RATES = { AT = 200, BE = 210, BG = 200, CY = 190, CZ = 210, DE = 190, DK = 250, EE = 240, ES = 210, FI = 255, FR = 200, GR = 240,
  HR = 250, HU = 270, IE = 230, IT = 220, LT = 210, LU = 170, LV = 210, MT = 180, NL = 210, PL = 230, PT = 230, RO = 210, SE = 250,
  SI = 220, SK = 230 }

local function rate_of(country, settings)
  for code, whole, part in (settings.rates or ""):gmatch "(%u%u)=(%d+)%.?(%d?)" do
    if code == country then return tonumber(whole) * 10 + (tonumber(part) or 0) end
  end
  return RATES[country]
end

function M.lines(sale, settings)
  local country = sale.country ~= "" and sale.country or (settings.unknown or ""):upper()
  local rate = rate_of(country, settings)
  if not rate then return {} end
  return { { code = "vat_eu", amount = math.floor(sale.price * rate / (1000 + rate)), title = ("VAT %s %g %%"):format(country, rate / 10) } }
end

return M
