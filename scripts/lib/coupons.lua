-- SPDX-License-Identifier: Apache-2.0
-- Coupons at the checkout. The server finds the discount; the ledger finds it again, under a lock, and takes no other.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local metrics = require "ppv.metrics"
local display = require "lib.display"
local errors = require "lib.errors"
local rate = require "lib.rate"

local M = {}
-- Wrong codes from one address; a right one costs nothing.
local GUESSES = { count = 30, seconds = 3600 }

local function ask(ctx, video, code, price, currency)
  local row, err = db.one("select ppv_coupon_quote($1, $2::uuid, $3, $4, $5)::text as r", ctx.user and ctx.user.id, video, code, price, currency)
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
  local r, err = ask(ctx, v.id, code, v.price, v.currency)
  if not r then return nil, err end
  v.what = v.what or {}
  v.what.coupon, v.what.discount = r.coupon, r.discount
  v.price = v.price - r.discount
  if v.price <= 0 then return errors.fail("coupon.free", "With this code nothing is left to pay.", { status = 409 }) end
  return true
end

function M.quote(ctx, input)
  local v, err = db.read_one([[select price, currency::text as currency from videos where id = $1::uuid and state <> 'deleted'
    and visibility = 'published' and price > 0]], input.video_id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  local r
  r, err = ask(ctx, input.video_id, input.code, v.price, v.currency)
  if not r then return nil, err end
  return ctx:ok { code = input.code:upper(), discount_cents = r.discount, price_cents = r.price, currency = r.currency, free = r.price == 0,
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
