-- Taxes in the price, receipts without gaps, consent, withdrawal: from the rule to the paper.
local db = require "ppv.db"
local h = require "spec.support"
local json = require "ppv.json"
local errors = require "lib.errors"
local registry = require "lib.registry"

local function setting(admin, values)
  local r = admin:post("/admin/settings", values)
  assert.equal(200, r.status, r.body)
end

describe("a taxed sale", function()
  local admin, creator, buyer
  lazy_setup(function()
    admin, creator, buyer = h.make.admin(), h.make.user(), h.make.user()
    h.make.money(admin, buyer, 200000)
    setting(admin, { tax_plugin = "tax_id" })
  end)
  lazy_teardown(function() setting(admin, { tax_plugin = "" }) end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function buy(price, who)
    local film = h.make.video(creator, { price = price })
    local r = (who or buyer):post("/api/wallet/pay", { video_id = film })
    return r, film
  end
  local function order(r)
    assert.equal(200, r.status, r.body)
    return assert(db.one([[select taxes, platform, creator, meta ->> 'tax_rule' as tax_rule, tax::text as lines from orders
      where uid = $1::uuid]], r.json.order_id))
  end

  it("pays the tax first and splits the rest", function()
    local before = h.balance(creator)
    local r = buy(11100)
    assert.equal(200, r.status, r.body)
    local o = order(r)
    assert.same({ 1150, 995, 8955 }, { o.taxes, o.platform, o.creator })
    assert.same({ { code = "ppn", amount = 1100, included = true, title = "PPN 11 %" },
      { code = "pph22", amount = 50, included = true, title = "PPh 22, 0.5 % withheld" } }, json.decode(o.lines))
    assert.is_truthy(o.tax_rule:find "^tax_id@%x+")
    assert.equal(before + 8955, h.balance(creator))
    local sums = db.one([[select sum(e.amount) filter (where a.kind = 'tax' and a.name = 'ppn')::bigint as ppn, sum(e.amount)
      filter (where a.kind = 'tax')::bigint as tax from ledger_entries e join ledger_accounts a on a.id = e.account_id
      join ledger_txns t on t.id = e.txn_id join orders o on o.id = t.order_id where o.uid = $1::uuid]], r.json.order_id)
    assert.same({ 1100, 1150 }, { sums.ppn, sums.tax })
    local t = admin:get("/admin/tax").json
    assert.equal("tax_id", t.rule)
    assert.is_true(t.months[1].amount > 0)
  end)

  it("pays the affiliate of what is left", function()
    local aff = h.make.user()
    local film = h.make.video(creator, { price = 11100 })
    creator:post("/api/affiliate/settings", { video_id = film, commission_pct = 90, is_enabled = true })
    local r = buyer:post("/api/wallet/pay", { video_id = film, ref_code = aff.username })
    assert.equal(200, r.status, r.body)
    assert.equal(8955, r.json.commission_cents)
    assert.equal(0, order(r).creator)
  end)

  it("of a wrong rule moves no money, keeps the film closed, and is told to administrators", function()
    local p = registry.by_name.tax_id
    local real = p.handler.lines
    local answers = { "ppn", 5, { "x" }, { a = 1 }, { { code = "ppn", amount = "5" } }, { { code = "ppn", amount = 0 / 0 } },
      { { code = "ppn", amount = 1 / 0 } }, { { code = "ppn", amount = -1 } }, { { code = "ppn", amount = 1.5 } }, { { code = "ppn", amount = 1000 } },
      { { code = "ppn", amount = 600 }, { code = "pph22", amount = 400 } }, { { code = "vat", amount = 1 } }, { { amount = 1 } },
      { { code = "ppn", amount = 1 }, { code = "ppn", amount = 1 } }, { [1] = { code = "ppn", amount = 1 }, [3] = { code = "pph22", amount = 1 } },
      function() error "broken" end, function() return nil end, function() return nil, { message = "no" } end }
    local before = h.balance(buyer)
    for i, answer in ipairs(answers) do
      p.handler.lines = type(answer) == "function" and answer or function() return answer end
      local r, film = buy(1000)
      assert.equal(503, r.status, i .. ": " .. r.body)
      assert.equal("tax.refused", r.json.code)
      assert.equal(403, buyer:get("/api/request_play?video_id=" .. film).status)
    end
    p.handler.lines = real
    assert.equal(before, h.balance(buyer))
    assert.is_true(#admin:get("/admin/tax").json.refused >= #answers)
    assert.is_true(admin:get("/admin/stats").json.stats.tax_refused >= #answers)
  end)

  it("is checked by the database too", function()
    for _, bad in ipairs { '{}', '[{"code":"x","amount":-1}]', '[{"code":"x","amount":1.5}]', '[{"code":"x","amount":"1"}]', '[{"amount":1}]',
      '[{"code":"X y","amount":1}]', '[{"code":"x","amount":1000}]', '[{"code":"x","amount":1e3}]' } do
      local row, err = db.one("select ppv_tax_total($1::jsonb, 1000) as n", bad)
      assert.is_nil(row, bad)
      assert.equal("tax.refused", errors.from(err).code, bad .. json.encode(err))
    end
  end)

  it("European: of the country the buyer declares", function()
    setting(admin, { tax_plugin = "tax_eu" })
    local film = h.make.video(creator, { price = 11900 })
    assert.equal(200, buyer:post("/api/consent", { video_id = film, version = h.client():get("/api/consent").json.version, country = "de" }).status)
    local r = buyer:post("/api/wallet/pay", { video_id = film })
    assert.equal(1900, order(r).taxes)
    assert.equal(0, order((buy(11900))).taxes)
    setting(admin, { tax_plugin = "tax_id" })
  end)
end)

describe("receipts", function()
  local admin, creator, a, b
  lazy_setup(function()
    admin, creator, a, b = h.make.admin(), h.make.user(), h.make.user(), h.make.user()
    h.make.money(admin, a, 20000)
    h.make.money(admin, b, 20000)
    setting(admin, { tax_plugin = "tax_id", receipt_seller = "Site <& Co>\nVAT ID 1234" })
  end)
  lazy_teardown(function() setting(admin, { tax_plugin = "", receipt_seller = "" }) end)

  local function numbers()
    local rows, out = db.query("select number from receipts where series = 'R' order by number"), {}
    for i, r in ipairs(rows) do out[i] = r.number end
    return out
  end

  it("have numbers without a gap, also when sales fail between", function()
    for i = 1, 6 do
      local film = h.make.video(creator, { price = i == 3 and 900000 or 1110, title = "A <film> " .. i })
      local r = (i % 2 == 0 and a or b):post("/api/wallet/pay", { video_id = film })
      assert.equal(i == 3 and 402 or 200, r.status, r.body)
    end
    local mine = a:get("/api/receipts").json.items
    assert.equal(3, #mine)
    local n = numbers()
    for i = 1, #n do assert.equal(i, n[i]) end
    assert.equal(mine[1].number, a:get("/api/receipts").json.items[1].number)
    assert.equal(#n, #numbers())
  end)

  it("show seller, taxes and amount; only to the buyer and administrators", function()
    local r = a:get("/api/receipts").json.items[1]
    local p = a:get("/receipts/" .. r.number)
    assert.equal(200, p.status)
    for _, text in ipairs { "Receipt " .. r.number, "Site &lt;&amp; Co&gt;<br>VAT ID 1234", "A &lt;film&gt; 6", "PPN 11 %", "$1.10", "$11.10" } do
      assert.is_truthy(p.body:find(text, 1, true), text .. "\n" .. p.body)
    end
    assert.equal(404, b:get("/receipts/" .. r.number).status)
    assert.equal(200, admin:get("/receipts/" .. r.number).status)
    assert.equal(401, h.client():get("/receipts/" .. r.number).status)
    assert.equal(404, a:get("/receipts/R2026-999999").status)
  end)

  it("a refund has a credit note that names the receipt", function()
    local first = a:get("/api/receipts").json.items[1]
    local row = db.one([[select o.id, o.creator, o.platform, o.price from receipts r join orders o on o.id = r.order_id
      where label = $1]], first.number)
    -- A refund as the money functions book it, by the owner of the tables.
    local lines = {}
    for i, l in ipairs { { "user", a.id, "wallet", row.price }, { "user", creator.id, "wallet", -row.creator },
      { "platform", "null", "revenue", -row.platform },
      { "tax", "null", "ppn", -110 }, { "tax", "null", "pph22", -5 } } do
      lines[i] = ("jsonb_build_array(ppv_account('%s', %s, '%s', 'USD'), %d, 'Refund')"):format(l[1], tostring(l[2]), l[3], l[4])
    end
    local sql = ("select ppv_post('refund', %d, null, 'Refund', '{}', jsonb_build_array(%s))"):format(row.id, table.concat(lines, ", "))
    local pipe = io.popen(("psql -XqAt 'host=%s/pgrun user=ppv dbname=ppv' -c \"%s\" 2>&1"):format(require("ppv.conf").get "var_dir", sql))
    local out = pipe:read "*a"
    pipe:close()
    assert.is_truthy(out:find "^%d+", out)
    local note = a:get("/api/receipts").json.items[1]
    assert.same({ "credit_note", 1110, "C" }, { note.kind, note.amount, note.number:sub(1, 1) })
    local p = a:get("/receipts/" .. note.number)
    assert.is_truthy(p.body:find(first.number, 1, true))
    assert.is_truthy(p.body:find("PPN 11 %", 1, true))
  end)
end)

describe("consent to immediate delivery", function()
  local admin, creator, buyer
  lazy_setup(function()
    admin, creator, buyer = h.make.admin(), h.make.user(), h.make.user()
    h.make.money(admin, buyer, 5000)
    setting(admin, { consent_required = true })
  end)
  lazy_teardown(function() setting(admin, { consent_required = false }) end)

  it("comes before the money where the site asks for it, and is kept with text, time and address", function()
    local film = h.make.video(creator, { price = 500 })
    local r = buyer:post("/api/wallet/pay", { video_id = film })
    assert.same({ 409, "consent.required" }, { r.status, r.json.code })
    assert.equal(5000, h.balance(buyer))
    local text = h.client():get("/api/consent").json
    assert.is_true(text.required)
    assert.equal(409, buyer:post("/api/consent", { video_id = film, version = "old" }).status)
    assert.equal(200, buyer:post("/api/consent", { video_id = film, version = text.version }).status)
    assert.equal(200, buyer:post("/api/wallet/pay", { video_id = film }).status)
    local row = db.one("select version, text, host(ip) as ip, created_at > now() - interval '1 minute' as fresh from consents where user_id = $1", buyer.id)
    assert.same({ text.version, text.text, "127.0.0.1", true }, { row.version, row.text, row.ip, row.fresh })
  end)
end)

describe("withdrawing from a purchase", function()
  local admin, creator, buyer, number
  lazy_setup(function()
    admin, creator, buyer = h.make.admin(), h.make.user(), h.make.user()
    h.make.money(admin, buyer, 5000)
    assert.equal(200, buyer:post("/api/wallet/pay", { video_id = h.make.video(creator, { price = 500 }) }).status)
    number = buyer:get("/api/receipts").json.items[1].number
  end)

  it("needs no account, two steps, is mailed, and counted once", function()
    local guest = h.client()
    local form = { email = buyer.email, name = "Ann Example", reference = number:lower(), reason = "see https://evil.example/x" }
    local r = guest:post("/api/withdrawal", form)
    assert.equal(200, r.status, r.body)
    assert.is_nil(r.json.reason:find("://", 1, true))
    assert.equal(0, #admin:get("/admin/withdrawals?state=open").json.items)
    for _ = 1, 2 do assert.equal(200, guest:post("/api/withdrawal/confirm", { token = r.json.token }).status) end
    local items = admin:get("/admin/withdrawals?state=open").json.items
    assert.equal(1, #items)
    assert.same({ buyer.email, "A film", 500 }, { items[1].email, items[1].title, items[1].price })
    local mails = db.one("select count(*) as n from jobs where kind = 'mail' and payload ->> 'template' = 'withdrawal' and payload ->> 'to' = $1", buyer.email)
    assert.equal(1, mails.n)
    assert.equal(409, guest:post("/api/withdrawal/confirm", { token = r.json.token .. "x" }).status)
    assert.equal(422, guest:post("/api/withdrawal", { email = "x", name = "y", reference = "z" }).status)
    assert.equal(403, buyer:post("/admin/withdrawals/" .. ("%.0f"):format(items[1].id) .. "/decide", { accept = true }).status)
    local path = "/admin/withdrawals/" .. ("%.0f"):format(items[1].id) .. "/decide"
    assert.equal(200, admin:post(path, { accept = true, note = "ok" }).status)
    assert.equal(409, admin:post(path, { accept = false, note = "no" }).status)
    assert.equal("accepted", admin:get("/admin/withdrawals").json.items[1].state)
  end)

  it("says no more about foreign purchases than a form does", function()
    local guest = h.client()
    local r = guest:post("/api/withdrawal", { email = "stranger@example.org", name = "X", reference = number })
    assert.equal(200, r.status, r.body .. tostring(number))
    r = guest:post("/api/withdrawal/confirm", { token = r.json.token })
    assert.equal(200, r.status, r.body)
    assert.is_nil(admin:get("/admin/withdrawals?state=open").json.items[1].order_uid)
  end)
end)
