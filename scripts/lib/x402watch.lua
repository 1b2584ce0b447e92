-- SPDX-License-Identifier: Apache-2.0
-- What became of payments by x402 after their buyers were let in: each is looked at until its block is final. A block that is gone takes
-- the payment with it (access ends, earnings are frozen) until it is included again; its authorization is sent again while it is good.
-- A node that is silent or behind proves nothing.
local cache = require "ppv.cache"
local db = require "ppv.db"
local evm = require "ppv.evm"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local chain = require "lib.chain"
local relayer = require "lib.relayer"
local watch = require "lib.watch"
local x402pay = require "lib.x402pay"

local M = {}

local function orphan(c, x)
  local ok, err = db.exec("select ppv_x402_orphan($1)", x.id)
  if not ok then return nil, err end
  x.state = "orphaned"
  metrics.count("chain_orphaned_total", 1)
  log.warn("chain.orphaned", { chain = c.chain_id, tx = x.tx_hash, block = x.block, was = "x402" })
  return true
end

-- Unused, and its block gone: the same authorization once more, with the number it had.
local function again(cfg, x, head)
  if evm.cmp(x.valid_before, ("%.0f"):format(head.time)) <= 0 or not evm.key_address(relayer.KEY) then return true end
  local r, err = x402pay.take(x)
  if r == nil then return nil, err end
  if not r then return true end -- sent not long ago
  r, err = x402pay.relay(cfg, x)
  if not r then log.warn("x402.again", { payment = x.id, message = tostring(err.message) }) end
  return true
end

-- One payment. true | nil, err
local function look(c, cfg, x, head, final)
  local b, err
  if x.state == "settled" and x.block then
    if x.block > head.number then return true end
    b, err = cfg.node:block(x.block)
    if not b then return b == false, err end
    if b.hash == x.block_hash and (not final or final.number < x.block) then return true end
  end
  local at
  at, err = x402pay.locate(cfg, x, head.number)
  if at == nil then return err == nil, err end
  if not at then
    if x.state == "settled" and b and b.hash == x.block_hash then return true end -- a node that disagrees with itself
    local ok = true
    if x.state == "settled" then ok, err = orphan(c, x) end
    if not ok then return nil, err end
    return again(cfg, x, head)
  end
  if final and at.block <= final.number then
    return db.exec("select ppv_x402_final($1, $2, $3, $4)", x.id, at.tx, at.block, at.block_hash)
  end
  return db.exec("update x402_payments set tx_hash = $2, block_number = $3, block_hash = $4 where id = $1", x.id, at.tx, at.block, at.block_hash)
end

local function pass(c)
  local node = chain.node(c, "rpc")
  if not node then return true end
  local ok, err = watch.guard(c, node)
  if not ok then return nil, err end
  local head, final
  head, err = node:block "latest"
  if not head then return nil, err end
  final, err = watch.final_block(c, node, head)
  if final == nil then return nil, err end
  local list
  list, err = x402pay.list("chain_id = $1 and (state = 'orphaned' or (state = 'settled' and final_at is null)) order by id limit 500", c.chain_id)
  if not list then return nil, err end
  for _, x in ipairs(list) do
    ok, err = look(c, { node = node, chain_id = c.chain_id }, x, head, final)
    if not ok then return nil, err end
  end
  return true
end

--- Looks at the chains that have such payments, each as often as its setting says. true | nil, err. Yields.
function M.turn()
  local rows, err = chain.list [[exists (select from x402_payments x where x.chain_id = c.chain_id
    and (x.state = 'orphaned' or (x.state = 'settled' and x.final_at is null)))]]
  if not rows then return nil, err end
  for _, c in ipairs(rows) do
    if cache.add("x402watch:" .. ("%.0f"):format(c.chain_id), "1", c.poll_s) then
      local ok, why = pass(c)
      if not ok then log.warn("x402.watch", { chain = c.chain_id, message = tostring(why and why.message) }) end
    end
  end
  return true
end

return M
