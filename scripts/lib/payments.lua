-- SPDX-License-Identifier: Apache-2.0
-- What can be paid with, and the numbers every sale uses.
local chain = require "lib.chain"
local config = require "lib.config"
local registry = require "lib.registry"
local settings = require "lib.settings"

local M = {}

-- Providers of the reference system whose switches the settings page shows.
M.FOREIGN = { "paypal", "stripe", "midtrans", "xendit" }

function M.currency() return config.get("currency", "USD") end

-- Platform fee in basis points of the price.
function M.fee_bp()
  local v = settings.get("payment.platform_fee_bp") or config.int("platform_fee_bp", 1000)
  return v
end

-- Switched on? What is set up is on until somebody switches it off.
function M.enabled(name) return settings.get("payment." .. name .. "_enabled", name ~= "x402") == true end

-- Payment plugins other than the wallet (what only programs pay with is never on): name, title, currencies, whether their required settings are there.
function M.providers()
  local out = {}
  for _, p in ipairs(registry.by_kind.payment or {}) do
    if p.name ~= "wallet" then
      local values, err = settings.plugin(p.manifest)
      if not values then return nil, err end
      local required, missing = {}, {}
      for _, s in ipairs(p.manifest.settings or {}) do
        if s.required then
          required[#required + 1] = s.key
          if values[s.key] == nil or values[s.key] == "" then missing[#missing + 1] = s.key end
        end
      end
      local on_chain = p.manifest.features and p.manifest.features.chain or false
      if on_chain then
        local tokens, terr = chain.tokens(values.environment)
        if not tokens then return nil, terr end
        required[#required + 1] = "chains"
        if #tokens == 0 then missing[#missing + 1] = "chains" end
      end
      out[#out + 1] = { provider = p.name, on_chain = on_chain, display_name = p.manifest.title, configured = #missing == 0, required = required,
        missing = missing, environment = values.environment or "live", api_base_url = registry.base_url(p.manifest, values) or "",
        currencies = p.manifest.currencies or {}, webhook = type(p.handler.verify) == "function",
        enabled = #missing == 0 and M.enabled(p.name) and not (p.manifest.features or {}).machine }
    end
  end
  return out
end

-- Whether a provider of M.providers() can be paid in the currency; one that names none takes all.
function M.takes(p, currency)
  if #p.currencies == 0 then return true end
  for _, c in ipairs(p.currencies) do if c == currency then return true end end
  return false
end

return M
