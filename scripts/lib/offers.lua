-- SPDX-License-Identifier: Apache-2.0
-- What a title can be bought as, in which currency, and what a provider charges for it. A client names an offer, never a price: the
-- price is the creator's number in a currency of the list, chosen by who buys and what can be paid in.
local db = require "ppv.db"
local json = require "ppv.json"
local money = require "ppv.money"
local consent = require "lib.consent"
local errors = require "lib.errors"
local payments = require "lib.payments"
local rates = require "lib.rates"
local settings = require "lib.settings"
local tax = require "lib.tax"

local M = { MAX = 1000000000000, COOKIE = "ppv_currency" }

-- Currency of a country where it is not the title's own.
local COUNTRY = { ID = "IDR", US = "USD" }
-- Charges are whole steps of minor units: nobody is asked for half a rupiah.
M.STEP = { IDR = 100 }

-- Everything a purchase needs to know of a title, in one statement. offers, prices and consents are asked for one row each: most titles
-- have one price, and an index says so.
local TITLE = [[select v.id::text as id, v.owner_id, v.title, v.price, v.currency::text as currency, t.pct, t.enabled, t.inherited,
  exists (select from offers f where f.creator_id = v.owner_id and f.active) or exists (select from prices p where p.video_id = v.id) as more,
  (select c.country from consents c where c.user_id = $2 and c.video_id = v.id and c.created_at > now() - interval '1 day'
    order by c.id desc limit 1) as country
  from videos v join affiliate_terms t on t.video_id = v.id where v.id = $1::uuid and v.state <> 'deleted']]

local plain, plain_n, PLAIN_MAX = {}, 0, 1000 -- titles that were plain when they were last looked at

-- A title that is about to be bought by ctx.user: {id, owner_id, title, price, currency, offers (as M.of has them; empty when only the title
-- itself is sold, for its one price), program {pct, enabled, inherited, owner_id}, agreed ({country} of the buyer's consent of the last day,
-- or false)}, for `pick` and quote.of | nil, err. Yields.
function M.title(ctx, id)
  local v, err = db.read_one(TITLE, id, ctx.user.id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  v.program = { pct = v.pct, enabled = v.enabled, inherited = v.inherited, owner_id = v.owner_id }
  v.agreed = v.country and { country = v.country } or false
  v.offers, err = {}, nil
  if v.more then v.offers, err = M.of(v.id) end
  if not v.offers then return nil, err end
  if not v.more and not (v.enabled and v.pct > 0) then
    if plain_n >= PLAIN_MAX then plain, plain_n = {}, 0 end
    if not plain[id] then plain_n = plain_n + 1 end
    plain[id] = { owner_id = v.owner_id, price = v.price, currency = v.currency }
  end
  return v
end

-- As M.title, without asking, of a title that was plain when it was last looked at: only for good, one price, no programme. The ledger looks
-- whether it still is (what.plain) and else refuses with sale.look_again or sale.price_changed; then M.title says what holds. nil = ask.
function M.plain(input)
  local known = plain[input.video_id]
  if not known or input.coupon or input.gift or (input.offer or "purchase") ~= "purchase" or consent.required()
     or settings.get("tax.plugin", "") ~= "" then
    return nil
  end
  return { id = input.video_id, owner_id = known.owner_id, price = known.price, currency = known.currency, offers = {}, agreed = false,
    program = { enabled = false, pct = 0 }, plain = true }
end

-- The offers of a title: {offer, kind, title, price, currency, window_h, play_h, prices = {currency = amount} (all of them), videos, owned}.
-- user: id or nil. Yields.
function M.of(video, user)
  local rows, err = db.read([[select offer, kind, title, price, currency, window_h, play_h, prices::text as prices, videos::text as videos, owned
    from ppv_offers($1::uuid, $2)]], video, user)
  if not rows then return nil, err end
  for _, o in ipairs(rows) do
    o.prices, o.videos = json.decode(o.prices), json.decode(o.videos)
    o.prices[o.currency] = o.price
  end
  return rows
end

-- The currency that prices are shown in: what the buyer chose (in the account, or before in this browser), else his country's; nil = the
-- title's own. Yields.
function M.currency(ctx)
  if ctx.user then
    local row, err = db.read_one("select currency::text as currency from users where id = $1", ctx.user.id)
    if row == nil then return nil, err end
    if row and row.currency then return row.currency end
  end
  local chosen = ctx:cookies()[M.COOKIE]
  if chosen and money.exponent(chosen) then return chosen end
  return COUNTRY[tax.country(ctx)]
end

-- The first currency of the offer that can be paid in: the wished one, its own, the site's, any. currency, price | nil
function M.price(o, wished, can)
  local others = {}
  for c in pairs(o.prices) do others[#others + 1] = c end
  table.sort(others)
  for _, c in ipairs { wished or o.currency, o.currency, payments.currency(), unpack(others) } do
    if o.prices[c] and can(c, o.prices[c]) then return c, o.prices[c] end
  end
  return nil
end

-- Rate between two currencies in either direction. rate, inverse | nil, err
local function rate_of(from, to)
  local r, err = rates.current(from, to)
  if r then return r, false end
  local back, why = rates.current(to, from)
  if back then return back, true end
  return nil, errors.is(why, "rate.stale") and why or err
end

-- What a provider that takes none of the offer's currencies charges: {charge, currency, fx} of the own price at the rate in force, rounded
-- up. nil, err: rate.stale and the like, payment.currency. Yields.
local function converted(o, wished, p)
  local problem
  for _, c in ipairs { wished or "USD", "USD", "IDR", p.currencies[1] } do
    if payments.takes(p, c) and money.exponent(c) then
      local r, inverse = rate_of(o.currency, c)
      if r then
        local row, err = db.read_one("select ppv_fx_charge($1, $2, $3, $4::numeric, $5, $6) as n", o.price, money.exponent(o.currency),
          money.exponent(c), r.rate, inverse, M.STEP[c] or 1)
        if not row then return nil, err end
        return { charge = row.n, currency = c, fx = { rate = r.rate, source = r.source, at = r.at, base = inverse and c or o.currency,
          quote = inverse and o.currency or c } }
      end
      problem = problem or inverse
    end
  end
  if problem and (errors.is(problem, "rate.stale") or errors.is(problem, "rate.unset")) then return nil, problem end
  return errors.fail("payment.currency", ("%s cannot take payments in %s."):format(p.display_name, o.currency))
end

-- Terms with a provider of payments.providers(): {price, currency, charge, charge_currency, fx?} | nil, err. Yields.
function M.with(o, wished, p)
  local c, price = M.price(o, wished, function(c) return payments.takes(p, c) end)
  if c then return { price = price, currency = c, charge = price, charge_currency = c } end
  local x, err = converted(o, wished, p)
  if not x then return nil, err end
  return { price = o.price, currency = o.currency, charge = x.charge, charge_currency = x.currency, fx = x.fx }
end

-- What the provider charges for another price on the same terms, which a coupon has lowered. Yields.
function M.charge(t, price)
  if not t.fx or price == t.price then return t.fx and t.charge or price end
  local row, err = db.read_one("select ppv_fx_charge($1, $2, $3, $4::numeric, $5, $6) as n", price, money.exponent(t.currency),
    money.exponent(t.charge_currency), t.fx.rate, t.fx.base == t.charge_currency, M.STEP[t.charge_currency] or 1)
  if not row then return nil, err end
  return row.n
end

-- What can be spent, by currency. Yields.
function M.balances(user)
  local rows, err = db.read([[select currency::text as currency, balance - held as free from ledger_accounts
    where kind = 'user' and name = 'wallet' and owner_id = $1]], user)
  if not rows then return nil, err end
  local out = {}
  for _, r in ipairs(rows) do out[r.currency] = r.free end
  return out
end

-- Terms with the wallet: a currency in which it covers the price, else the one in which it could.
function M.by_wallet(o, wished, balances)
  local c, price = M.price(o, wished, function(cur, n) return (balances[cur] or 0) >= n end)
  if not c then c, price = M.price(o, payments.currency(), function() return true end) end
  return { price = price, currency = c, charge = price, charge_currency = c }
end

-- How an offer is paid for: with a provider, or from the wallet (p = nil). Most have one price, and nothing is to choose. Yields.
local function terms(ctx, o, p)
  local one = next(o.prices, next(o.prices)) == nil
  if one and (not p or payments.takes(p, o.currency)) then
    return { price = o.price, currency = o.currency, charge = o.price, charge_currency = o.currency }
  end
  local wished, err = M.currency(ctx)
  if err then return nil, err end
  if p then return M.with(o, wished, p) end
  local have
  have, err = M.balances(ctx.user.id)
  if not have then return nil, err end
  return M.by_wallet(o, wished, have)
end

-- The offer that is bought. v: of M.title; gets price and currency of the sale, `what` for the ledger, and `asked`, the price that
-- the ledger compares: 0 (= refused there, after the replay of a known request) when the buyer saw another one. input: offer, price_cents?,
-- currency? (of that price). p: the provider, or nil = the wallet. -> terms | nil, err. Yields.
function M.pick(ctx, v, input, p)
  local o, wanted = nil, input.offer or "purchase"
  for _, x in ipairs(v.offers) do if x.offer == wanted then o = x end end
  if not o and wanted ~= "purchase" then return errors.fail("offer.gone", "This offer is not available any more.") end
  o = o or { price = v.price, currency = v.currency, prices = { [v.currency] = v.price } } -- its one price; a free title is refused by the ledger
  local t, err = terms(ctx, o, p)
  if not t then return nil, err end
  v.price, v.currency, v.what = t.price, t.currency, { offer = wanted, currency = t.currency, plain = v.plain }
  v.asked = input.price_cents and input.price_cents ~= o.prices[input.currency or o.currency] and 0 or t.price
  return t
end

-- Fields of every request that buys.
M.INPUT = { offer = { type = "string", max = 36, pattern = "^[%w-]+$", default = "purchase" },
  currency = { type = "string", max = 3, pattern = "^%u%u%u$" } }

return M
