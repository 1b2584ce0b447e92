-- SPDX-License-Identifier: Apache-2.0
-- Invoices that the buyer pays by one signature: the site sends the token's authorization to the contract and pays the network's fee. The
-- nonce of the authorization is the invoice's digest, so that it pays this invoice and nothing else. Bounded per buyer and in all.
--   i: an invoice of lib.invoice
local db = require "ppv.db"
local evm = require "ppv.evm"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local chain = require "lib.chain"
local errors = require "lib.errors"
local invoice = require "lib.invoice"
local registry = require "lib.registry"
local relayer = require "lib.relayer"
local settings = require "lib.settings"

local M = {}
local AGAIN_S = 60

local RECEIVE = { { name = "from", type = "address" }, { name = "to", type = "address" }, { name = "value", type = "uint256" },
  { name = "validAfter", type = "uint256" }, { name = "validBefore", type = "uint256" }, { name = "nonce", type = "bytes32" } }
local DOMAIN = { { name = "name", type = "string" }, { name = "version", type = "string" }, { name = "chainId", type = "uint256" },
  { name = "verifyingContract", type = "address" } }
local PAY = "payWithAuthorization((bytes32,address,uint256,address,(address,uint256)[],uint64),bytes,uint256,uint256,bytes32,bytes)"

-- The last second in which the token takes it: the invoice's deadline is in time.
local function before(i) return ("%.0f"):format(i.deadline + 1) end

-- The token of an invoice, as it was listed: {sign_name, sign_version, eip3009, eip2612} | false
local function token_of(i)
  return db.read_one("select sign_name, sign_version, eip3009, eip2612 from pay_tokens where chain_id = $1 and erc20_address = $2", i.chain_id, i.token)
end

local function domain(i, t)
  return { name = t.sign_name, version = t.sign_version, chainId = ("%.0f"):format(i.chain_id), verifyingContract = evm.address(i.token) }
end

--- The plugin's settings when fees are paid for buyers, else false. Yields.
function M.on()
  local p = registry.by_name.splitter
  local s = p and settings.plugin(p.manifest)
  return s and s.sponsor and evm.key_address(relayer.KEY) and s or false
end

--- What a wallet may sign instead of sending: {authorization?, permit?}: typed data (JSON of eth_signTypedData_v4) that pays without a fee, and the
--- domain for a permission. {} when the token takes neither. Yields.
function M.ways(i)
  if i.token == chain.NATIVE then return {} end
  local t, err = token_of(i)
  if t == nil then return nil, err end
  if not t or not t.sign_name then return {} end
  local out = { permit = t.eip2612 and domain(i, t) or nil }
  if t.eip3009 and M.on() then
    out.authorization = { domain = domain(i, t), types = { EIP712Domain = json.array(DOMAIN), ReceiveWithAuthorization = json.array(RECEIVE) },
      primaryType = "ReceiveWithAuthorization", message = { from = evm.address(i.payer), to = evm.address(i.contract), value = i.amount, validAfter = "0",
        validBefore = before(i), nonce = i.digest } }
  end
  return out
end

-- The call that pays i with the payer's signature (hex).
local function calldata(i, signature)
  local payees = {}
  for n, p in ipairs(i.payees) do payees[n] = { evm.address(p.to), p.amount } end
  return evm.call(PAY, { evm.unhex(i.id), evm.address(i.token), i.amount, evm.address(i.payer), payees, ("%.0f"):format(i.deadline) }, evm.unhex(i.signature),
    "0", before(i), evm.unhex(i.digest), evm.unhex(signature))
end

-- hash | nil, err (nothing was sent)
local function send(i, r)
  local c, err = chain.find(i.chain_id)
  local node = c and chain.node(c, "rpc")
  if not node then return nil, err or errors.new("chain.not_set_up", "This chain is not set up.") end
  return relayer.send { node = node, chain_id = i.chain_id, to = evm.address(i.contract), data = calldata(i, r.signature), tries = r.tries,
    number = function(from, latest)
      local row, e = db.one("select ppv_chain_relay_number($1, $2, $3) as n", i.id, from, latest)
      return row and row.n, e
    end,
    note = function(tx) return db.exec("update chain_relays set tx_hash = $2 where invoice_id = $1 and state = 'sent'", i.id, tx) end }
end

--- The buyer's signature (65 bytes, hex) over what M.ways gave: checked, bounded, sent. The transaction's hash | nil, err: chain.signature,
--- chain.sponsor (not for this buyer, this token or today; the buyer pays as usual). Yields.
function M.pay(i, buyer_id, signature)
  local s = M.on()
  local t, err = token_of(i)
  if t == nil then return nil, err end
  if not s or not t or not t.eip3009 then return errors.fail("chain.sponsor", "The network fee is not paid for you here. Please pay it from your wallet.") end
  local raw = evm.unhex(signature)
  local hash = evm.typed_hash { domain = domain(i, t), types = { ReceiveWithAuthorization = RECEIVE }, primary = "ReceiveWithAuthorization",
    message = { from = evm.address(i.payer), to = evm.address(i.contract), value = i.amount, validAfter = "0", validBefore = before(i),
      nonce = evm.unhex(i.digest) } }
  local by = raw and hash and evm.recover(hash, raw)
  if not by or by:lower() ~= i.payer then return errors.fail("chain.signature", "The signature is not by this address, or of something else.") end
  local v = raw:byte(65)
  signature = evm.hex(raw:sub(1, 64) .. string.char(v < 27 and v + 27 or v))
  local row
  row, err = db.one("select ppv_chain_relay_claim($1, $2, $3, $4, $5) as mine", i.id, buyer_id, signature, s.sponsor_buyer, s.sponsor_day)
  if not row then return nil, errors.from(err) end
  if not row.mine then
    row, err = db.one("select tx_hash from chain_relays where invoice_id = $1", i.id)
    if not row then return nil, err end
    if row.tx_hash then return row.tx_hash end
    return errors.fail("request.conflict", "This payment is being sent.", { status = 409, retry_after = 2 })
  end
  hash, err = send(i, { signature = signature, tries = 0 })
  if not hash then
    db.exec("update chain_relays set state = 'failed', reason = left($2, 200) where invoice_id = $1 and tx_hash is null", i.id, tostring(err.message))
    log.warn("chain.sponsor", { invoice = i.id, message = tostring(err.message) })
    if err.code == "rpc.error" then
      return errors.fail("chain.sponsor", "The network refuses this payment. Please see whether the account has enough of the token.",
        { detail = err.message })
    end
    return nil, err
  end
  metrics.count("chain_sponsored_total", 1)
  return hash
end

-- One that was sent: over when its payment is final or its time is; sent again, dearer, while no block has it.
local function follow(r)
  local i, err = invoice.find(r.invoice_id)
  if not i then return nil, err end
  local paid
  paid, err = db.one("select state from chain_payments where invoice_id = $1 and state <> 'orphaned'", i.id)
  if paid == nil then return nil, err end
  if paid then return paid.state ~= "final" or db.exec("update chain_relays set state = 'done' where invoice_id = $1", i.id) end
  if r.over then return db.exec("update chain_relays set state = 'failed', reason = 'its time is over' where invoice_id = $1", i.id) end
  if r.late then return true end
  return send(i, r)
end

--- Follows what was sent, each once a minute. Yields.
function M.turn()
  local rows, err = db.query([[update chain_relays r set busy_until = now() + make_interval(secs => $1) from chain_invoices i where i.id = r.invoice_id
    and r.state in ('claimed', 'sent') and r.busy_until < now() returning r.invoice_id, r.signature, r.tries, i.deadline < now() as late,
    i.deadline < now() and i.swept as over]], AGAIN_S)
  if not rows then return nil, err end
  for _, r in ipairs(rows) do
    local ok, why = follow(r)
    if not ok then log.warn("chain.sponsor", { invoice = r.invoice_id, message = tostring(why and why.message) }) end
  end
  return true
end

return M
