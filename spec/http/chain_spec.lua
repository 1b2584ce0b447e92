-- SPDX-License-Identifier: Apache-2.0
-- Payments on chain where a real chain cannot misbehave on demand: nodes that lag, lie, forget, disagree and fall silent. The peer is
-- scripted at the level of HTTP; spec/chain/watch.mjs does the rest on a real chain.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local evm = require "ppv.evm"
local fetch = require "ppv.fetch"
local json = require "ppv.json"
local chain = require "lib.chain"
local h = require "spec.support"
local rpc = require "lib.rpc"
local watch = require "lib.watch"

local CHAIN, CONTRACT, TREASURY, PAYER = 424242, "0x" .. ("c0"):rep(20), "0x" .. ("7e"):rep(20), "0x" .. ("ab"):rep(20)
local USDC = "0x" .. ("0d"):rep(20)
local NODE, OTHER = "http://127.0.0.1:1/one", "http://127.0.0.1:1/two"
local function hash(...) return "0x" .. crypto.keccak256(table.concat({ ... }, "/"), "hex") end
local function word(v) return (v:sub(1, 2) == "0x" and ("0"):rep(66 - #v) .. v:sub(3) or v) end
local function topic(address) return "0x" .. word(address) end
local function hex256(decimal) return evm.hex(assert(evm.encode({ "uint256" }, { decimal }))):sub(3) end

-- A chain in memory: blocks[n] = {hash, time, logs}. A view on it may be wrong in every way that `wrong` says.
local Peer = {}
Peer.__index = Peer
local function new_peer() return setmetatable({ blocks = {}, fork = 0, used = {}, receipts = {}, calls = {}, wrong = {} }, Peer) end
function Peer:head() return #self.blocks - (self.wrong.lag or 0) end
function Peer:mine(n, time)
  for _ = 1, n or 1 do
    local number = #self.blocks + 1
    self.blocks[number] = { number = number, hash = hash("block", self.fork, number), time = time or (os.time() - 1000 + number), logs = {} }
  end
end
-- Drops the newest blocks and makes as many others; payments in them are gone until they are included again.
function Peer:reorg(depth)
  self.fork = self.fork + 1
  for _ = 1, depth do
    local b = table.remove(self.blocks)
    for _, l in ipairs(b.logs) do self.receipts[l.transactionHash] = nil self.used[l.id] = nil end
  end
  self:mine(depth)
end
-- The invoice is paid in the newest block. over: payer, token, amount, invoiceHash, tx, shares.
function Peer:pay(i, over)
  over = over or {}
  local b = self.blocks[#self.blocks]
  local tx = over.tx or hash("tx", i.id, #self.receipts, b.hash, tostring(over.salt))
  local function log(topics, data)
    local l = { address = CONTRACT, topics = topics, data = "0x" .. data, blockNumber = rpc.quantity(b.number), blockHash = b.hash, transactionHash = tx,
      logIndex = rpc.quantity(#b.logs), removed = false, id = i.id }
    b.logs[#b.logs + 1] = l
    return l
  end
  local logs = { log({ chain.PAID, i.id, topic(over.payer or i.payer), topic(over.token or i.token) },
    hex256(over.amount or i.amount) .. (over.digest or i.digest):sub(3)) }
  for _, p in ipairs(over.payees or i.payees) do logs[#logs + 1] = log({ chain.SHARE, i.id, topic(p.to) }, hex256(p.amount) .. hex256 "0") end
  self.receipts[tx], self.used[i.id] = { b = b, logs = logs }, true
  return tx
end
function Peer:answer(method, params)
  self.calls[method] = (self.calls[method] or 0) + 1
  if method == "eth_chainId" then return rpc.quantity(self.wrong.chain or CHAIN) end
  if method == "eth_getCode" then return self.wrong.code or "0x6001" end
  if method == "eth_getBlockByNumber" then
    local tags = { latest = self:head(), finalized = math.max(self:head() - 20, 0), safe = math.max(self:head() - 5, 0) }
    local b = self.blocks[tags[params[1]] or rpc.number(params[1])]
    if not b or b.number > self:head() then return json.null end
    local other = self.wrong.fork and b.number >= self.wrong.fork and hash("other", b.number)
    return { number = rpc.quantity(b.number), hash = other or b.hash, timestamp = rpc.quantity(b.time), parentHash = b.hash }
  elseif method == "eth_getLogs" then
    local from, to, out = rpc.number(params[1].fromBlock), rpc.number(params[1].toBlock), json.array {}
    if self.wrong.range and to - from + 1 > self.wrong.range then return nil, { code = -32005, message = "query returned more than 10000 results" } end
    if self.wrong.no_logs then return out end
    for n = from, math.min(to, #self.blocks) do
      for _, l in ipairs(self.blocks[n] and self.blocks[n].logs or {}) do if l.topics[1] == params[1].topics[1] then out[#out + 1] = l end end
    end
    return out
  elseif method == "eth_getTransactionReceipt" then
    local r = self.receipts[params[1]]
    if not r or self.wrong.no_receipt then return json.null end
    return { transactionHash = params[1], status = self.wrong.failed and "0x0" or "0x1",
      blockNumber = rpc.quantity(r.b.number), blockHash = r.b.hash, logs = json.array(r.logs) }
  elseif method == "eth_call" then
    return "0x" .. hex256(self.used["0x" .. params[1].data:sub(11)] and "1" or "0")
  end
end

describe("payments on chain", function()
  local admin, creator, node, other, real, peers
  local wire = {} -- what the wire does to a request: nothing, or a function (req) -> answer | nil, err
  lazy_setup(function()
    if not evm.key_address "invoice_signer" then assert(evm.key_new "invoice_signer") end
    admin, creator = h.make.admin(), h.make.user()
    real = fetch.request
    fetch.request = function(req)
      local peer = peers and peers[req.url]
      if not peer then return real(req) end
      if wire.fault then
        local r, err = wire.fault(req)
        if r or err then return r, err end
      end
      local q = json.decode(req.body)
      local result, problem = peer:answer(q.method, q.params)
      return { status = 200, headers = {}, body = json.encode { jsonrpc = "2.0", id = q.id, result = result, error = problem } }
    end
    for key, value in pairs { ["splitter environment"] = '"live"', ["fixed_rate tokens"] = '"USDC/USD = 0.9998, COIN/USD = 2500.5"' } do
      local plugin, name = key:match "^(%S+) (%S+)$"
      h.plugin(plugin, name, value)
    end
  end)
  lazy_teardown(function()
    fetch.request = real
    db.exec("update chains set enabled = false where chain_id = $1", CHAIN)
    for _, name in ipairs { "splitter", "fixed_rate" } do h.plugin(name) end
  end)
  before_each(function()
    node, other = new_peer(), new_peer()
    peers, wire.fault = { [NODE] = node, [OTHER] = other }, nil
    node:mine(100)
    -- every specification has a chain of its own
    db.exec("update chains set enabled = false where chain_id = $1", CHAIN)
    CHAIN = CHAIN + 1
    assert(db.exec([[insert into chains (chain_id, name, testnet, enabled, contract, treasury, finality, confirmations, rpc_sealed, start_block, second_above)
      values ($1, 'Scripted', false, true, $2, $3, 'count', 12, $4, 2, null)]], CHAIN, CONTRACT, TREASURY, crypto.seal(NODE)))
    assert(db.exec([[insert into pay_tokens (chain, chain_id, symbol, decimals, token_kind, erc20_address, is_active)
      values ('Scripted', $1, 'USDC', 6, 'ERC20', $2, true), ('Scripted', $1, 'COIN', 18, 'NATIVE', null, true)]], CHAIN, USDC))
  end)
  after_each(function() assert.same({}, h.breaches()) end)

  local function signed(id)
    local row = assert(db.one([[select id, payer, token, amount::text as amount, digest, payees::text as payees from chain_invoices
      where id = $1]], id))
    row.payees = json.decode(row.payees)
    return row
  end
  local function start(over)
    local o = { buyer = h.make.user(), film = h.make.video(creator, { price = 1000 }) }
    local body = { video_id = o.film, chain_id = CHAIN, symbol = "USDC", payer_address = PAYER }
    for k, v in pairs(over or {}) do body[k] = v end
    o.answer = o.buyer:post("/api/pay/x402/start", body)
    if o.answer.status ~= 200 then
      assert(over, o.answer.body)
      return o
    end
    o.uid = o.answer.json.invoice_uid
    o.invoice = signed(o.answer.json.invoice_uid_bytes32)
    return o
  end
  local function pass() return watch.pass(assert(chain.find(CHAIN))) end
  local function state(o) return o.buyer:get("/api/pay/order?id=" .. o.uid).json.order end
  local function plays(o) return o.buyer:get("/api/request_play?video_id=" .. o.film).status ~= 403 end
  local function payment(o)
    return db.one([[select p.state, p.problem, p.sources from chain_payments p join orders o on o.id = p.order_id
      where o.uid = $1::uuid order by p.id desc limit 1]], o.uid)
  end
  local function second(above)
    assert(db.exec("update chains set rpc2_sealed = $2, second_above = $3 where chain_id = $1", CHAIN, crypto.seal(OTHER), above))
  end
  local function mirror() other.blocks, other.receipts, other.used = node.blocks, node.receipts, node.used end
  local function problem() return db.one("select problem from chains where chain_id = $1", CHAIN).problem end

  it("invoices name an exact amount by the rate, the payer, and every share; never one coin for one dollar", function()
    local o = start()
    local a = o.answer.json
    assert.equal("10002001", a.amount_wei) -- 10.00 / 0.9998, rounded up
    assert.equal("USDC", a.symbol)
    assert.equal(evm.address(CONTRACT), a.x402_contract)
    assert.same({ { to = evm.address(TREASURY), amount = "10002001" } }, a.invoice.payees)
    local digest = assert(evm.unhex(o.invoice.digest))
    assert.equal(evm.key_address "invoice_signer", evm.recover(digest, assert(evm.unhex(a.signature))))
    assert.equal(evm.address(PAYER), a.invoice.payer)
    local coin = start { symbol = "COIN" }
    assert.equal("3999200159968007", coin.answer.json.amount_wei) -- 10 / 2500.5 of 10^18, rounded up
    for _, bad in ipairs { { symbol = "DOGE" }, { chain_id = 137 }, { payer_address = "0x" .. ("0"):rep(40) }, { token_address = "0x" .. ("11"):rep(20) } } do
      assert.equal(409, start(bad).answer.status)
    end
    assert(db.exec([[insert into pay_tokens (chain, chain_id, symbol, decimals, token_kind, erc20_address, is_active)
      values ('Scripted', $1, 'NEW', 18, 'ERC20', $2, true)]], CHAIN, "0x" .. ("dd"):rep(20)))
    local r = start({ symbol = "NEW" }).answer
    assert.same({ 503, "chain.no_price" }, { r.status, r.json.code })
    db.exec("update pay_tokens set is_active = false where chain_id = $1 and symbol = 'NEW'", CHAIN)
    -- again: the same invoice; another token: another one of the same order
    local again = o.buyer:post("/api/pay/x402/start", { video_id = o.film, chain_id = CHAIN, symbol = "USDC", payer_address = PAYER }).json
    assert.same({ a.invoice_uid, a.invoice_uid_bytes32 }, { again.invoice_uid, again.invoice_uid_bytes32 })
    local generic = o.buyer:post("/api/pay/start", { provider = "splitter", video_id = o.film, chain_id = CHAIN, symbol = "COIN", payer_address = PAYER }).json
    assert.equal(a.invoice_uid, generic.invoice.invoice_id)
    assert.not_equal(a.invoice_uid_bytes32, generic.invoice.raw.id)
    local options = o.buyer:get("/api/pay/options?video_id=" .. o.film).json
    assert.equal(2, #options.tokens)
    assert.is_true(o.buyer:get("/api/pay/all_options?video_id=" .. o.film).json.x402.available)
  end)

  it("a payment confirms block by block, and settles once when it is final", function()
    local o = start()
    node:mine()
    local tx = node:pay(o.invoice)
    assert(pass())
    local s = state(o)
    assert.equal("pending", s.state)
    assert.same({ 1, 12, tx }, { s.confirming.have, s.confirming.need, s.confirming.tx })
    assert.is_false(plays(o))
    node:mine(10)
    assert(pass())
    assert.equal(11, state(o).confirming.have)
    assert.is_false(plays(o))
    local before = h.balance(creator)
    node:mine()
    assert(pass())
    assert(pass())
    assert.equal("paid", state(o).state)
    assert.is_true(plays(o))
    assert.equal(900, h.balance(creator) - before) -- no address: the share is owed here
    assert.equal("final", payment(o).state)
    local r = o.buyer:post("/api/pay/x402/confirm", { invoice_uid = o.uid, tx_hash = tx })
    assert.same({ "paid", true, true }, { r.json.status, r.json.replayed, r.json.same_tx })
  end)

  it("what the contract paid to the creator is not owed again", function()
    local paid = h.make.user()
    local key = assert(evm.key_address "spec_creator" or evm.key_new "spec_creator")
    local c = paid:post("/api/chain/address/challenge", { address = key }).json
    assert.equal(200, paid:post("/api/chain/address/prove", { signature = evm.hex(assert(evm.sign("spec_creator", evm.personal_hash(c.message)))) }).status)
    local o = { buyer = h.make.user(), film = h.make.video(paid, { price = 1000 }) }
    o.answer = o.buyer:post("/api/pay/x402/start", { video_id = o.film, chain_id = CHAIN, symbol = "USDC", payer_address = PAYER })
    local i = o.answer.json
    assert.same({ { to = evm.address(key), amount = "9001800" }, { to = evm.address(TREASURY), amount = "1000201" } }, i.invoice.payees)
    assert.equal(evm.address(key), i.creator_wallet)
    o.uid = i.invoice_uid
    local row = signed(i.invoice_uid_bytes32)
    local function clearing()
      return tonumber(db.one([[select coalesce(-sum(e.amount), 0)::bigint as n from ledger_entries e join ledger_accounts a on a.id = e.account_id
        where a.kind = 'clearing' and a.name = 'splitter']]).n)
    end
    local before = clearing()
    node:mine()
    node:pay(row)
    node:mine(12)
    assert(pass())
    assert.equal("paid", state(o).state)
    assert.equal(0, h.balance(paid))
    assert.equal(100, clearing() - before) -- what the treasury got
  end)

  it("a node that lags, is silent, or is on another chain proves nothing", function()
    local o = start()
    node:mine()
    node:pay(o.invoice)
    node:mine(20)
    for _, code in ipairs { "0x", "0x6002" } do
      node.wrong = { code = code }
      db.exec("update chains set code_hash = $2 where chain_id = $1", CHAIN, "0x" .. crypto.keccak256("\96\1", "hex"))
      assert.equal("chain.contract", select(2, pass()).code)
    end
    node.wrong = {}
    assert(pass())
    assert.equal("paid", state(o).state)
    local p = start()
    node:mine()
    node:pay(p.invoice)
    assert(pass())
    for name, fault in pairs { lag = { lag = 60 }, chain = { chain = 1 } } do
      node.wrong = fault
      local ok, err = pass()
      assert.is_nil(ok, name)
      assert.not_equal("", problem())
      assert.is_truthy(err.code:find "^chain%.", name)
      node.wrong = {}
    end
    node.wrong = { lag = 3 } -- within what is not final: it sees less, and nothing is concluded
    assert(pass())
    assert.equal("provisional", payment(p).state)
    local function says(status, body) return function() return { status = status, headers = {}, body = body } end end
    local function answers(result) -- to the very question
      return function(req) return says(200, json.encode { jsonrpc = "2.0", id = json.decode(req.body).id, result = result })() end
    end
    for _, broken in ipairs { function() return nil, { code = "net.failed", message = "x" } end, says(502, "<html>"), says(200, "{}"), says(200, "[1]"),
      says(200, '{"jsonrpc":"2.0","id":999,"result":"0x1"}'), answers(nil), answers "soup", answers {}, answers "0x" } do
      wire.fault, node.wrong = broken, {}
      local ok, err = pass()
      assert.is_nil(ok)
      assert.equal("rpc.down", err.code)
      assert.is_nil(tostring(err.message):find("127.0.0.1", 1, true))
      local n, why = rpc.node(NODE):quantity "eth_gasPrice"
      assert.equal("nil rpc.down", tostring(n) .. " " .. why.code)
      n, why = rpc.node(NODE):read("0x" .. ("1"):rep(40), "0x")
      assert.equal("nil rpc.down", tostring(n) .. " " .. why.code)
    end
    wire.fault = nil
    assert.equal("provisional", payment(p).state)
    node:mine(12)
    assert(pass())
    assert.equal("paid", state(p).state)
    assert.equal("", problem())
  end)

  it("an hour of silence is read up in ranges the node allows", function()
    assert(pass())
    local o = start()
    node:mine()
    node:pay(o.invoice)
    node:mine(1800)
    node.wrong, node.calls = { range = 100 }, {}
    assert(pass())
    assert.equal("paid", state(o).state)
    assert.is_true(node.calls.eth_getLogs < 40, tostring(node.calls.eth_getLogs))
    assert.equal(1890, db.one("select block_number as n from chain_cursors where chain_id = $1", CHAIN).n)
  end)

  it("a reorganisation of any depth drops, and brings back once", function()
    for _, depth in ipairs { 1, 5, 11, 13, 60, 200 } do
      local o = start()
      node:mine(250)
      assert(pass())
      node:mine()
      local tx = node:pay(o.invoice)
      node:mine(depth - 1)
      assert(pass())
      local final = depth >= 12
      assert.equal(final and "paid" or "pending", state(o).state)
      assert.equal(final, plays(o))
      node:reorg(depth)
      assert(pass())
      assert.equal("orphaned", payment(o).state)
      assert.is_false(plays(o), "depth " .. depth)
      assert.equal(final and "disputed" or "pending", state(o).state)
      assert.same({}, h.breaches())
      node:mine()
      node:pay(o.invoice, { tx = depth % 2 == 1 and tx or nil, salt = "again" }) -- the same transaction, or one that replaces it
      node:mine(12)
      assert(pass())
      assert.equal("paid", state(o).state, "depth " .. depth)
      assert.is_true(plays(o))
      assert.equal(1, db.one("select count(*) as n from payments p join orders o on o.id = p.order_id where o.uid = $1::uuid", o.uid).n)
    end
  end)

  it("one that never comes back is given up by an administrator", function()
    local o = start()
    local before = h.balance(creator)
    node:mine()
    node:pay(o.invoice)
    node:mine(20)
    assert(pass())
    assert.equal(900, h.balance(creator) - before)
    node:reorg(25)
    assert(pass())
    local row
    for _, x in ipairs(admin:get("/admin/chains").json.orphaned) do if x.order_id == o.uid then row = x end end
    assert.is_true(row.disputed)
    assert.equal(403, o.buyer:post("/admin/chains/payments/" .. row.id .. "/give_up").status)
    assert.equal("chargeback_lost", admin:post("/admin/chains/payments/" .. row.id .. "/give_up").json.state)
    assert.equal(before, h.balance(creator))
    assert.equal(409, admin:post("/admin/chains/payments/" .. row.id .. "/give_up").status)
  end)

  it("a log that the node keeps back is found by asking the contract", function()
    local o = start()
    node:mine()
    node:pay(o.invoice)
    node.wrong = { no_logs = true }
    node:mine(20)
    assert(pass())
    assert.equal("pending", state(o).state)
    node:mine(30, os.time() + 1000) -- past the deadline of 15 minutes
    assert.is_nil(node.calls.eth_call)
    assert(pass())
    assert.equal(1, node.calls.eth_call)
    assert.equal("pending", state(o).state)
    node.wrong = {}
    assert(pass())
    assert.is_truthy(payment(o))
    assert(pass())
    assert.equal("paid", state(o).state)
  end)

  it("a large payment needs two nodes that agree", function()
    second(1000)
    local o = start()
    node:mine()
    node:pay(o.invoice)
    node:mine(20)
    mirror()
    for name, fault in pairs { receipt = { no_receipt = true }, lag = { lag = 20 }, chain = { chain = 5 }, failed = { failed = true } } do
      other.wrong = fault
      assert(pass())
      assert.equal("pending", state(o).state, name)
      assert.not_equal("", payment(o).problem)
    end
    other.wrong = {}
    assert(pass())
    assert.equal("paid", state(o).state)
    assert.equal(2, payment(o).sources)
    second(1001) -- a smaller one does not
    other.wrong = { no_receipt = true }
    local p = start()
    node:mine()
    node:pay(p.invoice)
    node:mine(12)
    assert(pass())
    assert.equal("paid", state(p).state)
    -- what was final is not taken back on one node's word
    other.wrong, node.wrong = {}, { fork = 90 }
    local ok, err = pass()
    assert.is_nil(ok)
    assert.equal("chain.disagree", err.code)
    assert.equal("paid", state(p).state)
  end)

  it("what does not fit the invoice waits for a person", function()
    local cases = { underpaid = { amount = "10002000" }, overpaid = { amount = "10002002" }, object = { payer = "0x" .. ("99"):rep(20) } }
    for why, over in pairs(cases) do
      local o = start()
      node:mine()
      node:pay(o.invoice, over)
      node:mine(12)
      assert(pass())
      assert.same({ "review", why }, { state(o).state, state(o).why })
      assert.is_false(plays(o))
    end
    for _, over in ipairs { { digest = hash "another" }, { token = USDC:gsub("0d", "0e") }, { payees = { { to = TREASURY, amount = "10002000" } } } } do
      local o = start()
      node:mine()
      node:pay(o.invoice, over)
      node:mine(12)
      assert(pass())
      assert.same({ "review", "object" }, { state(o).state, state(o).why })
    end
    local p = start()
    node:mine()
    node:pay(p.invoice)
    local o = start() -- mined after its deadline: the contract forbids it, we do not rely on that
    node:mine(1, os.time() + 1000)
    node:pay(o.invoice)
    -- the other one is seen late, but was paid in time: a sale at the price of then
    assert(db.exec("update orders set state = 'expired' where uid = $1::uuid", p.uid))
    assert(db.exec("update videos set price = 5000 where id = $1::uuid", p.film))
    node:mine(12)
    assert(pass())
    assert.same({ "review", "late" }, { state(o).state, state(o).why })
    assert.equal("paid", state(p).state)
  end)

  it("a second payment for one order is seen, and decided by an administrator", function()
    local o = start()
    local two = o.buyer:post("/api/pay/x402/start", { video_id = o.film, chain_id = CHAIN, symbol = "COIN", payer_address = PAYER }).json
    local i = signed(two.invoice_uid_bytes32)
    node:mine()
    node:pay(o.invoice)
    node:pay(i)
    node:mine(12)
    assert(pass())
    assert(pass())
    assert.equal("paid", state(o).state)
    local row
    for _, x in ipairs(admin:get("/admin/payments/queue").json.review) do if x.order_id == o.uid then row = x end end
    assert.equal("duplicate", row.why)
    assert.equal(200, admin:post("/admin/payments/" .. row.id .. "/decide", { what = "credit" }).status)
    assert.equal(1000, h.balance(o.buyer))
  end)

  it("quantities are text", function()
    assert.equal("115792089237316195423570985008687907853269984665640564039457584007913129639935", rpc.decimal("0x" .. ("f"):rep(64)))
    for text, n in pairs { ["0x0"] = "0", ["0x1f"] = "31", ["0x20000000000001"] = "9007199254740993", ["0xde0b6b3a7640000"] = "1000000000000000000" } do
      assert.equal(n, rpc.decimal(text))
    end
    for _, bad in ipairs { "", "0x", "12", "0xg", "0x" .. ("f"):rep(65), 12, {} } do assert.is_nil(rpc.decimal(bad)) end
    assert.equal(9007199254740991, rpc.number "0x1fffffffffffff")
    assert.is_nil(rpc.number "0x20000000000000")
    for _, n in ipairs { 0, 1, 15, 16, 255, 4294967296, 9007199254740991 } do assert.equal(n, rpc.number(rpc.quantity(n))) end
  end)
end)

describe("the own address on chains", function()
  it("is proved by a signature over our text, by its key only", function()
    local u = h.make.user()
    if not evm.key_address "spec_creator" then assert(evm.key_new "spec_creator") end
    if not evm.key_address "spec_other" then assert(evm.key_new "spec_other") end
    local address = evm.key_address "spec_creator"
    local function sign(key, message) return evm.hex(assert(evm.sign(key, evm.personal_hash(message)))) end
    assert.is_nil(u:get("/api/chain/address").json.address)
    assert.equal("chain.challenge", u:post("/api/chain/address/prove", { signature = "0x" .. ("1"):rep(130) }).json.code)
    local c = u:post("/api/chain/address/challenge", { address = address }).json
    assert.is_truthy(c.message:find(address, 1, true) and c.message:find(u.username, 1, true))
    assert.equal("chain.signature", u:post("/api/chain/address/prove", { signature = sign("spec_other", c.message) }).json.code)
    assert.equal("chain.signature", u:post("/api/chain/address/prove", { signature = sign("spec_creator", c.message .. " ") }).json.code)
    local r = u:post("/api/chain/address/prove", { signature = sign("spec_creator", c.message) })
    assert.equal(address, r.json.address.address, r.body)
    assert.is_false(r.json.address.waits)
    assert.equal("chain.challenge", u:post("/api/chain/address/prove", { signature = sign("spec_creator", c.message) }).json.code)
    assert.equal(address:lower(), u:get("/api/profile").json.profile.wallet_account)
    -- another address waits; a typed one that is not proved is not used
    local second = u:post("/api/chain/address/challenge", { address = evm.key_address "spec_other" }).json
    assert.is_true(u:post("/api/chain/address/prove", { signature = sign("spec_other", second.message) }).json.address.waits)
    assert.is_nil(db.one("select ppv_chain_address($1, 'USD') as a", u.id).a)
    assert.equal(422, u:post("/api/chain/address/challenge", { address = address:sub(1, -2) .. "z" }).status)
    assert.is_true(u:post("/api/chain/address/remove").json.removed)
  end)
end)
