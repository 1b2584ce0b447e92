-- SPDX-License-Identifier: Apache-2.0
-- Transactions that the site sends and pays the network's fee of: payments by x402 and invoices paid for buyers.
local cache = require "ppv.cache"
local db = require "ppv.db"
local evm = require "ppv.evm"
local log = require "ppv.log"
local chain = require "lib.chain"
local errors = require "lib.errors"
local rpc = require "lib.rpc"

local M = { KEY = "relayer", GAS = 500000, LOOK_S = 60 } -- GAS: what one payment for a buyer takes, with room

-- {tip, cap} in wei per gas; each try is a quarter dearer, as nodes replace a waiting transaction only then; six times at most.
local function fees(node, tries)
  local head, err = node:call("eth_getBlockByNumber", { "latest", false })
  if head == nil then return nil, err end
  local base = type(head) == "table" and rpc.decimal(head.baseFeePerGas) or "0"
  local tip = node:quantity "eth_maxPriorityFeePerGas" or "1000000"
  local factor = math.floor(100 * 1.25 ^ math.min(tries, 8))
  tip = evm.muldiv(tip, factor, 100, "up")
  return { tip = tip, cap = evm.add(evm.muldiv(base, 2 * factor, 100, "up"), tip) }
end
M.fees = fees

--- Calls a contract with the site's own key. o: {node, chain_id, to (address), data (hex), tries (before this one),
--- number(from, latest) -> the transaction's number | nil, err; note(hash) -> true | nil, err, before it goes out}.
--- hash when it was handed over or is as if: the chain will tell. nil, err when certainly nothing was sent: rpc.error when the contract refuses,
--- relayer.funds when the key has too little of the coin. Yields.
function M.send(o)
  local from, err = evm.key_address(M.KEY)
  if not from then return errors.fail("payment.not_configured", "the key `relayer` is missing: " .. tostring(err.message), { status = 503 }) end
  local gas, count, fee, has, n, raw, hash, done
  -- On the newest block: what still waits may be this very payment.
  gas, err = o.node:quantity("eth_estimateGas", { { from = from, to = o.to, data = o.data }, "latest" })
  if not gas then return nil, err end
  gas = evm.muldiv(gas, 13, 10, "up")
  fee, err = fees(o.node, o.tries)
  if not fee then return nil, err end
  has, err = o.node:quantity("eth_getBalance", { from, "latest" })
  if not has then return nil, err end
  if evm.cmp(has, evm.muldiv(gas, fee.cap, 1, "up")) < 0 then
    log.error("relayer.funds", { relayer = from, chain = o.chain_id, wei = has })
    return errors.fail("relayer.funds", "The site cannot pay the network's fee at the moment.", { status = 503 })
  end
  count, err = o.node:quantity("eth_getTransactionCount", { from, "latest" })
  if not count then return nil, err end
  n, err = o.number(from:lower(), tonumber(count))
  if not n then return nil, err or errors.new("engine.busy", "too many payments are under way", { retry = true }) end
  raw, hash = evm.raw_transaction({ chain_id = o.chain_id, nonce = n, tip = fee.tip, fee_cap = fee.cap, value = 0, to = o.to, gas = gas, data = o.data }, M.KEY)
  if not raw then return nil, hash end
  done, err = o.note(hash)
  if not done then return nil, err end
  done, err = o.node:call("eth_sendRawTransaction", { raw })
  if not done then log.warn("relayer.send", { tx = hash, chain = o.chain_id, code = err and err.code, message = err and tostring(err.message) }) end
  return hash
end

-- What the keys of a chain have, for the administrator. true | nil, err
local function look(c, from)
  local node = chain.node(c, "rpc")
  local fee, err = fees(node, 0)
  if not fee then return nil, err end
  local mine, theirs
  if from then
    mine, err = node:quantity("eth_getBalance", { from, "latest" })
    if not mine then return nil, err end
  end
  theirs, err = node:quantity("eth_getBalance", { c.treasury, "latest" })
  if not theirs then return nil, err end
  return db.exec([[update chains set relayer = $2, relayer_wei = $3::numeric, treasury_wei = $4::numeric, gas_wei = $5::numeric where chain_id = $1]],
    c.chain_id, from and from:lower(), mine, theirs, fee.cap)
end

--- Reads balances on the chains that are switched on, once a minute. Yields.
function M.turn()
  local rows, err = chain.list "c.enabled and c.treasury is not null and c.rpc_sealed <> ''"
  if not rows then return nil, err end
  local from = evm.key_address(M.KEY)
  for _, c in ipairs(rows) do
    if cache.add("relayer:" .. ("%.0f"):format(c.chain_id), "1", M.LOOK_S) then
      local ok, why = look(c, from)
      if not ok then log.warn("relayer.look", { chain = c.chain_id, message = tostring(why and why.message) }) end
    end
  end
  return true
end

return M
