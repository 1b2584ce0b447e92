-- SPDX-License-Identifier: Apache-2.0
-- The reference system's routes for a payment on chain ("x402" there): start answers a signed invoice for the wallet, confirm looks at
-- the transaction that the buyer names. What counts is what the watcher finds final; confirm only makes it known sooner.
local db = require "ppv.db"
local evm = require "ppv.evm"
local json = require "ppv.json"
local chain = require "lib.chain"
local errors = require "lib.errors"
local invoice = require "lib.invoice"
local pay = require "app.purchase.pay"
local settle = require "lib.settle"
local sponsor = require "lib.sponsor"

local NAME = "splitter"

local function start(ctx, input)
  local r, opened = pay.begin(ctx, input, NAME)
  if not r then return nil, opened end
  local i = opened.invoice
  local row, err = db.one("select fee_bp from orders where id = $1", r.order_id)
  if not row then return nil, err end
  local sig, payees, creator = i.signature, json.array {}, json.null
  for n, p in ipairs(i.payees) do
    payees[n] = { to = evm.address(p.to), amount = p.amount }
    if p.role == "creator" then creator = payees[n].to end
  end
  local native = i.token == chain.NATIVE
  local ways, why = sponsor.ways(i)
  if not ways then return nil, why end
  return ctx:ok { invoice_uid = r.uid, invoice_uid_bytes32 = i.id, video_id = input.video_id, chain_id = i.chain_id, chain = i.chain, symbol = i.symbol,
    decimals = i.decimals, token_address = native and json.null or evm.address(i.token), amount_wei = i.amount, min_amount_wei = i.amount,
    amount_text = i.amount_text, rate = i.rate, rate_source = i.rate_source, deadline = i.deadline, v = tonumber(sig:sub(131, 132), 16),
    r = sig:sub(1, 66), s = "0x" .. sig:sub(67, 130), signature = sig, split_creator_bp = 10000 - row.fee_bp, split_admin_bp = row.fee_bp,
    authorization = ways.authorization or json.null, permit = ways.permit or json.null,
    x402_contract = evm.address(i.contract), creator_wallet = creator, order_url = "/public/order.html?id=" .. r.uid,
    invoice = { id = i.id, token = evm.address(i.token), amount = i.amount, payer = evm.address(i.payer), payees = payees, deadline = i.deadline } }
end

-- The payment of this order in a transaction: what ppv_chain_seen takes, and the invoice | nil, err
local function find_paid(c, node, o, tx)
  local receipt, err = node:receipt(tx)
  if receipt == nil then return nil, err end
  if not receipt then return nil, errors.new("chain.pending", "This transaction is not in a block yet.", { retry = true }) end
  if not receipt.ok then return errors.fail("chain.tx_failed", "tx failed") end
  for _, l in ipairs(receipt.logs) do
    local paid = chain.paid(c, l, 0)
    local i = paid and db.one("select id, amount::text as amount from chain_invoices where id = $1 and order_id = $2", paid.invoice_id, o.id)
    if i then
      local b
      b, err = node:block(receipt.block)
      if not b or b.hash ~= receipt.block_hash then return nil, err or errors.new("chain.pending", "The chain moved; please ask again.", { retry = true }) end
      paid.block_time = b.time
      return paid, i
    end
  end
  return errors.fail("chain.no_event", "Paid event not found")
end

local function answer(ctx, o, tx)
  local p, err = chain.progress(o.id)
  if p == nil then return nil, err end
  if p then return ctx:ok { status = "confirming", confirmations = p.have, required = p.need, tx_hash = p.tx, order_state = o.state } end
  return ctx:ok { status = o.paid and "paid" or "pending", order_state = o.state, tx_hash = tx }
end

local function confirm(ctx, input)
  local o, err = settle.find("o.uid = $1::uuid and o.method = $2", input.invoice_uid, NAME)
  if o == nil then return nil, err end
  if not o then return errors.fail("order.not_found", "invoice not found") end
  local tx = input.tx_hash:lower()
  if o.paid then
    local same = db.one("select 1 as yes from chain_payments where order_id = $1 and tx_hash = $2", o.id, tx)
    return ctx:ok { status = "paid", replayed = true, same_tx = same ~= nil and same ~= false }
  end
  local last
  last, err = invoice.last(o.id)
  if not last then return nil, err or errors.new("order.not_found", "invoice not found") end
  local c
  c, err = chain.find(last.chain_id)
  if not c then return nil, err end
  local node = chain.node(c, "rpc")
  if not node then return errors.fail("chain.not_set_up", "This chain is not set up.") end
  local id
  id, err = node:chain_id()
  if not id then return nil, err end
  if id ~= c.chain_id then return errors.fail("chain.wrong", "The node is on another chain.") end
  local paid, i = find_paid(c, node, o, tx)
  if not paid then
    if errors.is(i, "chain.pending") then return ctx:ok { status = "pending", message = i.message, order_state = o.state } end
    return nil, i
  end
  local seen
  seen, err = chain.seen(paid)
  if not seen then return nil, err end
  db.exec("update chains set checked_at = null where chain_id = $1", c.chain_id) -- the watcher looks at once
  if evm.cmp(paid.amount, i.amount) < 0 then
    local missing = evm.sub(i.amount, paid.amount)
    return ctx:json(200, { ok = false, underpaid = true, missing_wei = missing, message = "Less than the invoice was paid." })
  end
  return answer(ctx, o, tx)
end

-- The buyer has signed the authorization that start offered: the site sends it.
local function authorize(ctx, input)
  local o, err = settle.find("o.uid = $1::uuid and o.method = $2 and o.buyer_id = any(ppv_buyers($3))", input.invoice_uid, NAME, ctx.user.id)
  if o == nil then return nil, err end
  if not o then return errors.fail("order.not_found", "invoice not found") end
  if o.state ~= "pending" then return errors.fail("order.state", "This order is not waiting for a payment.") end
  local i
  i, err = invoice.find(input.id, o.id)
  if i == nil then return nil, err end
  if not i then return errors.fail("order.not_found", "invoice not found") end
  if i.deadline < ctx.now + 20 then return errors.fail("chain.late", "The time to pay this invoice is over. Please start again.") end
  local tx
  tx, err = sponsor.pay(i, ctx.user.id, input.signature)
  if not tx then return nil, err end
  db.exec("update chains set checked_at = null where chain_id = $1", i.chain_id) -- the watcher looks soon
  return ctx:ok { tx_hash = tx, order_url = "/public/order.html?id=" .. o.uid }
end

-- As any start (coupons, gifts, affiliates), but the choice must be there.
local START = {}
for name, rule in pairs(pay.START) do START[name] = rule end
START.provider = nil
START.chain_id, START.symbol = { type = "int", min = 1, required = true }, { type = "string", max = 20, required = true }
START.payer_address = { type = "evm", required = true }

return { routes = {
  { method = "POST", path = "/api/pay/x402/start", auth = "user", guest = true, rate = "30/m", summary = "A signed invoice to pay on chain", input = START,
    handler = start },
  { method = "POST", path = "/api/pay/x402/authorize", auth = "user", guest = true, rate = "10/m",
    summary = "Pay an invoice by signature, without a network fee",
    handler = authorize, input = { invoice_uid = { type = "uuid", required = true },
      id = { type = "string", min = 66, max = 66, required = true, pattern = "^0x%x+$", hint = "must be 0x and 64 hexadecimal digits" },
      signature = { type = "string", min = 132, max = 132, required = true, pattern = "^0x%x+$", hint = "must be 65 bytes in hexadecimal" } } },
  { method = "POST", path = "/api/pay/x402/confirm", auth = "public", csrf = false, rate = "60/m", summary = "Look at a payment on chain",
    handler = confirm, input = { invoice_uid = { type = "uuid", required = true },
      tx_hash = { type = "string", max = 66, required = true, pattern = "^0[xX]%x+$", hint = "must be 0x and 64 hexadecimal digits", min = 66 } } },
} }
