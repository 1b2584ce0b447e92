-- SPDX-License-Identifier: Apache-2.0
-- What a creator sells: rentals, excerpts for programs, bundles, price lists; and the currency a buyer wants to see.
local db = require "ppv.db"
local json = require "ppv.json"
local money = require "ppv.money"
local audit = require "lib.audit"
local display = require "lib.display"
local errors = require "lib.errors"
local offers = require "lib.offers"

local MAX_TITLES, MAX_PRICES = 50, 20

-- The title, locked, when it is the caller's. row | nil, err
local function own(tx, ctx, id)
  local v, err = tx.one([[select id::text as id, price, currency::text as currency from videos
    where id = $1::uuid and owner_id = $2 and state <> 'deleted' for update]], id, ctx.user.id)
  if v == nil then return nil, err end
  if not v then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
  return v
end

-- A price list as it was sent: {IDR = 7500000}; checked. nil when none was sent.
local function read_list(list, base)
  if not list then return nil end
  local n = 0
  for c, amount in pairs(list) do
    n = n + 1
    if type(c) ~= "string" or not c:find "^%u%u%u$" or not money.exponent(c) then
      return errors.invalid("A price needs a currency like USD or IDR.", { field = "prices" })
    end
    if c == base then return errors.invalid(("The price in %s is set above."):format(base), { field = "prices" }) end
    if type(amount) ~= "number" or amount ~= math.floor(amount) or amount < 1 or amount > offers.MAX then
      return errors.invalid(("The price in %s is not a valid amount."):format(c), { field = "prices" })
    end
    if amount % (offers.STEP[c] or 1) ~= 0 then
      return errors.invalid(("Prices in %s are whole."):format(c), { field = "prices" })
    end
  end
  if n > MAX_PRICES then return errors.invalid("Too many currencies.", { field = "prices" }) end
  return list
end

-- Replaces the list of a title (column "video_id") or an offer ("offer_id").
local function write_list(tx, column, id, list)
  if not list then return true end
  local cast = column == "video_id" and "uuid" or "bigint"
  local ok, err = tx.exec(("delete from prices where %s = $1::%s"):format(column, cast), id)
  if not ok then return nil, err end
  return tx.exec(([[insert into prices (%s, currency, amount) select $1::%s, key, value::bigint from jsonb_each_text($2::jsonb)]])
    :format(column, cast), id, json.encode(list))
end

local LISTED = [[coalesce((select jsonb_object_agg(p.currency, p.amount) from prices p where p.offer_id = f.id), '{}')::text as prices]]

local function bundles(ctx)
  local rows, err = db.query([[select f.uid::text as offer, f.title, f.price as price_cents, f.currency::text as currency, f.active, ]]
    .. LISTED .. [[, coalesce((select jsonb_agg(jsonb_build_object('id', v.id, 'title', v.title,
        'sold', v.state = 'ready' and v.visibility = 'published') order by i.pos)
      from offer_videos i join videos v on v.id = i.video_id where i.offer_id = f.id), '[]')::text as videos,
    (select count(*) from orders o where o.offer_id = f.id and o.paid_at is not null) as sales
    from offers f where f.creator_id = $1 and f.kind = 'bundle' order by f.id desc limit 200]], ctx.user.id)
  if not rows then return nil, err end
  for _, r in ipairs(rows) do
    r.prices, r.videos, r.price_display = json.decode(r.prices), json.array(json.decode(r.videos)), display.money(r.price_cents, r.currency)
  end
  return rows
end

-- What the page for editing a title needs.
local function mine(ctx, input)
  local v, err = db.one([[select id::text as id, price as price_cents, currency::text as currency, alone,
    coalesce((select jsonb_object_agg(p.currency, p.amount) from prices p where p.video_id = v.id), '{}')::text as prices
    from videos v where id = $1::uuid and owner_id = $2 and state <> 'deleted']], input.id, ctx.user.id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  local r, e, list, titles
  r, err = db.one([[select f.price as price_cents, f.currency::text as currency, f.window_h as window_hours, f.play_h as play_hours, f.active, ]] .. LISTED
    .. " from offers f where f.video_id = $1::uuid and f.kind = 'rental'", v.id)
  if r == nil then return nil, err end
  if r then r.prices = json.decode(r.prices) end
  e, err = db.one([[select price as price_cents, currency::text as currency, excerpt_s as seconds, active from offers
    where video_id = $1::uuid and kind = 'excerpt']], v.id)
  if e == nil then return nil, err end
  list, err = bundles(ctx)
  if not list then return nil, err end
  titles, err = db.query([[select id::text as id, title, price as price_cents from videos where owner_id = $1 and state = 'ready' and currency = $2
    and price > 0 order by id desc limit 500]], ctx.user.id, v.currency)
  if not titles then return nil, err end
  return ctx:ok { currency = v.currency, price_cents = v.price_cents, alone = v.alone, prices = json.decode(v.prices), rental = r or json.null,
    excerpt = e or json.null, bundles = json.array(list), titles = json.array(titles) }
end

local function set_prices(ctx, input)
  local done, err = db.tx(function(tx)
    local v, e = own(tx, ctx, input.video_id)
    if not v then return nil, e end
    local list
    list, e = read_list(input.prices, v.currency)
    if not list then return nil, e end
    local ok
    ok, e = write_list(tx, "video_id", v.id, list)
    if not ok then return nil, e end
    return audit.write(tx, ctx, "offer.prices", "video:" .. v.id, { prices = list })
  end)
  if not done then return nil, err end
  return ctx:ok { prices = input.prices }
end

-- Whether the title is sold for good by itself; else a rental or a bundle has to be there.
local function set_alone(ctx, input)
  local done, err = db.tx(function(tx)
    local v, e = own(tx, ctx, input.video_id)
    if not v then return nil, e end
    local other
    other, e = tx.one([[select 1 as yes from offers f where f.active and (f.kind = 'rental' and f.video_id = $1::uuid
      or f.kind = 'bundle' and exists (select from offer_videos m where m.offer_id = f.id and m.video_id = $1::uuid)) limit 1]], v.id)
    if other == nil then return nil, e end
    if not input.alone and not other then return errors.fail("offer.none", "Offer a rental or a bundle first.", { status = 409 }) end
    local ok
    ok, e = tx.exec("update videos set alone = $2 where id = $1::uuid", v.id, input.alone)
    if not ok then return nil, e end
    return audit.write(tx, ctx, "offer.alone", "video:" .. v.id, { alone = input.alone })
  end)
  if not done then return nil, err end
  return ctx:ok { alone = input.alone }
end

local function set_rental(ctx, input)
  local done, err = db.tx(function(tx)
    local v, e = own(tx, ctx, input.video_id)
    if not v then return nil, e end
    local list
    list, e = read_list(input.prices, v.currency)
    if e then return nil, e end
    local f
    f, e = tx.one([[insert into offers (creator_id, kind, video_id, price, currency, window_h, play_h, active)
      values ($1, 'rental', $2::uuid, $3, $4, $5, $6, $7) on conflict (video_id) where kind = 'rental' do update set creator_id = excluded.creator_id,
      price = excluded.price, currency = excluded.currency, window_h = excluded.window_h, play_h = excluded.play_h, active = excluded.active
      returning id]], ctx.user.id, v.id, input.price_cents, v.currency, input.window_hours, input.play_hours, input.active)
    if not f then return nil, e end
    local ok
    ok, e = write_list(tx, "offer_id", f.id, list)
    if not ok then return nil, e end
    return audit.write(tx, ctx, "offer.rental", "video:" .. v.id, { price = input.price_cents, window_h = input.window_hours,
      play_h = input.play_hours, active = input.active })
  end)
  if not done then return nil, err end
  return ctx:ok { active = input.active }
end

-- The first minutes of a title, for programs that pay with x402; every further one adds as much. At most half of the film.
local function set_excerpt(ctx, input)
  local done, err = db.tx(function(tx)
    local v, e = own(tx, ctx, input.video_id)
    if not v then return nil, e end
    local f
    f, e = tx.one([[insert into offers (creator_id, kind, video_id, price, currency, excerpt_s, active)
      select $1, 'excerpt', id, $3, currency, $4, $5 from videos where id = $2::uuid and (not $5 or $4 * 2000 <= coalesce(duration_ms, 0))
      on conflict (video_id) where kind = 'excerpt' do update set creator_id = excluded.creator_id, price = excluded.price,
      currency = excluded.currency, excerpt_s = excluded.excerpt_s, active = excluded.active returning id]],
      ctx.user.id, v.id, input.price_cents, input.seconds, input.active)
    if f == nil then return nil, e end
    if not f then return errors.invalid("An excerpt is at most half of the film.", { field = "seconds" }) end
    return audit.write(tx, ctx, "offer.excerpt", "video:" .. v.id, { price = input.price_cents, seconds = input.seconds, active = input.active })
  end)
  if not done then return nil, err end
  return ctx:ok { active = input.active }
end

-- The titles of a bundle, in their order: all the caller's own, for sale in one currency. their currency | nil, err
local function read_titles(tx, ctx, list)
  local seen = {}
  for _, id in ipairs(list) do
    if type(id) ~= "string" or not id:find "^%x+%-%x+%-%x+%-%x+%-%x+$" or #id ~= 36 or seen[id] then
      return errors.invalid("Choose each title once.", { field = "videos" })
    end
    seen[id] = true
  end
  if #list < 2 or #list > MAX_TITLES then
    return errors.invalid(("A bundle has 2 to %d titles."):format(MAX_TITLES), { field = "videos" })
  end
  local row, err = tx.one([[select count(*) as n, count(distinct currency) as currencies, min(currency)::text as currency from videos
    where id = any (select jsonb_array_elements_text($1::jsonb)::uuid) and owner_id = $2 and state = 'ready' and price > 0]],
    json.encode(json.array(list)), ctx.user.id)
  if not row then return nil, err end
  if row.n ~= #list then return errors.invalid("A bundle holds your own titles that are ready and not free.", { field = "videos" }) end
  if row.currencies ~= 1 then return errors.invalid("All titles of a bundle have one currency.", { field = "videos" }) end
  return row.currency
end

local function set_bundle(ctx, input)
  local uid
  local done, err = db.tx(function(tx)
    local currency, e = read_titles(tx, ctx, input.videos)
    if not currency then return nil, e end
    local list
    list, e = read_list(input.prices, currency)
    if e then return nil, e end
    local f
    if input.offer then
      f, e = tx.one([[update offers set title = $3, price = $4, currency = $5, active = $6 where uid = $1::uuid and creator_id = $2 and kind = 'bundle'
        returning id, uid::text as uid]], input.offer, ctx.user.id, input.title, input.price_cents, currency, input.active)
    else
      f, e = tx.one([[insert into offers (creator_id, kind, title, price, currency, active) values ($1, 'bundle', $2, $3, $4, $5)
        returning id, uid::text as uid]], ctx.user.id, input.title, input.price_cents, currency, input.active)
    end
    if f == nil then return nil, e end
    if not f then return errors.not_found("bundle") end
    uid = f.uid
    local ok
    ok, e = tx.exec("delete from offer_videos where offer_id = $1", f.id)
    if not ok then return nil, e end
    ok, e = tx.exec([[insert into offer_videos (offer_id, video_id, pos) select $1, x.id::uuid, x.n
      from jsonb_array_elements_text($2::jsonb) with ordinality x(id, n)]], f.id, json.encode(json.array(input.videos)))
    if not ok then return nil, e end
    ok, e = write_list(tx, "offer_id", f.id, list)
    if not ok then return nil, e end
    return audit.write(tx, ctx, "offer.bundle", "offer:" .. f.id, { price = input.price_cents, videos = input.videos, active = input.active })
  end)
  if not done then return nil, err end
  return ctx:ok { offer = uid }
end

local function list(ctx)
  local rows, err = bundles(ctx)
  if not rows then return nil, err end
  return ctx:ok { bundles = json.array(rows) }
end

-- Prices are shown in it where the creator set one; nothing = by the visitor's country.
local function set_currency(ctx, input)
  if input.currency and not money.exponent(input.currency) then return errors.invalid("This currency is not known.", { field = "currency" }) end
  if ctx.user then
    local n, err = db.exec("update users set currency = $2 where id = $1", ctx.user.id, input.currency)
    if not n then return nil, err end
  else -- a visitor's browser remembers it
    ctx:cookie(offers.COOKIE, input.currency or "", { max_age = input.currency and 365 * 86400 or 0 })
  end
  return ctx:ok { currency = input.currency or json.null }
end

local ID = { type = "uuid", required = true }
local PRICE = { type = "int", min = 1, max = offers.MAX, required = true }
local PRICES, ACTIVE = { type = "object" }, { type = "bool", default = true }

return { routes = {
  { method = "GET", path = "/api/my_videos/:id/offers", auth = "user", summary = "Rental, bundles and price lists of an own title",
    input = { id = ID }, handler = mine },
  { method = "GET", path = "/api/offers/bundles", auth = "user", summary = "The own bundles", handler = list },
  { method = "POST", path = "/api/offers/prices", auth = "user", rate = "60/m", summary = "Prices of an own title in other currencies",
    input = { video_id = ID, prices = { type = "object", required = true } }, handler = set_prices },
  { method = "POST", path = "/api/offers/alone", auth = "user", rate = "60/m", summary = "Sell an own title for good, or only for rent and in bundles",
    input = { video_id = ID, alone = { type = "bool", required = true } }, handler = set_alone },
  { method = "POST", path = "/api/offers/rental", auth = "user", rate = "60/m", summary = "Rent out an own title",
    input = { video_id = ID, price_cents = PRICE, window_hours = { type = "int", min = 1, max = 8760, default = 720 },
      play_hours = { type = "int", min = 1, max = 720, default = 48 }, active = ACTIVE, prices = PRICES }, handler = set_rental },
  { method = "POST", path = "/api/offers/excerpt", auth = "user", rate = "60/m", summary = "Sell the first minutes of an own title to programs",
    input = { video_id = ID, price_cents = PRICE, seconds = { type = "int", min = 5, max = 86400, required = true }, active = ACTIVE },
    handler = set_excerpt },
  { method = "POST", path = "/api/offers/bundle", auth = "user", rate = "60/m", summary = "Sell several own titles together",
    input = { offer = { type = "uuid" }, title = { type = "string", min = 1, max = 200, required = true }, price_cents = PRICE,
      videos = { type = "object", required = true }, active = ACTIVE, prices = PRICES }, handler = set_bundle },
  { method = "POST", path = "/api/currency", auth = "public", rate = "60/m", summary = "The currency in which prices are shown",
    input = { currency = offers.INPUT.currency }, handler = set_currency },
} }
