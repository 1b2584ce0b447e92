-- SPDX-License-Identifier: Apache-2.0
-- Wallets and orders against a model in memory: random operations on the database functions, the model says beforehand what each must
-- answer and where every cent is. They are sent in batches (spec/support/model.sql), in worlds
-- of 10,000 with people and films of their own.
--   MODEL_OPS=1000000 SEED=7 spec/run.sh lua spec/model/model_spec.lua      a failure names the seed of its world: SEED=that repeats it
local conf = require "ppv.conf"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local h = require "spec.support"
local json = require "ppv.json"
local settings = require "lib.settings"

local OPS, SEED = tonumber(os.getenv "MODEL_OPS" or "") or 20000, tonumber(os.getenv "SEED" or "") or 20260619
local WORLD, BATCH = 10000, tonumber(os.getenv "MODEL_BATCH" or "") or 250
local SETTINGS = { ["payout.destination_hold_hours"] = 0, ["payout.new_payee_days"] = 0, ["wallet.transfer_day"] = 1000000000000,
  ["wallet.withdraw_day"] = 1000000000000, ["wallet.four_eyes_above"] = 180000 }
local floor, min, max = math.floor, math.min, math.max

local state -- of Park and Miller's generator, the same everywhere
local function random(n) -- 1..n
  state = (state * 16807) % 2147483647
  return state % n + 1
end
local function pick(list) return list[random(#list)] end
local function seed(s)
  state = s % 2147483646 + 1
  for _ = 1, 3 do random(2) end
end

-- The world: people, films, orders, payouts as they must be. Numbers are minor units.
local W
local serial, run = 0, crypto.hex_encode(crypto.random(5))

local function key()
  serial = serial + 1
  return run .. "-" .. serial
end

-- Queues an operation. want: "!code" it must be refused with, fields its reply must have, or an operation whose reply it must repeat.
local function act(name, id, want, ...)
  local op = { name = name, id = id, want = want, ... }
  W.n = W.n + 1
  op.at, W.acts[W.n] = W.n, op
  return op
end

local function encode(v)
  if type(v) == "number" then return ("%d"):format(v) end
  if type(v) == "table" then return v.raw end
  return '"' .. v .. '"'
end

local function line(op)
  local of = type(op.id) == "table"
  local out = { '"' .. op.name .. '"', of and "null" or encode(op.id), of and encode(op.id.at) or "null" }
  for k, v in ipairs(op) do out[3 + k] = encode(v) end
  return "[" .. table.concat(out, ",") .. "]"
end

-- Ends a batch: what it has to say, and what everybody must have after it.
local function cut()
  local people = {}
  for i, u in ipairs(W.users) do people[i] = { u.id, u.bal, u.held, u.debt } end
  local first = W.batches[1] and W.batches[#W.batches].last + 1 or 1
  if first <= W.n then table.insert(W.batches, { first = first, last = W.n, people = people }) end
end

-- What is wrong with the reply to an operation; nil = nothing.
local function wrong(op, reply)
  local want = op.want
  if type(want) == "string" then return reply ~= want and want end
  if type(reply) ~= "table" then return json.encode(want.reply or want) end
  if want.name then want = want.reply end
  for k, v in pairs(want) do
    if reply[k] ~= v then return ("%s = %s"):format(k, tostring(v)) end
  end
end

local function judge(batch, answer, seen)
  for i = batch.first, batch.last do
    local op = W.acts[i]
    op.reply = answer.out[i - batch.first + 1]
    local why = wrong(op, op.reply)
    if why then error(("operation %d, %s: expected %s, got %s"):format(i, line(op), why, json.encode(op.reply)), 0) end
    if type(op.reply) == "table" then
      op.made = op.reply.id
      if op.reply.state then seen[op.name .. " " .. op.reply.state] = true end
    elseif op.name == "finish" then
      seen["finish " .. op.reply] = true
    end
  end
  for i, p in ipairs(batch.people) do
    local now = answer.people[i]
    for k, name in ipairs { "id", "balance", "held", "debt" } do
      if now[k] ~= p[k] then error(("%s of user %d after operation %d: the model says %s, the database %s"):format(name, i, batch.last, p[k], now[k]), 0) end
    end
  end
end

-- Plays the world on the database and judges it. One session, a transaction for each batch.
local function play(seen)
  local ids, path, n = {}, os.tmpname(), 0
  for i, u in ipairs(W.users) do ids[i] = u.id end
  local f = assert(io.open(path, "w"))
  for _, b in ipairs(W.batches) do
    local out = {}
    for i = b.first, b.last do out[#out + 1] = line(W.acts[i]) end
    f:write(("select ppv_model_run('[%s]', %d, %d, %d, '{%s}');\n"):format(table.concat(out, ","), b.first, W.admins[1].id, W.admins[2].id,
      table.concat(ids, ",")))
  end
  f:close()
  local pipe = assert(io.popen(("psql -XqAt -v ON_ERROR_STOP=1 'host=%s/pgrun user=ppv dbname=ppv' -f spec/support/model.sql -f %s 2>&1")
    :format(conf.get "var_dir", path)))
  local text = pipe:read "*a"
  pipe:close()
  os.remove(path)
  for l in text:gmatch "[^\n]+" do
    if l:sub(1, 1) ~= "{" then error(l, 0) end
    n = n + 1
    judge(W.batches[n], json.decode(l), seen)
  end
  assert.equal(#W.batches, n)
end

-- People and films ------------------------------------------------------------------------------------------------------------------------

local function film(owner)
  serial = serial + 1
  local f = { id = ("%s%s-7%s-8%s-%012x"):format(run:sub(1, 8), "-0000", "000", "000", serial), owner = owner,
    price = pick { 1, 7, 99, 500, 1110, 9999, 123457 } }
  act("film", owner.id, {}, f.id, f.price)
  table.insert(W.films, f)
  if #W.films > 12 then table.remove(W.films, 1) end
end

local function people(n, admin)
  local out = {}
  for i = 1, n do
    local name = "m" .. crypto.hex_encode(crypto.random(6))
    local id = assert(db.one([[insert into users (username, email, password_hash, is_admin) values ($1::text, $1::text || '@example.org', 'x', $2)
      returning id]], name, admin)).id
    assert(db.one("select ppv_destination_set($1, 'bank', 'x', 'x', $2) as r", id, name))
    out[i] = { id = id, bal = 0, held = 0, debt = 0, owns = {}, open = {} }
  end
  return out
end

local function world()
  W = { n = 0, acts = {}, batches = {}, films = {}, orders = {}, payouts = {}, deposits = {}, done = {}, admins = people(2, true), users = people(6, false),
    system = { revenue = 0, deposits = 0, stripe = 0, tax = 0, bank = 0 },
    base = db.one("select coalesce(max(id), 0)::bigint as id from ledger_entries").id }
  for i = 1, 4 do film(W.users[i % 2 + 1]) end
end

-- What sales and refunds do to everybody --------------------------------------------------------------------------------------------------

local function earn(o, who, role, amount, hold)
  local back = min(amount, who.debt)
  who.debt, who.bal = who.debt - back, who.bal + amount - back
  if hold and amount - back > 0 then
    o.holds[role] = amount - back
    who.held = who.held + amount - back
  end
end

local function book(o, hold)
  W.system.revenue, W.system.tax = W.system.revenue + o.platform, W.system.tax + o.tax
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
  local shares = { { o.film.owner, "creator", creator } }
  for _, l in ipairs(o.payees) do
    commission = commission + part(l.amount)
    shares[#shares + 1] = { l.u, l.u.id, part(l.amount) }
  end
  for _, s in ipairs(shares) do claw(o, s[1], s[2], s[3]) end
  W.system.tax, W.system.revenue = W.system.tax - tax, W.system.revenue - (amount - creator - commission - tax)
  if o.method == "wallet" then o.buyer.bal = o.buyer.bal + amount else W.system.stripe = W.system.stripe + amount end
  o.refunded = after
  if kind == "refund" then o.back = (o.back or 0) + amount end
  if kind == "dispute" then o.state = after == o.price and "chargeback_lost" or "partially_refunded"
  elseif after == o.price then o.state = "refunded"
  elseif o.state ~= "disputed" then o.state = "partially_refunded" end
  if after == o.price and o.buyer.owns[o.film] == o then o.buyer.owns[o.film] = nil end
end

local function quote(buyer)
  local f, people_, sum = pick(W.films), {}, 0
  for _ = 1, random(4) - 1 do
    local u = pick(W.users)
    if u ~= buyer and u ~= f.owner and u ~= people_[1] and u ~= people_[2] then people_[#people_ + 1] = u end
  end
  local q = { film = f, buyer = buyer, price = f.price, fee = pick { 0, 1000, 2500, 10000, 333 }, payees = {}, holds = {}, refunded = 0, open = {}, asked = 0 }
  q.tax = random(3) == 1 and floor(f.price / 5) or 0
  local net = q.price - q.tax
  local gross = floor(net * (10000 - q.fee) / 10000)
  q.commission = people_[1] and min(floor(net * (random(91) - 1) / 100), gross) or 0
  q.platform, q.creator = net - gross, gross - q.commission
  local text = {}
  for i, u in ipairs(people_) do -- the commission cut into a line for each
    local amount = i == #people_ and q.commission - sum or random(q.commission - sum + 1) - 1
    sum = sum + amount
    if amount > 0 then
      table.insert(q.payees, { u = u, amount = amount })
      table.insert(text, ('{"to":%d,"amount":%d}'):format(u.id, amount))
    end
  end
  q.payees_raw = "[" .. table.concat(text, ",") .. "]"
  q.tax_raw = q.tax > 0 and ('[{"code":"vat","amount":%d}]'):format(q.tax) or "[]"
  return q
end

local function replayable(op) -- the last argument of these is the hash of the body
  W.done[#W.done + 1] = op
  if #W.done > 100 then table.remove(W.done, 1) end
  return op
end

local function some(list, test)
  for _ = 1, 8 do
    local o = list[#list] and list[max(1, #list - random(min(#list, 60)) + 1)]
    if o and test(o) then return o end
  end
end

-- Operations: wallets ---------------------------------------------------------------------------------------------------------------------

local op = {}

function op.deposit()
  local u, amount = pick(W.users), pick { 999, 0, -5, 1000 + random(200000), 1000 + random(200000), 1000 + random(20000) }
  if amount < 1000 then return act("deposit", u.id, amount <= 0 and "!amount.invalid" or "!amount.too_small", amount, key()) end
  table.insert(W.deposits, { u = u, amount = amount, state = "pending", row = act("deposit", u.id, { state = "pending", amount = amount }, amount, key()) })
end

function op.decide()
  local d = some(W.deposits, function(x) return x.state == "pending" or random(4) == 1 end)
  if not d then return end
  local who, what, k = random(2), random(6) == 1 and "reject" or "approve", key()
  local want
  if d.state ~= "pending" then want = "!deposit.decided"
  elseif what == "reject" then
    d.state, want = "rejected", { state = "rejected" }
  elseif d.amount > SETTINGS["wallet.four_eyes_above"] and d.first == who then want = "!approval.second"
  elseif d.amount > SETTINGS["wallet.four_eyes_above"] and not d.first then
    d.first, want = who, { state = "pending" }
  else
    d.state, d.u.bal, W.system.deposits = "approved", d.u.bal + d.amount, W.system.deposits - d.amount
    want = { state = "approved", balance = d.u.bal }
  end
  local o = act("deposit_decide", d.row, want, what, who, k, "")
  if type(want) == "table" then replayable(o) end
end

function op.transfer()
  local a, b, k = pick(W.users), pick(W.users), key()
  local amount = pick { 0, 99, 100 + random(30000), 100 + random(30000), 100 + random(30000), 100 + random(300000) }
  local want
  if a == b then want = "!transfer.self"
  elseif amount < 100 then want = amount == 0 and "!amount.invalid" or "!amount.too_small"
  elseif a.bal - a.held < amount then want = "!wallet.insufficient"
  else
    a.bal, b.bal = a.bal - amount, b.bal + amount
    want = { balance = a.bal }
  end
  local o = act("transfer", a.id, want, b.id, amount, k, "")
  if type(want) == "table" then replayable(o) end
end

-- The same key: the same body gets the same reply, another body is refused; nothing moves.
function op.replay()
  local d = W.done[1] and pick(W.done)
  if not d then return end
  local args = { unpack(d) }
  local hash = d.name == "sale" and 6 or #d
  act(d.name, d.id, d, unpack(args))
  args[hash] = "other"
  act(d.name, d.id, "!idempotency.mismatch", unpack(args))
end

function op.withdraw()
  local u, amount = pick(W.users), pick { 4999, 5000 + random(100000), 5000 + random(20000) }
  if amount < 5000 then return act("withdraw", u.id, "!amount.too_small", amount, key(), "") end
  if u.bal - u.held < amount then return act("withdraw", u.id, "!wallet.insufficient", amount, key(), "") end
  u.held = u.held + amount
  local approvals = amount > 50000 and 2 or 1
  local row = replayable(act("withdraw", u.id, { state = "pending", approvals = approvals, balance = u.bal, held = u.held }, amount, key(), ""))
  table.insert(W.payouts, { u = u, amount = amount, approvals = approvals, state = "pending", row = row })
end

local function free(p, to) p.u.held, p.state = p.u.held - p.amount, to end
local function capture(p)
  free(p, "paid")
  p.u.bal, W.system.bank = p.u.bal - p.amount, W.system.bank + p.amount
end
local function came_back(p)
  p.state = "reversed"
  p.u.bal, W.system.bank = p.u.bal + p.amount, W.system.bank - p.amount
end

local function yes(p, who)
  if p.by == who then return "!approval.second" end
  p.by = p.by or who
  p.yes = (p.yes or 0) + 1
  if p.yes >= p.approvals then p.state = "approved" end
end

local DECIDE = {}
function DECIDE.approve(p, who)
  if p.state ~= "pending" then return "!payout.decided" end
  return yes(p, who)
end
function DECIDE.pay(p, who)
  if p.state == "pending" then
    if p.approvals > 1 then return "!approval.second" end
    yes(p, who)
  end
  if p.state == "sent" then return "!payout.under_way" end
  if p.state ~= "approved" and p.state ~= "unknown" then return "!payout.decided" end
  capture(p)
end
function DECIDE.reject(p)
  if p.state == "sent" then return "!payout.under_way" end
  if p.state ~= "pending" and p.state ~= "approved" and p.state ~= "unknown" then return "!payout.decided" end
  free(p, p.state == "unknown" and "failed" or "rejected")
end
function DECIDE.reverse(p)
  if p.state ~= "paid" then return "!payout.not_paid" end
  came_back(p)
end

function op.payout()
  local p = some(W.payouts, function(x) return x.state == "pending" or x.state == "approved" or random(3) == 1 end)
  if not p then return end
  local who, what = random(2), pick { "approve", "approve", "approve", "pay", "pay", "reject", "reverse" }
  local refused = DECIDE[what](p, who)
  act("payout", p.row, refused or { state = p.state }, what, who, key(), "")
end

function op.cancel()
  local p = some(W.payouts, function(x) return x.state == "pending" or random(4) == 1 end)
  if not p then return end
  local u = random(4) == 1 and pick(W.users) or p.u
  local refused = u ~= p.u and "!payout.not_found" or p.state ~= "pending" and "!payout.decided"
  if not refused then free(p, "rejected") end
  act("payout_cancel", p.row, refused or { state = "rejected" }, u.id)
end

-- By a provider: sent, then what it says, as often as it says it.
function op.send()
  local p = some(W.payouts, function(x) return x.state == "approved" or random(5) == 1 end)
  if not p then return end
  local goes = p.state == "approved"
  if goes then p.state, p.provider = "sent", true end
  act("payout_begin", p.row, { state = goes and "sent" or "none" })
end

function op.told()
  local p = some(W.payouts, function(x) return x.provider and (x.state == "sent" or x.state == "unknown" or random(3) == 1) end)
  if not p then return end
  local news = pick { "paid", "paid", "failed", "unknown", "sent", "reversed", p.state == "sent" and "approved" or "paid" }
  if p.state == "sent" or p.state == "unknown" then
    if news == "paid" or news == "reversed" then capture(p) elseif news == "failed" then free(p, "failed") else p.state = news end
  end
  local want = { state = p.state }
  if news == "reversed" and p.state == "paid" then
    came_back(p)
    want.state = "reversed"
  end
  act("payout_result", p.row, want, news)
end

-- Operations: orders ----------------------------------------------------------------------------------------------------------------------

function op.sale()
  local o, k = quote(pick(W.users)), key()
  local buyer, price = o.buyer, random(20) == 1 and o.price + 1 or o.price
  local want
  if o.film.owner == buyer then want = "!sale.own_video"
  elseif price ~= o.price then want = "!sale.price_changed"
  elseif buyer.owns[o.film] then want = "!sale.already_owned"
  elseif buyer.bal - buyer.held < o.price then want = "!wallet.insufficient"
  else
    buyer.bal = buyer.bal - o.price
    book(o, false)
    o.method = "wallet"
    want = { balance = buyer.bal, platform = o.platform, creator = o.creator, commission = o.commission }
    table.insert(W.orders, o)
  end
  o.row = act("sale", buyer.id, want, o.film.id, price, o.fee, { raw = o.payees_raw }, k, "", { raw = o.tax_raw })
  if type(want) == "table" then replayable(o.row) end
end

function op.start()
  local o = quote(pick(W.users))
  local buyer = o.buyer
  local raw = { raw = ('{"method":"stripe","price":%d,"fee_bp":%d,"payees":%s,"rule":"model","tax":%s,"live":true}'):format(o.price, o.fee, o.payees_raw,
    o.tax_raw) }
  if o.film.owner == buyer then return act("start", buyer.id, "!sale.own_video", o.film.id, raw, "") end
  if buyer.owns[o.film] then return act("start", buyer.id, "!sale.already_owned", o.film.id, raw, "") end
  local before = buyer.open[o.film]
  if before and before.state == "pending" then -- the same checkout again
    local again = act("start", buyer.id, { again = true, state = "pending", ref = before.ref }, o.film.id, raw, "")
    again.of = before
    return
  end
  o.ref, o.method, o.state = "cs_" .. key(), "stripe", "pending"
  o.row = act("start", buyer.id, { again = false, state = "pending", price = o.price }, o.film.id, raw, o.ref)
  buyer.open[o.film] = o
  table.insert(W.orders, o)
end

local function stripe(x) return x.method == "stripe" end

function op.settle()
  local o = some(W.orders, stripe)
  if not o then return end
  local news = pick { "paid", "paid", "paid", "paid", "pending", "failed", "expired", "cancelled", "hold" }
  local f = { amount = o.price, currency = "USD", live = "true", ref = o.ref, pay = o.paid_ref and random(2) == 1 and o.paid_ref or "pi_" .. key() }
  local lie = news == "paid" and random(4) == 1 and pick { "underpaid", "overpaid", "currency", "mode", "object" }
  if lie == "underpaid" then f.amount = o.price - 1 elseif lie == "overpaid" then f.amount = o.price + 1
  elseif lie == "currency" then f.currency = "EUR" elseif lie == "mode" then f.live = "false" elseif lie == "object" then f.ref = "another" end
  local want = {}
  o.seen = o.seen or {}
  if news ~= "paid" then
    if (o.state == "pending" or o.state == "review" and o.why == "hold") and news ~= "pending" and news ~= "hold" then o.state = news
    elseif news == "hold" and o.state == "pending" then o.state, o.why = "review", "hold" end
  elseif o.seen[f.pay] then
    want.changed = false
  else
    o.seen[f.pay] = true
    local why = lie or o.sold and "duplicate" or o.buyer.owns[o.film] and "owned" or nil
    if why then
      want.why = why
      if not o.sold then o.state, o.why = "review", why end
    else
      W.system.stripe = W.system.stripe - o.price
      o.paid_ref = f.pay
      book(o, true)
    end
  end
  want.state = o.state
  act("facts", o.row, want, { raw = ('{"state":"%s","amount":%d,"currency":"%s","live":%s,"ref":"%s","payment_ref":"%s"}'):format(news, f.amount,
    f.currency, f.live, f.ref, f.pay) })
end

function op.refund()
  local o = some(W.orders, function(x) return x.sold end)
  if not o then return end
  local left = o.price - o.refunded - o.asked
  local amount = random(3) == 1 and left or random(max(left, 1) + 1)
  local want
  if o.state ~= "paid" and o.state ~= "partially_refunded" then want = "!refund.state"
  elseif amount < 1 or amount > left then want = "!refund.too_much"
  elseif o.method == "wallet" then
    back(o, amount, "refund")
    want = { state = "done", amount = amount }
  else
    want = { state = "pending", amount = amount }
    o.asked = o.asked + amount
  end
  local row = act("refund", o.row, want, amount, key())
  if want.state == "pending" then table.insert(o.open, { row = row, amount = amount }) end
end

-- How refunds end at the provider; what a lost dispute took meanwhile does not go back twice.
function op.finish()
  local o = some(W.orders, function(x) return x.open[1] end)
  if not o then return end
  local r, news = o.open[1], pick { "done", "done", "failed", "unknown", "sent" }
  if news == "unknown" or news == "sent" then return act("finish", r.row, news, news, "re") end
  table.remove(o.open, 1)
  o.asked = o.asked - r.amount
  local ends = news
  if news == "done" then
    local amount = min(r.amount, o.price - o.refunded)
    if amount > 0 then back(o, amount, "refund") else ends = "covered" end
  end
  act("finish", r.row, ends, news, "re_" .. key())
  act("finish", r.row, ends, "done", "") -- a second answer changes nothing
end

function op.dispute()
  local o = some(W.orders, function(x) return stripe(x) and x.sold end)
  if not o then return end
  local news, d, over = pick { "open", "open", "won", "lost" }, o.dispute, o.state == "refunded" or o.state == "chargeback_lost"
  if over and (not d or d.closed) then return end
  if not d or d.closed then d = { ref = "dp_" .. key(), holds = {}, amount = random(3) == 1 and random(o.price) or o.price } end
  o.dispute = d
  local part = min(d.amount, o.price - o.refunded)
  local who = { creator = { u = o.film.owner, amount = o.creator } }
  for _, l in ipairs(o.payees) do who[l.u.id] = l end
  if o.state ~= "disputed" and not over then
    o.state = "disputed"
    for role, l in pairs(who) do
      local more = min(l.u.bal - l.u.held, floor(l.amount * part / o.price) - (o.holds[role] or 0))
      if more > 0 then
        d.holds[role] = more
        l.u.held = l.u.held + more
      end
    end
  end
  if news ~= "open" then
    for role, l in pairs(who) do l.u.held = l.u.held - (d.holds[role] or 0) end
    d.closed = true
    if not over and news == "won" then o.state = o.refunded > 0 and "partially_refunded" or "paid"
    elseif not over then back(o, part, "dispute") end
  end
  act("facts", o.row, { state = o.state }, { raw = ('{"state":"pending","dispute":{"ref":"%s","state":"%s","amount":%d}}'):format(d.ref, news, d.amount) })
end

-- A refund at the provider's own desk, told by its total: what we have asked for ourselves is left to its own answer.
function op.seen()
  local o = some(W.orders, function(x) return stripe(x) and x.sold end)
  if not o then return end
  local total = random(o.price)
  act("facts", o.row, {}, { raw = ('{"state":"pending","refunded":%d}'):format(total) })
  if o.open[1] or o.state ~= "paid" and o.state ~= "partially_refunded" and o.state ~= "disputed" then return end
  local more = min(total - (o.back or 0), o.price - o.refunded)
  if more > 0 then back(o, more, "refund") end
end

-- Judging ---------------------------------------------------------------------------------------------------------------------------------

local function compare_all(seen)
  local ids = {}
  for i, u in ipairs(W.users) do ids[i] = u.id end
  ids = db.array(ids)
  local now = { revenue = 0, deposits = 0, stripe = 0, tax = 0, bank = 0 }
  for _, r in ipairs(assert(db.query([[select a.kind, a.name, sum(e.amount)::bigint as b from ledger_entries e join ledger_accounts a on a.id = e.account_id
      where e.id > $1 and a.kind in ('platform', 'clearing', 'tax') group by 1, 2]], W.base))) do
    if r.kind == "tax" then now.tax = now.tax + r.b else now[r.name] = r.b end
  end
  assert.same(W.system, now)
  local rows, by = assert(db.query([[select id, state, refunded from orders where buyer_id = any ($1::bigint[])]], ids)), {}
  for _, r in ipairs(rows) do by[r.id] = r end
  assert.equal(#W.orders, #rows)
  for _, o in ipairs(W.orders) do
    local r = by[o.row.made]
    seen[o.state] = true
    assert.same({ o.state, o.refunded }, { r.state, r.refunded }, "order " .. o.row.made)
  end
  local live, n = 0, db.one("select count(*)::int as n from entitlements where user_id = any ($1::bigint[]) and revoked_at is null", ids).n
  for _, u in ipairs(W.users) do for _ in pairs(u.owns) do live = live + 1 end end
  assert.equal(live, n)
end

describe("the model", function()
  lazy_setup(function()
    settings.set(nil, SETTINGS)
  end)
  lazy_teardown(function()
    for name in pairs(SETTINGS) do db.exec("delete from settings where key = $1", name) end
    settings.changed()
  end)

  it(("agrees with the database after %d operations from seed %d on"):format(OPS, SEED), function()
    local bag = {}
    for name, weight in pairs { deposit = 4, decide = 7, transfer = 8, sale = 16, replay = 3, withdraw = 5, payout = 7, cancel = 1, send = 3, told = 4,
      start = 12, settle = 24, refund = 12, finish = 8, dispute = 9, seen = 3 } do
      for _ = 1, weight do bag[#bag + 1] = name end
    end
    table.sort(bag)
    local done, seen, world_seed = 0, {}, SEED
    while done < OPS do
      seed(world_seed)
      world()
      local fine, why = pcall(function()
        local n, last = min(WORLD, OPS - done), 0
        while W.n < n do
          op[pick(bag)]()
          if random(40) == 1 then film(W.users[random(2)]) end
          if W.n - last >= BATCH then
            cut()
            last = W.n
          end
        end
        cut()
        play(seen)
        compare_all(seen)
      end)
      if not fine then error(("seed %d: %s"):format(world_seed, type(why) == "table" and tostring(why.message) or tostring(why)), 0) end
      done, world_seed = done + W.n, world_seed + 1
      W = nil
      collectgarbage() -- the collector is slower than a world of strings, and memory has an end
    end
    if OPS >= 20000 then
      for _, s in ipairs { "paid", "refunded", "partially_refunded", "disputed", "chargeback_lost", "review", "pending", "expired", "failed", "cancelled",
        "payout approved",
        "payout paid", "payout rejected", "payout reversed", "payout_result failed", "payout_begin sent", "payout_result unknown", "finish covered" } do
        assert.is_true(seen[s], s)
      end
    end
    assert.same({}, h.breaches())
  end)
end)
