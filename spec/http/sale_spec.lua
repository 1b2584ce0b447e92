local db = require "ppv.db"
local h = require "spec.support"

describe("a sale from the wallet", function()
  local admin, creator, viewer, film
  lazy_setup(function()
    admin, creator, viewer = h.make.admin(), h.make.user(), h.make.user()
    film = h.make.video(creator, { price = 1000 })
    h.make.money(admin, viewer, 5000)
  end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function buy(who, video, more, headers)
    local body = { video_id = video }
    for k, v in pairs(more or {}) do body[k] = v end
    return who:post("/api/wallet/pay", body, { headers = headers })
  end

  it("moves the price once and opens the film", function()
    assert.equal(403, viewer:get("/api/request_play?video_id=" .. film).status)
    local r = buy(viewer, film)
    assert.equal(200, r.status, r.body)
    assert.equal(4000, r.json.balance_cents)
    assert.equal(4000, h.balance(viewer))
    assert.equal(900, h.balance(creator))
    assert.is_true(viewer:get("/api/pay/all_options?video_id=" .. film).json.already_purchased)
  end)

  it("refuses a second purchase and changes nothing", function()
    local r = buy(viewer, film)
    assert.equal(409, r.status)
    assert.is_false(r.json.ok)
    assert.is_string(r.json.code)
    assert.is_string(r.json.request_id)
    assert.equal(4000, h.balance(viewer))
  end)

  it("replays the same Idempotency-Key and refuses it with another body", function()
    local one, two = h.make.video(creator, { price = 200 }), h.make.video(creator, { price = 300 })
    local key = { ["idempotency-key"] = "spec-key-1" }
    local first = buy(viewer, one, nil, key)
    assert.equal(200, first.status, first.body)
    local again = buy(viewer, one, nil, key)
    assert.equal(200, again.status, again.body)
    assert.equal(first.json.order_id, again.json.order_id)
    assert.equal(409, buy(viewer, two, nil, key).status)
    assert.equal(3800, h.balance(viewer))
  end)

  it("refuses the owner, the poor, the blocked and an unknown film", function()
    local dear = h.make.video(creator, { price = 900000 })
    local blocked = h.make.user()
    h.make.money(admin, blocked, 2000)
    assert.equal(200, creator:post("/api/creator/block_user", { user_id = blocked.id }).status)
    for _, case in ipairs { { creator, film }, { viewer, dear }, { blocked, film },
      { viewer, "00000000-0000-7000-8000-000000000000" } } do
      local before = h.balance(case[1])
      local r = buy(case[1], case[2])
      assert.is_true(r.status >= 400 and r.status < 500, r.body)
      assert.is_true(#r.json.error > 10)
      assert.equal(before, h.balance(case[1]))
    end
    assert.equal(2000, h.balance(blocked))
  end)

  it("refuses when the price changed under the buyer", function()
    local v = h.make.video(creator, { price = 700 })
    local r = buy(viewer, v, { price_cents = 1 })
    assert.is_true(r.status >= 400, r.body)
    assert.equal(3800, h.balance(viewer))
  end)

  it("pays the affiliate out of the creator's share, in the same transaction", function()
    local aff, buyer = h.make.user(), h.make.user()
    h.make.money(admin, buyer, 2000)
    local v = h.make.video(creator, { price = 1000 })
    assert.equal(200, creator:post("/api/affiliate/settings", { video_id = v, commission_pct = 25, is_enabled = true }).status)
    local before = h.balance(creator)
    local r = buy(buyer, v, { ref_code = aff.username })
    assert.equal(200, r.status, r.body)
    assert.equal(250, h.balance(aff))
    assert.equal(before + 650, h.balance(creator))
    assert.equal(250, aff:get("/api/affiliate/earnings").json.total_commission_cents)
  end)

  it("sells a title it has just sold for what holds now", function()
    local aff, v = h.make.user(), h.make.video(creator, { price = 1000 })
    local function costs(price, more)
      for _ = 1, 4 do -- whichever worker answers
        local who = h.make.user()
        h.make.money(admin, who, 5000)
        local r = buy(who, v, more)
        assert.equal(200, r.status, r.body)
        assert.equal(5000 - price, h.balance(who))
      end
    end
    local function earns(pct) return 200, creator:post("/api/affiliate/settings", { video_id = v, commission_pct = pct, is_enabled = pct > 0 }).status end
    local function price(p) db.exec("update videos set price = $2 where id = $1::uuid", v, p) end
    costs(1000)
    price(1500)
    costs(1500, { ref_code = aff.username })
    assert.equal(0, h.balance(aff))
    assert.equal(earns(20))
    costs(1500, { ref_code = aff.username })
    assert.equal(4 * 300, h.balance(aff))
    assert.equal(earns(0))
    costs(1500, { ref_code = aff.username })
    assert.equal(4 * 300, h.balance(aff))
    db.exec("insert into creator_programs (creator_id, pct, enabled) values ($1, 10, true)", creator.id)
    db.exec("delete from affiliate_programs where video_id = $1::uuid", v)
    costs(1500, { ref_code = aff.username })
    assert.equal(4 * 300 + 4 * 150, h.balance(aff))
    db.exec("delete from creator_programs where creator_id = $1", creator.id)
    costs(1500)
    price(0)
    assert.equal("sale.free", buy(viewer, v).json.code)
    db.exec("update videos set price = 900, alone = false where id = $1::uuid", v)
    assert.equal("offer.gone", buy(viewer, v).json.code)
  end)

  it("ignores the buyer's own code", function()
    local buyer = h.make.user()
    h.make.money(admin, buyer, 2000)
    local v = h.make.video(creator, { price = 1000 })
    creator:post("/api/affiliate/settings", { video_id = v, commission_pct = 50, is_enabled = true })
    assert.equal(200, buy(buyer, v, { ref_code = buyer.username }).status)
    assert.equal(1000, h.balance(buyer))
  end)
end)

describe("wallet movements", function()
  local admin, a, b
  lazy_setup(function() admin, a, b = h.make.admin(), h.make.user(), h.make.user() end)
  after_each(function() assert.same({}, h.breaches()) end)

  it("credit a deposit only when an administrator approves it, once", function()
    local r = a:post("/api/wallet/deposit", { amount_cents = 3000 })
    assert.equal(0, h.balance(a))
    local path = "/admin/wallet/transactions/" .. r.json.txn_id .. "/approve"
    assert.equal(403, a:post(path, {}).status)
    assert.equal(200, admin:post(path, {}).status)
    assert.equal(409, admin:post(path, {}).status)
    assert.equal(3000, h.balance(a))
  end)

  it("transfer between people and refuse more than there is", function()
    assert.equal(200, a:post("/api/wallet/transfer", { to_username = b.username, amount_cents = 1000 }).status)
    assert.equal(2000, h.balance(a))
    assert.equal(1000, h.balance(b))
    assert.is_true(a:post("/api/wallet/transfer", { to_username = b.username, amount_cents = 999999 }).status >= 400)
    assert.is_true(a:post("/api/wallet/transfer", { to_username = a.username, amount_cents = 100 }).status >= 400)
    assert.equal(2000, h.balance(a))
  end)

  it("refuse every amount that is not a positive whole number", function()
    for _, raw in ipairs { "0", "-5", "1.5", "1e3", "1E+3", "5.0", "5.00000000000000001", "1e-3", "null",
      '"x"', "9223372036854775808", "true", "[]", "{}" } do
      local r = a:request("POST", "/api/wallet/deposit", { body = '{"amount_cents":' .. raw .. "}",
        headers = { ["content-type"] = "application/json" } })
      assert.is_true(r.status == 400 or r.status == 422, raw .. " gave " .. r.status .. " " .. r.body)
      assert.is_false(r.json.ok)
    end
  end)

  it("and every decision of an administrator is in the audit log with the address it came from", function()
    assert.equal(200, a:post("/api/wallet/deposit", { amount_cents = 1500 }).status)
    local open = db.one("select max(id) as id from deposits where user_id = $1", a.id).id
    assert.equal(200, admin:post("/admin/wallet/transactions/" .. open .. "/reject", {}).status)
    local film = h.make.video(b)
    assert.equal(200, b:post("/api/allow", { video_id = film, username = a.username }).status)
    local r = admin:post("/admin/access/revoke", { user_id = a.id, video_id = film, reason = "spec" })
    assert.equal(200, r.status, r.body)
    local rows = db.query("select action, count(*) as n, count(ip) as known from audit_log where actor_id = $1 group by 1 order by 1", admin.id)
    local seen = {}
    for _, row in ipairs(rows) do
      seen[row.action] = true
      assert.equal(row.n, row.known, row.action)
    end
    assert.is_true(seen["deposit.approve"] and seen["deposit.reject"] and seen["access.revoke"])
  end)
end)
