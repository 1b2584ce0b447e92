-- SPDX-License-Identifier: Apache-2.0
-- A dry run: what another rule, other settings of it or another percentage would have made of past sales. Reads only.
local db = require "ppv.db"
local json = require "ppv.json"
local affiliate = require "lib.affiliate"
local errors = require "lib.errors"
local host = require "ppv.host"
local iso = require "lib.iso"
local registry = require "lib.registry"
local settings = require "lib.settings"

local M = { MAX = 20000 }
local PAGE = 500

-- Past sales newest first, with what the rule was told then. What a commission was refused for would be refused again.
local SALES = [[select o.id, o.uid::text as order_uid, o.video_id::text as video, o.price - o.taxes as amount, o.currency::text as currency, o.platform as fee,
  o.creator + o.commission as creator_share, coalesce(o.commission_pct, 0) as pct, o.buyer_id as buyer, o.creator_id as creator, o.commission as old,
  v.title, ]] .. iso "o.paid_at" .. [[ as paid_at,
  (select (l ->> 'to')::bigint from jsonb_array_elements(o.payees) l where l -> 'direct' = 'true' and l -> 'refused' is null limit 1) as direct,
  (select c.affiliate_id from commissions c where c.buyer_id = o.buyer_id and c.order_id < o.id order by c.id limit 1) as first,
  not exists (select from orders e where e.buyer_id = o.buyer_id and e.paid_at < o.paid_at) as new_buyer
  from orders o join videos v on v.id = o.video_id
  where o.paid_at > now() - make_interval(days => $1::int) and ($2::bigint is null or o.id < $2) order by o.id desc limit $3]]

-- The sale as the rule sees it. pct: nil = as it was then.
local function sale_of(row, pct)
  local direct = row.direct and row.direct ~= row.buyer and row.direct ~= row.creator and row.direct or nil
  local first = row.first and row.first ~= row.buyer and row.first ~= row.creator and row.first or nil
  return affiliate.sale { video = row.video, amount = row.amount, currency = row.currency, fee = row.fee, creator_share = row.creator_share,
    pct = pct or row.pct, buyer = row.buyer, creator = row.creator, direct = direct, first = first, new_buyer = row.new_buyer }
end

local function tally(out, row, lines, why)
  local new = 0
  for _, l in ipairs(lines or {}) do new = new + l.amount end
  local t = out.totals[row.currency] or { currency = row.currency, sales = 0, old = 0, new = 0, changed = 0, errors = 0 }
  out.totals[row.currency] = t
  t.sales, t.old, t.new = t.sales + 1, t.old + row.old, t.new + new
  if why then t.errors = t.errors + 1 end
  if new ~= row.old then t.changed = t.changed + 1 end
  if (why or new ~= row.old) and #out.items < out.keep then
    out.items[#out.items + 1] = { order_uid = row.order_uid, title = row.title, paid_at = row.paid_at, currency = row.currency, price = row.amount,
      old = row.old, new = new, lines = json.array(lines or {}), error = why }
  end
end

-- o: rule (a plugin's name), settings (of the rule; others as stored), pct (nil = as each sale had it), days, keep (items at most).
-- -> {rule, totals = list by currency {currency, sales, old, new, changed, errors}, items {order_uid, title, old, new, lines, error}, cut}
-- | nil, err. Yields between pages of sales.
function M.run(o)
  local p = registry.by_name[o.rule]
  if not p or p.kind ~= "affiliate" then return errors.invalid("there is no active affiliate plugin named " .. tostring(o.rule)) end
  local values, err = settings.plugin(p.manifest)
  if not values then return nil, err end
  local own
  own, err = registry.values(p.manifest, o.settings or {})
  if not own then return nil, err end
  for k, v in pairs(own) do values[k] = v end
  values = host.readonly(values)
  local out, after, n = { rule = p.name, totals = {}, items = {}, keep = o.keep or 200, cut = false }, nil, 0
  repeat
    local rows
    rows, err = db.read(SALES, o.days, after, PAGE)
    if not rows then return nil, err end
    for _, row in ipairs(rows) do
      local sale, lines, why = sale_of(row, o.pct), nil, nil
      if #sale.referrers > 0 and sale.pct > 0 then lines, why = affiliate.split(p, values, sale) end
      tally(out, row, lines, why)
      after, n = row.id, n + 1
    end
    if n >= M.MAX then out.cut = true end
  until #rows < PAGE or out.cut
  local totals = {}
  for _, t in pairs(out.totals) do totals[#totals + 1] = t end
  table.sort(totals, function(a, b) return a.currency < b.currency end)
  out.totals, out.keep = totals, nil
  return out
end

return M
