-- SPDX-License-Identifier: Apache-2.0
-- The administrator's view of chains: set-up, cursor and lag, both nodes, tokens, payments that are not certain or have vanished, the
-- signer's address. Addresses of nodes may hold keys: they go in and are never shown.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local evm = require "ppv.evm"
local json = require "ppv.json"
local audit = require "lib.audit"
local chain = require "lib.chain"
local errors = require "lib.errors"
local invoice = require "lib.invoice"
local iso = require "lib.iso"
local rates = require "lib.rates"
local payments = require "lib.payments"
local relayer = require "lib.relayer"
local rpc = require "lib.rpc"
local watch = require "lib.watch"

local LOW = 50 -- payments that the relayer should be able to pay the fee of

local function shown(c)
  c.has_rpc, c.has_rpc2 = c.rpc ~= "", c.rpc2 ~= ""
  c.ready = c.enabled and c.contract ~= nil and c.treasury ~= nil and c.has_rpc
  c.lag = c.cursor and c.final and math.max(c.final - c.cursor, 0) or json.null
  c.lag2 = c.head and c.head2 and c.head - c.head2 or json.null
  c.rpc, c.rpc2, c.cursor_hash = nil, nil, nil
  -- How many payments the relayer can still pay the fee of, at the price of now.
  local cost = c.gas_wei and c.gas_wei ~= "0" and evm.muldiv(c.gas_wei, relayer.GAS, 1, "up")
  c.relayer_left = c.relayer_wei and cost and tonumber(evm.muldiv(c.relayer_wei, 1, cost, "down")) or json.null
  c.relayer_low = type(c.relayer_left) == "number" and c.relayer_left < LOW
  for _, who in ipairs { "relayer", "treasury" } do
    local wei = c[who .. "_wei"]
    c[who .. "_text"] = wei and invoice.text(wei, 18) or json.null
  end
  c.relayer_wei, c.treasury_wei, c.gas_wei, c.relayer = nil, nil, nil, c.relayer and evm.address(c.relayer) or json.null
  for _, k in ipairs { "contract", "treasury" } do c[k] = c[k] and evm.address(c[k]) or json.null end
  for _, k in ipairs { "code_hash", "second_above", "head", "head_at", "final", "cursor", "checked_at" } do if c[k] == nil then c[k] = json.null end end
  return c
end

local PAYMENTS = [[select p.id, p.state, p.problem, p.chain_id, c.name as chain, p.tx_hash, p.block_number, p.amount::text as amount, p.orphans,
  c.head - p.block_number + 1 as confirmations, o.uid::text as order_id, o.state as order_state, b.username::text as buyer, v.title, c.explorer,
  coalesce(i.symbol, '?') as symbol, coalesce(i.decimals, 0) as decimals, exists (select from disputes d where d.order_id = p.order_id
  and d.state = 'open' and d.provider = 'splitter') as disputed, ]] .. iso "p.seen_at" .. [[ as created_at
  from chain_payments p join chains c on c.chain_id = p.chain_id left join orders o on o.id = p.order_id left join users b on b.id = o.buyer_id
  left join videos v on v.id = o.video_id left join chain_invoices i on i.id = p.invoice_id where ]]
local LISTS = { provisional = "p.state = 'provisional' order by p.id limit 100",
  orphaned = [[p.state = 'orphaned' and not exists (select from chain_payments x where x.ref = p.ref and x.state <> 'orphaned')
    order by p.orphaned_at desc limit 100]],
  unknown = "p.order_id is null order by p.id desc limit 100" }

local function tokens()
  local rows, err = db.query([[select t.chain_id, c.name as chain, c.testnet, c.enabled, t.symbol, t.decimals, t.erc20_address as erc20, t.is_active as active,
    t.eip3009, t.eip2612
    from pay_tokens t join chains c on c.chain_id = t.chain_id order by t.chain_id, t.symbol]])
  if not rows then return nil, err end
  for _, t in ipairs(rows) do
    t.erc20 = t.erc20 and evm.address(t.erc20) or json.null
    local r, why
    if t.active and t.enabled then r, why = rates.current(t.symbol, payments.currency()) end
    t.rate, t.rate_problem = r and r.rate or json.null, why and errors.sentence(why) or json.null
  end
  return json.array(rows)
end

-- Payments by x402 whose block is gone, in the words of the lists above.
local function vanished_x402()
  local rows, err = db.query([[select x.id, x.chain_id, c.name as chain, x.tx_hash, x.block_number, x.amount::text as amount, x.orphans,
    o.uid::text as order_id, o.state as order_state, b.username::text as buyer, v.title, c.explorer, coalesce(t.symbol, '?') as symbol,
    coalesce(t.decimals, 0) as decimals, o.state = 'disputed' as disputed, ]] .. iso "x.settled_at" .. [[ as created_at
    from x402_payments x join chains c on c.chain_id = x.chain_id join orders o on o.id = x.order_id join users b on b.id = o.buyer_id
    join videos v on v.id = o.video_id left join pay_tokens t on t.chain_id = x.chain_id and t.erc20_address = x.asset
    where x.state = 'orphaned' order by x.id desc limit 100]])
  if not rows then return nil, err end
  for _, p in ipairs(rows) do p.amount_text = invoice.text(p.amount, p.decimals) end
  return json.array(rows)
end

-- Refunds that wait for a transaction, and those of the last days.
local function refunds()
  local rows, err = db.query([[select x.refund_id as id, x.state, x.problem, x.chain_id, c.name as chain, c.explorer, x.token, x.payer,
    x.amount::text as amount, x.tx_hash, o.uid::text as order_id, b.username::text as buyer, v.title,
    coalesce(t.symbol, i.symbol, '?') as symbol, coalesce(t.decimals, i.decimals, 0) as decimals, ]] .. iso "x.created_at" .. [[ as created_at
    from chain_refunds x join refunds r on r.id = x.refund_id join orders o on o.id = r.order_id join users b on b.id = o.buyer_id
    join videos v on v.id = o.video_id join chains c on c.chain_id = x.chain_id
    left join pay_tokens t on t.chain_id = x.chain_id and coalesce(t.erc20_address, $1) = x.token
    left join lateral (select symbol, decimals from chain_invoices where order_id = o.id and token = x.token limit 1) i on true
    where x.state in ('open', 'seen') order by x.refund_id limit 200]], chain.NATIVE)
  if not rows then return nil, err end
  for _, x in ipairs(rows) do
    x.amount_text, x.payer = invoice.text(x.amount, x.decimals), evm.address(x.payer)
    x.token = x.token ~= chain.NATIVE and evm.address(x.token) or json.null
  end
  return json.array(rows)
end

-- The transaction that sent a refund, or that none will be sent.
local function refund(ctx, input)
  if not input.tx_hash and not input.void then return errors.invalid("Which transaction sent it?", { field = "tx_hash" }) end
  local row, err = db.one("select ppv_chain_refund_named($1, $2, $3) as state", ctx.user.id, input.id, input.tx_hash and input.tx_hash:lower())
  if not row then return nil, err end
  return ctx:ok { state = row.state }
end

local function show(ctx)
  local rows, err = chain.list "true"
  if not rows then return nil, err end
  local out = { chains = json.array(rows), currency = payments.currency() }
  for _, c in ipairs(rows) do shown(c) end
  out.tokens, err = tokens()
  if not out.tokens then return nil, err end
  for name, where in pairs(LISTS) do
    out[name], err = db.query(PAYMENTS .. where)
    if not out[name] then return nil, err end
    for _, p in ipairs(out[name]) do p.amount_text = invoice.text(p.amount, p.decimals) end
    out[name] = json.array(out[name])
  end
  out.refunds, err = refunds()
  if not out.refunds then return nil, err end
  out.orphaned_x402, err = vanished_x402()
  if not out.orphaned_x402 then return nil, err end
  local signer, why = evm.key_address(invoice.KEY)
  out.signer, out.signer_problem = signer or json.null, not signer and tostring(why and why.message) or json.null
  return ctx:ok(out)
end

-- The node is on that chain, and the contract, if there is one, is there and obeys our signer. Without it x402 alone can be paid. true | nil, err
local function prove(c)
  local node = chain.node(c, "rpc")
  if not node then return errors.fail("chain.not_set_up", "A node is needed first.") end
  local ok, err = watch.guard(c, node)
  if not ok or not c.contract then return ok, err end
  local mine
  mine, err = evm.key_address(invoice.KEY)
  if not mine then return nil, err end
  local word
  word, err = node:view(c.contract, evm.call "signer()")
  if word == nil then return nil, err end
  if rpc.word_address(word) ~= mine:lower() then
    return errors.fail("chain.signer", ("The contract trusts the signer %s, ours is %s."):format(tostring(rpc.word_address(word)), mine))
  end
  return true
end

local SETS = { "name", "enabled", "contract", "code_hash", "start_block", "treasury", "finality", "confirmations", "second_above", "range", "poll_s",
  "explorer" }

local function save(ctx, input)
  local old, err = chain.find(input.chain_id)
  if old == nil then return nil, err end
  if not old and (not input.name or input.testnet == nil) then return errors.invalid("A new chain needs a name, and whether it is a test network.") end
  local c = old or { chain_id = input.chain_id, testnet = input.testnet, enabled = false, start_block = 0, finality = "finalized", confirmations = 1,
    rpc = "", rpc2 = "", second_above = 50000, range = 2000, poll_s = 12, explorer = "" }
  for _, k in ipairs(SETS) do if input[k] ~= nil then c[k] = input[k] end end
  if input.second_never then c.second_above = nil end
  if input.code_hash == "" then c.code_hash = nil end
  for _, k in ipairs { "rpc", "rpc2" } do
    if input[k] == "-" then c[k] = "" elseif input[k] then c[k] = crypto.seal(input[k]) end
  end
  if c.enabled then
    if not c.treasury then return errors.fail("chain.not_set_up", "A chain needs the treasury's address.") end
    local ok
    ok, err = prove(c)
    if not ok then return nil, err end
  end
  local done
  done, err = db.tx(function(tx)
    local n, e = tx.exec([[insert into chains (chain_id, name, testnet, enabled, contract, code_hash, start_block, treasury, finality, confirmations,
      rpc_sealed, rpc2_sealed, second_above, range, poll_s, explorer) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
      on conflict (chain_id) do update set name = excluded.name, enabled = excluded.enabled, contract = excluded.contract, code_hash = excluded.code_hash,
      start_block = excluded.start_block, treasury = excluded.treasury, finality = excluded.finality, confirmations = excluded.confirmations,
      rpc_sealed = excluded.rpc_sealed, rpc2_sealed = excluded.rpc2_sealed, second_above = excluded.second_above, range = excluded.range,
      poll_s = excluded.poll_s, explorer = excluded.explorer, problem = '', checked_at = null, updated_at = now()]],
      c.chain_id, c.name, c.testnet, c.enabled, c.contract, c.code_hash,
      c.start_block, c.treasury, c.finality, c.confirmations, c.rpc, c.rpc2, c.second_above, c.range, c.poll_s, c.explorer)
    if not n then return nil, e end
    return audit.write(tx, ctx, "chain.set", "chain:" .. ("%.0f"):format(c.chain_id), { enabled = c.enabled, contract = c.contract,
      treasury = c.treasury, finality = c.finality, confirmations = c.confirmations })
  end)
  if not done then return nil, err end
  return show(ctx)
end

-- A token is listed with the decimals and signatures that its contract tells, read once.
local function token(ctx, input)
  local c, err = chain.find(input.chain_id)
  if not c then return nil, err or errors.new("request.not_found", "This chain is not known.") end
  local signs = {}
  if input.erc20 then
    local node = chain.node(c, "rpc")
    if not node then return errors.fail("chain.not_set_up", "A node is needed first.") end
    local n
    n, err = node:read(input.erc20, evm.call "decimals()")
    if not n then return nil, err end
    if tonumber(n) ~= input.decimals then return errors.fail("chain.decimals", "The token's contract says " .. n .. " decimals.") end
    signs, err = chain.signing(node, c.chain_id, input.erc20)
    if not signs then return nil, err end
  end
  local ok
  ok, err = db.tx(function(tx)
    local n, e = tx.exec([[insert into pay_tokens (chain, chain_id, symbol, decimals, token_kind, erc20_address, is_active, sign_name,
      sign_version, eip3009, eip2612)
      values ($1, $2, $3, $4, case when $5::text is null then 'NATIVE' else 'ERC20' end, $5, $6, $7, $8, $9, $10) on conflict (chain_id, symbol) do update
      set decimals = excluded.decimals, token_kind = excluded.token_kind, erc20_address = excluded.erc20_address, is_active = excluded.is_active,
      sign_name = excluded.sign_name, sign_version = excluded.sign_version, eip3009 = excluded.eip3009, eip2612 = excluded.eip2612]],
      c.name, c.chain_id, input.symbol, input.decimals, input.erc20, input.active, signs.sign_name, signs.sign_version, signs.eip3009 == true,
      signs.eip2612 == true)
    if not n then return nil, e end
    return audit.write(tx, ctx, "chain.token", "chain:" .. ("%.0f"):format(c.chain_id), { symbol = input.symbol, erc20 = input.erc20, active = input.active })
  end)
  if not ok then return nil, err end
  return show(ctx)
end

local function look(ctx, input)
  local c, err = chain.find(input.chain_id)
  if not c then return nil, err or errors.new("request.not_found", "This chain is not known.") end
  local ok
  ok, err = db.exec("update chains set checked_at = null where chain_id = $1", c.chain_id)
  if not ok then return nil, err end
  return ctx:ok { queued = true }
end

local function give_up_x402(ctx, input)
  local row, err = db.one("select ppv_x402_give_up($1, $2) as state", ctx.user.id, input.id)
  if not row then return nil, err end
  return ctx:ok { state = row.state }
end

local function give_up(ctx, input)
  local row, err = db.one("select ppv_chain_give_up($1, $2) as state", ctx.user.id, input.id)
  if not row then return nil, err end
  return ctx:ok { state = row.state }
end

local function make_signer(ctx)
  local address, err = evm.key_new(invoice.KEY)
  if not address then return nil, err end
  audit.write(nil, ctx, "chain.signer", "signer", { address = address })
  return ctx:ok { signer = address }
end

local ID = { type = "int", min = 1, required = true }

return { routes = {
  { method = "GET", path = "/admin/chains", auth = "admin", summary = "Chains, tokens, payments on chain", handler = show },
  { method = "POST", path = "/admin/chains", auth = "admin", step_up = true, summary = "Set a chain", handler = save, input = { chain_id = ID,
    name = { type = "string", min = 1, max = 60 }, testnet = { type = "bool" }, enabled = { type = "bool" }, contract = { type = "evm" },
    code_hash = { type = "string", max = 66, pattern = "^0x%x*$", keep_blank = true }, start_block = { type = "int" }, treasury = { type = "evm" },
    finality = { type = "enum", values = { "finalized", "safe", "count" } }, confirmations = { type = "int", min = 1, max = 10000 },
    rpc = { type = "string", max = 500, pattern = "^https?://%S+$", hint = "must be an address that begins with https:// or http://" },
    rpc2 = { type = "string", max = 500, pattern = "^%S+$" }, second_above = { type = "int" }, second_never = { type = "bool" },
    range = { type = "int", min = 1, max = 100000 }, poll_s = { type = "int", min = 1, max = 3600 },
    explorer = { type = "string", max = 200, keep_blank = true, pattern = "^%S*$" } } },
  { method = "POST", path = "/admin/chains/token", auth = "admin", step_up = true, summary = "List a token, or take it off", handler = token,
    input = { chain_id = ID, symbol = { type = "string", min = 1, max = 20, required = true, pattern = "^[%w.]+$" },
      decimals = { type = "int", max = 36, required = true }, erc20 = { type = "evm" }, active = { type = "bool", default = true } } },
  { method = "POST", path = "/admin/chains/look", auth = "admin", rate = "30/m", summary = "Look at a chain now", handler = look, input = { chain_id = ID } },
  { method = "POST", path = "/admin/chains/payments/:id/give_up", auth = "admin", step_up = true, summary = "Undo the sale of a vanished payment",
    handler = give_up, input = { id = ID } },
  { method = "POST", path = "/admin/chains/x402/:id/give_up", auth = "admin", step_up = true, summary = "Undo the sale of a vanished x402 payment",
    handler = give_up_x402, input = { id = ID } },
  { method = "POST", path = "/admin/chains/refunds/:id", auth = "admin", step_up = true, summary = "Name the transaction that sent a refund",
    handler = refund, input = { id = ID, void = { type = "bool", default = false },
      tx_hash = { type = "string", min = 66, max = 66, pattern = "^0[xX]%x+$", hint = "must be 0x and 64 hexadecimal digits" } } },
  { method = "POST", path = "/admin/chains/signer", auth = "admin", step_up = true, summary = "Make the key that signs invoices", handler = make_signer },
} }
