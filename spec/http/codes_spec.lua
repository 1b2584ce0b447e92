-- SPDX-License-Identifier: Apache-2.0
-- Coupons: what they take off, their limits, what the ledger makes of them. Gifts: paid by one, redeemed by another, once. Grants.
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local gifts = require "lib.gifts"
local h = require "spec.support"
local mail = require "spec.support.mail"

local serial = 0
local function word(prefix)
  serial = serial + 1
  return (prefix .. serial .. crypto.hex_encode(crypto.random(4))):upper()
end

local admin, creator
local function film(price, owner) return h.make.video(owner or creator, { price = price or 1000 }) end
local function coupon(values, who, path)
  values.code = values.code or word "C"
  local r = (who or creator):post(path or "/api/creator/coupons", values)
  assert.equal(201, r.status, r.body)
  return values.code, r.json.id
end
local function rich(amount)
  local c = h.make.user()
  h.make.money(admin, c, amount or 10000)
  return c
end
local function wallet(c, id, code, more)
  local body = { video_id = id, coupon = code }
  for k, v in pairs(more or {}) do body[k] = v end
  return c:post("/api/wallet/pay", body)
end
local function start(c, id, code, more)
  local body = { video_id = id, coupon = code }
  for k, v in pairs(more or {}) do body[k] = v end
  return c:post("/api/pay/sandbox/start", body)
end
local function order(c, uid) return c:get("/api/pay/order?id=" .. uid).json.order end
local function act(c, uid, what)
  local r = c:post("/api/pay/desk/" .. order(c, uid).ref, { act = what })
  assert.equal(200, r.status, r.body)
  mail.run_jobs()
end
local function plays(c, id)
  local s = c:get("/api/request_play?video_id=" .. id).status
  return s ~= 403 and s ~= 401
end
local function refused(code, r)
  assert.equal(code, r.json and r.json.code, r.body)
end

setup(function()
  admin, creator = h.make.admin(), h.make.user()
  h.plugin("sandbox", "on", "true")
  mail.run_jobs()
end)
teardown(function()
  h.plugin "sandbox"
end)
after_each(function() assert.same({}, h.breaches()) end)

describe("a coupon", function()
  it("lowers the price that is split, by percent or amount", function()
    for _, case in ipairs { { { percent_bp = 2500 }, 999, 249 }, { { amount_cents = 300 }, 1000, 300 }, { { percent_bp = 1 }, 10000, 1 } } do
      local id, c = film(case[2]), rich()
      local code = coupon(case[1])
      local q = h.client():post("/api/coupon", { video_id = id, code = code:lower() })
      assert.equal(case[3], q.json.discount_cents, q.body)
      assert.equal(case[2] - case[3], q.json.price_cents)
      local before, had = h.balance(creator), h.balance(c)
      local r = wallet(c, id, code)
      assert.equal(200, r.status, r.body)
      local paid = case[2] - case[3]
      assert.equal(paid, had - h.balance(c))
      assert.equal(math.floor(paid * 0.9), h.balance(creator) - before)
      local o = db.one("select price, discount, platform + creator as parts from orders where uid = $1::uuid", r.json.order_id)
      assert.same({ price = paid, discount = case[3], parts = paid }, o)
      assert.is_true(plays(c, id))
    end
  end)

  it("works with a provider, is reserved from the start and given back when the order ends unpaid", function()
    local id = film()
    local code = coupon { percent_bp = 5000, max_uses = 1 }
    local a, b = h.make.user(), h.make.user()
    local r = start(a, id, code)
    assert.equal(200, r.status, r.body)
    assert.equal(500, r.json.invoice.amount_cents)
    refused("coupon.used_up", start(b, id, code))
    assert.equal(r.json.order_id, start(a, id, code).json.order_id) -- a second click
    assert.equal("cancelled", a:post("/api/pay/order/cancel", { id = r.json.order_id }).json.state)
    local second = start(b, id, code)
    assert.equal(200, second.status, second.body)
    act(b, second.json.order_id, "pay")
    assert.equal("paid", order(b, second.json.order_id).state)
    assert.is_true(plays(b, id))
    refused("coupon.used_up", wallet(rich(), id, code))
    -- What was promised to the first stays promised: a late payment keeps its price.
    act(a, r.json.order_id, "pay")
    assert.equal("paid", order(a, r.json.order_id).state)
    local row = db.one("select count(*) filter (where state = 'redeemed') as n from coupon_uses x join coupons c on c.id = x.coupon_id where c.code = $1", code)
    assert.equal(2, row.n)
  end)

  it("moves to the newer of two orders for the same title", function()
    local id, c = film(), rich()
    local code = coupon { percent_bp = 5000, max_uses = 1, max_per_buyer = 1 }
    assert.equal(200, start(c, id, code).status)
    assert.equal(200, wallet(c, id, code).status)
  end)

  it("keeps its limits", function()
    local id, other, c = film(), film(), rich()
    local now = os.time()
    refused("coupon.unknown", wallet(c, id, "NO-SUCH-CODE"))
    refused("coupon.used", (function()
      local code = coupon { percent_bp = 1000, max_per_buyer = 1 }
      assert.equal(200, wallet(c, other, code).status)
      return wallet(c, id, code)
    end)())
    refused("coupon.early", wallet(c, id, (coupon { percent_bp = 1000, starts_at = now + 600 })))
    local late = coupon { percent_bp = 1000, ends_at = now + 600 }
    db.exec("update coupons set ends_at = now() where code = $1", late)
    assert.equal(422, creator:post("/api/creator/coupons", { code = word "C", percent_bp = 1000, ends_at = now - 5 }).status)
    refused("coupon.minimum", wallet(c, id, (coupon { percent_bp = 1000, min_price_cents = 1001 })))
    refused("coupon.other_title", wallet(c, id, (coupon { percent_bp = 1000, video_ids = { other } })))
    assert.equal(200, wallet(c, id, (coupon { percent_bp = 1000, video_ids = { id, other } })).status)
  end)

  it("is for its maker's titles; an administrator's is for all", function()
    local rival = h.make.user()
    local id, c = film(nil, rival), rich()
    refused("coupon.unknown", wallet(c, id, (coupon { percent_bp = 1000 })))
    assert.equal(404, creator:post("/api/creator/coupons", { code = word "C", percent_bp = 1000, video_ids = { id } }).status)
    local code, n = coupon({ percent_bp = 1000 }, admin, "/admin/coupons")
    assert.equal(404, creator:post("/api/creator/coupons/" .. n .. "/off").status)
    assert.equal(403, creator:post("/admin/coupons", { code = word "C", percent_bp = 1000 }).status)
    assert.equal(200, wallet(c, id, code).status)
    assert.equal(200, admin:post("/admin/coupons/" .. n .. "/off").status)
    refused("coupon.unknown", wallet(rich(), id, code))
    assert.equal(422, creator:post("/api/creator/coupons", { code = word "C" }).status)
    assert.equal(422, creator:post("/api/creator/coupons", { code = word "C", percent_bp = 10, amount_cents = 10 }).status)
    local mine = coupon { percent_bp = 10 }
    assert.equal(409, creator:post("/api/creator/coupons", { code = mine:lower(), percent_bp = 20 }).status)
  end)

  it("answers a replay with the first sale and counts it once", function()
    local id, c = film(), rich()
    local code = coupon { percent_bp = 1000, max_uses = 1 }
    local key = { headers = { ["idempotency-key"] = word "k" } }
    local first = c:post("/api/wallet/pay", { video_id = id, coupon = code }, key)
    assert.equal(200, first.status, first.body)
    local again = c:post("/api/wallet/pay", { video_id = id, coupon = code }, key)
    assert.equal(200, again.status, again.body)
    assert.equal(first.json.order_id, again.json.order_id)
  end)

  it("of all of the price is a sale without money, once", function()
    local id, c = film(), h.make.user()
    local code, n = coupon { percent_bp = 10000, max_uses = 1 }
    refused("coupon.free", start(c, id, code))
    assert.is_true(h.client():post("/api/coupon", { video_id = id, code = code }).json.free)
    refused("coupon.not_free", c:post("/api/pay/free", { video_id = id, code = (coupon { percent_bp = 9999 }) }))
    local before = db.one "select count(*) as n from ledger_txns".n
    local r = c:post("/api/pay/free", { video_id = id, code = code })
    assert.equal(200, r.status, r.body)
    assert.is_true(plays(c, id))
    assert.equal(before, db.one "select count(*) as n from ledger_txns".n)
    refused("sale.already_owned", c:post("/api/pay/free", { video_id = id, code = code }))
    refused("coupon.used_up", h.make.user():post("/api/pay/free", { video_id = id, code = code }))
    local uses = creator:get("/api/creator/coupons/" .. n .. "/uses").json.items
    assert.equal(1, #uses)
    assert.equal("redeemed", uses[1].state)
    assert.truthy(creator:get("/api/creator/coupons/" .. n .. "/uses.csv").body:find(code, 1, true))
    assert.equal(0, #h.make.user():get("/api/creator/coupons/" .. n .. "/uses").json.items)
    for _, x in ipairs(creator:get("/api/creator/coupons").json.items) do if x.id == n then assert.equal(1, x.redeemed) end end
  end)

  it("counts a guest's address as one buyer", function()
    local id, other, email = film(), film(), word "g":lower() .. "@example.net"
    local code = coupon { percent_bp = 1000, max_per_buyer = 1 }
    local a, b = h.client(), h.client()
    a:post("/api/guest", { email = email })
    b:post("/api/guest", { email = email:upper() })
    assert.equal(200, start(a, id, code).status)
    refused("coupon.used", start(b, other, code))
    refused("coupon.used", wallet((function()
      local c = rich()
      db.exec("update users set email = $1 where id = $2", email, c.id)
      return c
    end)(), other, code))
  end)

  it("cannot be guessed for long", function()
    local id, last = film(), nil
    for _ = 1, 32 do
      cache.del "rate:POST /api/coupon:127.0.0.1"
      last = h.client():post("/api/coupon", { video_id = id, code = word "X" })
    end
    assert.equal(429, last.status)
    cache.del("rate:coupon_guess:" .. crypto.sha256("127.0.0.1", "hex"))
  end)

  it("goes back pro rata of what was paid", function()
    local id, c = film(), rich()
    local uid = wallet(c, id, (coupon { percent_bp = 5000 })).json.order_id
    local before = h.balance(c)
    assert.is_true(admin:post("/admin/orders/" .. uid .. "/refund", { amount_cents = 501 }).status >= 400)
    assert.equal("done", admin:post("/admin/orders/" .. uid .. "/refund", {}).json.state)
    assert.equal(500, h.balance(c) - before)
  end)
end)

describe("a gift", function()
  local function free_guesses(c)
    cache.del("rate:gift:" .. crypto.sha256("127.0.0.1", "hex"))
    if c and c.id then cache.del(("rate:gift_user:%.0f"):format(c.id)) end
  end
  local function redeem(c, code)
    free_guesses(c)
    return c:post("/api/gift/redeem", { code = code })
  end
  local function give(c, id, more)
    local o = { gift = true }
    for k, v in pairs(more or {}) do o[k] = v end
    local r = wallet(c, id, nil, o)
    assert.equal(200, r.status, r.body)
    local g = c:get("/api/gifts").json.items[1]
    return g.code, r.json.order_id, g
  end

  it("is paid by one and watched by another, once", function()
    local id, giver, friend = film(), rich(), h.make.user()
    local before = h.balance(creator)
    local code, uid = give(giver, id)
    assert.equal(900, h.balance(creator) - before)
    assert.is_false(plays(giver, id))
    free_guesses()
    assert.equal("A film", h.client():post("/api/gift/look", { code = code:lower():gsub("-", " ") }).json.gift.title)
    local r = redeem(friend, code)
    assert.equal(200, r.status, r.body)
    assert.is_true(plays(friend, id))
    refused("gift.redeemed", redeem(h.make.user(), code))
    refused("gift.redeemed", redeem(friend, code))
    assert.is_nil(giver:get("/api/gifts").json.items[1].code)
    assert.equal("done", admin:post("/admin/orders/" .. uid .. "/refund", {}).json.state)
    assert.is_false(plays(friend, id))
    assert.same({}, admin:get("/admin/payments/queue").json.no_access)
  end)

  it("can be given again by who owns the title, and by who gave it before", function()
    local id, giver = film(), rich()
    assert.equal(200, wallet(giver, id).status)
    local one, two = give(giver, id), give(giver, id)
    assert.are_not.equal(one, two)
    refused("sale.already_owned", redeem(giver, one))
    assert.equal(200, redeem(h.make.user(), one).status)
    refused("sale.own_video", redeem(creator, two))
    assert.equal(200, redeem(h.make.user(), two).status)
  end)

  it("dies with a refund before it was redeemed, and opens nothing before it was paid", function()
    local id, giver, friend = film(), h.make.user(), h.make.user()
    local r = start(giver, id, nil, { gift = true, gift_email = "friend@example.net", gift_message = "See http://evil.example now" })
    assert.equal(200, r.status, r.body)
    local uid = r.json.order_id
    assert.same({}, giver:get("/api/gifts").json.items)
    local sealed = db.one("select g.code_sealed as s from gifts g join orders o on o.id = g.order_id where o.uid = $1::uuid", uid).s
    local code = gifts.read(sealed)
    refused("gift.unknown", redeem(friend, code))
    act(giver, uid, "pay")
    mail.run_jobs()
    local sent = mail.to "friend@example.net"
    assert.truthy(sent[#sent].text:find(code, 1, true))
    assert.is_nil(sent[#sent].text:find("evil.example", 1, true) and sent[#sent].text:find("http://evil", 1, true))
    assert.equal(code, giver:get("/api/gifts").json.items[1].code)
    assert.equal("done", admin:post("/admin/orders/" .. uid .. "/refund", {}).json.state)
    refused("gift.void", redeem(friend, code))
    assert.is_false(plays(friend, id))
  end)

  it("waits while its payment is disputed", function()
    local id, giver, friend = film(), h.make.user(), h.make.user()
    local uid = start(giver, id, nil, { gift = true }).json.order_id
    act(giver, uid, "pay")
    local code = giver:get("/api/gifts").json.items[1].code
    act(giver, uid, "dispute")
    refused("gift.waits", redeem(friend, code))
    act(giver, uid, "win")
    assert.equal(200, redeem(friend, code).status)
    assert.is_true(plays(friend, id))
    uid = start(giver, id, nil, { gift = true }).json.order_id
    act(giver, uid, "pay")
    friend = h.make.user()
    assert.equal(200, redeem(friend, giver:get("/api/gifts").json.items[1].code).status)
    act(giver, uid, "dispute")
    act(giver, uid, "lose")
    assert.is_false(plays(friend, id))
  end)

  it("has codes of 100 bits that no table shows, and that cannot be guessed", function()
    local seen = {}
    for _ = 1, 1000 do
      local c = gifts.new()
      assert.truthy(c:find "^%w%w%w%w%w%-%w%w%w%w%w%-%w%w%w%w%w%-%w%w%w%w%w$", c)
      assert.is_nil(seen[c])
      seen[c] = true
    end
    local code = give(rich(), film())
    local row = db.one("select count(*) as n from gifts where position($1::text in code_sealed || message) > 0", code)
    assert.equal(0, row.n)
    local c, last = h.make.user(), nil
    free_guesses()
    for _ = 1, 22 do last = c:post("/api/gift/redeem", { code = gifts.new() }) end
    assert.equal(429, last.status)
    free_guesses(c)
    refused("gift.unknown", redeem(c, "no code at all"))
  end)

  it("can be bought and redeemed by guests, with a coupon, and its maker sees how many are out", function()
    local giver, friend, owner = h.client(), h.client(), h.make.user()
    local id = film(1000, owner)
    giver:post("/api/guest", { email = word "g":lower() .. "@example.net" })
    local uid = start(giver, id, (coupon({ percent_bp = 5000 }, owner)), { gift = true }).json.order_id
    act(giver, uid, "pay")
    local email = word "f":lower() .. "@example.net"
    friend:post("/api/guest", { email = email })
    assert.equal(1, owner:get("/api/creator/gifts").json.counts.open)
    assert.equal(200, redeem(friend, giver:get("/api/gifts").json.items[1].code).status)
    assert.is_true(plays(friend, id))
    mail.run_jobs()
    assert.equal(1, #mail.to(email))
    local r = owner:get("/api/creator/gifts")
    assert.equal(1, r.json.counts.redeemed)
    assert.equal(500, r.json.items[1].paid_cents)
    assert.truthy(owner:get("/api/creator/gifts.csv").body:find("redeemed", 1, true))
  end)
end)

describe("a grant", function()
  local function names(id)
    local out = {}
    for _, x in ipairs(creator:get("/api/allow?video_id=" .. id).json.items) do out[x.username] = x end
    return out
  end

  it("ends at its date", function()
    local id, c = film(), h.make.user()
    local r = creator:post("/api/allow", { video_id = id, username = c.username, ends_at = os.time() + 3600 })
    assert.equal(200, r.status, r.body)
    assert.is_true(plays(c, id))
    assert.truthy(names(id)[c.username].expires_at)
    db.exec("update entitlements set expires_at = now() where user_id = $1", c.id)
    assert.equal(422, creator:post("/api/allow", { video_id = id, username = c.username, ends_at = 5 }).status)
  end)

  it("to an address answers the same whether it has an account, and can be taken back", function()
    local id, c, email = film(), h.make.user(), word "n":lower() .. "@example.net"
    local a = creator:post("/api/allow", { video_id = id, email = c.email })
    local b = creator:post("/api/allow", { video_id = id, email = email })
    assert.equal(200, a.status, a.body)
    assert.same({ ok = true, video_id = id, username = email, rows_affected = 1 }, b.json)
    assert.same({ ok = true, video_id = id, username = c.email, rows_affected = 1 }, a.json)
    assert.is_true(plays(c, id))
    local list = names(id)
    assert.is_true(list[email] ~= nil and list[c.email] ~= nil and list[c.username] == nil)
    mail.run_jobs()
    local phone = h.client()
    local all = mail.to(email)
    local token = all[#all].text:match "guest%.html#token=([%w_-]+)"
    assert.equal(200, phone:post("/auth/guest/open", { token = token }).status)
    assert.is_true(plays(phone, id))
    assert.equal(0, creator:post("/api/allow", { video_id = id, email = email }).json.rows_affected)
    assert.equal(404, h.make.user():post("/api/allow", { video_id = id, email = email }).status)
    assert.equal(1, creator:post("/api/allow/revoke", { video_id = id, username_or_email = email }).json.rows_affected)
    assert.is_false(plays(phone, id))
    assert.equal(1, creator:post("/api/allow/revoke", { video_id = id, email = c.email }).json.rows_affected)
    assert.is_false(plays(c, id))
    local row = db.one("select count(*) as n from audit_log where action in ('access.grant', 'access.ungrant') and target = $1", "video:" .. id)
    assert.equal(4, row.n)
    assert.equal(200, creator:post("/api/allow", { video_id = id, email = email }).json.rows_affected == 1 and 200)
  end)
end)
