-- Wallets and orders against a model in memory: random operations on the database functions, the model says what each must answer and
-- where every cent is. SEED=n repeats a run, MODEL_OPS=n sets its length: MODEL_OPS=1000000 spec/run.sh lua spec/http/model_spec.lua
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local errors = require "lib.errors"
local h = require "spec.support"
local json = require "ppv.json"

local OPS, SEED = tonumber(os.getenv "MODEL_OPS" or "") or 1200, tonumber(os.getenv "SEED" or "") or 20260619
local state = SEED % 2147483647
local function random(n) -- 1..n; Park and Miller's generator, the same everywhere
  state = (state * 16807) % 2147483647
  return state % n + 1
end
local function pick(list) return list[random(#list)] end
local floor, min, max = math.floor, math.min, math.max

describe("the model", function()
  local users, films, orders, done, admin = {}, {}, {}, {}, nil
  local system = { revenue = 0, deposits = 0, stripe = 0, tax = 0 } -- system accounts
  local base, serial, run = nil, 0, crypto.random_token(8)

  local function call(sql, ...)
    local row, err = db.one("select " .. sql .. "::text as r", ...)
    if row then return row.r end
    return nil, errors.from(err).code, err.message
  end
  local function key()
    serial = serial + 1
    return ("%s-%d"):format(run, serial)
  end
  local function film(owner)
    local price = pick { 1, 7, 99, 500, 1110, 9999, 123457 }
    local f = { id = h.make.video({ id = owner.id }, { price = price }), owner = owner, price = price }
    assert(db.exec("insert into affiliate_programs (video_id, pct, enabled) values ($1::uuid, 90, true)", f.id))
    films[#films + 1] = f
    return f
  end
  local function system_balances()
    local out = { revenue = 0, deposits = 0, stripe = 0, tax = 0 }
    for _, r in ipairs(assert(db.query [[select kind, name, sum(balance)::bigint as b from ledger_trial where currency = 'USD'
      and kind in ('platform', 'clearing', 'tax') group by 1, 2]])) do
      if r.kind == "tax" then out.tax = out.tax + r.b elseif out[r.name] then out[r.name] = r.b end
    end
    return out
  end

  lazy_setup(function()
    for i = 1, 7 do
      local name = ("m%d%s"):format(i, crypto.hex_encode(crypto.random(5)))
      users[i] = { id = assert(db.one("insert into users (username, email, password_hash) values ($1, $2, 'x') returning id", name, name .. "@example.org")).id,
        bal = 0, held = 0, debt = 0, owns = {} }
    end
    admin = table.remove(users) -- decides about the others only
    db.exec("update users set is_admin = true where id = $1", admin.id)
    for i = 1, 4 do film(users[i % 2 + 1]) end
    base = system_balances()
  end)

  -- What a sale does to everybody; hold = earnings wait. Returns the order's shares.
  local function shares(price, fee_bp, tax, pct)
    local net = price - tax
    local gross = floor(net * (10000 - fee_bp) / 10000)
    local commission = min(floor(net * pct / 100), gross)
    return { tax = tax, platform = net - gross, creator = gross - commission, commission = commission }
  end
  -- The commission cut into a line for each of some people.
  local function lines(people, commission)
    local out, left = {}, commission
    for i, u in ipairs(people) do
      local amount = i == #people and left or random(left + 1) - 1
      left = left - amount
      if amount > 0 then out[#out + 1] = { u = u, amount = amount } end
    end
    return out
  end
  local function payees(list)
    local out = {}
    for i, l in ipairs(list) do out[i] = { to = l.u.id, amount = l.amount } end
    return json.array(out)
  end
  local function earn(o, who, role, amount, hold)
    local back = min(amount, who.debt)
    who.debt, who.bal = who.debt - back, who.bal + amount - back
    if hold and amount - back > 0 then
      o.holds[role] = amount - back
      who.held = who.held + amount - back
    end
  end
  local function book(o, hold)
    system.revenue, system.tax = system.revenue + o.platform, system.tax + o.tax
    earn(o, o.film.owner, "creator", o.creator, hold)
    for _, l in ipairs(o.payees) do earn(o, l.u, l.u.id, l.amount, hold) end
    o.state, o.refunded, o.sold = "paid", 0, true
    o.buyer.owns[o.film] = o
  end
  local function claw(o, who, role, amount)
    if amount <= 0 then return end
    local left = amount
    for _, holds in ipairs { o.holds, o.dispute and not o.dispute.closed and o.dispute.holds or {} } do
      local freed = min(left, holds[role] or 0)
      holds[role] = (holds[role] or 0) - freed
      who.held, left = who.held - freed, left - freed
    end
    local take = min(amount, who.bal - who.held)
    who.bal, who.debt = who.bal - take, who.debt + amount - take
  end
  local function back(o, amount, kind)
    local after = o.refunded + amount
    local function part(s) return floor(s * after / o.price) - floor(s * o.refunded / o.price) end
    local creator, commission, tax = part(o.creator), 0, part(o.tax)
    claw(o, o.film.owner, "creator", creator)
    for _, l in ipairs(o.payees) do
      commission = commission + part(l.amount)
      claw(o, l.u, l.u.id, part(l.amount))
    end
    system.tax, system.revenue = system.tax - tax, system.revenue - (amount - creator - commission - tax)
    if o.method == "wallet" then o.buyer.bal = o.buyer.bal + amount else system.stripe = system.stripe + amount end
    o.refunded = after
    if kind == "refund" then o.back = (o.back or 0) + amount end
    if kind == "dispute" then o.state = "chargeback_lost"
    elseif after == o.price then o.state = "refunded"
    elseif o.state ~= "disputed" then o.state = "partially_refunded" end
    if (after == o.price or kind == "dispute") and o.buyer.owns[o.film] == o then o.buyer.owns[o.film] = nil end
  end

  local function quote(buyer)
    local f = pick(films)
    local people = {}
    for _ = 1, random(4) - 1 do
      local u = pick(users)
      if u ~= buyer and u ~= f.owner and u ~= people[1] and u ~= people[2] then people[#people + 1] = u end
    end
    local tax = random(3) == 1 and floor(f.price / 5) or 0
    local fee = pick { 0, 1000, 2500, 10000, 333 }
    local s = shares(f.price, fee, tax, people[1] and random(91) - 1 or 0)
    return f, lines(people, s.commission), fee, s, tax > 0 and json.encode(json.array { { code = "vat", amount = tax } }) or "[]"
  end

  local op = {}

  function op.deposit()
    local u, amount = pick(users), 1000 + random(200000)
    local r = json.decode(assert(call("ppv_deposit_request($1, $2, 'USD', '', $3, '')", u.id, amount, key())))
    local k = key()
    local answer, code = call("ppv_deposit_approve($1, $2, '', $3, '')", admin.id, r.deposit_id, k)
    assert(answer, code)
    u.bal, system.deposits = u.bal + amount, system.deposits - amount
    done[#done + 1] = { answer, "ppv_deposit_approve($1, $2, '', $3, $4)", admin.id, r.deposit_id, k }
  end

  function op.transfer()
    local a, b, amount, k = pick(users), pick(users), 100 + random(30000), key()
    local answer, code = call("ppv_transfer($1, $2, $3, 'USD', '', $4, '')", a.id, b.id, amount, k)
    if a == b then return assert.equal("transfer.self", code) end
    if a.bal - a.held < amount then return assert.equal("wallet.insufficient", code) end
    assert(answer, code)
    a.bal, b.bal = a.bal - amount, b.bal + amount
    done[#done + 1] = { answer, "ppv_transfer($1, $2, $3, 'USD', '', $4, $5)", a.id, b.id, amount, k }
  end

  function op.sale()
    local buyer = pick(users)
    local f, list, fee, s, tax = quote(buyer)
    local k, price = key(), random(20) == 1 and f.price + 1 or f.price
    local answer, code = call("ppv_sale($1, $2::uuid, $3, $4, $5::jsonb, 10, $6, '', 'model', $7::jsonb)", buyer.id, f.id, price, fee,
      json.encode(payees(list)), k, tax)
    if f.owner == buyer then return assert.equal("sale.own_video", code) end
    if price ~= f.price then return assert.equal("sale.price_changed", code) end
    if buyer.owns[f] then return assert.equal("sale.already_owned", code) end
    if buyer.bal - buyer.held < f.price then return assert.equal("wallet.insufficient", code) end
    assert(answer, code)
    local o = { id = json.decode(answer).order_id, film = f, buyer = buyer, payees = list, price = f.price, method = "wallet", holds = {} }
    for name, v in pairs(s) do o[name] = v end
    buyer.bal = buyer.bal - f.price
    book(o, false)
    orders[#orders + 1] = o
    done[#done + 1] = { answer, "ppv_sale($1, $2::uuid, $3, $4, $5::jsonb, 10, $6, $8, 'model', $7::jsonb)", buyer.id, f.id, price, fee,
      json.encode(payees(list)), k, tax }
  end

  -- The same key: the same body gets the same reply, another body is refused; nothing moves.
  function op.replay()
    if #done == 0 then return end
    local d = pick(done)
    local n = #d
    local args = {}
    for i = 3, n do args[i - 2] = d[i] or nil end
    args[n - 1] = ""
    assert.equal(d[1], (call(d[2], unpack(args, 1, n - 1))))
    args[n - 1] = "other"
    assert.equal("idempotency.mismatch", select(2, call(d[2], unpack(args, 1, n - 1))))
  end

  function op.start()
    local buyer = pick(users)
    local f, list, fee, s, tax = quote(buyer)
    local answer, code = call("ppv_order_start($1, $2::uuid, $3::jsonb)", buyer.id, f.id, json.encode { method = "stripe", price = f.price, fee_bp = fee,
      payees = payees(list), rule = "model", tax = json.decode(tax), live = true })
    if f.owner == buyer then return assert.equal("sale.own_video", code) end
    if buyer.owns[f] then return assert.equal("sale.already_owned", code) end
    assert(answer, code)
    local r = json.decode(answer)
    if r.again then return end
    local o = { id = r.order_id, film = f, buyer = buyer, payees = list, price = f.price, method = "stripe", holds = {}, state = "pending", refunded = 0,
      ref = "cs_" .. key() }
    for _, x in ipairs(orders) do if x.id == o.id then return end end
    for name, v in pairs(s) do o[name] = v end
    assert(call("ppv_order_opened($1, $2, null, '{}', '{}', null)", o.id, o.ref))
    orders[#orders + 1] = o
  end

  local function some(test)
    for _ = 1, 8 do
      local o = orders[#orders] and orders[max(1, #orders - random(min(#orders, 60)) + 1)]
      if o and test(o) then return o end
    end
  end

  function op.settle()
    local o = some(function(x) return x.method == "stripe" end)
    if not o then return end
    local f = { state = pick { "paid", "paid", "paid", "paid", "pending", "failed", "expired", "cancelled", "hold" }, amount = o.price, currency = "USD",
      live = true, ref = o.ref, payment_ref = o.paid_ref and random(2) == 1 and o.paid_ref or "pi_" .. key() }
    local lie = f.state == "paid" and random(4) == 1 and pick { "underpaid", "overpaid", "currency", "mode", "object" }
    if lie == "underpaid" then f.amount = o.price - 1 elseif lie == "overpaid" then f.amount = o.price + 1
    elseif lie == "currency" then f.currency = "EUR" elseif lie == "mode" then f.live = false elseif lie == "object" then f.ref = "another" end
    local r = json.decode(assert(call("ppv_order_settle($1, $2::jsonb, 'model')", o.id, json.encode(f))))
    if f.state ~= "paid" then
      if (o.state == "pending" or o.state == "review" and o.why == "hold") and f.state ~= "pending" and f.state ~= "hold" then o.state = f.state
      elseif f.state == "hold" and o.state == "pending" then o.state, o.why = "review", "hold" end
    elseif o.seen and o.seen[f.payment_ref] then
      assert.is_false(r.changed)
    else
      o.seen = o.seen or {}
      o.seen[f.payment_ref] = true
      local why = lie or o.sold and "duplicate" or o.buyer.owns[o.film] and "owned" or nil
      if why then
        assert.equal(why, r.why)
        if not o.sold then o.state, o.why = "review", why end
      else
        system.stripe = system.stripe - o.price
        o.paid_ref = f.payment_ref
        book(o, true)
      end
    end
    assert.equal(o.state, r.state)
  end

  function op.refund()
    local o = some(function(x) return x.sold end)
    if not o then return end
    local left = o.price - o.refunded - (o.open and o.open.amount or 0)
    local amount = random(3) == 1 and left or random(max(left, 1) + 1)
    local answer, code = call("ppv_refund_begin($1, $2, $3, 'model', $4, '')", admin.id, o.id, amount, key())
    if o.state ~= "paid" and o.state ~= "partially_refunded" then return assert.equal("refund.state", code) end
    if amount < 1 or amount > left then return assert.equal("refund.too_much", code) end
    assert(answer, code)
    if o.method == "wallet" then return back(o, amount, "refund") end
    o.open = o.open and o.open or { amount = 0, list = {} }
    o.open.amount = o.open.amount + amount
    table.insert(o.open.list, { id = json.decode(answer).refund_id, amount = amount })
  end

  function op.finish()
    local o = some(function(x) return x.open and #x.open.list > 0 end)
    if not o then return end
    local r, news = o.open.list[1], pick { "done", "done", "failed", "unknown", "sent" }
    if news == "done" and r.amount > o.price - o.refunded then return end -- a lost dispute took it
    local answer, _, why = call("ppv_refund_finish($1, $2, $3)", r.id, news, "re_" .. r.id)
    assert.equal(news, answer, why)
    if news == "unknown" or news == "sent" then return end
    table.remove(o.open.list, 1)
    o.open.amount = o.open.amount - r.amount
    if news == "done" then back(o, r.amount, "refund") end
    assert.equal(news, (call("ppv_refund_finish($1, $2, null)", r.id, "done"))) -- a second answer changes nothing
  end

  function op.dispute()
    local o = some(function(x) return x.method == "stripe" and x.sold end)
    if not o then return end
    local news = pick { "open", "open", "won", "lost" }
    local d, over = o.dispute, o.state == "refunded" or o.state == "chargeback_lost"
    if over and (not d or d.closed) then return end
    if not d or d.closed then d = { ref = "dp_" .. key(), holds = {} } end
    o.dispute = d
    local answer = json.decode(assert(call("ppv_order_facts($1, $2::jsonb, 'model')", o.id, json.encode { state = "pending",
      dispute = { ref = d.ref, state = news, amount = o.price } }))).state
    local who = { creator = { u = o.film.owner, amount = o.creator } }
    for _, l in ipairs(o.payees) do who[l.u.id] = l end
    if o.state ~= "disputed" and not over then
      o.state = "disputed"
      for role, l in pairs(who) do
        local u = l.u
        local more = min(u.bal - u.held, floor(l.amount * (o.price - o.refunded) / o.price) - (o.holds[role] or 0))
        if more > 0 then
          d.holds[role] = more
          u.held = u.held + more
        end
      end
    end
    if news ~= "open" then
      for role, l in pairs(who) do l.u.held = l.u.held - (d.holds[role] or 0) end
      d.closed = true
      if not over and news == "won" then o.state = o.refunded > 0 and "partially_refunded" or "paid"
      elseif not over then back(o, o.price - o.refunded, "dispute") end
    end
    assert.equal(o.state, answer)
  end

  -- A refund at the provider's own desk, told by its total: what we have asked for ourselves is left to its own answer.
  function op.seen()
    local o = some(function(x) return x.method == "stripe" and x.sold end)
    if not o then return end
    local asked = o.back or 0 -- what refunds took, disputes apart
    local total = random(o.price)
    assert(call("ppv_order_facts($1, $2::jsonb, 'model')", o.id, json.encode { state = "pending", refunded = total }))
    if o.open and #o.open.list > 0 then return end
    if o.state ~= "paid" and o.state ~= "partially_refunded" and o.state ~= "disputed" then return end
    local more = min(total - asked, o.price - o.refunded)
    if more > 0 then back(o, more, "refund") end
  end

  local function compare()
    local now = system_balances()
    for name, v in pairs(system) do assert.equal(v, now[name] - base[name], name) end
    for i, u in ipairs(users) do
      local b = json.decode((call("ppv_balance($1, 'USD')", u.id)))
      assert.same({ u.bal, u.held }, { b.balance, b.held }, "user " .. i)
      local debt = db.one("select coalesce(-sum(balance), 0)::bigint as d from ledger_trial where kind = 'receivable' and owner_id = $1", u.id).d
      assert.equal(u.debt, debt, "debt of user " .. i)
    end
  end

  it(("agrees with the database after %d operations of seed %d"):format(OPS, SEED), function()
    local weights = { deposit = 6, transfer = 8, sale = 16, replay = 5, start = 12, settle = 24, refund = 12, finish = 8, dispute = 9, seen = 3 }
    local bag = {}
    for _, name in ipairs { "deposit", "transfer", "sale", "replay", "start", "settle", "refund", "finish", "dispute", "seen" } do
      for _ = 1, weights[name] or 0 do bag[#bag + 1] = name end
    end
    for i = 1, OPS do
      local name = pick(bag)
      local fine, why = pcall(op[name])
      if not fine then error(("operation %d (%s) of seed %d: %s"):format(i, name, SEED, type(why) == "table" and tostring(why.message) or tostring(why)), 0) end
      if i % 40 == 0 then film(users[random(2)]) end
      if #films > 12 then table.remove(films, 1) end
      if #done > 200 then table.remove(done, 1) end
      if i % 100 == 0 then compare() end
    end
    compare()
    assert.same({}, h.breaches())
    local got = {}
    for _, o in ipairs(orders) do got[o.state] = true end
    if OPS >= 1000 then
      for _, s in ipairs { "paid", "refunded", "partially_refunded", "disputed", "chargeback_lost", "review", "pending" } do assert.is_true(got[s], s) end
    end
  end)
end)
