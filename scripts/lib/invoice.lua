-- SPDX-License-Identifier: Apache-2.0
-- Invoices for the splitter contract: an order's price in a token, by the rate source, divided and signed for one payer.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local evm = require "ppv.evm"
local json = require "ppv.json"
local money = require "ppv.money"
local chain = require "lib.chain"
local errors = require "lib.errors"
local rates = require "lib.rates"
local rpc = require "lib.rpc"

local M = { KEY = "invoice_signer" }

local TYPES = {
  Invoice = { { name = "id", type = "bytes32" }, { name = "token", type = "address" }, { name = "amount", type = "uint256" },
    { name = "payer", type = "address" }, { name = "payees", type = "Payee[]" }, { name = "deadline", type = "uint64" } },
  Payee = { { name = "to", type = "address" }, { name = "amount", type = "uint256" } },
}

--- What is signed, as ppv.evm takes it. i: id, chain_id, contract, token, amount, payer, payees {{to, amount}}, deadline.
function M.typed(i)
  local payees = {}
  for n, p in ipairs(i.payees) do payees[n] = { to = p.to, amount = p.amount } end
  return { domain = { name = "PPV Splitter", version = "1", chainId = ("%.0f"):format(i.chain_id), verifyingContract = i.contract }, types = TYPES,
    primary = "Invoice", message = { id = evm.unhex(i.id), token = i.token, amount = i.amount, payer = i.payer, payees = payees,
      deadline = ("%.0f"):format(i.deadline) } }
end

-- The token a buyer chose: {chain row, token row} | nil, err
local function chosen(o, choice)
  local c, err = chain.find(choice.chain_id or 0)
  if c == nil then return nil, err end
  if not c or not c.enabled or not c.contract or not c.treasury or c.rpc == "" or c.testnet == o.live then
    return errors.fail("chain.unsupported", "This chain is not supported.")
  end
  local t
  t, err = db.one([[select symbol, decimals, coalesce(erc20_address, $3) as address from pay_tokens where chain_id = $1 and symbol = $2 and is_active]],
    c.chain_id, choice.symbol or "", chain.NATIVE)
  if t == nil then return nil, err end
  local given = choice.token_address and choice.token_address:lower()
  if not t or given and given ~= t.address then return errors.fail("chain.token", "token not supported") end
  return c, t
end

local COLUMNS = [[id, chain_id, contract, token, symbol, decimals, amount::text as amount, payer, payees::text as payees,
  extract(epoch from deadline)::bigint as deadline, digest, signature, rate, rate_source]]

local function decoded(row)
  row.payees = json.decode(row.payees)
  return row
end

-- An invoice for the same wallet and token that there is time to pay.
local function open_one(o, c, t, payer)
  return db.one("select " .. COLUMNS .. [[ from chain_invoices where order_id = $1 and chain_id = $2 and token = $3 and payer = $4 and contract = $5
    and deadline > now() + interval '2 minutes' order by created_at desc limit 1]], o.id, c.chain_id, t.address, payer, c.contract)
end

local function sign(i)
  local digest, err = evm.typed_hash(M.typed(i))
  if not digest then return nil, err end
  local signature
  signature, err = evm.sign(M.KEY, digest)
  if not signature then return nil, err end
  i.digest, i.signature = evm.hex(digest), evm.hex(signature)
  return i
end

--- A signed invoice for an order. choice: {chain_id, symbol, token_address?, payer_address}; life_s: seconds to pay. Yields.
function M.of(o, choice, life_s)
  local payer = rpc.address(choice.payer_address)
  if not payer or payer == chain.NATIVE then return errors.fail("chain.payer", "invalid payer_address") end
  local c, t = chosen(o, choice)
  if not c then return nil, t end
  local i, err = open_one(o, c, t, payer)
  if i then return decoded(i) elseif i == nil then return nil, err end
  local rate
  rate, err = rates.current(t.symbol, o.charge_currency)
  if not rate then
    return errors.fail("chain.no_price", ("There is no price of %s right now. Please pay with another token, or later."):format(t.symbol),
      { status = 503, retry = true, detail = err and err.message })
  end
  local row
  row, err = db.one("select ppv_chain_quote($1, $2, $3, $4::numeric, $5)::text as q", o.id, c.chain_id, t.symbol, rate.rate, money.exponent(o.charge_currency))
  if not row then return nil, errors.from(err) end
  local q = json.decode(row.q)
  i = { id = "0x" .. crypto.keccak256(o.uid .. crypto.random(16), "hex"), chain_id = c.chain_id, contract = c.contract, token = t.address,
    symbol = t.symbol, decimals = t.decimals, amount = q.amount, payer = payer, payees = q.payees, deadline = os.time() + life_s,
    rate = rate.rate, rate_source = rate.source }
  i, err = sign(i)
  if not i then return nil, err end
  local ok
  ok, err = db.exec("select ppv_chain_invoice_add($1, $2::jsonb)", o.id, json.encode(i))
  if not ok then return nil, errors.from(err) end
  return i
end

--- An invoice by its id, of an order if one is named; false when there is none. Yields.
function M.find(id, order_id)
  local row, err = db.one("select " .. COLUMNS .. " from chain_invoices where id = $1 and order_id = coalesce($2, order_id)", id:lower(), order_id)
  return row and decoded(row) or row, err
end

--- The newest invoice of an order, false when there is none. Yields.
function M.last(order_id)
  local row, err = db.one("select " .. COLUMNS .. " from chain_invoices where order_id = $1 order by created_at desc limit 1", order_id)
  return row and decoded(row), err
end

--- Digits of a whole number of a token's smallest unit as decimal text: "5000001", 6 -> "5.000001".
function M.text(amount, decimals)
  if decimals == 0 then return amount end
  local digits = ("0"):rep(decimals + 1 - #amount) .. amount
  local part = digits:sub(-decimals):gsub("0+$", "")
  return digits:sub(1, -decimals - 1) .. (part ~= "" and "." .. part or "")
end

return M
