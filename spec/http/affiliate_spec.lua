-- SPDX-License-Identifier: Apache-2.0
-- From the link to the commission: programs, clicks, attribution, earnings.
local db = require "ppv.db"
local h = require "spec.support"
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

  it("with the rule of two levels pays who came first for a sale without a link", function()
    settings.set(nil, { ["affiliate.plugin"] = "two_level" })
    local first, second, aff, b = film(10), film(10), h.make.user(), buyer(3000)
    local fine, why = pcall(function()
      buy(b, first, { ref_code = aff.username })
      buy(b, second)
    end)
    db.exec "delete from settings where key = 'affiliate.plugin'"
    settings.changed()
    assert.is_true(fine, tostring(why))
    assert.equal(120, earned(aff))
  end)
end)
