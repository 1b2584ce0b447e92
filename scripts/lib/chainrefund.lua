-- SPDX-License-Identifier: Apache-2.0
-- Refunds of what was paid on a chain. An administrator sends them from the treasury and names the transaction; the refund is done, and
-- booked, when exactly that is found in a final block.
local db = require "ppv.db"
local evm = require "ppv.evm"
local log = require "ppv.log"
local chain = require "lib.chain"
local errors = require "lib.errors"
local rpc = require "lib.rpc"
local watch = require "lib.watch"

local M = {}
local TRANSFER = evm.topic "Transfer(address,address,uint256)"
local STATE = { open = "pending", seen = "pending", done = "done", void = "failed" }

--- How a refund (row of refunds: {id, key}) stands, in the words of a plugin. Without a payment on a chain to undo it is a record. Yields.
function M.facts(refund)
  local row, err = db.one("select ppv_chain_refund($1) as state", tonumber(refund.id))
  if not row then return nil, err end
  return { ref = refund.key, state = STATE[row.state] or "done" }
end

local function problem(x, why)
  return db.exec("update chain_refunds set problem = left($2, 300), state = $3 where refund_id = $1 and state = 'seen'", x.refund_id, why.text, why.state)
end
local function wait(text) return { text = text, state = "seen" } end
local function wrong(text) return { text = text, state = "open" } end

-- Places in a transaction that pay it: log indexes, -1 for the coin. list | nil, err
local function places(x, node, r)
  local out = {}
  if x.token == chain.NATIVE then
    local tx, err = node:call("eth_getTransactionByHash", { x.tx_hash })
    if tx == nil then return nil, err end
    if tx and rpc.address(tx.to) == x.payer and rpc.decimal(tx.value) == x.amount then out[1] = -1 end
    return out
  end
  for _, l in ipairs(r.logs) do
    if l.address == x.token and l.topics[1] == TRANSFER and rpc.word_address(l.topics[3]) == x.payer and rpc.decimal(l.data) == x.amount then
      out[#out + 1] = l.index
    end
  end
  return out
end

-- The one that no other refund has: true | false
local function take(x, list)
  for _, index in ipairs(list) do
    local n = db.exec([[update chain_refunds set state = 'done', problem = '', log_index = $2 where refund_id = $1 and state = 'seen' and not exists
      (select from chain_refunds o where o.chain_id = $3 and o.tx_hash = $4 and o.log_index = $2)]], x.refund_id, index, x.chain_id, x.tx_hash)
    if n == 1 then return true end
  end
  return false
end

-- true when it is done now; false; nil, err
local function check(x)
  local c, err = chain.find(x.chain_id)
  local node = c and chain.node(c, "rpc")
  if not node then return nil, err or errors.new("chain.not_set_up", "no node is set") end
  local ok, head, final, r, list
  ok, err = watch.guard(c, node)
  if not ok then return nil, err end
  head, err = node:block "latest"
  if not head then return nil, err end
  final, err = watch.final_block(c, node, head)
  if final == nil then return nil, err end
  r, err = node:receipt(x.tx_hash)
  if r == nil then return nil, err end
  if not r then return false, problem(x, wait "The transaction is in no block yet.") end
  if not final or r.block > final.number then return false, problem(x, wait(("Confirming: block %.0f is not final yet."):format(r.block))) end
  if not r.ok then return false, problem(x, wrong "This transaction failed: it moved nothing.") end
  list, err = places(x, node, r)
  if not list then return nil, err end
  if take(x, list) then return true end
  return false, problem(x, wrong(#list > 0 and "This transfer is another refund's already." or "This transaction does not send exactly that to this address."))
end

--- Looks at the transactions that were named, and ends their refunds: finish(refund row) is lib.settle's. Yields.
function M.turn(finish)
  local rows, err = db.query [[select refund_id, chain_id, token, amount::text as amount, payer, tx_hash from chain_refunds where state = 'seen'
    order by refund_id limit 50]]
  if not rows then return nil, err end
  for _, x in ipairs(rows) do
    local done, why = check(x)
    if done == nil then log.warn("chain.refund", { refund = x.refund_id, message = tostring(why and why.message) }) end
  end
  rows, err = db.query [[select r.id, r.order_id, r.charge, r.reason, r.key, r.provider_ref, r.state from refunds r join chain_refunds x on x.refund_id = r.id
    where x.state in ('done', 'void') and r.state in ('pending', 'sent', 'unknown') order by r.id limit 50]]
  if not rows then return nil, err end
  for _, r in ipairs(rows) do
    local state, why = finish(r, true)
    if not state then log.warn("refund.failed", { refund = r.id, message = tostring(why.message) }) end
  end
  return true
end

return M
