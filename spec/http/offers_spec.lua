-- SPDX-License-Identifier: Apache-2.0
-- Rentals, bundles, price lists, exchange at the checkout.
local cache = require "ppv.cache"
local db = require "ppv.db"
local json = require "ppv.json"
local rates = require "lib.rates"
local registry = require "lib.registry"
local settings = require "lib.settings"
local h = require "spec.support"

describe("an offer", function()
  local admin, creator
  lazy_setup(function() admin, creator = h.make.admin(), h.make.user() end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function film(over) return h.make.video(creator, over or { price = 1000 }) end
  local function rich(n)
    local who = h.make.user()
    h.make.money(admin, who, n or 10000)
    return who
  end
  local function rental(video, over)
    local o = { price = 300, window_h = 720, play_h = 48 }
    for k, v in pairs(over or {}) do o[k] = v end
    assert(db.one([[insert into offers (creator_id, kind, video_id, price, currency, window_h, play_h)
      values ($1, 'rental', $2::uuid, $3, 'USD', $4, $5) returning id]], creator.id, video, o.price, o.window_h, o.play_h))
  end
  local function pay(who, video, offer, more)
    local body = { video_id = video, offer = offer }
    for k, v in pairs(more or {}) do body[k] = v end
    return who:post("/api/wallet/pay", body)
  end
  local function play(who, video) return who:get("/api/request_play?video_id=" .. video) end
  local function row(who, video)
    return assert(db.one([[select kind, extract(epoch from expires_at - now())::bigint as left, first_play_at is not null as started from entitlements
      where user_id = $1 and video_id = $2::uuid and revoked_at is null]], who.id, video))
  end

  it("rents a film: the clock starts with the first play", function()
    local v, who = film(), rich()
    rental(v)
    local r = pay(who, v, "rental", { price_cents = 300 })
    assert.equal(200, r.status, r.body)
    assert.equal(9700, h.balance(who))
    assert.equal("rental", row(who, v).kind)
    assert.is_true(math.abs(row(who, v).left - 720 * 3600) < 60)
    assert.equal("rental", who:get("/api/videos/" .. v).json.video.access)
    assert.is_false(who:get("/api/videos/" .. v).json.video.rental.started)
    assert.equal(409, pay(who, v, "rental").status)
    r = play(who, v)
    assert.equal(200, r.status, r.body)
    assert.is_true(math.abs(row(who, v).left - 48 * 3600) < 60)
    local ends = r.json.access_ends_at
    assert.is_string(ends)
    assert.equal(ends, play(who, v).json.access_ends_at)
  end)

  it("takes a code as the title for good does; the page is told what it takes off", function()
    local v, other, who, visitor = film(), film(), rich(), h.client()
    rental(v)
    local bundle = creator:post("/api/offers/bundle", { title = "Two", price_cents = 1500, videos = { v, other } }).json.offer
    local function made(body)
      body.code = "OFF" .. require("ppv.crypto").hex_encode(require("ppv.crypto").random(4)):upper()
      assert.equal(201, creator:post("/api/creator/coupons", body).status)
      return body.code
    end
    local function quote(code, offer) return visitor:post("/api/coupon", { video_id = v, code = code, offer = offer }).json end
    local half = made { percent_bp = 5000 }
    assert.same({ 500, 150, 750 }, { quote(half).price_cents, quote(half, "rental").price_cents, quote(half, bundle).price_cents })
    assert.equal("offer.gone", quote(half, "00000000-0000-7000-8000-000000000000").code)
    assert.equal("coupon.other_title", quote(made { percent_bp = 5000, video_ids = { v } }, bundle).code)
    assert.is_true(quote(made { percent_bp = 10000 }).free)
    assert.equal("coupon.free", quote(made { percent_bp = 10000 }, "rental").code)
    assert.equal(200, pay(who, v, "rental", { price_cents = 300, coupon = half }).status)
    assert.equal(9850, h.balance(who))
    assert.equal(200, pay(who, v, bundle, { price_cents = 1500, coupon = half }).status)
    assert.equal(9100, h.balance(who))
  end)

  it("may be all there is: no title for good", function()
    local v, who = film(), rich()
    local function alone(yes) return creator:post("/api/offers/alone", { video_id = v, alone = yes }) end
    assert.equal("offer.none", alone(false).json.code)
    rental(v)
    assert.equal(404, who:post("/api/offers/alone", { video_id = v, alone = false }).status)
    assert.equal(200, alone(false).status)
    assert.is_false(creator:get("/api/my_videos/" .. v .. "/offers").json.alone)
    local list = who:get("/api/pay/all_options?video_id=" .. v).json.offers
    assert.same({ 1, "rental" }, { #list, list[1].offer })
    assert.equal("from $3.00", who:get("/api/videos/" .. v).json.video.price_display)
    for _, offer in ipairs { "purchase", false } do assert.equal("offer.gone", pay(who, v, offer or nil).json.code) end
    assert.equal(10000, h.balance(who))
    assert.equal(200, pay(who, v, "rental", { price_cents = 300 }).status)
    assert.equal(200, alone(true).status)
    assert.equal(200, pay(who, v, "purchase", { price_cents = 1000 }).status)
  end)

  it("buying while renting: the rental steps back, and comes back with a refund of the purchase", function()
    local v, who = film(), rich()
    rental(v)
    local rent = pay(who, v, "rental").json.order_id
    assert.equal(200, play(who, v).status)
    local bought = pay(who, v, "purchase").json.order_id
    assert.equal("purchase", row(who, v).kind)
    assert.equal(409, pay(who, v, "rental").status)
    local function refund(order) return admin:post("/admin/orders/" .. order .. "/refund", {}).status end
    assert.equal(200, refund(bought))
    assert.equal("rental", row(who, v).kind)
    assert.is_true(row(who, v).started)
    bought = pay(who, v, "purchase").json.order_id
    assert.equal(200, refund(rent))
    assert.equal("purchase", row(who, v).kind)
    assert.equal(200, refund(bought))
    assert.equal(403, play(who, v).status)
    assert.equal(10000, h.balance(who))
  end)

  local function bundle(videos, over)
    local body = { title = "Three films", price_cents = 1000, videos = videos }
    for k, x in pairs(over or {}) do body[k] = x end
    local r = creator:post("/api/offers/bundle", body)
    assert.equal(200, r.status, r.body)
    return r.json.offer
  end

  it("a bundle opens all of its titles, in parts that add up, and a refund takes all back", function()
    local a, b, c, who = film { price = 300 }, film { price = 300 }, film { price = 301 }, rich()
    local offer = bundle { a, b, c }
    local x = who:get("/api/pay/all_options?video_id=" .. b).json.offers
    assert.equal(offer, x[2].offer)
    assert.equal(3, #x[2].videos)
    local r = pay(who, b, offer, { price_cents = 1000, currency = "USD" })
    assert.equal(200, r.status, r.body)
    for _, v in ipairs { a, b, c } do assert.equal("bundle", row(who, v).kind) end
    assert.equal(409, pay(who, a, "purchase").status)
    assert.equal(409, pay(who, a, offer).status)
    local parts = db.query("select video_id::text as id, price, net, back from title_sales where uid = $1::uuid order by price, id", r.json.order_id)
    assert.equal(1000, parts[1].price + parts[2].price + parts[3].price)
    assert.equal(900, parts[1].net + parts[2].net + parts[3].net)
    assert.same({ 333, 333, 334, c }, { parts[1].price, parts[2].price, parts[3].price, parts[3].id })
    local sold = creator:get("/api/creator/revenue?days=1").json
    for _, t in ipairs(sold.titles) do if t.video_id == c then assert.equal(334, t.gross) end end
    assert.equal("Bundle: Three films", who:get("/api/pay/order?id=" .. r.json.order_id).json.order.title)
    assert.equal(200, admin:post("/admin/orders/" .. r.json.order_id .. "/refund", { amount_cents = 500 }).status)
    assert.equal(200, play(who, a).status)
    local back = db.one("select sum(back)::bigint as n, max(back) as most from title_sales where uid = $1::uuid", r.json.order_id)
    assert.same({ 500, 167 }, { back.n, back.most })
    assert.equal(200, admin:post("/admin/orders/" .. r.json.order_id .. "/refund", {}).status)
    for _, v in ipairs { a, b, c } do assert.equal(403, play(who, v).status) end
    assert.equal(10000, h.balance(who))
  end)

  it("a bundle with a title that was bought before keeps what each order gave", function()
    local a, b, who = film { price = 400 }, film { price = 400 }, rich()
    local offer = bundle { a, b }
    local single = pay(who, a, "purchase").json.order_id
    local both = pay(who, b, offer)
    assert.equal(200, both.status, both.body)
    assert.equal("purchase", row(who, a).kind)
    assert.equal(200, admin:post("/admin/orders/" .. single .. "/refund", {}).status)
    assert.equal("bundle", row(who, a).kind) -- the bundle still pays for it
    assert.equal(200, admin:post("/admin/orders/" .. both.json.order_id .. "/refund", {}).status)
    assert.equal(403, play(who, a).status)
    assert.equal(403, play(who, b).status)
  end)

  it("refuses bundles of strangers' titles, of one, of the same twice, and changes by others", function()
    local a, b = film(), film()
    local strange = h.make.video(h.make.user(), { price = 100 })
    for _, videos in ipairs { { a }, { a, a }, { a, strange }, { a, "x" }, { a, film { price = 0 } }, { a, film { currency = "EUR" } } } do
      assert.equal(422, creator:post("/api/offers/bundle", { title = "x", price_cents = 5, videos = videos }).status)
    end
    local offer = bundle { a, b }
    local other = h.make.user()
    assert.equal(422, other:post("/api/offers/bundle", { offer = offer, title = "x", price_cents = 5, videos = { a, b } }).status)
    assert.equal(404, other:post("/api/offers/rental", { video_id = a, price_cents = 5 }).status)
    assert.equal(404, other:post("/api/offers/prices", { video_id = a, prices = { IDR = 100 } }).status)
    local who = rich()
    bundle({ a, b }, { offer = offer, active = false })
    assert.equal("offer.gone", pay(who, a, offer).json.code)
    assert.equal("offer.gone", pay(who, a, "rental").json.code)
    bundle({ a, b }, { offer = offer })
    assert(db.exec("update videos set visibility = 'draft' where id = $1::uuid", b))
    assert.equal("offer.gone", pay(who, a, offer).json.code)
    assert.equal(1, #who:get("/api/pay/all_options?video_id=" .. a).json.offers)
  end)

  it("parts of every sum add up, none below nothing or above its weight's quota by one", function()
    for _, case in ipairs { { 0, "{1,2}" }, { 1, "{1,1,1}" }, { 2, "{5,5,5}" }, { 7, "{0,0,0}" }, { 99, "{0,1}" },
      { 1000000000000, "{1,999999999999,7,13}" } } do
      local r = db.one([[select (select sum(x) from unnest(p) x)::bigint as sum, (select min(x) from unnest(p) x) as least,
        array_length(p, 1) = array_length(w, 1) as whole,
        (select bool_and(s = 0 or abs(p[i] - $1 * w[i]::numeric / s) < 1) from generate_subscripts(p, 1) i, (select sum(y) as s from unnest(w) y) t) as near
        from (select ppv_parts($1::bigint, $2::bigint[]) as p, $2::bigint[] as w) q]], case[1], case[2])
      assert.same({ case[1], true, true, true }, { r.sum, r.least >= 0, r.whole, r.near })
    end
  end)
end)

describe("a price list", function()
  local admin, creator
  lazy_setup(function()
    admin, creator = h.make.admin(), h.make.user()
    h.plugin("sandbox", "on", "true")
  end)
  lazy_teardown(function()
    registry.by_name.sandbox.manifest.currencies = nil
    h.plugin "sandbox"
  end)
  before_each(function() registry.by_name.sandbox.manifest.currencies = nil end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function takes(...) registry.by_name.sandbox.manifest.currencies = { ... } end
  local function options(who, v) return who:get("/api/pay/all_options?video_id=" .. v).json.offers[1] end
  local function start(who, v, more)
    local body = { video_id = v }
    for k, x in pairs(more or {}) do body[k] = x end
    cache.del "rate:POST /api/pay/:provider/start:127.0.0.1"
    return who:post("/api/pay/sandbox/start", body)
  end
  local function order(r) return db.one([[select price, currency::text as currency, charge, charge_currency::text as charge_currency, fx::text as fx
    from orders where uid = $1::uuid]], r.json.invoice.invoice_id) end
  local function listed(idr)
    local v = h.make.video(creator, { price = 500 })
    local r = creator:post("/api/offers/prices", { video_id = v, prices = { IDR = idr or 7500000 } })
    assert.equal(200, r.status, r.body)
    return v
  end

  it("is the creator's, in whole rupiah", function()
    local v = h.make.video(creator, { price = 500 })
    for _, bad in ipairs { { IDR = 750 * 100 + 1 }, { USD = 5 }, { XXQ = 5 }, { IDR = 0 }, { IDR = -100 }, { IDR = 1.5 }, { IDR = "100" }, { idr = 100 } } do
      assert.equal(422, creator:post("/api/offers/prices", { video_id = v, prices = bad }).status)
    end
    v = listed()
    assert.equal(7500000, creator:get("/api/my_videos/" .. v .. "/offers").json.prices.IDR)
  end)

  it("is chosen by the buyer's currency, and the books are kept in it", function()
    local v, who = listed(), h.make.user()
    assert.equal("USD", options(who, v).currency)
    assert.equal(200, who:post("/api/currency", { currency = "IDR" }).status)
    assert.equal(7500000, options(who, v).price_cents)
    assert.equal(422, who:post("/api/currency", { currency = "QQQ" }).status)
    local visitor = h.client() -- nobody's account: the browser remembers it
    assert.equal("USD", options(visitor, v).currency)
    assert.equal(200, visitor:post("/api/currency", { currency = "IDR" }).status)
    assert.equal("IDR", options(visitor, v).currency)
    assert.equal(200, visitor:post("/api/currency", {}).status)
    assert.equal("USD", options(visitor, v).currency)
    local r = start(who, v, { price_cents = 7500000, currency = "IDR" })
    assert.equal(200, r.status, r.body)
    local o = order(r)
    assert.same({ 7500000, "IDR", 7500000, "IDR" }, { o.price, o.currency, o.charge, o.charge_currency })
    assert.is_nil(o.fx)
    assert.equal("sale.price_changed", start(who, v, { price_cents = 1, currency = "IDR" }).json.code)
    local ref = who:get("/api/pay/order?id=" .. r.json.invoice.invoice_id).json.order.ref
    assert.equal(200, who:post("/api/pay/desk/" .. ref, { act = "pay", silent = true }).status)
    db.exec("update orders set asked_at = null where uid = $1::uuid", r.json.invoice.invoice_id)
    assert.equal("paid", who:post("/api/pay/sandbox/confirm", { invoice_id = r.json.invoice.invoice_id }).json.state)
    assert.equal(6750000, creator:get("/api/wallet/balance").json.others[1].balance_cents)
    local paid = creator:get("/api/payouts?currency=IDR").json
    assert.same({ "IDR", 6750000, "IDR" }, { paid.currency, paid.earnings.pending, paid.currencies[1] })
    r = creator:post("/api/wallet/withdraw", { amount_cents = 5000000, currency = "IDR" }) -- practice money: on hold
    assert.equal("wallet.insufficient", r.json.code)
    assert.truthy(r.json.error:find("IDR", 1, true))
  end)

  it("is chosen by what the provider takes; the wallet pays in a currency that it has", function()
    local v, who = listed(), h.make.user()
    takes "IDR"
    local o = order(start(who, v))
    assert.same({ 7500000, "IDR" }, { o.charge, o.charge_currency })
    h.make.money(admin, who, 1000)
    who:post("/api/currency", { currency = "IDR" })
    assert.equal("USD", options(who, v).wallet.currency)
    assert.equal(200, who:post("/api/wallet/pay", { video_id = v, price_cents = 500, currency = "USD" }).status)
    assert.equal(500, h.balance(who))
  end)

  describe("without the provider's currency", function()
    local quote
    lazy_setup(function()
      assert.equal(200, admin:post("/admin/settings", { rate_plugin = "json_rate" }).status)
      quote = registry.by_name.json_rate.handler.quote
    end)
    lazy_teardown(function()
      registry.by_name.json_rate.handler.quote = quote
      admin:post("/admin/settings", { rate_plugin = "fixed_rate" })
      db.exec "delete from fx_rates"
    end)
    -- The source says it; what jumps from the last one is accepted by the administrator.
    local function rate(n)
      registry.by_name.json_rate.handler.quote = function() return { rate = n } end
      settings.changed()
      if assert(rates.fetch()) == "waiting" then assert.equal(200, admin:post("/admin/rates/accept", { rate = n }).status) end
    end

    it("is exchanged at the rate in force, up to the whole rupiah, and frozen", function()
      local v, who = h.make.video(creator, { price = 333 }), h.make.user()
      takes "IDR"
      rate "16000.5"
      local r = start(who, v)
      assert.equal(200, r.status, r.body)
      local o = order(r)
      assert.same({ 333, "USD", 5328200, "IDR" }, { o.price, o.currency, o.charge, o.charge_currency }) -- 3.33 x 16000.5 = 53281.665 -> Rp 53282
      assert.equal("16000.5", json.decode(o.fx).rate)
      assert.equal("USD", json.decode(o.fx).base)
      rate "16100"
      assert.equal(5328200, order(r).charge)
      assert.equal(5361300, order(start(who, v)).charge) -- another rate, another order
      local ref = who:get("/api/pay/order?id=" .. r.json.invoice.invoice_id).json.order.ref
      assert.equal(200, who:post("/api/pay/desk/" .. ref, { act = "pay", silent = true }).status)
      db.exec("update orders set asked_at = null where uid = $1::uuid", r.json.invoice.invoice_id)
      assert.equal("paid", who:post("/api/pay/sandbox/confirm", { invoice_id = r.json.invoice.invoice_id }).json.state)
    end)

    it("is exchanged the other way round without losing a cent", function()
      local v, who = h.make.video(creator, { price = 7500000, currency = "IDR" }), h.make.user()
      takes "USD"
      rate "16000"
      assert.same({ 469, "USD" }, { order(start(who, v)).charge, order(start(who, v)).charge_currency }) -- 4.6875
      rate "15000"
      assert.equal(500, order(start(who, v)).charge)
    end)

    it("is not sold at a rate that is old, jumped or missing", function()
      local v, who = h.make.video(creator, { price = 500 }), h.make.user()
      takes "IDR"
      rate "16000"
      rates.MAX_AGE_H = 0
      h.eventually(function() return start(who, v).json.code == "rate.stale" end)
      assert.equal(503, start(who, v).status)
      assert.equal(0, #options(who, v).methods)
      rates.MAX_AGE_H = 24
      registry.by_name.json_rate.handler.quote = function() return { rate = "160" } end
      assert.equal("waiting", rates.fetch())
      assert.equal(8000000, order(start(who, v)).charge) -- the last rate in force, not the jump
      assert(db.exec "delete from fx_rates")
      assert.equal("rate.unset", start(who, v).json.code)
      takes "EUR"
      assert.is_true(start(who, v).status >= 422)
    end)
  end)
end)
