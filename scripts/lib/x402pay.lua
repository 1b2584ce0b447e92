-- SPDX-License-Identifier: Apache-2.0
-- Settling x402 payments: claims an authorization, sends it (through a facilitator, or with our own relayer key), and finds out from the
-- chain how it ended. The chain alone decides: an answer that is lost, late or a lie changes nothing.
local db = require "ppv.db"
local evm = require "ppv.evm"
local fetch = require "ppv.fetch"
local json = require "ppv.json"
local log = require "ppv.log"
local time = require "ppv.time"
local chain = require "lib.chain"
local errors = require "lib.errors"
local registry = require "lib.registry"
local relayer = require "lib.relayer"
local rpc = require "lib.rpc"
local settings = require "lib.settings"
local x402 = require "lib.x402"

local M = {}
local LEASE_S, WAIT_S, STEP_S = 90, 25, 0.25
local CHUNK, CHUNKS = 2000, 200
local TRANSFER, USED = evm.topic "Transfer(address,address,uint256)", evm.topic "AuthorizationUsed(address,bytes32)"
local COLUMNS = [[id, chain_id, asset, payer, nonce, ref, order_id, pay_to, amount::text as amount, valid_after::text as valid_after,
  valid_before::text as valid_before, signature, version, identifier, state, reason, relayer, relay_nonce, tries, tx_hash, from_block,
  block_number as block, block_hash, busy_until > now() as busy, answered, answer::text as answer, encode(digest, 'hex') as digest]]

--- What is sold with, as lib.x402 takes it, and more: the plugin says which chain and token, the Chains page what they are. nil, err
--- (payment.not_configured) when nothing is sold this way. Yields.
function M.config()
  local p = registry.by_name.x402
  local s, err
  if p then
    s, err = settings.plugin(p.manifest)
    if not s then return nil, err end
  end
  local function missing(why) return errors.fail("payment.not_configured", "Paying with x402 is not set up: " .. why .. ".", { status = 404 }) end
  if not s or not s.enabled then return missing "it is switched off" end
  local c, t
  c, err = db.read_one("select name, testnet, enabled, treasury, rpc_sealed as rpc from chains where chain_id = $1", s.chain_id)
  if c == nil then return nil, err end
  if not c or not c.enabled or not c.treasury or c.rpc == "" then return missing "its chain is not switched on" end
  if c.testnet == (s.environment == "live") then return missing "test chains and only they are for the environment sandbox" end
  t, err = db.read_one([[select erc20_address as asset, decimals, sign_name, sign_version, eip3009 from pay_tokens
    where chain_id = $1 and symbol = $2 and is_active]], s.chain_id, s.token)
  if t == nil then return nil, err end
  if not t or not t.eip3009 then return missing "its token is not listed, or takes no authorizations (EIP-3009)" end
  return { network = ("eip155:%.0f"):format(s.chain_id), network_v1 = x402.V1[s.chain_id], chain_id = s.chain_id, asset = evm.address(t.asset),
    pay_to = evm.address(c.treasury), token_name = t.sign_name, token_version = t.sign_version, decimals = t.decimals, symbol = s.token,
    live = not c.testnet, confirmations = s.confirmations, facilitator = s.facilitator_url:gsub("/+$", ""), node = chain.node(c, "rpc") }
end

--- Payments by a condition. Yields.
function M.list(where, ...) return db.query("select " .. COLUMNS .. " from x402_payments where " .. where, ...) end

--- A payment by "payer = $1 and ..."; false when there is none. Yields.
function M.find(where, ...) return db.one("select " .. COLUMNS .. " from x402_payments where " .. where, ...) end

local function word(address) return "0x" .. ("0"):rep(24) .. address:sub(3):lower() end

-- Was the authorization used? true, false | nil, err
local function is_used(cfg, x)
  local n, err = cfg.node:read(x.asset, evm.call("authorizationState(address,bytes32)", evm.address(x.payer), evm.unhex(x.nonce)))
  if not n then return nil, err end
  return n ~= "0"
end

--- Would it go through now? true | nil, err: payment.x402 with .reason when the chain refuses it. from_block on success. Yields.
function M.precheck(cfg, p)
  local function no(reason) return errors.fail("payment.x402", reason, { status = 402, reason = reason }) end
  local id, err = cfg.node:chain_id()
  if not id then return nil, err end
  if id ~= cfg.chain_id then
    log.error("x402.chain", { want = cfg.chain_id, got = id })
    return errors.fail("rpc.down", "the node is one of another chain", { status = 503 })
  end
  local x = { asset = cfg.asset, payer = p.from, nonce = evm.hex(p.nonce) }
  local used
  used, err = is_used(cfg, x)
  if used == nil then return nil, err end
  if used then return no "invalid_exact_evm_nonce_already_used" end
  local has
  has, err = cfg.node:read(cfg.asset, evm.call("balanceOf(address)", p.from))
  if not has then return nil, err end
  if evm.cmp(has, p.value) < 0 then return no "insufficient_funds" end
  local fine
  fine, err = cfg.node:view(cfg.asset, x402.calldata(p))
  if fine == nil then
    if err.code == "rpc.error" then return no "invalid_exact_evm_transaction_simulation_failed" end
    return nil, err
  end
  local head
  head, err = cfg.node:quantity "eth_blockNumber"
  return head and tonumber(head), err
end

--- Claims the authorization for an order. row | nil, err: request.conflict when it is claimed already, or the order has one under way. Yields.
function M.claim(cfg, p, order_id, digest, from_block)
  local row, err = db.one([[insert into x402_payments (chain_id, asset, payer, nonce, order_id, pay_to, amount, valid_after, valid_before, signature,
    version, identifier, digest, from_block, busy_until) values ($1, $2, $3, $4, $5, $6, $7::numeric, $8::numeric, $9::numeric, $10, $11, $12, $13, $14,
    now() + make_interval(secs => $15)) on conflict do nothing returning ]] .. COLUMNS, cfg.chain_id, cfg.asset:lower(), p.from:lower(),
    evm.hex(p.nonce), order_id, cfg.pay_to:lower(), p.value, p.valid_after, p.valid_before, evm.hex(p.signature), p.version, p.id,
    db.bytes(digest), from_block, LEASE_S)
  if row == nil then return nil, err end
  if not row then return errors.fail("request.conflict", "A payment for this is under way.", { status = 409, retry_after = 2 }) end
  return row
end

--- Takes a payment up that nobody works on. true, false | nil, err. Yields.
function M.take(x)
  local n, err = db.exec([[update x402_payments set busy_until = now() + make_interval(secs => $2) where id = $1 and busy_until <= now()]], x.id, LEASE_S)
  if not n then return nil, err end
  return n > 0
end

function M.release(x) db.exec("update x402_payments set busy_until = now() where id = $1", x.id) end

local function finish(x, state, reason)
  x.state, x.reason = state, reason or ""
  return db.exec([[update x402_payments set state = $2, reason = $3, tx_hash = $4, settled_at = case when $2 = 'settled' then now() end,
    block_number = $5, block_hash = $6, busy_until = now() where id = $1 and state in ('claimed', 'sent')]],
    x.id, state, x.reason, x.tx_hash, x.block, x.block_hash)
end

-- Sending -----------------------------------------------------------------------------------------------------------------

-- The payment as it was signed.
local function signed(x)
  return { from = evm.address(x.payer), to = evm.address(x.pay_to), value = x.amount, valid_after = x.valid_after, valid_before = x.valid_before,
    nonce = evm.unhex(x.nonce), signature = evm.unhex(x.signature) }
end

-- true when it was handed over or is as if; nil, err when certainly nothing was sent.
local function relay(cfg, x)
  local hash, err = relayer.send { node = cfg.node, chain_id = cfg.chain_id, to = evm.address(x.asset), data = x402.calldata(signed(x)), tries = x.tries,
    number = function(from, latest)
      local row, e = db.one("select ppv_x402_number($1, $2, $3) as n", x.id, from, latest)
      return row and row.n, e
    end,
    note = function(tx) return db.exec("update x402_payments set tx_hash = $2 where id = $1 and state in ('sent', 'orphaned')", x.id, tx) end }
  if not hash then return nil, err end
  x.state, x.tx_hash, x.tries = x.state == "claimed" and "sent" or x.state, hash, x.tries + 1
  return true
end
M.relay = relay

local function facilitate(cfg, x, requirement, payload)
  local done, err = db.exec("update x402_payments set state = 'sent', tries = tries + 1 where id = $1", x.id)
  if not done then return nil, err end
  x.state, x.tries = "sent", x.tries + 1
  local r
  r, err = fetch.request { method = "POST", url = cfg.facilitator .. "/settle", timeout = 60, max_body = 65536, allow_private = true,
    headers = { ["content-type"] = "application/json", accept = "application/json" },
    body = json.encode { x402Version = x.version, paymentPayload = payload, paymentRequirements = requirement } }
  local t = r and json.decode(r.body)
  if type(t) ~= "table" then
    log.warn("x402.facilitator", { payment = x.id, status = r and r.status, code = err and err.code })
    return true -- unclear
  end
  local tx = rpc.hash(t.transaction)
  if tx then
    x.tx_hash = tx
    db.exec("update x402_payments set tx_hash = $2 where id = $1", x.id, tx)
  end
  if t.success ~= true and not tx then x.refused = tostring(t.errorReason or t.error or "settle failed"):sub(1, 100) end
  return true
end

-- Finding out -------------------------------------------------------------------------------------------------------------

-- Does the receipt pay us with this authorization?
local function pays(x, receipt)
  local used, paid = false, false
  for _, l in ipairs(receipt.logs) do
    if l.address == x.asset then
      used = used or (l.topics[1] == USED and l.topics[2] == word(x.payer) and l.topics[3] == x.nonce)
      paid = paid or (l.topics[1] == TRANSFER and l.topics[2] == word(x.payer) and l.topics[3] == word(x.pay_to) and rpc.decimal(l.data) == x.amount)
    end
  end
  return used and paid
end

-- The transaction that used the authorization: hash, false when it is not to be found | nil, err
local function search(cfg, x, head)
  local from = math.max(x.from_block, head - CHUNK * CHUNKS)
  while from <= head do
    local to = math.min(from + CHUNK - 1, head)
    local list, err = cfg.node:call("eth_getLogs", { { address = x.asset, topics = json.array { USED, word(x.payer), x.nonce },
      fromBlock = rpc.quantity(from), toBlock = rpc.quantity(to) } })
    if list == nil then return nil, err end
    for _, l in ipairs(type(list) == "table" and list or {}) do
      if rpc.hash(l.transactionHash) and l.removed ~= true then return rpc.hash(l.transactionHash) end
    end
    from = to + 1
  end
  return false
end

--- Where a payment is on the chain now: {tx, block, block_hash}; false when its authorization is unused; nil when nothing is certain. Yields.
function M.locate(cfg, x, head)
  local r, err = false, nil
  if x.tx_hash then r, err = cfg.node:receipt(x.tx_hash) end
  if r == nil then return nil, err end
  local tx = x.tx_hash
  if not r or not r.ok or not pays(x, r) then
    local used
    used, err = is_used(cfg, x)
    if not used then return used, err end
    tx, err = search(cfg, x, head)
    if not tx then return nil, err end
    r, err = cfg.node:receipt(tx)
    if not r or not r.ok or not pays(x, r) then return nil, err end
  end
  return { tx = tx, block = r.block, block_hash = r.block_hash }
end

-- "settled", "waiting" (in a block, too few on top), "failed" by a transaction's receipt; false when it says nothing | nil, err
local function by_receipt(cfg, x, head)
  local r, err = cfg.node:receipt(x.tx_hash)
  if not r then return r, err end
  if not r.ok then return false end
  if not pays(x, r) then return "failed" end
  x.block, x.block_hash = r.block, r.block_hash
  return head - r.block + 1 >= cfg.confirmations and "settled" or "waiting"
end

--- How a payment stands: "settled", "failed", or "pending"; writes what is certain. Yields.
function M.look(cfg, x)
  if x.state == "settled" or x.state == "failed" then return x.state end
  if x.state == "orphaned" then return "pending" end -- lib.x402watch decides
  local head, err = cfg.node:block "latest"
  if not head then return nil, err or errors.new("rpc.down", "no block") end
  local state = x.tx_hash and by_receipt(cfg, x, head.number) or nil
  if not state then
    local used
    used, err = is_used(cfg, x)
    if used == nil then return nil, err end
    if used then
      local tx
      tx, err = search(cfg, x, head.number)
      if tx == nil then return nil, err end
      if not tx then return "pending" end -- a node that lags
      x.tx_hash = tx
      state = by_receipt(cfg, x, head.number)
    elseif evm.cmp(x.valid_before, head.time) <= 0 then
      state, x.reason = "failed", "expired"
    end
  end
  if state ~= "settled" and state ~= "failed" then return "pending" end
  local n
  n, err = finish(x, state, state == "failed" and (x.reason ~= "" and x.reason or "transferred otherwise") or nil)
  if not n then return nil, err end
  return state
end

--- Sends a claimed payment and waits for its end, a while. What M.look says | nil, err (nothing was sent). Yields.
function M.settle(cfg, x, requirement, payload)
  local ok, err
  if x.state == "claimed" or (x.state == "sent" and cfg.facilitator == "") then
    if cfg.facilitator ~= "" then ok, err = facilitate(cfg, x, requirement, payload) else ok, err = relay(cfg, x) end
    if not ok and x.state == "claimed" then
      finish(x, "failed", tostring(err.message):sub(1, 200))
      return nil, err
    end
  end
  local limit, state = time.mono() + WAIT_S
  repeat
    state = M.look(cfg, x)
    if state == "settled" or state == "failed" then return state end
    if x.refused then return "pending" end
    time.sleep(STEP_S)
  until time.mono() > limit
  return "pending"
end

-- Orders ------------------------------------------------------------------------------------------------------------------

--- What an order's payment is, in the words of lib.settle. o: row of lib.settle. Yields.
function M.facts(o)
  local cfg, err = M.config()
  if not cfg then return nil, err end
  local rows
  rows, err = db.query("select " .. COLUMNS .. " from x402_payments where order_id = $1 order by id", o.id)
  if not rows then return nil, err end
  local waits, failed = false, 0
  for _, x in ipairs(rows) do
    local state
    if x.chain_id == cfg.chain_id then
      -- Nobody came back for it and the chain does not have it: sent again, the authorization is still good.
      state = M.look(cfg, x)
      if state == "pending" and x.state == "sent" and cfg.facilitator == "" and not x.busy and M.take(x) then
        relay(cfg, x)
        M.release(x)
      end
    else
      state = x.state
    end
    if state == "settled" then
      local known
      known, err = db.one("select 1 as yes from payments where provider = 'x402' and payment_ref = $1", x.ref)
      if known == nil then return nil, err end
      if not known then
        return { state = "paid", amount = o.charge, currency = o.charge_currency, live = cfg.live, ref = o.uid, payment_ref = x.ref,
          ids = { chain_id = x.chain_id, tx = x.tx_hash } }
      end
    elseif state == "failed" then
      failed = failed + 1
    else
      waits = true
    end
  end
  return { state = "pending", ref = o.uid, why = not waits and failed > 0 and "refused" or nil }
end

--- What plugins see of it: ctx.x402 of an order.
function M.of(o)
  if o.method ~= "x402" then return nil end
  return { facts = function() return M.facts(o) end,
    refund = function(refund) return require("lib.chainrefund").facts(refund) end } -- which needs the watcher, which needs this file
end

return M
