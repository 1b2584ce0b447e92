-- SPDX-License-Identifier: Apache-2.0
-- How a video can be paid for.
local db = require "ppv.db"
local json = require "ppv.json"
local chain = require "lib.chain"
local display = require "lib.display"
local errors = require "lib.errors"
local offers = require "lib.offers"
local payments = require "lib.payments"
local settings = require "lib.settings"
local sponsor = require "lib.sponsor"

local function find(id)
  local v, err = db.read_one([[select v.id::text as id, v.owner_id, v.price, v.currency::text as currency, v.state,
    u.wallet_account, u.wallet_chain_id from videos v join users u on u.id = v.owner_id
    where v.id = $1::uuid and v.state <> 'deleted' and v.visibility = 'published']], id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  return v
end

-- What can be paid with on chains now: [] while the plugin is switched off or has no chain.
local function tokens(list)
  for _, p in ipairs(list) do
    if p.on_chain and p.enabled then
      local rows, err = chain.tokens(p.environment)
      if not rows then return nil, err end
      local out, free = {}, sponsor.on() ~= false
      for i, t in ipairs(rows) do
        out[i] = { chain = t.name, chain_id = t.chain_id, symbol = t.symbol, decimals = t.decimals, erc20 = t.erc20 or json.null, testnet = t.testnet,
          contract = t.contract, explorer = t.explorer, fee_free = free and t.eip3009 }
      end
      return json.array(out)
    end
  end
  return json.array {}
end

local function options(ctx, input)
  local v, err = find(input.video_id)
  if not v then return nil, err end
  local list
  list, err = payments.providers()
  if list then list, err = tokens(list) end
  if not list then return nil, err end
  return ctx:ok { video_id = v.id, price_cents = v.price, currency = v.currency, creator_id = v.owner_id,
    creator_wallet = v.wallet_account or json.null, creator_chain_id = v.wallet_chain_id or json.null, tokens = list }
end

local function wallet_part(ctx, v, owner)
  local on = payments.enabled("wallet_payment") and not (ctx.user and ctx.user.guest)
  local out = { available = on, balance_cents = json.null, balance_display = json.null, can_afford = json.null }
  if not ctx.user or ctx.user.guest then return out end
  local row, err = db.read_one("select ppv_balance($1, $2)::text as b", ctx.user.id, v.currency)
  if not row then return nil, err end
  local b = json.decode(row.b)
  out.balance_cents, out.balance_display = b.available, display.money(b.available, v.currency)
  out.can_afford = on and not owner and b.available >= v.price
  return out
end

local function tag(amount, currency) return { price_cents = amount, currency = currency, price_display = display.money(amount, currency) } end

-- One offer as the page shows it: its price in the buyer's currency, and what the wallet and every provider would take.
local function shown(o, wished, balances, list)
  local c, price = offers.price(o, wished, function() return true end)
  local out = tag(price, c)
  out.offer, out.kind, out.title, out.owned = o.offer, o.kind, o.title, o.owned
  out.window_hours, out.play_hours, out.videos = o.window_h or json.null, o.play_h or json.null, json.array(o.videos)
  out.prices, out.methods = o.prices, {}
  if balances then
    local t = offers.by_wallet(o, wished, balances)
    local have = balances[t.currency] or 0
    out.wallet = tag(t.price, t.currency)
    out.wallet.balance_cents, out.wallet.balance_display = have, display.money(have, t.currency)
    out.wallet.can_afford = have >= t.price
  end
  for _, p in ipairs(list) do
    local t = p.enabled and not p.on_chain and offers.with(o, wished, p)
    if t then
      local m = tag(t.charge, t.charge_currency)
      m.provider, m.title, m.converted = p.provider, p.display_name, t.fx ~= nil
      out.methods[#out.methods + 1] = m
    end
  end
  out.methods = json.array(out.methods)
  return out
end

-- -> offers as the page shows them, providers that can take the title for good
local function all_offers(ctx, v, list)
  local rows, err = offers.of(v.id, ctx.user and ctx.user.id)
  if not rows then return nil, err end
  local wished, balances
  wished, err = offers.currency(ctx)
  if err then return nil, err end
  if ctx.user and not ctx.user.guest and payments.enabled("wallet_payment") then
    balances, err = offers.balances(ctx.user.id)
    if not balances then return nil, err end
  end
  local names = {}
  for i, o in ipairs(rows) do
    rows[i] = shown(o, wished, balances, list)
    if i == 1 then for _, m in ipairs(rows[i].methods) do names[#names + 1] = m.provider end end
  end
  return rows, names
end

local function all_options(ctx, input)
  local v, err = find(input.video_id)
  if not v then return nil, err end
  local owner = ctx.user ~= nil and ctx.user.id == v.owner_id
  local wallet, list, access
  wallet, err = wallet_part(ctx, v, owner)
  if not wallet then return nil, err end
  list, err = payments.providers()
  if not list then return nil, err end
  local rows, names = all_offers(ctx, v, list)
  if not rows then return nil, names end
  local methods = rows[1] and rows[1].methods or json.array {}
  local on_chain
  on_chain, err = tokens(list)
  if not on_chain then return nil, err end
  if ctx.user then
    access, err = db.read_one("select ppv_access($1, $2::uuid) as why", ctx.user.id, v.id)
    if not access then return nil, err end
  end
  local why = access and access.why
  return ctx:ok { video_id = v.id, price_cents = v.price, currency = v.currency, price_display = display.money(v.price, v.currency),
    is_owner = owner, guest = payments.enabled("guest"), access = why or json.null,
    already_purchased = why ~= nil and why ~= "free" and why ~= "owner" and why ~= "rental",
    offers = json.array(rows), wallet = wallet, x402 = { available = #on_chain > 0, tokens = on_chain },
    fiat = { available = #names > 0, providers = json.array(names), methods = json.array(methods) } }
end

local function providers(ctx)
  local list, err = payments.providers()
  if not list then return nil, err end
  local out = {}
  for i, p in ipairs(list) do
    out[i] = { provider = p.provider, display_name = p.display_name, configured = p.configured, environment = p.environment,
      api_base_url = p.api_base_url, supports_redirect_checkout = true, supports_webhook_confirmation = p.webhook,
      supports_manual_confirmation = false, supported_currencies = json.array(p.currencies),
      required_env = json.array(p.required), missing_env = json.array(p.missing), enabled = p.enabled }
  end
  return ctx:ok { default_provider = settings.get("payment.default_provider") or json.null, providers = json.array(out) }
end

local VIDEO = { video_id = { type = "uuid", required = true } }

return { routes = {
  { method = "GET", path = "/api/pay/options", auth = "public", rate = "300/m", summary = "On-chain payment options", input = VIDEO,
    handler = options },
  { method = "GET", path = "/api/pay/all_options", auth = "public", rate = "300/m", summary = "All payment options", input = VIDEO,
    handler = all_options },
  { method = "GET", path = "/api/pay/providers", auth = "public", rate = "120/m", summary = "Payment providers", handler = providers },
} }
