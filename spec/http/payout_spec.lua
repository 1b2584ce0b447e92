-- SPDX-License-Identifier: Apache-2.0
-- Withdrawals and payouts: holds, four eyes, files for the bank, a provider whose answers get lost, everything at once.
local conf = require "ppv.conf"
local db = require "ppv.db"
local json = require "ppv.json"
local h = require "spec.support"
local payout = require "lib.payout"
local registry = require "lib.registry"
local settings = require "lib.settings"

local BASE = { ["payout.destination_hold_hours"] = 0, ["payout.new_payee_days"] = 0 }

describe("payouts", function()
  local admin, second, payee
  lazy_setup(function()
    admin, second, payee = h.make.admin(), h.make.admin(), h.make.user()
    settings.set(nil, BASE)
    h.make.money(admin, payee, 900000)
  end)
  lazy_teardown(function()
    db.exec "delete from settings where key like 'payout.%' or key like 'wallet.%' or key like 'payment.wallet%'"
    settings.changed()
  end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function ok(r, status)
    assert.equal(status or 200, r.status, r.body)
    return r.json
  end
  local function with(values, fn)
    settings.set(nil, values)
    local fine, why = pcall(fn)
    for key in pairs(values) do db.exec("delete from settings where key = $1", key) end
    settings.set(nil, BASE)
    assert.is_true(fine, tostring(why))
  end
  local function wallet(who) return who:get("/api/wallet/balance").json end
  local function ask(who, amount, opts) return who:post("/api/wallet/withdraw", { amount_cents = amount }, opts) end
  local function decide(who, id, what, body) return who:post(("/admin/payouts/%d/%s"):format(id, what), body or {}) end
  local function row(id) return db.one("select *, extract(epoch from not_before)::text as until from payouts where id = $1", id) end
  -- As the functions of other areas do it.
  local function owner(sql)
    local pipe = assert(io.popen(("psql -XqAt -v ON_ERROR_STOP=1 'host=%s/pgrun user=ppv dbname=ppv' 2>&1 <<'EOF'\n%s;\nEOF"):format(
      conf.get "var_dir", sql)))
    local out = pipe:read "*a"
    pipe:close()
    assert.truthy(out:find "^%d+%s*$", out)
  end
  local function bank(who, number)
    return ok(who:post("/api/payout/destination", { method = "bank", channel_code = "ID_BCA", account_number = number or "1234-5678-9012",
      account_holder_name = "Somebody" }))
  end

  it("hold what is asked for, once per key, and free it when refused or taken back", function()
    local before = wallet(payee)
    local key = { headers = { ["idempotency-key"] = "wd-1" } }
    local one, again = ok(ask(payee, 6000, key)), ok(ask(payee, 6000, key))
    assert.equal(one.txn_id, again.txn_id)
    assert.equal(409, ask(payee, 7000, key).status)
    assert.same({ before.balance_cents, before.available_cents - 6000, 6000 }, { one.balance_cents, one.available_cents, one.held_cents })
    ok(decide(admin, one.txn_id, "reject", { admin_note = "not now" }))
    local two = ok(ask(payee, 6000)).txn_id
    assert.equal(404, h.make.user():post(("/api/payouts/%d/cancel"):format(two)).status)
    ok(payee:post(("/api/payouts/%d/cancel"):format(two)))
    assert.same(before, wallet(payee))
    for _, amount in ipairs { 4999, 900001, 999999999 } do assert.is_true(ask(payee, amount).status >= 400) end
    assert.same(before, wallet(payee))
    assert.equal("rejected", payee:get("/api/wallet/transactions").json.items[1].status)
  end)

  it("are approved, paid and sent back by postings; nobody decides their own or a second time", function()
    local before = wallet(payee).balance_cents
    local id = ok(ask(payee, 6000)).txn_id
    assert.equal(403, decide(payee, id, "approve").status)
    ok(decide(admin, id, "approve"))
    assert.equal(409, decide(second, id, "approve").status)
    assert.equal("paid", ok(decide(second, id, "pay", { reference = "BANK-1" })).status)
    for _, what in ipairs { "pay", "reject", "approve" } do assert.equal(409, decide(admin, id, what).status) end
    assert.equal(before - 6000, wallet(payee).balance_cents)
    local line = payee:get("/api/wallet/transactions").json.items[1]
    assert.same({ "withdrawal", "completed", before - 6000 }, { line.txn_type, line.status, line.balance_after })
    assert.equal("reversed", ok(decide(admin, id, "reverse", { admin_note = "account closed" })).status)
    assert.equal(409, decide(admin, id, "reverse").status)
    assert.equal(before, wallet(payee).balance_cents)
    local r = row(id)
    assert.equal(r.txn_id, db.one("select reverses_id from ledger_txns where id = $1", r.reversal_id).reverses_id)
    h.make.money(second, admin, 10000)
    local own = ok(ask(admin, 6000)).txn_id
    assert.equal("approval.self", decide(admin, own, "approve").json.code)
    -- the addresses of the reference system
    ok(second:post(("/admin/wallet/transactions/%d/complete"):format(own), { admin_note = "" }))
    assert.equal(4000, wallet(admin).balance_cents)
    assert.equal(3, db.one("select count(*) as n from audit_log where target = $1 and action in ('payout.approve', 'payout.paid', 'payout.reversed')",
      "payout:" .. id).n)
  end)

  it("above the limit need two administrators; so do deposits", function()
    local id = ok(ask(payee, 60000)).txn_id
    assert.equal("approval.second", decide(admin, id, "pay").json.code)
    assert.equal(1, ok(decide(admin, id, "approve")).approvals_missing)
    assert.equal("approval.second", decide(admin, id, "approve").json.code)
    assert.truthy(payee:get("/api/payouts").json.payouts[1].next_step:find "second")
    assert.equal("approved", ok(decide(second, id, "approve")).status)
    ok(decide(admin, id, "reject"))
    local rich = h.make.user()
    local deposit = ok(rich:post("/api/wallet/deposit", { amount_cents = 1000001 })).txn_id
    local path = "/admin/wallet/transactions/" .. deposit .. "/approve"
    assert.equal("pending", ok(admin:post(path)).status)
    assert.equal("approval.second", admin:post(path).json.code)
    assert.equal(0, wallet(rich).balance_cents)
    ok(second:post(path))
    assert.equal(1000001, wallet(rich).balance_cents)
  end)

  it("has limits of its own for a currency", function()
    local function limit(currency) return db.one("select ppv_limit('wallet.withdraw_day', $1, 5) as n", currency).n end
    local general = limit "USD"
    local r = admin:post("/admin/settings", { wallet_withdraw_day_idr = 160000000000 })
    assert.equal(200, r.status, r.body)
    assert.equal(160000000000, r.json.settings.wallet_withdraw_day_idr)
    assert.same({ 160000000000, general, general }, { limit "IDR", limit "USD", limit "EUR" })
    assert.equal(422, admin:post("/admin/settings", { wallet_withdraw_day_idr = -1 }).status)
    db.exec "delete from settings where key = 'wallet.withdraw_day.idr'"
    settings.changed()
  end)

  it("and transfers and deposits can be switched off, and have limits of a day", function()
    local other = h.make.user()
    with({ ["payment.wallet_withdraw_enabled"] = false, ["payment.wallet_deposit_enabled"] = false, ["payment.wallet_transfer_enabled"] = false },
      function()
        assert.equal("wallet.withdraw_disabled", ask(payee, 6000).json.code)
        assert.equal("wallet.deposit_disabled", payee:post("/api/wallet/deposit", { amount_cents = 5000 }).json.code)
        assert.equal(403, payee:post("/api/wallet/transfer", { to_username = other.username, amount_cents = 500 }).status)
      end)
    with({ ["wallet.transfer_day"] = 1000, ["wallet.withdraw_day"] = 6000 }, function()
      local one = h.make.user()
      h.make.money(admin, one, 20000)
      local function give(n) return one:post("/api/wallet/transfer", { to_username = other.username, amount_cents = n }) end
      ok(give(600))
      assert.equal("wallet.limit", give(401).json.code)
      ok(give(400))
      ok(ask(one, 6000))
      assert.equal("wallet.limit", ask(one, 5000).json.code)
      assert.same({ 19000, 13000 }, { wallet(one).balance_cents, wallet(one).available_cents })
    end)
  end)

  it("go to an account that is sealed, masked, told by mail, and young for a while", function()
    local c = h.make.user()
    h.make.money(admin, c, 50000)
    with({ ["payout.destination_hold_hours"] = 72 }, function()
      local d = bank(c, "1234-5678-9012").destination
      assert.equal("ID_BCA ····9012", d.hint)
      assert.is_true(d.waits)
      local stored = db.one("select * from payout_destinations where user_id = $1", c.id)
      assert.is_nil(json.encode(stored):find("5678", 1, true))
      assert.equal(1, db.one("select count(*) as n from jobs where kind = 'mail' and payload->>'to' = $1 and payload->>'template' = 'destination'", c.email).n)
      local id = ok(ask(c, 6000)).txn_id
      local p = c:get("/api/payouts").json.payouts[1]
      assert.is_true(p.waits)
      assert.truthy(p.reason:find "account" and p.not_before and p.next_step:find "date")
      assert.equal("ID_BCA ····9012", p.evidence.destination)
      assert.equal("payout.held", decide(admin, id, "approve").json.code)
      ok(decide(admin, id, "reject"))
    end)
    assert.equal(422, c:post("/api/payout/destination", { method = "bank", account_number = "1" }).status)
    local twin = h.make.user()
    assert.is_nil(json.encode(bank(twin, "1234 5678 9012")):find("5678", 1, true))
    h.make.money(admin, twin, 10000)
    local id = ok(ask(twin, 6000)).txn_id
    assert.equal(1, admin:get("/admin/payouts?state=pending").json.items[1].shared_with)
    ok(decide(admin, id, "reject"))
  end)

  it("by hand: a file for the bank, and its results read once", function()
    local c = h.make.user()
    h.make.money(admin, c, 50000)
    bank(c)
    local a, b = ok(ask(c, 6000)).txn_id, ok(ask(c, 7000)).txn_id
    ok(decide(admin, a, "approve"))
    ok(decide(admin, b, "approve"))
    local made = ok(admin:post "/admin/payouts/batch")
    assert.equal(2, made.count)
    assert.equal("payout.none", admin:post("/admin/payouts/batch").json.code)
    local file = admin:get("/admin/payouts/batch/" .. made.batch_id)
    assert.truthy(file.body:find("1234-5678-9012", 1, true) and file.body:find("60.00,USD", 1, true), file.body)
    assert.equal(403, c:get("/admin/payouts/batch/" .. made.batch_id).status)
    local text = ("payout_id,state,reference\r\n%d,paid,\"REF, \"\"1\"\"\"\r\n%d,failed,closed\r\n,paid,x\r\n999999999,paid,x\r\n%d,,\r\n"):format(a, b, a)
    local r = ok(admin:post("/admin/payouts/import", { csv = text }))
    assert.same({ 2, 2 }, { r.done, r.refused })
    assert.same({ "paid", "failed", 'REF, "1"' }, { row(a).state, row(b).state, row(a).provider_ref })
    assert.same({ 44000, 44000 }, { wallet(c).balance_cents, wallet(c).available_cents })
    assert.is_true(ok(admin:post("/admin/payouts/import", { csv = text })).items[1].already)
    assert.equal(44000, wallet(c).balance_cents)
    for _, bad in ipairs { "x", "payout_id,state\n1,paid", 'payout_id,state,reference\n"1,paid,x' } do
      assert.equal(422, admin:post("/admin/payouts/import", { csv = bad }).status)
    end
  end)

  describe("by a provider", function()
    local calls, answers
    local plugin = { name = "testpay", kind = "payment", manifest = { name = "testpay", settings = {} }, handler = {}, own_caps = 0 }
    function plugin.handler.payout(_, item)
      calls[#calls + 1] = item
      return answers.payout(item)
    end
    function plugin.handler.payout_fetch(_, item) return answers.fetch(item) end
    local c, err
    lazy_setup(function()
      registry.by_name.testpay = plugin
      settings.set(nil, { ["payout.provider"] = "testpay" })
      err = { down = { code = "payment.gateway_down", message = "no answer" }, no = { code = "payment.gateway_refused", message = "closed account" },
        unset = { code = "payment.not_configured", message = "no key" } }
      c = h.make.user()
      h.make.money(admin, c, 900000)
      bank(c)
    end)
    lazy_teardown(function()
      registry.by_name.testpay = nil
      db.exec "delete from settings where key = 'payout.provider'"
      settings.changed()
    end)
    before_each(function() calls, answers = {}, {} end)

    local function approved(amount)
      local id = ok(ask(c, amount or 6000)).txn_id
      ok(decide(admin, id, "approve"))
      return id
    end

    it("is sent once under a key of its own, and paid when the provider says so", function()
      local id = approved()
      answers.payout = function() return { state = "sent", ref = "X" .. id } end
      assert.equal("sent", assert(payout.send(id, "testpay")).state)
      assert.is_false(payout.send(id, "testpay"))
      assert.same({ 1, "po-" .. id, 6000, "USD", "1234-5678-9012" }, { #calls, calls[1].key, calls[1].amount, calls[1].currency,
        calls[1].destination.account_number })
      assert.equal("payout.under_way", decide(admin, id, "reject").json.code)
      answers.fetch = function(item) return { state = "paid", ref = item.ref } end
      local event = db.one("select ppv_payment_event_add('testpay', $1, 'payout', jsonb_build_object('payout_ref', $2::text), null) as id",
        "k" .. id, "X" .. id).id
      assert.same({ payout = true }, SPEC_BOOT.jobs.payment_event.run { payload = { id = event }, attempt = 1 })
      assert.is_true(db.one("select processed_at is not null and error is null as done from payment_events where id = $1", event).done)
      assert.equal("paid", assert(payout.on_event("testpay", { payout = "po-" .. id })).state)
      assert.equal(1, #calls)
    end)

    it("whose answer is lost is asked for, never sent under another key", function()
      local before, id = wallet(c).balance_cents, approved()
      local done -- what the provider did
      answers.payout = function(item)
        done = item.key
        return nil, err.down
      end
      answers.fetch = function(item) return { state = item.key == done and "paid" or "sent", ref = "Y" .. id } end
      assert.equal("unknown", assert(payout.send(id, "testpay")).state)
      assert.same({ before, before - 6000 }, { wallet(c).balance_cents, wallet(c).available_cents })
      owner(("update payouts set checked_at = now() - interval '1 hour' where id = %d returning id"):format(id))
      payout.round(os.time())
      assert.same({ "paid", "" }, { row(id).state, row(id).failure })
      assert.equal(1, #calls)
      assert.equal(before - 6000, wallet(c).balance_cents)
    end)

    it("that gives the money back makes a posting that undoes the first, once", function()
      local before, id = wallet(c).balance_cents, approved()
      answers.payout = function() return { state = "paid", ref = "Z" .. id } end
      payout.send(id, "testpay")
      answers.fetch = function() return { state = "reversed", failure = "account closed" } end
      for _ = 1, 3 do assert.equal("reversed", assert(payout.check(id)).state) end
      assert.equal(before, wallet(c).balance_cents)
      -- straight from sent to reversed, and "paid" said late
      id = approved()
      answers.payout = function() return nil, err.down end
      payout.send(id, "testpay")
      assert.equal("reversed", assert(payout.check(id)).state)
      answers.fetch = function() return { state = "paid" } end
      assert.equal("reversed", assert(payout.check(id)).state)
      assert.equal(before, wallet(c).balance_cents)
    end)

    it("that refuses frees the money; without a key it waits; nonsense and errors are unknown", function()
      local before, id = wallet(c), approved()
      answers.payout = function() return nil, err.unset end
      assert.equal("approved", assert(payout.send(id, "testpay")).state)
      answers.payout = function() return nil, err.no end
      assert.equal("failed", assert(payout.send(id, "testpay")).state)
      assert.same(before, wallet(c))
      assert.truthy(c:get("/api/payouts").json.payouts[1].failure:find "closed")
      for _, bad in ipairs { function() error "boom" end, function() return { state = "PAID" } end, function() return "paid" end,
        function() return { state = 0 / 0 } end, function() return nil end } do
        id = approved()
        answers.payout, answers.fetch = bad, bad
        assert.equal("unknown", assert(payout.send(id, "testpay")).state)
        assert.equal("unknown", assert(payout.check(id)).state)
        ok(decide(admin, id, "reject", { admin_note = "the provider confirms by phone that nothing was sent" }))
      end
      assert.same(before, wallet(c))
      answers.fetch = function() return { state = "paid" } end
      payout.check(id)
      assert.equal(1, db.one("select count(*) as n from audit_log where action = 'payout.conflict' and target = $1", "payout:" .. id).n)
      assert.same(before, wallet(c))
    end)
  end)

  it("of earnings: held, released when due and undisputed, and made once a period", function()
    local maker, buyer = h.make.user(), h.make.user()
    h.make.money(admin, buyer, 100000)
    h.make.money(admin, maker, 50000) -- own money is no earning
    bank(maker, "42424242")
    local orders = {}
    for i = 1, 3 do
      local film = h.make.video(maker, { price = 10000 })
      ok(buyer:post("/api/wallet/pay", { video_id = film }))
      orders[i] = db.one("select id from orders where video_id = $1", film).id
    end
    local function hold(i, days)
      owner(("select ppv_hold(ppv_account('user', %d, 'wallet', 'USD'), 9000, 'sale:%d:creator', 'A spec holds it.', now() + interval '%d days', "
        .. "'{\"order\": %d}', %d)"):format(maker.id, orders[i], days, orders[i], orders[i]))
    end
    hold(1, -1)
    hold(2, 5)
    hold(3, -1)
    owner(("insert into disputes (order_id, provider, provider_ref, amount) values (%d, 'x', 'd%d', 10000) returning id"):format(orders[3], orders[3]))
    local e = maker:get("/api/payouts").json
    assert.same({ 27000, 27000, 0, 0 }, { e.earnings.earned, e.earnings.pending, e.earnings.payable, e.earnings.paid })
    assert.equal(3, #e.holds)
    assert.truthy(e.holds[1].next_step and e.holds[1].evidence.order and e.holds[1]["until"] and e.holds[1].reason)
    with({ ["payout.schedule"] = "monthly", ["payout.minimum"] = 5000 }, function()
      payout.round(os.time())
      payout.round(os.time())
    end)
    e = maker:get("/api/payouts").json
    assert.same({ 18000, 9000, 0 }, { e.earnings.pending, e.earnings.reserved, e.earnings.payable })
    assert.equal(1, #e.payouts)
    assert.same({ 9000, true, "pending" }, { e.payouts[1].amount_cents, e.payouts[1].automatic, e.payouts[1].state })
    ok(decide(admin, e.payouts[1].id, "pay", { reference = "r" }))
    e = maker:get("/api/payouts").json.earnings
    assert.same({ 18000, 9000, 0 }, { e.pending, e.paid, e.payable })
  end)
end)
