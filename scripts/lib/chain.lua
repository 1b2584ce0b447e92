-- SPDX-License-Identifier: Apache-2.0
-- Chains and tokens that can be paid with, and what an order's payment on chain looks like.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local evm = require "ppv.evm"
local json = require "ppv.json"
local errors = require "lib.errors"
local rpc = require "lib.rpc"

local M = { NATIVE = "0x" .. ("0"):rep(40) }

M.PAID = evm.topic "Paid(bytes32,address,address,uint256,bytes32)"
M.SHARE = evm.topic "Share(bytes32,address,uint256,bool)"

local COLUMNS = [[c.chain_id, c.name, c.testnet, c.enabled, c.contract, c.code_hash, c.start_block, c.treasury, c.finality, c.confirmations,
  c.rpc_sealed as rpc, c.rpc2_sealed as rpc2, c.relayer,
  c.relayer_wei::text as relayer_wei, c.treasury_wei::text as treasury_wei, c.gas_wei::text as gas_wei,
  c.second_above, c.range, c.poll_s, c.explorer, c.head, c.head2,
  extract(epoch from c.head_at)::bigint as head_at, c.final,
  extract(epoch from c.checked_at)::bigint as checked_at, c.problem, c.problem2, k.block_number as cursor, k.block_hash as cursor_hash]]
local FROM = " from chains c left join chain_cursors k on k.chain_id = c.chain_id "

-- A chain that lacks one of these cannot be paid on.
M.READY = "c.enabled and c.contract is not null and c.treasury is not null and c.rpc_sealed <> ''"

--- Rows of chains; where: SQL after "where". Yields.
function M.list(where, ...) return db.query("select " .. COLUMNS .. FROM .. "where " .. where .. " order by c.chain_id", ...) end

--- One chain, false when it is unknown. Yields.
function M.find(id)
  local rows, err = M.list("c.chain_id = $1", id)
  if not rows then return nil, err end
  return rows[1] or false
end

--- A node of a chain: nil when there is none. which: "rpc" or "rpc2".
function M.node(c, which)
  local sealed = c[which]
  local url = sealed and sealed ~= "" and crypto.open(sealed)
  return url and rpc.node(url, (which == "rpc2" and "the second node of " or "the node of ") .. c.name) or nil
end

--- Tokens that can be paid with in an environment ("live": no testnets; "sandbox": only testnets). Yields.
function M.tokens(environment)
  return db.read([[select t.chain, t.chain_id, t.symbol, t.decimals, t.erc20_address as erc20, t.eip3009, c.name, c.explorer, c.testnet, c.contract
    from pay_tokens t join chains c on c.chain_id = t.chain_id where t.is_active and ]] .. M.READY .. [[ and c.testnet = $1
    order by t.chain_id, t.symbol]], environment ~= "live")
end

--- What signatures a token takes, by its contract: {sign_name, sign_version, eip3009, eip2612}; all nil when its domain is not one of
--- name, version, chain and address, as we could not sign for it. nil, err when the node does not answer. Yields.
function M.signing(node, chain_id, token)
  local separator, err = node:view(token, evm.call "DOMAIN_SEPARATOR()")
  if separator == nil then
    if errors.is(err, "rpc.error") then return {} end
    return nil, err
  end
  local name, version = node:text(token, evm.call "name()"), node:text(token, evm.call "version()") or "1"
  local hash = name and evm.domain_hash { domain = { name = name, version = version, chainId = ("%.0f"):format(chain_id), verifyingContract = token },
    types = {}, primary = "EIP712Domain", message = {} }
  if not hash or evm.hex(hash) ~= rpc.hash(separator) then return {} end
  local zero = ("\0"):rep(32)
  return { sign_name = name, sign_version = version, eip3009 = node:read(token, evm.call("authorizationState(address,bytes32)", M.NATIVE, zero)) ~= nil,
    eip2612 = node:read(token, evm.call("nonces(address)", M.NATIVE)) ~= nil }
end

--- A Paid log as what ppv_chain_seen takes; nil when it is none of this contract.
function M.paid(c, log, time)
  if log.address ~= c.contract or log.topics[1] ~= M.PAID or #log.topics ~= 4 then return nil end
  local payer, token = rpc.word_address(log.topics[3]), rpc.word_address(log.topics[4])
  local amount, hash = rpc.decimal(rpc.word(log.data, 1)), rpc.word(log.data, 2)
  if not (payer and token and amount and hash) then return nil end
  return { chain_id = c.chain_id, tx_hash = log.tx, log_index = log.index, block_number = log.block, block_hash = log.block_hash,
    block_time = time, contract = log.address, invoice_id = log.topics[2], payer = payer, token = token, amount = amount, invoice_hash = hash }
end

--- The Share logs of an invoice in a receipt, in order: {{to, amount, credited}}.
function M.shares(c, receipt, invoice)
  local out = json.array {}
  for _, log in ipairs(receipt.logs) do
    if log.address == c.contract and log.topics[1] == M.SHARE and log.topics[2] == invoice then
      out[#out + 1] = { to = rpc.word_address(log.topics[3]), amount = rpc.decimal(rpc.word(log.data, 1)),
        credited = rpc.decimal(rpc.word(log.data, 2)) == "1" }
    end
  end
  return out
end

--- The payment of an order that waits for its chain: {have, need, chain, tx, url, problem} | false. need counts blocks; with a chain
--- that names its final block it is an estimate. Yields.
function M.progress(order_id)
  local p, err = db.one([[select p.tx_hash, p.block_number, p.problem, c.name, c.explorer, c.head, c.final, c.finality, c.confirmations
    from chain_payments p join chains c on c.chain_id = p.chain_id where p.order_id = $1 and p.state = 'provisional' order by p.id limit 1]], order_id)
  if not p then return p, err end
  local have = math.max((p.head or p.block_number) - p.block_number + 1, 1)
  local need = p.confirmations
  if p.finality ~= "count" and p.head and p.final then need = math.max(need, p.head - p.final + 1) end
  return { have = math.min(have, need), need = need, chain = p.name, tx = p.tx_hash,
    url = p.explorer ~= "" and p.explorer .. "/tx/" .. p.tx_hash or nil }
end

--- An order's payment as a provider's facts. Yields.
function M.facts(order_id)
  local row, err = db.one("select ppv_chain_facts($1)::text as f", order_id)
  if not row then return nil, err end
  return json.decode(row.f)
end

--- Notes a Paid event. {id, state, news} | nil, err. Yields.
function M.seen(paid)
  local row, err = db.one("select ppv_chain_seen($1::jsonb)::text as r", json.encode(paid))
  if not row then return nil, errors.from(err) end
  return json.decode(row.r)
end

return M
