-- SPDX-License-Identifier: Apache-2.0
-- Buying with an address and no password: the link of the mail, whose goods it opens, and what it must never open.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local h = require "spec.support"
local mail = require "spec.support.mail"

local serial = 0
local function address()
  serial = serial + 1
  return ("guest%d%s@example.net"):format(serial, crypto.hex_encode(crypto.random(4)))
end

describe("a guest", function()
  local admin, creator
  lazy_setup(function()
    admin, creator = h.make.admin(), h.make.user()
    h.plugin("sandbox", "on", "true")
    mail.run_jobs()
  end)
  lazy_teardown(function()
    h.plugin "sandbox"
  end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function browser(email)
    local c = h.client()
    c.email = email
    local r = c:post("/api/guest", { email = email })
    assert.equal(200, r.status, r.body)
    return c
  end
  local function buy(c, film)
    local r = c:post("/api/pay/sandbox/start", { video_id = film })
    assert.equal(200, r.status, r.body)
    local uid = r.json.invoice.invoice_id
    local ref = c:get("/api/pay/order?id=" .. uid).json.order.ref
    assert.equal(200, c:post("/api/pay/desk/" .. ref, { act = "pay" }).status)
    mail.run_jobs()
    assert.equal("paid", c:get("/api/pay/order?id=" .. uid).json.order.state)
    return uid
  end
  local function film() return h.make.video(creator, { price = 1000 }) end
  local function plays(c, id)
    local s = c:get("/api/request_play?video_id=" .. id).status
    return s ~= 403 and s ~= 401
  end
  local function last_token(email)
    local all = mail.to(email)
    return #all > 0 and all[#all].text:match "guest%.html#token=([%w_-]+)" or nil
  end
  local function new_link(email)
    assert.equal(200, h.client():post("/auth/guest/link", { email = email }).status)
    mail.run_jobs()
    return assert(last_token(email))
  end
  local function open(token, c, add)
    c = c or h.client()
    return c:post("/auth/guest/open", { token = token, add = add }), c
  end

  it("buys with an address, watches at once, and elsewhere by the link of the receipt, once", function()
    local email, id = address(), film()
    local c = browser(email)
    assert.is_false(plays(c, id))
    local uid = buy(c, id)
    assert.is_true(plays(c, id))
    local mails = mail.to(email)
    assert.equal(1, #mails)
    assert.truthy(mails[1].text:find(uid, 1, true))
    local token = assert(last_token(email))
    local r, phone = open(token)
    assert.equal(200, r.status, r.body)
    assert.is_true(plays(phone, id))
    assert.is_true(plays(c, id), "the browser that paid goes on")
    assert.equal(email, phone:get("/api/me").json.user.email)
    assert.equal(uid, phone:get("/api/orders").json.items[1].order_id)
    assert.equal(1, #phone:get("/api/receipts").json.items)
    assert.equal(400, (open(token)).status)
    assert.equal(400, (open "nonsense").status)
  end)

  it("gets no link that is too old, at most five an hour, and none for an address that bought nothing", function()
    local email = address()
    buy(browser(email), film())
    assert(db.exec("insert into guest_links (token_hash, email, expires_at) values ($1, $2::citext, now())",
      db.bytes(crypto.sha256 "an old token"), email))
    assert.equal(400, (open "an old token").status)
    for _ = 1, 8 do new_link(email) end
    assert.equal(6, #mail.to(email)) -- the receipt and five
    local stranger = address()
    browser(stranger)
    local r = h.client():post("/auth/guest/link", { email = stranger })
    assert.equal(h.client():post("/auth/guest/link", { email = email }).json.message, r.json.message)
    mail.run_jobs()
    assert.same({}, mail.to(stranger))
  end)

  it("has all that was bought with the address behind one link, and each browser only its own", function()
    local email, one, two = address(), film(), film()
    local a, b = browser(email), browser(email)
    buy(a, one)
    buy(b, two)
    assert.is_false(plays(a, two))
    assert.is_false(plays(b, one))
    local _, phone = open(new_link(email))
    assert.is_true(plays(phone, one) and plays(phone, two))
    assert.equal(2, #phone:get("/api/orders").json.items)
    assert.is_false(plays(a, two), "the browser of whoever typed the address gains nothing by the link")
    local three = film()
    buy(phone, three)
    assert.is_false(plays(a, three))
    assert.is_false(plays(b, three))
  end)

  it("loses access everywhere with a refund", function()
    local email, id = address(), film()
    local c = browser(email)
    local uid = buy(c, id)
    local _, phone = open(last_token(email))
    assert.equal("done", admin:post("/admin/orders/" .. uid .. "/refund", {}).json.state)
    assert.is_false(plays(c, id))
    assert.is_false(plays(phone, id))
    local _, again = open(new_link(email))
    assert.is_false(plays(again, id))
  end)

  it("may only buy, watch and look at orders", function()
    local c = browser(address())
    for _, path in ipairs { "/api/wallet/balance", "/api/my_videos", "/api/profile", "/api/sessions", "/api/statement", "/api/payouts",
      "/api/affiliate/summary", "/api/chat/conversations" } do
      local r = c:get(path)
      assert.equal(403, r.status, path)
      assert.equal("auth.guest", r.json.code, path)
    end
    assert.equal(403, c:post("/api/wallet/pay", { video_id = film() }).status)
    assert.equal(403, c:post("/api/change_password", { current_password = "!", new_password = "a long new pass phrase" }).status)
  end)

  it("never opens an account that has the address, and does not tell that there is one", function()
    local u, id = h.make.user(), film()
    local known, fresh = h.client():post("/api/guest", { email = u.email }), h.client():post("/api/guest", { email = address() })
    assert.equal(fresh.status, known.status)
    local names = {}
    for k in pairs(known.json.user) do names[#names + 1] = k end
    for _, k in ipairs(names) do assert.equal(type(fresh.json.user[k]), type(known.json.user[k]), k) end
    local c = browser(u.email)
    buy(c, id)
    assert.is_false(plays(u, id))
    local r, phone = open(new_link(u.email))
    assert.is_true(r.json.has_account)
    local who = phone:get("/api/me").json.user
    assert.is_true(who.guest)
    assert.are_not.equal(u.id, who.id)
    assert.equal(403, phone:get("/api/wallet/balance").status)
    r = phone:post("/auth/guest/keep", { username = "taker" .. serial, password = "a long pass phrase of specs" })
    assert.equal(409, r.status, r.body)
    assert.equal("auth.has_account", r.json.code)
    assert.equal(200, h.client():post("/auth/login", { email = u.email, password = u.password }).status)
  end)

  it("gives its purchases to the account that is signed in, and to no second one", function()
    local u, thief, email, id = h.make.user(), h.make.user(), address(), film()
    local uid = buy(browser(email), id)
    local r = open(new_link(email), u, true)
    assert.equal(200, r.status, r.body)
    assert.is_true(plays(u, id))
    assert.equal(uid, u:get("/api/orders").json.items[1].order_id)
    assert.equal(403, (open(new_link(email), thief, true)).status)
    assert.is_false(plays(thief, id))
    local second = film()
    buy(browser(email), second)
    assert.equal(200, (open(new_link(email), u, true)).status)
    assert.is_true(plays(u, second))
    assert.equal(401, (open(new_link(email), h.client(), true)).status)
  end)

  it("becomes an account with a password once the address is proven, and every other session ends", function()
    local email, id, name = address(), film(), "kept" .. crypto.hex_encode(crypto.random(4))
    local c = browser(email)
    buy(c, id)
    local keep = { username = name, password = "a long pass phrase of specs" }
    local r = c:post("/auth/guest/keep", keep)
    assert.equal(409, r.status)
    assert.equal("auth.unproven", r.json.code)
    local _, phone = open(last_token(email))
    local _, tablet = open(new_link(email))
    assert.equal(422, phone:post("/auth/guest/keep", { username = name, password = "password" }).status)
    r = phone:post("/auth/guest/keep", keep)
    assert.equal(200, r.status, r.body)
    assert.equal(401, c:get("/api/me").status)
    assert.equal(401, tablet:get("/api/me").status)
    assert.equal(200, phone:get("/api/wallet/balance").status)
    local fresh = h.client()
    assert.equal(200, fresh:post("/auth/login", { email = email, password = keep.password }).status)
    assert.is_true(plays(fresh, id))
    assert.equal(1, #fresh:get("/api/orders").json.items)
    -- What is bought with the address as a guest later stays apart from it until its owner takes it over.
    local later = film()
    buy(browser(email), later)
    assert.is_false(plays(fresh, later))
    assert.equal(200, (open(new_link(email), fresh, true)).status)
    assert.is_true(plays(fresh, later))
  end)

  it("is sent the link when it asks for a forgotten password, and cannot sign in by one", function()
    local email = address()
    buy(browser(email), film())
    h.client():post("/auth/forgot", { email = email })
    mail.run_jobs()
    assert.equal(200, (open(last_token(email))).status)
    local row = db.one("select email::text as email from users where guest and guest_email = $1::citext limit 1", email)
    assert.equal(401, h.client():post("/auth/login", { email = row.email, password = "!" }).status)
  end)

  it("can be switched off, and those who bought nothing are forgotten", function()
    local email = address()
    browser(email)
    db.exec("update users set created_at = now() - interval '3 days' where guest_email = $1::citext", email)
    db.one "select ppv_guests_prune()"
    assert.is_false(db.one("select 1 as yes from users where guest_email = $1::citext", email))
    assert.equal(200, admin:post("/admin/payment_settings", { guest_enabled = false }).status)
    local r = h.client():post("/api/guest", { email = email })
    assert.equal(200, admin:post("/admin/payment_settings", { guest_enabled = true }).status)
    assert.equal(403, r.status, r.body)
  end)
end)
