-- SPDX-License-Identifier: Apache-2.0
local db = require "ppv.db"
local jobs = require "ppv.jobs"
local jobloop = require "lib.jobloop"
local h = require "spec.support"

-- Works every queued message of a provider, as the job workers do.
local function work()
  jobloop.start(SPEC_BOOT)
  for _ = 1, 500 do if jobloop.run_one(1, "other") ~= 0 then break end end
  jobs.set_timeout(0)
end

describe("an order through a provider", function()
  local admin, creator
  lazy_setup(function()
    admin, creator = h.make.admin(), h.make.user()
    h.plugin("sandbox", "on", "true")
    h.plugin("manual", "account", '"Bank 123"')
  end)
  lazy_teardown(function()
    for _, name in ipairs { "sandbox", "manual" } do h.plugin(name) end
  end)
  after_each(function() assert.same({}, h.breaches()) end)

  -- A buyer with a started checkout. -> {buyer, film, uid, ref}
  local function begin(provider, price)
    local o = { buyer = h.make.user(), film = h.make.video(creator, { price = price or 1000 }) }
    local r = o.buyer:post("/api/pay/" .. (provider or "sandbox") .. "/start", { video_id = o.film })
    assert.equal(200, r.status, r.body)
    o.uid = r.json.invoice.invoice_id
    o.ref = o.buyer:get("/api/pay/order?id=" .. o.uid).json.order.ref
    return o
  end
  local function act(o, what, more)
    local body = { act = what }
    for k, v in pairs(more or {}) do body[k] = v end
    local r = o.buyer:post("/api/pay/desk/" .. o.ref, body)
    assert.equal(200, r.status, r.body)
    work()
  end
  local function state(o) return o.buyer:get("/api/pay/order?id=" .. o.uid).json.order end
  local function plays(o) return o.buyer:get("/api/request_play?video_id=" .. o.film).status ~= 403 end
  local function wallet(who)
    local b = who:get("/api/wallet/balance").json
    return b.balance_cents, b.held_cents
  end
  local function queue(name, o)
    for _, row in ipairs(admin:get("/admin/payments/queue").json[name]) do if row.order_id == o.uid then return row end end
  end

  it("is paid by the provider's message, once, and its earnings wait", function()
    local before, held = wallet(creator)
    local o = begin()
    assert.is_false(plays(o))
    act(o, "pay", { times = 5 })
    assert.equal("paid", state(o).state)
    assert.is_true(plays(o))
    local after, now_held = wallet(creator)
    assert.equal(900, after - before)
    assert.equal(900, now_held - held)
    assert.equal(409, o.buyer:post("/api/pay/sandbox/start", { video_id = o.film }).status)
  end)

  it("is paid by the buyer's return when the message is lost", function()
    local o = begin()
    act(o, "pay", { silent = true })
    assert.equal("pending", state(o).state)
    db.exec("update orders set asked_at = null where uid = $1::uuid", o.uid)
    local r = o.buyer:post("/api/pay/sandbox/confirm", { invoice_id = o.uid })
    assert.equal("paid", r.json.state, r.body)
    assert.is_true(plays(o))
  end)

  it("is continued, not doubled, by a second click", function()
    local o = begin()
    local r = o.buyer:post("/api/pay/sandbox/start", { video_id = o.film })
    assert.equal(o.uid, r.json.invoice.invoice_id)
  end)

  it("opens nothing when declined, and may be paid later all the same", function()
    local o = begin()
    act(o, "decline")
    assert.equal("failed", state(o).state)
    assert.is_false(plays(o))
    act(o, "pay")
    assert.equal("paid", state(o).state)
  end)

  it("leaves too little and too much to an administrator", function()
    for what, why in pairs { underpay = "underpaid", overpay = "overpaid" } do
      local o = begin()
      act(o, what)
      assert.equal("review", state(o).state)
      assert.equal(why, state(o).why)
      assert.is_false(plays(o))
      local row = queue("review", o)
      assert.equal(why, row.why)
      local over = why == "overpaid"
      assert.equal(409, admin:post("/admin/payments/" .. row.id .. "/decide", { what = "credit" }).status) -- practice money
      local r = admin:post("/admin/payments/" .. row.id .. "/decide", { what = over and "grant" or "returned" })
      assert.equal(200, r.status, r.body)
      assert.equal(over and "paid" or "returned", state(o).state)
      assert.equal(over and 100 or 0, (wallet(o.buyer)))
      assert.equal(409, admin:post("/admin/payments/" .. row.id .. "/decide", { what = "returned" }).status)
    end
  end)

  it("holds back a price that changed before a late payment", function()
    local o = begin()
    act(o, "decline")
    db.exec("update videos set price = 1500 where id = $1::uuid", o.film)
    act(o, "pay")
    assert.equal("late", state(o).why)
    assert.is_false(plays(o))
  end)

  it("shows a second payment in the queue and keeps the sale", function()
    local o = begin()
    act(o, "pay")
    act(o, "again")
    assert.equal("paid", state(o).state)
    assert.equal("duplicate", queue("review", o).why)
    assert.equal(409, admin:post("/admin/payments/" .. queue("review", o).id .. "/decide", { what = "grant" }).status)
  end)

  it("refunds in parts pro rata and ends access with the last", function()
    local o = begin(nil, 999)
    act(o, "pay")
    local before = wallet(creator)
    local url = "/admin/orders/" .. o.uid .. "/refund"
    local r = admin:post(url, { amount_cents = 333 }, { headers = { ["idempotency-key"] = o.uid } })
    assert.equal("done", r.json.state, r.body)
    assert.equal("done", admin:post(url, { amount_cents = 333 }, { headers = { ["idempotency-key"] = o.uid } }).json.state)
    assert.equal("partially_refunded", state(o).state)
    assert.equal(333, state(o).refunded_cents)
    assert.is_true(plays(o))
    assert.is_true(admin:post(url, { amount_cents = 700 }).status >= 400)
    assert.equal("done", admin:post(url, {}).json.state)
    assert.equal("refunded", state(o).state)
    assert.is_false(plays(o))
    assert.equal(899, before - wallet(creator))
  end)

  it("makes a debt, never a negative wallet, when the earnings are gone, and later earnings repay it", function()
    local poor = h.make.user()
    local o = { buyer = h.make.user(), film = h.make.video(poor, { price = 1000 }) }
    local r = o.buyer:post("/api/pay/manual/start", { video_id = o.film })
    o.uid = r.json.invoice.invoice_id
    o.ref = o.buyer:get("/api/pay/order?id=" .. o.uid).json.order.ref
    assert.equal("paid", admin:post("/admin/desk/" .. o.ref .. "/decide", { paid = true }).json.state)
    assert.equal(200, poor:post("/api/wallet/transfer", { to_username = creator.username, amount_cents = 800 }).status)
    assert.equal("done", admin:post("/admin/orders/" .. o.uid .. "/refund", {}).json.state)
    assert.equal("refunded", state(o).state)
    assert.is_false(plays(o))
    assert.equal(0, (wallet(poor)))
    local buyer, film = h.make.user(), h.make.video(poor, { price = 1000 })
    h.make.money(admin, buyer, 1000)
    assert.equal(200, buyer:post("/api/wallet/pay", { video_id = film }).status)
    assert.equal(100, (wallet(poor)))
  end)

  it("takes the price back with a lost dispute", function()
    local o = begin()
    act(o, "pay")
    local before = wallet(creator)
    act(o, "dispute")
    assert.equal("disputed", state(o).state)
    assert.is_true(queue("disputes", o) ~= nil)
    act(o, "lose")
    assert.equal("chargeback_lost", state(o).state)
    assert.is_false(plays(o))
    assert.equal(900, before - wallet(creator))
  end)

  it("has evidence of a disputed order, for the administrator and for a provider that takes it", function()
    local sandbox, sent = require("lib.registry").by_name.sandbox.handler, nil
    local o = begin()
    assert.equal(200, o.buyer:post("/api/consent", { video_id = o.film, version = require("lib.consent").VERSION }).status)
    act(o, "pay")
    assert(db.exec([[with p as (insert into playback_sessions (user_id, video_id, access, ip, user_agent, expires_at)
      select id, $2::uuid, 'purchase', '203.0.113.9', 'Browser 1', now() + interval '1 hour' from users where id = $1 returning id)
      insert into key_log (playback_id, user_id, video_id, rendition, variant, seq, ip) select p.id, $1, $2::uuid, '480p', 'a', n, '203.0.113.9'
      from p, generate_series(0, 2) n]], o.buyer.id, o.film))
    act(o, "dispute")
    local r = admin:get("/admin/orders/" .. o.uid .. "/evidence")
    assert.equal(200, r.status, r.body)
    assert.truthy(r.headers["content-disposition"]:find("evidence-" .. o.uid .. ".txt", 1, true))
    for _, word in ipairs { o.buyer.username, o.uid, "the buyer agreed", "played in 1 sessions", "3 keys, 3 of", "Browser 1" } do
      assert.truthy(r.body:find(word, 1, true), word .. "\n" .. r.body)
    end
    assert.is_nil(r.body:find("203.0.113.9", 1, true)) -- as a hash only
    assert.equal(403, o.buyer:get("/admin/orders/" .. o.uid .. "/evidence").status)
    local row = queue("disputes", o)
    assert.is_false(row.sendable)
    assert.equal("payment.unsupported", admin:post("/admin/disputes/" .. row.id .. "/evidence", {}).json.code)
    sandbox.evidence = function(_, _, dispute, text)
      sent = { dispute.ref, text }
      return true
    end
    finally(function() sandbox.evidence = nil end)
    assert.is_true(queue("disputes", o).sendable)
    assert.equal(200, admin:post("/admin/disputes/" .. row.id .. "/evidence", {}).status)
    assert.same({ row.provider_ref, true }, { sent[1], sent[2]:find("Browser 1", 1, true) ~= nil })
    assert.is_string(queue("disputes", o).sent_at)
    -- Without an administrator: a day before the time runs out.
    local defence = require "lib.defence"
    assert.equal(0, defence.due())
    db.exec("update disputes set evidence = '{}' where id = $1", row.id)
    sent = nil
    local pipe = io.popen(("psql -XqAt 'host=%s/pgrun user=ppv dbname=ppv' -c \"update disputes set due = now() + interval '3 hours' where id = %d\"")
      :format(require("ppv.conf").get "var_dir", row.id))
    pipe:close()
    assert.equal(1, defence.due())
    assert.is_table(sent)
    assert.equal(0, defence.due())
  end)

  it("frees what a won dispute froze", function()
    local o = begin()
    act(o, "pay")
    act(o, "dispute")
    act(o, "win")
    assert.equal("paid", state(o).state)
    assert.is_true(plays(o))
  end)

  it("sees a refund made at the provider's own desk", function()
    local o = begin()
    act(o, "pay")
    act(o, "refund")
    assert.equal("refunded", state(o).state)
  end)

  it("takes a bank transfer with its proof and an administrator's word", function()
    local o = begin("manual")
    local r = o.buyer:request("POST", "/api/pay/desk/" .. o.ref .. "/proof", { body = "\137PNG\r\n\26\nrest", headers = { ["content-type"] = "image/png" } })
    assert.equal(200, r.status, r.body)
    assert.equal(422, o.buyer:request("POST", "/api/pay/desk/" .. o.ref .. "/proof", { body = "MZ..", headers = { ["content-type"] = "image/png" } }).status)
    assert.is_true(queue("transfers", o).proof)
    assert.equal(404, h.make.user():post("/api/pay/desk/" .. o.ref, { act = "pay" }).status)
    assert.equal(404, o.buyer:post("/api/pay/desk/" .. o.ref, { act = "pay" }).status)
    r = admin:post("/admin/desk/" .. o.ref .. "/decide", { paid = true })
    assert.equal("paid", r.json.state, r.body)
    assert.is_true(plays(o))
  end)

  it("is cancelled by the buyer", function()
    local o = begin()
    assert.equal("cancelled", o.buyer:post("/api/pay/order/cancel", { id = o.uid }).json.state)
    assert.equal(404, h.make.user():get("/api/pay/order?id=" .. o.uid).status)
  end)

  it("has no paid order without access", function()
    for _, row in ipairs(admin:get("/admin/payments/queue").json.no_access) do assert.is_true(#row.why > 0) end
  end)

  it("refuses unsigned messages of every provider", function()
    for _, name in ipairs { "stripe", "paypal", "midtrans", "xendit", "sandbox", "manual" } do
      local r = h.client():post("/api/pay/" .. name .. "/webhook", { id = "evt_1", type = "checkout.session.completed" })
      assert.is_true(r.status == 401 or r.status == 400 or r.status == 409, name .. " " .. r.status .. r.body)
    end
    assert.equal(404, h.client():post("/api/pay/nobody/webhook", {}).status)
  end)
end)
