-- SPDX-License-Identifier: Apache-2.0
-- From the link to the commission: programs, clicks, attribution, earnings, ties between accounts.
local db = require "ppv.db"
local h = require "spec.support"
local json = require "ppv.json"
local settings = require "lib.settings"

describe("an affiliate program", function()
  local admin, maker
  lazy_setup(function() admin, maker = h.make.admin(), h.make.user() end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function film(pct, price)
    local id = h.make.video(maker, { price = price or 1000 })
    if pct then
      local r = maker:post("/api/affiliate/settings", { video_id = id, commission_pct = pct, is_enabled = true })
      assert.equal(200, r.status, r.body)
    end
    return id
  end

  local function buyer(amount)
    local c = h.make.user()
    h.make.money(admin, c, amount or 2000)
    return c
  end

  local function buy(c, id, more)
    local body = { video_id = id }
    for k, v in pairs(more or {}) do body[k] = v end
    local r = c:post("/api/wallet/pay", body)
    assert.equal(200, r.status, r.body)
    return r
  end

  local function click(c, id, ref) return c:post("/api/affiliate/click", { video_id = id, ref = ref, landed = "/public/watch.html" }) end
  local function earned(c) return c:get("/api/affiliate/earnings").json.total_commission_cents end

  it("is set by the maker only and shown to everybody", function()
    local id = film(30)
    assert.equal(404, h.make.user():post("/api/affiliate/settings", { video_id = id, commission_pct = 90, is_enabled = true }).status)
    for _, bad in ipairs { -1, 91, 1.5, "x" } do
      assert.equal(422, maker:post("/api/affiliate/settings", { video_id = id, commission_pct = bad, is_enabled = true }).status)
    end
    assert.same({ true, 30 }, { maker:get("/api/affiliate/settings?video_id=" .. id).json.is_enabled,
      h.client():get("/api/affiliate/program?video_id=" .. id).json.commission_pct })
    maker:post("/api/affiliate/settings", { video_id = id, commission_pct = 30, is_enabled = false })
    local p = h.client():get("/api/affiliate/program?video_id=" .. id).json
    assert.is_false(p.has_affiliate)
    assert.equal(0, p.commission_pct)
  end)

  it("pays the owner of the link that was followed, by the cookie", function()
    local id, aff, b = film(20), h.make.user(), buyer()
    local link = aff:get("/api/affiliate/link?video_id=" .. id).json.link
    assert.equal("/public/watch.html?ref=" .. aff.username .. "&video_id=" .. id, link)
    local r = click(b, id, aff.username)
    assert.is_true(r.json.remembered, r.body)
    assert.is_string(b.jar.ppv_ref)
    buy(b, id)
    assert.equal(200, h.balance(aff))
    assert.equal(200, earned(aff))
    local row = aff:get("/api/affiliate/earnings").json.items[1]
    assert.equal(id, row.video_id)
    assert.equal(1000, row.purchase_price_cents)
    assert.equal("2.00 USD", row.commission_display:match "2%.00" and "2.00 USD")
    local s = aff:get("/api/affiliate/summary").json
    assert.equal(1, s.total_referrals)
    assert.equal(1, s.total_clicks)
  end)

  it("the last link wins, for this film only", function()
    local id, other, one, two, b = film(10), film(10), h.make.user(), h.make.user(), buyer(3000)
    click(b, id, one.username)
    click(b, id, two.username)
    buy(b, id)
    assert.equal(0, earned(one))
    assert.equal(100, earned(two))
    buy(b, other)
    assert.equal(100, earned(two), "the link was for another film")
  end)

  it("pays nobody without a program, for a forged cookie, an old one, a disabled or unknown affiliate", function()
    local aff = h.make.user()
    local id, b = film(nil), buyer()
    click(b, id, aff.username)
    buy(b, id, { ref_code = aff.username })
    assert.equal(0, earned(aff))

    id, b = film(50), buyer()
    b.jar.ppv_ref = ("%s:%d:%d"):format(id, aff.id, os.time())
    buy(b, id)
    assert.equal(0, earned(aff))

    id, b = film(50), buyer()
    b.jar.ppv_ref = require("ppv.crypto").sign("ref", ("%s:%d:%d"):format(id, aff.id, os.time() - 31 * 86400))
    buy(b, id)
    assert.equal(0, earned(aff))

    local off = h.make.user()
    id, b = film(50), buyer()
    click(b, id, off.username)
    db.exec("update users set disabled_at = now() where id = $1", off.id)
    buy(b, id)
    assert.equal(0, db.one("select count(*) as n from commissions where affiliate_id = $1", off.id).n)

    id, b = film(50), buyer()
    assert.is_false(click(b, id, "nobody-has-this-name").json.remembered)
    buy(b, id, { ref_code = "nobody-has-this-name" })
  end)

  it("never pays the buyer or the maker", function()
    local id, b = film(50), buyer()
    assert.is_false(click(b, id, b.username).json.remembered)
    buy(b, id, { ref_code = b.username })
    assert.equal(1000, h.balance(b))
    id, b = film(50), buyer()
    local before = h.balance(maker)
    click(b, id, maker.username)
    buy(b, id, { ref_code = maker.username })
    assert.equal(before + 900, h.balance(maker))
    assert.equal(0, earned(maker))
  end)

  it("takes the commission out of the maker's share and never more than that", function()
    for _, case in ipairs { { 90, 1000, 900 }, { 1, 99, 0 }, { 33, 101, 33 }, { 90, 1, 0 } } do
      local id, aff, b = film(case[1], case[2]), h.make.user(), buyer()
      local before = h.balance(maker)
      buy(b, id, { ref_code = aff.username })
      assert.equal(case[3], earned(aff), case[1] .. " % of " .. case[2])
      assert.equal(math.floor(case[2] * 9 / 10) - case[3], h.balance(maker) - before)
    end
  end)

  it("counts one click an hour of one visitor", function()
    local id, aff, c = film(10), h.make.user(), h.client()
    for _ = 1, 5 do click(c, id, aff.username) end
    assert.equal(1, aff:get("/api/affiliate/summary").json.total_clicks)
  end)

  it("a rule that fails loses the commission, and the sale stands", function()
    local rule = require("lib.registry").by_name.percent
    local original = rule.handler.split
    rule.handler.split = function() error "boom" end
    local id, aff, b = film(50), h.make.user(), buyer()
    local fine, why = pcall(buy, b, id, { ref_code = aff.username })
    rule.handler.split = original
    assert.is_true(fine, tostring(why))
    assert.equal(0, earned(aff))
    assert.equal(1000, h.balance(b))
    assert.is_true(admin:get("/admin/affiliate/commissions").json.refused_count > 0)
  end)

  it("a rule that is wrong in any way moves no money, and the overview says so", function()
    local rule = require("lib.registry").by_name.percent
    local original = rule.handler.split
    local b = buyer(20000)
    for name, answer in pairs {
      ["more than the share"] = function(s) return { { to = s.direct, amount = s.creator_share + 1 } } end,
      negative = function(s) return { { to = s.direct, amount = -1 } } end,
      ["not a number"] = function(s) return { { to = s.direct, amount = 0 / 0 } } end,
      infinite = function(s) return { { to = s.direct, amount = math.huge } } end,
      text = function(s) return { { to = s.direct, amount = "100" } } end,
      fraction = function(s) return { { to = s.direct, amount = 0.5 } } end,
      stranger = function(s) return { { to = s.creator, amount = 1 } } end,
    } do
      local id, aff = film(50), h.make.user()
      local before, had = h.balance(maker), h.balance(b)
      rule.handler.split = answer
      local fine, why = pcall(buy, b, id, { ref_code = aff.username })
      rule.handler.split = original
      assert.is_true(fine, name .. ": " .. tostring(why))
      assert.same({ name, 0, 900, 1000 }, { name, earned(aff), h.balance(maker) - before, had - h.balance(b) })
      local s = admin:get("/admin/stats").json.stats.affiliate_problem
      assert.same({ "percent", id }, { s.rule, s.video }, name)
      assert.is_true(#s.why > 5, name)
    end
  end)

  it("with the rule of two levels pays the link and who came first, in one posting", function()
    settings.set(nil, { ["affiliate.plugin"] = "two_level" })
    local first, second, third, one, two, b = film(10), film(10), film(10), h.make.user(), h.make.user(), buyer(3000)
    local fine, why = pcall(function()
      buy(b, first, { ref_code = one.username })
      buy(b, second)
      buy(b, third, { ref_code = two.username })
    end)
    db.exec "delete from settings where key = 'affiliate.plugin'"
    settings.changed()
    assert.is_true(fine, tostring(why))
    assert.same({ 140, 100 }, { earned(one), earned(two) })
    local rows = assert(db.query("select affiliate_id as who, amount, memo, txn_id from commissions where video_id = $1::uuid order by id", third))
    assert.same({ { two.id, 100, "level 1" }, { one.id, 20, "level 2" } }, { { rows[1].who, rows[1].amount, rows[1].memo },
      { rows[2].who, rows[2].amount, rows[2].memo } })
    assert.equal(rows[1].txn_id, rows[2].txn_id)
    local line = one:get("/api/statement").json.items[1]
    assert.same({ "commission", 20 }, { line.type, line.amount })
  end)
end)

describe("a link", function()
  local admin, maker
  lazy_setup(function() admin, maker = h.make.admin(), h.make.user() end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function buyer(amount)
    local c = h.make.user()
    h.make.money(admin, c, amount or 3000)
    return c
  end
  local function buy(c, id, ref)
    local r = c:post("/api/wallet/pay", { video_id = id, ref_code = ref })
    assert.equal(200, r.status, r.body)
    return r.json
  end
  local function click(c, id, ref)
    local r = c:post("/api/affiliate/click", { video_id = id, ref = ref.username })
    assert.is_true(r.json.remembered, r.body)
  end
  local function login(c, device)
    local other = device or h.client()
    local r = other:post("/auth/login", { email = c.email, password = c.password })
    assert.equal(200, r.status, r.body)
    return other
  end
  local function film(pct, who)
    local id = h.make.video(who or maker, { price = 1000 })
    if pct then assert.equal(200, (who or maker):post("/api/affiliate/settings", { video_id = id, commission_pct = pct, is_enabled = true }).status) end
    return id
  end
  local function earned(c) return c:get("/api/affiliate/summary").json.total_earnings_cents end

  it("to any title of a creator counts under their general terms; a title's own terms come first", function()
    local all = h.make.user()
    local one, two, own, closed = film(nil, all), film(nil, all), film(40, all), film(nil, all)
    for _, bad in ipairs { -1, 91, 1.5 } do
      assert.equal(422, all:post("/api/affiliate/creator_settings", { commission_pct = bad, is_enabled = true }).status)
    end
    assert.equal(200, all:post("/api/affiliate/creator_settings", { commission_pct = 15, is_enabled = true }).status)
    all:post("/api/affiliate/settings", { video_id = closed, commission_pct = 15, is_enabled = false })
    local function terms(id) return h.client():get("/api/affiliate/program?video_id=" .. id).json.commission_pct end
    assert.same({ 15, 15, 40, 0 }, { terms(one), terms(two), terms(own), terms(closed) })
    for _, v in ipairs(h.client():get("/api/videos?limit=100").json.videos) do
      if v.id == one then assert.same({ true, 15 }, { v.has_affiliate, v.commission_pct }) end
    end
    assert.is_true(all:get("/api/affiliate/settings?video_id=" .. one).json.inherited)
    local aff, b = h.make.user(), buyer(5000)
    click(b, one, aff)
    assert.same({ 150, 0, 0 }, { buy(b, two).commission_cents, buy(b, own).commission_cents, buy(b, closed).commission_cents })
    all:post("/api/affiliate/settings", { video_id = own, commission_pct = 0, is_enabled = false, inherit = true })
    assert.equal(15, terms(own))
    assert.equal(150, buy(b, one).commission_cents)
    assert.equal(300, earned(aff))
  end)

  it("is kept by the account: another device, a new log-in, a registration", function()
    local id, aff, b = film(10), h.make.user(), buyer()
    click(b, id, aff)
    assert.equal(100, buy(login(b), id).commission_cents)

    id = film(10)
    local visitor = h.client()
    click(visitor, id, aff)
    b = buyer()
    login(b, visitor) -- what the visitor followed joins the account ...
    assert.equal(100, buy(login(b), id).commission_cents) -- ... and is known elsewhere

    id, visitor = film(10), h.client()
    click(visitor, id, aff)
    local name = "new" .. aff.id
    local new = { email = name .. "@example.org", password = "a long password of specs" }
    assert.equal(200, visitor:post("/auth/register", { username = name, email = new.email, password = new.password }).status)
    local there = login(new)
    h.make.money(admin, there, 2000)
    assert.equal(100, buy(there, id).commission_cents)
    assert.equal(300, earned(aff))
  end)

  local function ago(c, id, ref, days)
    assert(db.one("select ppv_attribute($1, $2::jsonb) as n", c.id, json.encode(json.array { { video = id, who = ref.id, at = os.time() - days * 86400 } })))
  end

  it("gives way to a later one, wherever that was followed, and ends with the window", function()
    local id, old, new, b = film(10), h.make.user(), h.make.user(), buyer()
    ago(b, id, old, 2)
    local visitor = h.client()
    click(visitor, id, new)
    assert.equal(100, buy(login(b, visitor), id).commission_cents)
    assert.same({ 0, 100 }, { earned(old), earned(new) })

    for _, case in ipairs { { 29, 30, 100 }, { 31, 30, 0 }, { 6, 5, 0 }, { 4, 5, 100 } } do
      settings.set(nil, { ["affiliate.window_days"] = case[2] })
      id, b = film(10), buyer()
      ago(b, id, old, case[1])
      local fine, r = pcall(buy, login(b), id)
      db.exec "delete from settings where key = 'affiliate.window_days'"
      settings.changed()
      assert.is_true(fine, tostring(r))
      assert.same({ case[1], case[3] }, { case[1], r.commission_cents })
    end
  end)

  local function refused(who) return who:get("/api/affiliate/refused").json.items end

  it("of one's own, or of an account that is paid to the same place, earns nothing and says why", function()
    local id, b = film(20), buyer()
    assert.equal(0, buy(b, id, b.username).commission_cents)
    assert.same({ "self", "refused" }, { refused(b)[1].why, refused(b)[1].state })

    local aff = h.make.user()
    for _, c in ipairs { aff, b } do
      assert(db.one("select ppv_destination_set($1, 'bank', 'x', 'x', $2)::text as r", c.id, "same" .. b.id))
    end
    id = film(20)
    local before = h.balance(maker)
    assert.equal(0, buy(b, id, aff.username).commission_cents)
    assert.equal(900, h.balance(maker) - before)
    local row = refused(aff)[1]
    assert.same({ "payout_account", 200, "refused" }, { row.why, row.amount, row.state })
    assert.is_true(#row.reason > 20)
    assert.is_nil(row.buyer_username)
    local found
    for _, r in ipairs(admin:get("/admin/affiliate/reviews").json.items) do found = found or r.affiliate_username == aff.username and r end
    assert.same({ b.username, "payout_account" }, { found.buyer_username, found.why })

    -- The same card as in an earlier purchase.
    local other, again = h.make.user(), buyer()
    for _, c in ipairs { other, again } do assert(db.one("select ppv_instrument_seen($1, 'card')::text as x", c.id)) end
    assert.equal(0, buy(again, film(20), other.username).commission_cents)
    assert.equal("instrument", refused(other)[1].why)
  end)

  it("of a guest whose receipt goes to the affiliate earns nothing; of a card that looks alike waits", function()
    local function tie(a, b) return db.one("select ppv_affiliate_tie($1, $2, $3) as why", a.id, b.id, maker.id).why end
    local aff, guest, other = h.make.user(), h.client(), buyer()
    local r = guest:post("/api/guest", { email = aff.email:upper() })
    assert.equal(200, r.status, r.body)
    guest.id = assert(db.one("select id from users where guest and guest_email = $1::citext order by id desc limit 1", aff.email)).id
    assert.equal("mail", tie(aff, guest))
    assert.is_nil(tie(other, guest))
    for _, c in ipairs { aff, other } do assert(db.one("select ppv_instrument_seen($1, 'alike:481111-1114')::text as x", c.id)) end
    assert.equal("alike", tie(aff, other))
    assert.equal(200, buy(other, film(20), aff.username).commission_cents)
    assert.same({ "alike", "open", 200 }, { refused(aff)[1].why, refused(aff)[1].state, refused(aff)[1].amount })
  end)

  it("of somebody who signs in from the same browser is paid on hold, until an administrator decides", function()
    local function held(c) return c:get("/api/wallet/balance").json.held_cents end
    for _, what in ipairs { "release", "refuse" } do
      -- Two accounts, one browser: the jar keeps its device cookie when another account signs in.
      local aff, b = h.make.user(), buyer()
      b.jar.ppv_dev = aff.jar.ppv_dev
      login(b, b)
      local id, before = film(20), h.balance(maker)
      local uid = buy(b, id, aff.username).order_id
      assert.same({ 200, 200 }, { h.balance(aff), held(aff) })
      local row = refused(aff)[1]
      assert.same({ "device", "open", 200 }, { row.why, row.state, row.amount })
      local path = "/admin/affiliate/reviews/" .. row.commission_id
      assert.equal(403, aff:post(path, { decision = "release" }).status)
      local r = admin:post(path, { decision = what, note = "looked at it" })
      assert.equal(200, r.status, r.body)
      assert.equal(409, admin:post(path, { decision = what }).status)
      assert.equal("looked at it", refused(aff)[1].note)
      local share = what == "release" and 700 or 900
      assert.same({ 900 - share, 0, share }, { h.balance(aff), held(aff), h.balance(maker) - before })
      -- A refund takes it back from who has it now.
      local o = db.one("select id from orders where uid = $1::uuid", uid)
      assert(db.one("select ppv_refund_begin($1, $2, null, '', $3, '')::text as r", admin.id, o.id, "spec-ref-" .. uid))
      assert.same({ 0, 0 }, { h.balance(aff), h.balance(maker) - before })
    end
  end)
end)

describe("the figures of affiliates", function()
  local admin, maker, one, two, buyers, films = nil, nil, nil, nil, {}, {}
  lazy_setup(function()
    admin, maker, one, two = h.make.admin(), h.make.user(), h.make.user(), h.make.user()
    for i = 1, 2 do
      films[i] = h.make.video(maker, { price = 1000, title = i == 1 and "=Film" or "Other" })
      maker:post("/api/affiliate/settings", { video_id = films[i], commission_pct = 20, is_enabled = true })
    end
    for i = 1, 4 do
      buyers[i] = h.make.user()
      h.make.money(admin, buyers[i], 3000)
    end
    buyers[1]:post("/api/affiliate/click", { video_id = films[1], ref = one.username })
    for i, sale in ipairs { { films[1], nil }, { films[1], two }, { films[2], one } } do
      local r = buyers[i]:post("/api/wallet/pay", { video_id = sale[1], ref_code = sale[2] and sale[2].username })
      assert.equal(200, r.status, r.body)
    end
    local o = db.one("select id from orders where video_id = $1::uuid", films[2])
    assert(db.one("select ppv_refund_begin($1, $2, 500, '', $3, '')::text as r", admin.id, o.id, "figures-" .. maker.id))
  end)

  it("are the affiliate's by link, the creator's and the administrator's by affiliate", function()
    local r = one:get("/api/affiliate/report").json
    assert.same({ 2, { currency = "USD", earned = 400, back = 100, pending = 0, payable = 300, paid = 0 } }, { #r.links, r.money[1] })
    local l = r.links[1]
    assert.same({ films[1], "=Film", 1, 1, 1, 10000, 1000, 200, 200 }, { l.video_id, l.name, l.clicks, l.visitors, l.sales, l.conversion_bp, l.gross,
      l.commission, l.net })
    assert.same({ 100, 1 }, { r.links[2].net, r.links[2].refunded })
    assert.same({ 1, 1, 2 }, { #r.daily, r.daily[1].clicks, r.daily[1].sales })

    r = maker:get("/api/creator/affiliates").json
    assert.same({ { one.username, 2, 300 }, { two.username, 1, 200 } }, { { r.affiliates[1].name, r.affiliates[1].sales, r.affiliates[1].net },
      { r.affiliates[2].name, r.affiliates[2].sales, r.affiliates[2].net } })
    assert.equal(0, #two:get("/api/creator/affiliates").json.affiliates)

    assert.equal(403, one:get("/admin/affiliate/report").status)
    local seen = {}
    for _, a in ipairs(admin:get("/admin/affiliate/report").json.affiliates) do seen[a.name] = a.net end
    assert.same({ 300, 200 }, { seen[one.username], seen[two.username] })

    local text = one:get("/api/affiliate/report.csv").body
    assert.is_truthy(text:find("'=Film,1,1,1,100.00,USD,10.00,2.00,2.00,0", 1, true), text)
    assert.is_truthy(maker:get("/api/creator/affiliates.csv").body:find(two.username .. ",0,0,1,0.00,USD,10.00,2.00,2.00,0", 1, true))
    assert.equal(200, admin:get("/admin/affiliate/report.csv").status)
  end)

  it("mark who is suspicious", function()
    db.exec([[insert into affiliate_clicks (video_id, affiliate_id, visitor_hash) select $1::uuid, $2, 'same' from generate_series(1, 60)]], films[1], two.id)
    for _, a in ipairs(admin:get("/admin/affiliate/report").json.affiliates) do
      if a.name == two.username then assert.equal("many clicks of few visitors", a.suspicion) end
      if a.name == one.username then assert.is_nil(a.suspicion) end
    end
  end)

  local function trial(body)
    local r = admin:post("/admin/affiliate/dry_run", body)
    assert.equal(200, r.status, r.body)
    local mine = { old = 0, new = 0, n = 0, errors = 0 }
    local own = {}
    for _, o in ipairs(assert(db.query("select uid::text as uid from orders where creator_id = $1", maker.id))) do own[o.uid] = true end
    for _, item in ipairs(r.json.items) do
      if own[item.order_uid] then
        mine.n, mine.old, mine.new = mine.n + 1, mine.old + item.old, mine.new + item.new
        if item.error then mine.errors, mine.why = mine.errors + 1, item.error end
      end
    end
    return mine, r.json
  end

  it("are tried with another percentage, rule or setting, and no money moves", function()
    local function books()
      return db.one "select (select max(id) from ledger_txns) as t, (select count(*) from commissions) as c, (select count(*) from holds) as h"
    end
    local before = books()
    assert.equal(403, one:post("/admin/affiliate/dry_run", {}).status)
    assert.same({ old = 0, new = 0, n = 0, errors = 0 }, (trial { rule = "percent" }))
    assert.same({ old = 600, new = 1200, n = 3, errors = 0 }, (trial { rule = "percent", pct = 40 }))
    assert.same({ old = 600, new = 300, n = 3, errors = 0 }, (trial { rule = "capped", settings = { cap = 100 } }))
    assert.same({ old = 600, new = 750, n = 3, errors = 0 }, (trial { rule = "first_sale" }))
    local _, all = trial { rule = "percent", pct = 0 }
    assert.equal(0, all.totals[1].new)
    assert.equal(422, admin:post("/admin/affiliate/dry_run", { rule = "stripe" }).status)
    assert.equal(422, admin:post("/admin/affiliate/dry_run", { rule = "capped", settings = { cap = "x" } }).status)
    local rule = require("lib.registry").by_name.capped
    local original = rule.handler.split
    rule.handler.split = function(s) return { { to = s.direct, amount = s.creator_share + 1 } } end
    local fine, mine = pcall(trial, { rule = "capped" })
    rule.handler.split = original
    assert.is_true(fine, tostring(mine))
    assert.same({ 3, 3, 600, 0 }, { mine.n, mine.errors, mine.old, mine.new })
    assert.is_truthy(mine.why:find("more than the creator's share", 1, true))
    assert.same(before, books())
  end)
end)

describe("a sale with several commissions", function()
  local admin, maker, serial = nil, nil, 0
  lazy_setup(function() admin, maker = h.make.admin(), h.make.user() end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function film(price)
    local id = h.make.video(maker, { price = price })
    assert(db.exec("insert into affiliate_programs (video_id, pct, enabled) values ($1::uuid, 90, true)", id))
    return id
  end
  local function call(sql, ...)
    local row, err = db.one("select " .. sql .. "::text as r", ...)
    if not row then return nil, require("lib.errors").from(err).code end
    return row.r:find "^[%[{]" and json.decode(row.r) or row.r
  end
  local function key()
    serial = serial + 1
    return "spec-affiliate-" .. serial .. "-" .. maker.id
  end
  -- A sale that a card paid for; payees: {{to, amount}}. -> order id
  local function card(buyer, price, payees, instrument)
    local o = assert(call("ppv_order_start($1, $2::uuid, $3::jsonb)", buyer.id, film(price), json.encode { method = "stripe", price = price,
      fee_bp = 1000, payees = json.array(payees), live = true }))
    call("ppv_order_opened($1, $2, null, '{}', '{}', null)", o.order_id, "cs_" .. key())
    local ref = db.one("select provider_ref as r from orders where id = $1", o.order_id).r
    assert.equal("paid", assert(call("ppv_order_settle($1, $2::jsonb, 'spec')", o.order_id, json.encode { state = "paid", amount = price,
      currency = "USD", live = true, ref = ref, payment_ref = "pi_" .. key(), instrument = instrument })).state)
    return o.order_id
  end
  local function debt(who)
    return db.one("select coalesce(-sum(balance), 0)::bigint as d from ledger_trial where kind = 'receivable' and owner_id = $1", who.id).d
  end
  -- What the provider says of a dispute. -> the order's state
  local function dispute(o, ref, news, amount)
    assert(call("ppv_order_facts($1, $2::jsonb, 'spec')", o, json.encode { state = "pending",
      dispute = { ref = ref .. "_" .. maker.id, state = news, amount = amount } }))
    return db.one("select state from orders where id = $1", o).state
  end
  local function pay_out(who, amount)
    local r = who:post("/api/wallet/withdraw", { amount_cents = amount })
    assert.equal(200, r.status, r.body)
    r = admin:post("/admin/wallet/transactions/" .. r.json.txn_id .. "/complete", {})
    assert.equal(200, r.status, r.body)
  end

  it("lost in a dispute after the payout leaves every payee a debt, which later commissions repay", function()
    settings.set(nil, { ["payment.hold_days"] = 0, ["payout.new_payee_days"] = 0, ["wallet.min_withdraw"] = 1 })
    local one, two, buyer = h.make.user(), h.make.user(), h.make.user()
    local fine, why = pcall(function()
      local o = card(buyer, 10000, { { to = one.id, amount = 1001 }, { to = two.id, amount = 333 } })
      assert.same({ 1001, 333 }, { h.balance(one), h.balance(two) })
      pay_out(one, 1001)
      pay_out(two, 300)
      -- A third goes back: floor(1001 / 3) and floor(333 / 3).
      assert(call("ppv_refund_begin($1, $2, 3333, '', $3, '')", admin.id, o, key()))
      local refund = db.one("select id from refunds where order_id = $1", o).id
      assert.equal("done", call("ppv_refund_finish($1, 'done', 're_1')", refund))
      assert.same({ 0, 333, 0, 77 }, { h.balance(one), debt(one), h.balance(two), debt(two) })
      assert.equal("disputed", dispute(o, "dp_1", "open", 10000))
      assert.equal("chargeback_lost", dispute(o, "dp_1", "lost", 10000))
      assert.same({ 0, 1001, 0, 300 }, { h.balance(one), debt(one), h.balance(two), debt(two) })
      card(buyer, 10000, { { to = two.id, amount = 450 }, { to = one.id, amount = 1000 } })
      assert.same({ 0, 1, 150, 0 }, { h.balance(one), debt(one), h.balance(two), debt(two) })
    end)
    db.exec "delete from settings where key in ('payment.hold_days', 'payout.new_payee_days', 'wallet.min_withdraw')"
    settings.changed()
    assert.is_true(fine, type(why) == "table" and tostring(why.message) or tostring(why))
  end)

  it("waits for each payee on its own, and a dispute freezes each one's part", function()
    local one, two = h.make.user(), h.make.user()
    local payees = { { to = one.id, amount = 1000 }, { to = two.id, amount = 200 } }
    local function held(who) return who:get("/api/wallet/balance").json.held_cents end
    card(h.make.user(), 10000, payees)
    assert.same({ 1000, 200 }, { held(one), held(two) })
    settings.set(nil, { ["payment.hold_days"] = 0 })
    local fine, o = pcall(card, h.make.user(), 10000, payees)
    db.exec "delete from settings where key = 'payment.hold_days'"
    settings.changed()
    assert.is_true(fine, tostring(o))
    assert.same({ 1000, 200 }, { held(one), held(two) })
    assert.equal("disputed", dispute(o, "dp_2", "open", 5000))
    assert.same({ 1500, 300 }, { held(one), held(two) })
    assert.equal("paid", dispute(o, "dp_2", "won", 5000))
    assert.same({ 1000, 200 }, { held(one), held(two) })
  end)

  it("waits for an administrator when the buyer turns out to pay with the affiliate's card", function()
    local one, two, buyer = h.make.user(), h.make.user(), h.make.user()
    card(one, 500, {}, "card-" .. one.id)
    card(buyer, 1000, { { to = one.id, amount = 100 }, { to = two.id, amount = 50 } }, "card-" .. one.id)
    local row = one:get("/api/affiliate/refused").json.items[1]
    assert.same({ "instrument", "open", 100 }, { row.why, row.state, row.amount })
    assert.equal(0, #two:get("/api/affiliate/refused").json.items)
    assert.equal(200, admin:post("/admin/affiliate/reviews/" .. row.commission_id, { decision = "release" }).status)
    -- It waits on with all earnings of a card.
    assert.same({ 100, 100 }, { h.balance(one), one:get("/api/wallet/balance").json.held_cents })
    card(buyer, 1000, { { to = one.id, amount = 100 } })
    row = one:get("/api/affiliate/refused").json.items[1]
    assert.same({ "instrument", "refused", 100 }, { row.why, row.state, row.amount })
  end)

  it("is refused as a whole when a line is wrong", function()
    local one, two, buyer = h.make.user(), h.make.user(), h.make.user()
    local id = film(1000)
    local many = {}
    for i = 1, 11 do many[i] = { to = one.id + i, amount = 1 } end
    for name, case in pairs {
      sum = { "affiliate.out_of_range", { { to = one.id, amount = 900 }, { to = two.id, amount = 1 } } },
      twice = { "affiliate.invalid", { { to = one.id, amount = 1 }, { to = one.id, amount = 1 } } },
      buyer = { "affiliate.invalid", { { to = one.id, amount = 1 }, { to = buyer.id, amount = 1 } } },
      maker = { "affiliate.invalid", { { to = maker.id, amount = 1 } } },
      nobody = { "affiliate.invalid", { { to = 999999999, amount = 1 } } },
      negative = { "affiliate.out_of_range", { { to = one.id, amount = -1 } } },
      fraction = { "affiliate.out_of_range", { { to = one.id, amount = 0.5 } } },
      text = { "affiliate.out_of_range", { { to = one.id, amount = "1" } } },
      many = { "affiliate.out_of_range", many }, no_list = { "affiliate.out_of_range", { to = one.id, amount = 1 } },
    } do
      local _, code = call("ppv_sale($1, $2::uuid, 1000, 1000, $3::jsonb, 10, $4, '')", buyer.id, id, json.encode(case[2]), key())
      assert.same({ name, case[1] }, { name, code })
    end
    assert.equal(0, db.one("select count(*) as n from orders where buyer_id = $1", buyer.id).n)
  end)

  -- Price 1 .. 10^7, fee 0 .. 10000 bp, 0 .. 10 lines with anything up to the whole share; refunds in pieces that end at the price.
  it("splits and gives back to the cent, whatever the numbers", function()
    local people, buyer = {}, h.make.user()
    for i = 1, 10 do people[i] = h.make.user() end
    settings.set(nil, { ["wallet.four_eyes_above"] = 100000000 })
    h.make.money(admin, buyer, 20000000)
    db.exec "delete from settings where key = 'wallet.four_eyes_above'"
    settings.changed()
    local state = 20261128
    local function random(n)
      state = (state * 16807) % 2147483647
      return state % n
    end
    local function wallets()
      local out = {}
      for i, who in ipairs { buyer, maker, unpack(people) } do
        out[i] = db.one("select coalesce((select balance from ledger_accounts where kind = 'user' and owner_id = $1), 0)::bigint as b", who.id).b
      end
      return out
    end
    local before = wallets()
    for n = 1, 60 do
      local price = math.max(1, random(({ 10, 100, 10000, 10000001 })[n % 4 + 1]))
      local fee = ({ 0, 10000, random(10001), 1000 })[random(4) + 1]
      local share = assert(require("ppv.money").split(price, fee, 0)).creator
      local left, list = random(5) == 0 and share or math.floor(share * random(91) / 100), {}
      for i = 1, random(11) do
        local amount = i == 10 and left or random(left + 1)
        left = left - amount
        list[i] = { to = people[i].id, amount = amount }
      end
      local r = assert(call("ppv_sale($1, $2::uuid, $3, $4, $5::jsonb, 10, $6, '')", buyer.id, film(price), price, fee,
        json.encode(json.array(list)), key()))
      local sum = 0
      for _, l in ipairs(list) do sum = sum + l.amount end
      assert.same({ price - share, share - sum, sum }, { r.platform, r.creator, r.commission })
      local rest = price
      while rest > 0 do
        local piece = math.max(1, math.min(rest, random(rest + rest)))
        assert(call("ppv_refund_begin($1, $2, $3, '', $4, '')", admin.id, r.order_id, piece, key()))
        rest = rest - piece
      end
      assert.same(before, wallets(), "sale " .. n)
    end
  end)
end)
