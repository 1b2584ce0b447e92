-- SPDX-License-Identifier: Apache-2.0
-- Coupons at the checkout. The server finds the discount; the ledger finds it again, under a lock, and takes no other.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local metrics = require "ppv.metrics"
local display = require "lib.display"
local errors = require "lib.errors"
local offers = require "lib.offers"
local rate = require "lib.rate"

local M = {}
-- Wrong codes from one address; a right one costs nothing.
local GUESSES = { count = 30, seconds = 3600 }

local function ask(ctx, video, code, price, currency, offer)
  local row, err = db.one("select ppv_coupon_quote($1, $2::uuid, $3, $4, $5, $6)::text as r", ctx.user and ctx.user.id, video, code, price, currency,
    offer or "purchase")
  if row then return json.decode(row.r) end
  if errors.is(err, "coupon.unknown") then
    local ok, slow = rate.hit("coupon_guess", crypto.sha256(rate.address(ctx.ip), "hex"), GUESSES)
    if not ok then return nil, slow end
  end
  return nil, err
end

-- Takes the code's discount off v.price and notes it in v.what for the ledger. v: row of the title with price and currency of what is
-- bought; without a code nothing happens. true | nil, err (coupon.*). Yields.
function M.apply(ctx, v, code)
  if not code then return true end
  local r, err = ask(ctx, v.id, code, v.price, v.currency, v.what and v.what.offer)
  if not r then return nil, err end
  v.what = v.what or {}
  v.what.coupon, v.what.discount = r.coupon, r.discount
  v.price = v.price - r.discount
  if v.price <= 0 then return errors.fail("coupon.free", "With this code nothing is left to pay.", { status = 409 }) end
  return true
end

-- What a code takes off an offer, in one of the currencies it has a price in (the offer's own, unless the buyer sees another).
function M.quote(ctx, input)
  local list, err = offers.of(input.video_id)
  if not list then return nil, err end
  local o
  for _, x in ipairs(list) do if x.offer == input.offer then o = x end end
  if not o then return errors.fail("offer.gone", "This offer is not available any more.") end
  local currency = o.prices[input.currency] and input.currency or o.currency
  local r
  r, err = ask(ctx, input.video_id, input.code, o.prices[currency], currency, o.offer)
  if not r then return nil, err end
  if r.price == 0 and o.offer ~= "purchase" then
    return errors.fail("coupon.free", "This code takes the whole price; use it for the title for good.", { status = 409 })
  end
  return ctx:ok { code = input.code:upper(), offer = o.offer, discount_cents = r.discount, price_cents = r.price, currency = r.currency, free = r.price == 0,
    discount_display = display.money(r.discount, r.currency), price_display = display.money(r.price, r.currency) }
end

function M.free(ctx, input)
  local row, err = db.one("select ppv_coupon_free($1, $2::uuid, $3)::text as r", ctx.user.id, input.video_id, input.code)
  if not row then return nil, err end
  metrics.count("free_sales_total", 1)
  return ctx:ok { video_id = input.video_id, message = "Enjoy the video." }
end

M.FIELD = { type = "string", min = 3, max = 40, pattern = "^%w[%w_-]+$" }

return M
