-- SPDX-License-Identifier: Apache-2.0
-- Commissions that were refused or wait for a decision: for the affiliate to read, for administrators to decide.
local db = require "ppv.db"
local json = require "ppv.json"
local display = require "lib.display"
local iso = require "lib.iso"

-- Refused before the sale (no commission), or paid and then waiting, given free, or given back to the creator.
local ROWS = [[(
  select null::bigint as commission_id, 'refused' as state, f.why, ppv_affiliate_why(f.why) as reason, f.would as amount, f.created_at as at,
    f.affiliate_id, o.id as order_id, '' as note from commission_refusals f join orders o on o.id = f.order_id
  union all
  select r.commission_id, r.state, r.why, ppv_affiliate_why(r.why), c.amount, r.created_at, c.affiliate_id, c.order_id, r.note
    from commission_reviews r join commissions c on c.id = r.commission_id) x
  join orders o on o.id = x.order_id join videos v on v.id = o.video_id join users a on a.id = x.affiliate_id
  join users b on b.id = o.buyer_id join users m on m.id = o.creator_id ]]
local COLUMNS = [[select x.commission_id, x.state, x.why, x.reason, x.amount, x.note, o.currency::text as currency, o.uid::text as order_uid,
  o.price, v.title as video_title, v.id::text as video_id, ]] .. iso "x.at" .. [[ as created_at, a.username::text as affiliate_username,
  m.username::text as owner_username, b.username::text as buyer_username from ]] .. ROWS

local function list(where, order, ...)
  local rows, err = db.read(COLUMNS .. where .. order, ...)
  if not rows then return nil, err end
  for _, r in ipairs(rows) do r.amount_display = r.amount and display.money(r.amount, r.currency) or "" end
  return json.array(rows)
end

-- The affiliate sees who is concerned only by the sale: not the buyer's name beside a suspicion.
local function mine(ctx, input)
  local rows, err = list("where x.affiliate_id = $1", " order by x.at desc limit $2", ctx.user.id, input.limit)
  if not rows then return nil, err end
  for _, r in ipairs(rows) do r.buyer_username = nil end
  return ctx:ok { items = rows }
end

local function all(ctx, input)
  local rows, err = list("where ($1::text is null or x.state = $1)", " order by x.state = 'open' desc, x.at desc limit $2", input.state, input.limit)
  if not rows then return nil, err end
  return ctx:ok { items = rows }
end

local function decide(ctx, input)
  local row, err = db.one("select ppv_commission_decide($1, $2, $3, $4)::text as r", ctx.user.id, input.id, input.decision, input.note)
  if not row then return nil, err end
  local r = json.decode(row.r)
  return ctx:ok { state = r.state, amount_cents = r.amount, amount_display = display.money(r.amount, r.currency) }
end

local LIMIT = { type = "int", min = 1, max = 500, default = 100 }
return { routes = {
  { method = "GET", path = "/api/affiliate/refused", auth = "user", summary = "My commissions that were refused or wait, and why",
    input = { limit = LIMIT }, handler = mine },
  { method = "GET", path = "/admin/affiliate/reviews", auth = "admin", summary = "Commissions refused or waiting for a decision",
    input = { limit = LIMIT, state = { type = "enum", values = { "open", "released", "refused" } } }, handler = all },
  { method = "POST", path = "/admin/affiliate/reviews/:id", auth = "admin", step_up = true, summary = "Release or refuse a commission",
    input = { id = { type = "int", min = 1, required = true }, decision = { type = "enum", values = { "release", "refuse" }, required = true },
      note = { type = "string", max = 500, default = "" } }, handler = decide },
} }
