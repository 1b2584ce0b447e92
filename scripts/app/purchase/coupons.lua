-- SPDX-License-Identifier: Apache-2.0
-- Coupons as their makers see them: a creator those of the own titles, an administrator those of the whole site as well.
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local coupons = require "lib.coupons"
local csv = require "lib.csv"
local display = require "lib.display"
local errors = require "lib.errors"
local iso = require "lib.iso"
local offers = require "lib.offers"
local page = require "lib.page"
local payments = require "lib.payments"

local COLUMNS = [[c.id, c.code::text as code, c.percent_bp, c.amount as amount_cents, c.currency::text as currency, c.max_uses, c.max_per_buyer,
  c.min_price as min_price_cents, c.note, c.disabled_at is null as active, u.username::text as owner, ]] .. iso "c.starts_at" .. " as starts_at, "
  .. iso "c.ends_at" .. " as ends_at, " .. iso "c.created_at" .. [[ as created_at,
  (select count(*) from coupon_uses x where x.coupon_id = c.id and x.state = 'redeemed') as redeemed,
  (select count(*) from coupon_uses x where x.coupon_id = c.id and x.state = 'reserved') as reserved,
  (select coalesce(jsonb_agg(jsonb_build_object('id', v.id, 'title', v.title) order by v.title), '[]')::text
    from coupon_videos i join videos v on v.id = i.video_id where i.coupon_id = c.id) as videos
  from coupons c left join users u on u.id = c.owner_id where ]]

local function shown(rows)
  for _, r in ipairs(rows) do
    r.videos = json.array(json.decode(r.videos))
    r.off_display = r.percent_bp and ("%g %%"):format(r.percent_bp / 100) or display.money(r.amount_cents, r.currency)
  end
  return json.array(rows)
end

local function mine(ctx)
  local rows, err = db.read("select " .. COLUMNS .. "c.owner_id = $1 order by c.id desc limit 500", ctx.user.id)
  if not rows then return nil, err end
  return ctx:ok { items = shown(rows) }
end

local function all(ctx)
  local rows, err = db.read("select " .. COLUMNS .. "true order by c.id desc limit 500")
  if not rows then return nil, err end
  return ctx:ok { items = shown(rows) }
end

-- owner: whose titles, nil = the whole site.
local function add(ctx, input, owner)
  if (input.percent_bp == nil) == (input.amount_cents == nil) then
    return errors.invalid("Say either how many percent or which amount is taken off.", { field = "percent_bp" })
  end
  if input.ends_at and input.ends_at <= math.max(input.starts_at or 0, ctx.now) then
    return errors.invalid("The end must be later than now and than the start.", { field = "ends_at" })
  end
  local currency = (input.amount_cents or input.min_price_cents) and payments.currency() or nil
  local id, err = db.tx(function(tx)
    local row, e = tx.one([[insert into coupons (owner_id, code, percent_bp, amount, currency, max_uses, max_per_buyer, min_price, starts_at, ends_at,
      note, created_by) values ($1, $2, $3, $4, $5, $6, $7, $8, coalesce(to_timestamp($9), now()), to_timestamp($10), $11, $12)
      on conflict (owner_id, code) do nothing returning id]], owner, input.code:upper(), input.percent_bp, input.amount_cents, currency, input.max_uses,
      input.max_per_buyer, input.min_price_cents, input.starts_at, input.ends_at, input.note, ctx.user.id)
    if row == nil then return nil, e end
    if not row then return errors.fail("coupon.taken", "You have a coupon with this code already.", { field = "code" }) end
    for _, video in ipairs(input.video_ids or {}) do
      local n
      n, e = tx.exec([[insert into coupon_videos (coupon_id, video_id) select $1, id from videos where id::text = $2
        and ($3::bigint is null or owner_id = $3) and state <> 'deleted' on conflict do nothing]], row.id, tostring(video), owner)
      if not n then return nil, e end
      if n == 0 then return errors.fail("video.not_yours", "This video does not exist or is not yours.") end
    end
    local ok
    ok, e = audit.write(tx, ctx, "coupon.add", ("coupon:%.0f"):format(row.id), { code = input.code:upper(), site = owner == nil })
    if not ok then return nil, e end
    return row.id
  end)
  if not id then return nil, err end
  return ctx:ok({ id = id }, 201)
end

local function off(ctx, input, where, owner)
  local ok, err = db.tx(function(tx)
    local n, e = tx.exec("update coupons set disabled_at = now() where id = $1 and disabled_at is null and " .. where, input.id, owner)
    if not n then return nil, e end
    if n == 0 then return errors.not_found("coupon") end
    return audit.write(tx, ctx, "coupon.off", ("coupon:%.0f"):format(input.id))
  end)
  if not ok then return nil, err end
  return ctx:ok()
end

local USES = [[select x.id, c.code::text as code, v.title, x.discount as discount_cents, x.currency::text as currency, x.state,
  o.uid::text as order_id, o.price as paid_cents, u.username::text as buyer, ]] .. iso "x.created_at" .. [[ as created_at
  from coupon_uses x join coupons c on c.id = x.coupon_id join videos v on v.id = x.video_id join users u on u.id = x.buyer_id
  left join orders o on o.id = x.order_id where x.coupon_id = $1 and (c.owner_id = $2 or $2::bigint is null)
  and ($3::bigint is null or x.id < $3) order by x.id desc limit $4]]

local function uses(ctx, input, owner)
  local after, err = page.read("coupon", input.cursor, 1)
  if err then return nil, err end
  local rows, next_cursor
  rows, err = db.read(USES, input.id, owner, after and after[1], input.limit + 1)
  if not rows then return nil, err end
  rows, next_cursor = page.cut(rows, input.limit, "coupon", function(r) return { r.id } end)
  for _, r in ipairs(rows) do r.discount_display = display.money(r.discount_cents, r.currency) end
  return ctx:ok { items = json.array(rows), next_cursor = next_cursor or json.null }
end

local function file(ctx, input, owner)
  local rows, err = db.read(USES, input.id, owner, nil, 100000)
  if not rows then return nil, err end
  local out = csv.new { "created_at", "code", "title", "buyer", "state", "discount_cents", "paid_cents", "currency", "order_id" }
  for _, r in ipairs(rows) do
    out:row { r.created_at, r.code, r.title, r.buyer, r.state, r.discount_cents, r.paid_cents, r.currency, r.order_id }
  end
  return out:answer "coupon.csv"
end

local CODE = { type = "string", min = 3, max = 40, pattern = "^%w[%w_-]+$", hint = "may contain letters, digits, - and _", required = true }
local COUNT = { type = "int", min = 1, max = 1000000 }
local CENTS = { type = "int", min = 1, max = 1000000000000 }
local NEW = { code = CODE, percent_bp = { type = "int", min = 1, max = 10000 }, amount_cents = CENTS, max_uses = COUNT, max_per_buyer = COUNT,
  min_price_cents = CENTS, starts_at = { type = "int", min = 0, max = 4102444800 }, ends_at = { type = "int", min = 0, max = 4102444800 },
  note = { type = "string", max = 200, default = "" }, video_ids = { type = "object" } }
local ID = { id = { type = "int", min = 1, required = true } }
local PAGE = page.input(50, 200)
PAGE.id = ID.id

return { routes = {
  { method = "POST", path = "/api/coupon", auth = "public", rate = "30/5m", summary = "What a code takes off a price", handler = coupons.quote,
    input = { video_id = { type = "uuid", required = true }, code = CODE, offer = offers.INPUT.offer, currency = offers.INPUT.currency } },
  { method = "POST", path = "/api/pay/free", auth = "user", guest = true, rate = "30/5m", summary = "Get a video that a code makes free",
    handler = coupons.free, input = { video_id = { type = "uuid", required = true }, code = CODE } },
  { method = "GET", path = "/api/creator/coupons", auth = "user", summary = "The coupons of my videos", handler = mine },
  { method = "POST", path = "/api/creator/coupons", auth = "user", rate = "60/h", summary = "Make a coupon for my videos", input = NEW,
    handler = function(ctx, input) return add(ctx, input, ctx.user.id) end },
  { method = "POST", path = "/api/creator/coupons/:id/off", auth = "user", rate = "60/m", summary = "Switch a coupon off", input = ID,
    handler = function(ctx, input) return off(ctx, input, "owner_id = $2", ctx.user.id) end },
  { method = "GET", path = "/api/creator/coupons/:id/uses", auth = "user", summary = "Who used it", input = PAGE,
    handler = function(ctx, input) return uses(ctx, input, ctx.user.id) end },
  { method = "GET", path = "/api/creator/coupons/:id/uses.csv", auth = "user", rate = "30/m", summary = "The same as a file", input = ID,
    handler = function(ctx, input) return file(ctx, input, ctx.user.id) end },
  { method = "GET", path = "/admin/coupons", auth = "admin", summary = "All coupons", handler = all },
  { method = "POST", path = "/admin/coupons", auth = "admin", step_up = true, summary = "Make a coupon for every video of the site", input = NEW,
    handler = function(ctx, input) return add(ctx, input, nil) end },
  { method = "POST", path = "/admin/coupons/:id/off", auth = "admin", step_up = true, summary = "Switch any coupon off", input = ID,
    handler = function(ctx, input) return off(ctx, input, "$2::bigint is null", nil) end },
  { method = "GET", path = "/admin/coupons/:id/uses.csv", auth = "admin", rate = "30/m", summary = "Who used it, as a file", input = ID,
    handler = function(ctx, input) return file(ctx, input, nil) end },
} }
