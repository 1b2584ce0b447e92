-- SPDX-License-Identifier: Apache-2.0
-- What a sale freezes before money moves, whoever the buyer pays with: consent, taxes, platform fee, commission.
local money = require "ppv.money"
local affiliate = require "lib.affiliate"
local consent = require "lib.consent"
local payments = require "lib.payments"
local tax = require "lib.tax"

local M = {}

-- v: id, owner_id, price (minor units), currency, and agreed and program when they are known (offers.title); gets `net`, the price
-- without taxes. method: 'wallet' or a provider; code: the affiliate's name or nil. -> {fee_bp, lines, pct, rule, tax = {lines, total,
-- rule, json}} | nil, err (consent.*, tax.*). Yields.
function M.of(ctx, v, method, code)
  local agreed, err = consent.check(ctx.user.id, v.id, v.agreed)
  if not agreed then return nil, err end
  local q = { fee_bp = payments.fee_bp(), tax = { total = 0, lines = {} } }
  if v.price > 0 then
    q.tax, err = tax.quote { video = v.id, price = v.price, currency = v.currency, creator = v.owner_id, buyer = ctx.user.id,
      method = method, country = tax.country(ctx, agreed.country) }
    if not q.tax then return nil, err end
  end
  v.net = v.price - q.tax.total
  local split
  split, err = money.split(v.net, q.fee_bp, 0)
  if not split then return nil, err end
  q.lines, q.pct, q.rule = affiliate.quote(ctx, v, ctx.user.id, code, split)
  if not q.lines then return nil, q.pct end
  return q
end

return M
