-- SPDX-License-Identifier: Apache-2.0
-- One look at a chain: what was paid, what vanished, what is final. Everything is read again from the last final block to the head
-- each time, so a lost connection, a lagging node or a reorganisation needs no other path than the usual one. A node that is
-- silent or behind proves nothing: only another block at the same height means that a block is gone.
local db = require "ppv.db"
local evm = require "ppv.evm"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local chain = require "lib.chain"
local errors = require "lib.errors"
local settle = require "lib.settle"

local M = { RANGES = 200 } -- most ranges of a pass; a longer way back goes on in the next one

-- Is it the right chain, with our contract's code, if there is one? The code is compared once per worker and contract.
local proved = {}
local function guard(c, node)
  local id, err = node:chain_id()
  if not id then return nil, err end
  if id ~= c.chain_id then return errors.fail("chain.wrong", ("%s is on chain %.0f, not %.0f"):format(node.name, id, c.chain_id)) end
  local key = table.concat({ id, node.url, c.contract or "", c.code_hash or "" }, " ")
  if proved[key] or not c.contract then return true end
  local code
  code, err = node:call("eth_getCode", { c.contract, "latest" })
  if code == nil then return nil, err end
  if type(code) ~= "string" or #code <= 2 then return errors.fail("chain.contract", "there is no contract at " .. c.contract) end
  if c.code_hash and evm.hex(evm.keccak256(evm.unhex(code) or "")) ~= c.code_hash then
    return errors.fail("chain.contract", "the contract's code is not what was deployed")
  end
  proved[key] = true
  return true
end
M.guard = guard

-- The newest block that counts as final. {number, hash, time} | false (none yet) | nil, err
local function final_block(c, node, head)
  local limit = head.number - c.confirmations + 1
  if limit < 0 then return false end
  if c.finality ~= "count" then
    local b, err = node:block(c.finality)
    if not b then return b, err end
    limit = math.min(limit, b.number)
  end
  return node:block(limit)
end

M.final_block = final_block

-- Blocks of one pass, asked for once.
local function reader(node)
  local known = {}
  return function(number)
    if known[number] == nil then
      local b, err = node:block(number)
      if b == nil then return nil, err end
      known[number] = b
    end
    return known[number]
  end
end

-- Where the scan begins: the cursor while its block is there; else the newest checkpoint that still is. {number, hash} | nil, err
local function starting_point(c, node, at)
  local first = math.max(c.start_block - 1, 0)
  if c.cursor then
    local b, err = at(c.cursor)
    if b == nil then return nil, err end
    if b == false then return errors.fail("chain.behind", ("%s is behind: it does not have block %.0f"):format(node.name, c.cursor)) end
    if b.hash == c.cursor_hash then return b end
    local other = chain.node(c, "rpc2")
    local o = other and other:block(c.cursor)
    if o and o.hash == c.cursor_hash then return errors.fail("chain.disagree", "the nodes disagree about block " .. c.cursor) end
    log.error("chain.reorg", { chain = c.chain_id, block = c.cursor, was = c.cursor_hash, is = b.hash })
    metrics.count("chain_deep_reorgs_total", 1)
  end
  local marks, err = db.query("select number, hash from chain_blocks where chain_id = $1 and number < $2 order by number", c.chain_id, c.cursor or 0)
  if not marks then return nil, err end
  local lo, hi, found = 1, #marks, nil
  while lo <= hi do -- a block that is there has all its ancestors there
    local mid = math.floor((lo + hi) / 2)
    local b
    b, err = at(marks[mid].number)
    if b == nil then return nil, err end
    if b and b.hash == marks[mid].hash then found, lo = b, mid + 1 else hi = mid - 1 end
  end
  if not found then
    found, err = at(first)
    if not found then return nil, err or errors.new("chain.behind", node.name .. " does not have the contract's first block") end
  end
  local ok
  ok, err = db.exec("select ppv_chain_rewind($1, $2, $3)", c.chain_id, found.number, found.hash)
  if not ok then return nil, err end
  return found
end

local function note(payment, problem)
  db.exec("update chain_payments set problem = $2 where id = $1 and problem <> $2", payment, problem or "")
end

-- Payments whose block is not there any more are orphaned; also final ones above the block where the scan begins. true | nil, err
local function drop_vanished(c, at, head, from)
  local rows, err = db.query([[select id, block_number, block_hash, tx_hash, state from chain_payments where chain_id = $1
    and (state = 'provisional' or (state = 'final' and block_number > $2)) order by id]], c.chain_id, from.number)
  if not rows then return nil, err end
  for _, p in ipairs(rows) do
    local b
    b, err = false, nil
    if p.block_number <= head.number then b, err = at(p.block_number) end
    if b == nil then return nil, err end
    if b and b.hash ~= p.block_hash then
      local row
      row, err = db.one("select ppv_chain_orphan($1) as state", p.id)
      if row == nil then return nil, err end
      metrics.count("chain_orphaned_total", 1)
      log.warn("chain.orphaned", { chain = c.chain_id, tx = p.tx_hash, block = p.block_number, was = p.state })
    end
  end
  return true
end

-- Logs of a range; halved while the node refuses or cannot. {logs}, last block read | nil, err
local function logs_from(c, node, from, to)
  local size = math.min(to - from + 1, c.range)
  while true do
    local list, err = node:logs(c.contract, chain.PAID, from, from + size - 1)
    if list then return list, from + size - 1 end
    if size == 1 then return nil, err end
    size = math.floor(size / 2)
  end
end

-- Reads from..to and notes every payment. -> last block read for certain | nil, err
local function scan(c, node, at, from, to)
  local width = c.range
  for _ = 1, M.RANGES do
    if from > to then break end
    local list, last = logs_from({ contract = c.contract, range = width }, node, from, to)
    if not list then return nil, last end
    if last < to then width = last - from + 1 end -- what the node took
    for _, l in ipairs(list) do
      local b, err = at(l.block)
      if b == nil then return nil, err end
      -- A log of a block that was replaced since: the next pass sees it where it is now.
      if b == false or b.hash ~= l.block_hash then return errors.fail("chain.moving", "the chain moved while it was read", { retry = true }) end
      local paid = chain.paid(c, l, b.time)
      if paid then
        local r
        r, err = chain.seen(paid)
        if not r then return nil, err end
        if r.news then
          metrics.count("chain_payments_total", 1)
          log.info("chain.seen", { chain = c.chain_id, tx = paid.tx_hash, block = paid.block_number, invoice = paid.invoice_id })
        end
      end
    end
    from = last + 1
  end
  return math.min(from - 1, to)
end

-- Does a node confirm the payment in that block? shares | false, why | nil, err
local function confirmed(c, node, p)
  local r, err = node:receipt(p.tx_hash)
  if r == nil then return nil, err end
  if not r then return false, node.name .. " does not know the transaction" end
  if not r.ok or r.block_hash ~= p.block_hash then return false, node.name .. " has the transaction elsewhere" end
  for _, l in ipairs(r.logs) do
    local x = l.index == p.log_index and chain.paid(c, l, 0)
    if x and x.invoice_id == p.invoice_id and x.payer == p.payer and x.token == p.token and x.amount == p.amount and x.invoice_hash == p.invoice_hash then
      return chain.shares(c, r, p.invoice_id)
    end
  end
  return false, node.name .. " does not show the payment in the transaction"
end

-- The second source for large amounts: its chain, its finality, its receipt. true | false, why
local function second_source(c, p)
  local node = chain.node(c, "rpc2")
  if not node then return false, "a payment this large needs a second node, and none is set" end
  local ok, err = guard(c, node)
  local head, final
  if ok then head, err = node:block("latest") end
  if head then final, err = final_block(c, node, head) end
  if not final then return false, err and err.message or "the second node has no final block" end
  if final.number < p.block_number then return false, "the second node is behind" end
  local shares, why = confirmed(c, node, p)
  if shares then return true end
  return false, type(why) == "table" and why.message or why
end

-- Gives the order what its chain says; repeated until the books have it.
local function settle_order(id)
  local o, err = settle.find("o.id = $1", id)
  if not o then return nil, err end
  return settle.ask(o, "chain")
end

local function finalise(c, node, final)
  local rows, err = db.query([[select p.id, p.tx_hash, p.log_index, p.block_number, p.block_hash, p.invoice_id, p.payer, p.token, p.amount::text as amount,
    p.invoice_hash, p.order_id, coalesce(o.charge, 0) as charge from chain_payments p left join orders o on o.id = p.order_id
    where p.chain_id = $1 and p.state = 'provisional' and p.block_number <= $2 order by p.id limit 500]], c.chain_id, final.number)
  if not rows then return nil, err end
  for _, p in ipairs(rows) do
    local sources = 1
    local shares, why = confirmed(c, node, p)
    if shares == nil then return nil, why end
    if shares and c.second_above and p.charge >= c.second_above then
      local agreed
      agreed, why = second_source(c, p)
      if agreed then sources = 2 else shares = false end
    end
    if not shares then
      note(p.id, why)
      metrics.count("chain_unconfirmed_total", 1)
      log.warn("chain.unconfirmed", { chain = c.chain_id, tx = p.tx_hash, why = why })
    else
      local row
      row, err = db.one("select ppv_chain_final($1, $2::jsonb, $3)::text as r", p.id, json.encode(shares), sources)
      if not row then return nil, err end
      if not p.order_id then log.error("chain.unknown_invoice", { chain = c.chain_id, tx = p.tx_hash, invoice = p.invoice_id }) end
    end
  end
  return true
end

-- Final payments that the books do not have yet: those just made final, and those of a pass that was cut off.
local function settle_all(c)
  local rows, err = db.query([[select distinct p.order_id as id from chain_payments p join orders o on o.id = p.order_id where p.chain_id = $1
    and p.state = 'final' and not exists (select from payments x where x.provider = o.method and x.payment_ref = p.ref) order by 1 limit 500]], c.chain_id)
  if not rows then return nil, err end
  for _, r in ipairs(rows) do
    local done, why = settle_order(r.id)
    if not done then log.warn("chain.settle", { chain = c.chain_id, order = r.id, message = tostring(why and why.message) }) end
  end
  return true
end

-- Invoices whose time is over: the contract itself says whether they were paid. One that was, without a payment that we know, means
-- that a node kept a log from us: its blocks are read again, from the other source if there is one.
local function sweep(c, node, final)
  local rows, err = db.query([[select i.id, i.from_block from chain_invoices i where i.chain_id = $1 and not i.swept and i.deadline < to_timestamp($2)
    order by i.deadline limit 50]], c.chain_id, final.time)
  if not rows then return nil, err end
  for _, i in ipairs(rows) do
    local used
    used, err = node:read(c.contract, evm.call("used(bytes32)", evm.unhex(i.id)), final.number)
    if not used then return nil, err end
    local known = db.one("select 1 as yes from chain_payments where invoice_id = $1 and chain_id = $2 and state <> 'orphaned'", i.id, c.chain_id)
    if used == "0" then
      db.exec("update chain_invoices set swept = true where id = $1", i.id)
    elseif known == false then
      log.error("chain.missing_log", { chain = c.chain_id, invoice = i.id })
      metrics.count("chain_missing_logs_total", 1)
      local other = chain.node(c, "rpc2") or node
      local last
      last, err = scan(c, other, reader(other), math.max(i.from_block, c.start_block), final.number)
      if not last then return nil, err end
    end
  end
  return true
end

local function look(c, node, seen)
  local ok, err = guard(c, node)
  if not ok then return nil, err end
  local head
  head, err = node:block "latest"
  if not head then return nil, err or errors.new("rpc.down", node.name .. " has no head") end
  seen.head, seen.head_at = head.number, head.time
  local at = reader(node)
  local final, from, last
  final, err = final_block(c, node, head)
  if final == nil then return nil, err end
  seen.final = final and final.number
  from, err = starting_point(c, node, at)
  if not from then return nil, err end
  ok, err = drop_vanished(c, at, head, from)
  if not ok then return nil, err end
  last, err = scan(c, node, at, from.number + 1, head.number)
  if not last then return nil, err end
  if not final then return true end
  ok, err = finalise(c, node, final)
  if not ok then return nil, err end
  ok, err = settle_all(c)
  if not ok then return nil, err end
  local to = math.min(final.number, last)
  if to > from.number then
    local b
    b, err = at(to)
    if not b then return nil, err or errors.new("chain.moving", "the chain moved while it was read") end
    ok, err = db.exec("select ppv_chain_cursor($1, $2, $3)", c.chain_id, b.number, b.hash)
    if not ok then return nil, err end
  end
  seen.more = last < head.number
  return sweep(c, node, final)
end

-- How the second source stands, for the administrator.
local function second_health(c)
  local node = chain.node(c, "rpc2")
  if not node then return nil, "" end
  local ok, err = guard(c, node)
  local head
  if ok then head, err = node:block "latest" end
  return head and head.number, head and "" or tostring(err and err.message or "no head")
end

--- One pass over a chain (a row of lib.chain). {head, final, more} | nil, err; both are noted for the administrator. Yields.
function M.pass(c)
  local node = chain.node(c, "rpc")
  if not node then return errors.fail("chain.not_set_up", "no node is set for " .. c.name) end
  local seen = {}
  local ok, err = look(c, node, seen)
  local problem = ok and "" or tostring(err and err.message or err)
  if ok and seen.head and seen.head_at < os.time() - 900 and not c.testnet then problem = "the newest block is older than 15 minutes" end
  local head2, problem2 = second_health(c)
  if problem ~= "" and problem ~= c.problem then log.warn("chain.problem", { chain = c.chain_id, message = problem }) end
  db.exec([[update chains set head = coalesce($2, head), head_at = coalesce(to_timestamp($3), head_at), final = coalesce($4, final),
    head2 = coalesce($5, head2), checked_at = now(), problem = left($6, 500), problem2 = left($7, 500) where chain_id = $1]], c.chain_id,
    seen.head, seen.head_at, seen.final or nil, head2, problem, problem2)
  if not ok then return nil, err end
  return seen
end

--- Chains whose turn it is, each by one worker. A chain where nothing was open within the hour is looked at every five minutes. Yields.
function M.turn()
  local rows, err = chain.list(chain.READY .. [[ and (c.lease is null or c.lease < now()) and (c.checked_at is null
    or c.checked_at < now() - make_interval(secs => case when exists (select from chain_invoices i where i.chain_id = c.chain_id and not i.swept)
      or exists (select from chain_payments p where p.chain_id = c.chain_id
        and (p.state = 'provisional' or greatest(p.final_at, p.orphaned_at) > now() - interval '1 hour'))
        then c.poll_s else greatest(c.poll_s, 300) end))]])
  if not rows then return nil, err end
  for _, c in ipairs(rows) do
    local mine = db.exec("update chains set lease = now() + interval '5 minutes' where chain_id = $1 and (lease is null or lease < now())", c.chain_id)
    if mine == 1 then
      local fine, seen = pcall(M.pass, c)
      db.exec("update chains set lease = null, checked_at = case when $2 then null else checked_at end where chain_id = $1", c.chain_id,
        fine and type(seen) == "table" and seen.more or false)
      if not fine then log.error("chain.pass", { chain = c.chain_id, message = tostring(type(seen) == "table" and seen.message or seen) }) end
    end
  end
  return true
end

return M
