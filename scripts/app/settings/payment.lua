-- SPDX-License-Identifier: Apache-2.0
-- Payment switches, site settings and the exchange rate.
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local config = require "lib.config"
local errors = require "lib.errors"
local payments = require "lib.payments"
local payout = require "lib.payout"
local registry = require "lib.registry"
local settings = require "lib.settings"
local totp = require "lib.totp"

local SWITCHES = { "guest", "wallet_payment", "wallet_transfer", "wallet_deposit", "wallet_withdraw", "paypal", "stripe", "xendit", "midtrans",
  "splitter", "x402" }

-- What this site does itself needs no setting up.
local function ours(name) return name == "guest" or name:find "^wallet" ~= nil end

local function provider_table(ctx)
  local list, err = payments.providers()
  if not list then return nil, err end
  local out, known = {}, {}
  for _, p in ipairs(list) do
    known[p.provider] = p
    out[#out + 1] = { provider = p.provider, display_name = p.display_name, configured = p.configured, environment = p.environment,
      api_base_url = p.api_base_url, required_env = json.array(p.required), missing_env = json.array(p.missing), enabled = p.enabled,
      webhook_url = p.webhook and ctx:url("/api/pay/" .. p.provider .. "/webhook") or json.null }
  end
  return out, known
end

local function show(ctx)
  local list, known = provider_table(ctx)
  if not list then return nil, known end
  local out = {}
  for _, name in ipairs(SWITCHES) do
    local on = payments.enabled(name)
    if not ours(name) and not (known[name] and known[name].configured) then on = false end
    out[name .. "_enabled"] = on
  end
  out.default_provider = settings.get("payment.default_provider") or json.null
  return ctx:ok { settings = out, providers = json.array(list) }
end

local function save(ctx, input)
  local _, known = provider_table(ctx)
  if not known or known.code then return nil, known end
  local values = {}
  for _, name in ipairs(SWITCHES) do
    local on = input[name .. "_enabled"]
    if on ~= nil then
      if on and not ours(name) and not (known[name] and known[name].configured) then
        return errors.fail("payment.not_configured", name .. " is not set up and cannot be switched on", { status = 409 })
      end
      values["payment." .. name .. "_enabled"] = on
    end
  end
  if input.default_provider then
    if not (known[input.default_provider] and known[input.default_provider].enabled) then
      return errors.fail("payment.not_configured", "the default provider must be switched on", { status = 409 })
    end
    values["payment.default_provider"] = input.default_provider
  end
  local ok, err = db.tx(function(tx)
    local done, e = settings.set(tx, values, ctx.user.id)
    if not done then return nil, e end
    return audit.write(tx, ctx, "settings.payment", "settings", values)
  end)
  settings.changed()
  if not ok then return nil, err end
  return show(ctx)
end

-- Site settings an administrator may change, with their kinds and defaults.
local SITE = {
  ["affiliate.plugin"] = { type = "string", max = 60, default = "percent" },
  ["affiliate.window_days"] = { type = "int", min = 1, max = 400, default = 30 },
  ["rate.plugin"] = { type = "string", max = 60, default = "fixed_rate" },
  ["rate.token_plugin"] = { type = "string", max = 60, default = "" },
  ["tax.plugin"] = { type = "string", max = 60, default = "" },
  ["consent.required"] = { type = "bool", default = false },
  ["receipt.seller"] = { type = "string", max = 500, multiline = true, default = "" },
  ["payment.platform_fee_bp"] = { type = "int", min = 0, max = 10000, default = config.int("platform_fee_bp", 1000) },
  ["wallet.min_deposit"] = { type = "int", min = 1, max = 100000000, default = 1000 },
  ["wallet.min_transfer"] = { type = "int", min = 1, max = 100000000, default = 100 },
  ["wallet.min_withdraw"] = { type = "int", min = 1, max = 100000000, default = 5000 },
  ["wallet.transfer_day"] = { type = "int", min = 0, max = 100000000000, default = 1000000 },
  ["wallet.withdraw_day"] = { type = "int", min = 0, max = 100000000000, default = 10000000 },
  ["wallet.four_eyes_above"] = { type = "int", min = 0, max = 100000000000, default = 1000000 },
  ["payout.four_eyes_above"] = { type = "int", min = 0, max = 100000000000, default = 50000 },
  ["payout.destination_hold_hours"] = { type = "int", min = 0, max = 8760, default = 72 },
  ["payout.new_payee_days"] = { type = "int", min = 0, max = 365, default = 7 },
  ["payout.minimum"] = { type = "int", min = 1, max = 100000000, default = 5000 },
  ["payout.schedule"] = { type = "enum", values = { "off", "daily", "weekly", "monthly" }, default = "off" },
  ["payout.auto_approve"] = { type = "bool", default = false },
  ["payout.provider"] = { type = "string", max = 60, default = "" },
  ["playback.max_streams"] = { type = "int", min = 1, max = 100, default = 3 },
  ["playback.max_devices"] = { type = "int", min = 0, max = 100, default = 0 },
  ["playback.over_limit"] = { type = "enum", values = { "oldest", "refuse" }, default = "oldest" },
  ["playback.ahead_s"] = { type = "int", min = 30, max = 43200, default = 120 },
  ["playback.seek_s"] = { type = "int", min = 30, max = 43200, default = 600 },
  ["playback.speed_pct"] = { type = "int", min = 100, max = 10000, default = 300 },
  ["playback.country_header"] = { type = "string", max = 60, pattern = "^[%w-]*$", hint = "must be the name of a header", default = "" },
  ["playback.blocked_countries"] = { type = "string", max = 1000, pattern = "^[%a%s,;]*$", hint = "must be two-letter codes of countries", default = "" },
  ["security.admin_totp_required"] = { type = "bool" },
  ["security.step_up"] = { type = "enum", values = { "auto", "on", "off" }, default = "auto" },
}
-- Limits of money in other currencies than the site's; without one the general number counts, in that currency's minor units.
local LIMITS = { "wallet.min_deposit", "wallet.min_transfer", "wallet.min_withdraw", "wallet.transfer_day", "wallet.withdraw_day",
  "wallet.four_eyes_above", "payout.four_eyes_above", "payout.minimum" }
for _, currency in ipairs { "IDR", "USD", "EUR" } do
  for _, key in ipairs(LIMITS) do SITE[key .. "." .. currency:lower()] = { type = "int", min = SITE[key].min, max = 1000000000000000 } end
end
local FIELD, SITE_INPUT = {}, {}
for key, rule in pairs(SITE) do
  local field = key:gsub("%.", "_"):lower()
  FIELD[field] = key
  SITE_INPUT[field] = { type = rule.type, min = rule.min, max = rule.max, values = rule.values, multiline = rule.multiline,
    keep_blank = rule.default == "", pattern = rule.pattern, hint = rule.hint }
end

local function show_site(ctx)
  local out = {}
  for field, key in pairs(FIELD) do out[field] = settings.get(key, SITE[key].default) end
  out.security_admin_totp_required = totp.admin_required()
  local function names(kind, list)
    for _, p in ipairs(registry.by_kind[kind] or {}) do list[#list + 1] = p.name end
    return json.array(list)
  end
  return ctx:ok { settings = out, affiliate_rules = names("affiliate", {}), rate_sources = names("rate", {}),
    tax_rules = names("tax", { "" }),
    payout_providers = json.array(payout.providers()),
    site_name = config.get("site_name", "PPV"), currency = payments.currency() }
end

local function save_site(ctx, input)
  local values = {}
  for field, key in pairs(FIELD) do if input[field] ~= nil then values[key] = input[field] end end
  for kind in pairs { affiliate = true, rate = true, tax = true } do
    local name = values[kind .. ".plugin"]
    local p = name and registry.by_name[name]
    local none = kind == "tax" and name == ""
    if name and not none and not (p and p.kind == kind) then return errors.invalid("there is no active " .. kind .. " plugin named " .. name) end
  end
  local tokens = values["rate.token_plugin"]
  if tokens and tokens ~= "" and not (registry.by_name[tokens] and registry.by_name[tokens].kind == "rate") then
    return errors.invalid("there is no active rate plugin named " .. tokens)
  end
  local payer = values["payout.provider"]
  if payer and payer ~= "" and not payout.provider(payer) then
    return errors.invalid("there is no active payment plugin named " .. payer .. " that can pay out")
  end
  local ok, err = db.tx(function(tx)
    local done, e = settings.set(tx, values, ctx.user.id)
    if not done then return nil, e end
    return audit.write(tx, ctx, "settings.site", "settings", values)
  end)
  settings.changed()
  if not ok then return nil, err end
  return show_site(ctx)
end

local switches = { default_provider = { type = "string", max = 40 } }
for _, name in ipairs(SWITCHES) do switches[name .. "_enabled"] = { type = "bool" } end

return { routes = {
  { method = "GET", path = "/admin/payment_settings", auth = "admin", summary = "Payment switches", handler = show },
  { method = "POST", path = "/admin/payment_settings", auth = "admin", step_up = true, summary = "Set payment switches", input = switches,
    handler = save },
  { method = "GET", path = "/admin/settings", auth = "admin", summary = "Site settings", handler = show_site },
  { method = "POST", path = "/admin/settings", auth = "admin", step_up = true, summary = "Set site settings", input = SITE_INPUT,
    handler = save_site },
} }
