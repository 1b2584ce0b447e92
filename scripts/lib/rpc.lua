-- SPDX-License-Identifier: Apache-2.0
-- JSON-RPC to a node of an EVM chain. Quantities stay text: decimal digits where they may exceed 2^53, Lua numbers only for what
-- cannot (blocks, times, indexes). A node may lag, lie and fail; nothing here concludes anything from silence.
local evm = require "ppv.evm"
local fetch = require "ppv.fetch"
local json = require "ppv.json"
local errors = require "lib.errors"

local M = { TIMEOUT_S = 10, MAX_BODY = 16 * 1024 * 1024 }
local EXACT = 9007199254740991

-- Forms ---------------------------------------------------------------------------------------------------------------

--- "0x1f" -> 31; nil for anything that is no quantity or above 2^53.
function M.number(v)
  if type(v) ~= "string" or not v:find "^0x%x+$" or #v > 18 then return nil end
  local n = 0
  for i = 3, #v do
    n = n * 16 + tonumber(v:sub(i, i), 16)
    if n > EXACT then return nil end
  end
  return n
end

--- 31 -> "0x1f".
function M.quantity(n)
  assert(type(n) == "number" and n % 1 == 0 and n >= 0 and n <= EXACT, "not a quantity")
  local out = ""
  repeat
    local digit = n % 16
    out = ("%x"):format(digit) .. out
    n = (n - digit) / 16
  until n == 0
  return "0x" .. out
end

--- Hex of any length (up to 32 bytes) -> decimal digits; nil for what is no hex.
function M.decimal(v)
  if type(v) ~= "string" or not v:find "^0x%x+$" or #v > 66 then return nil end
  return evm.decode({ "uint256" }, evm.unhex("0x" .. ("0"):rep(66 - #v) .. v:sub(3)))[1]
end

--- 32 bytes as lower-case "0x" text, else nil.
function M.hash(v) return type(v) == "string" and #v == 66 and v:find "^0x%x+$" and v:lower() or nil end

--- 20 bytes as lower-case "0x" text, else nil.
function M.address(v) return type(v) == "string" and #v == 42 and v:find "^0x%x+$" and v:lower() or nil end

--- The address in a 32-byte word; nil when its upper bytes are not zero.
function M.word_address(v)
  v = M.hash(v)
  return v and v:find "^0x000000000000000000000000" and "0x" .. v:sub(27) or nil
end

--- The n-th (from 1) 32-byte word of data as "0x" text, or nil.
function M.word(data, n)
  if type(data) ~= "string" or not data:find "^0x%x*$" then return nil end
  local from = 3 + (n - 1) * 64
  local w = data:sub(from, from + 63)
  return #w == 64 and "0x" .. w:lower() or nil
end

-- Calls ---------------------------------------------------------------------------------------------------------------
local Node = {}
Node.__index = Node

--- url: of the operator's choice, also in a private network. name: for messages; the address itself never shows, it may hold a key.
function M.node(url, name) return setmetatable({ url = url, name = name or "the node", id = 0 }, Node) end

local function down(self, why) return errors.fail("rpc.down", self.name .. " did not answer: " .. why, { retry = true }) end

--- result (false for JSON null) | nil, err: rpc.down (nothing is known), rpc.error (the node says no; err.rpc = its code). Yields.
function Node:call(method, params)
  self.id = self.id + 1
  local r, err = fetch.request { method = "POST", url = self.url, timeout = M.TIMEOUT_S, max_body = M.MAX_BODY, allow_private = true,
    headers = { ["content-type"] = "application/json", accept = "application/json" },
    body = json.encode { jsonrpc = "2.0", id = self.id, method = method, params = json.array(params or {}) } }
  if not r then return down(self, tostring(err.code)) end
  local answer = json.decode(r.body)
  if type(answer) ~= "table" then return down(self, "status " .. r.status) end
  if type(answer.error) == "table" then
    return errors.fail("rpc.error", ("%s refused %s: %s"):format(self.name, method, tostring(answer.error.message):sub(1, 200)),
      { rpc = answer.error.code })
  end
  if r.status ~= 200 then return down(self, "status " .. r.status) end
  if answer.id ~= self.id then return down(self, "an answer to another question") end
  if answer.result == nil then return false end
  return answer.result
end

--- As call, of a method whose answer is a quantity: decimal digits | nil, err (rpc.down also for what is none). Yields.
function Node:quantity(method, params)
  local v, err = self:call(method, params)
  if v == nil then return nil, err end
  local n = M.decimal(v)
  if n then return n end
  return down(self, "no readable answer to " .. method)
end

--- The chain's id as a number. Yields.
function Node:chain_id()
  local n, err = self:quantity "eth_chainId"
  return n and tonumber(n), err
end

--- {number, hash, time, parent} of a block (a number or a tag), false when the node does not have it. Yields.
function Node:block(which)
  local b, err = self:call("eth_getBlockByNumber", { type(which) == "number" and M.quantity(which) or which, false })
  if b == nil or b == false then return b, err end
  local out = type(b) == "table" and { number = M.number(b.number), hash = M.hash(b.hash), time = M.number(b.timestamp), parent = M.hash(b.parentHash) }
  if not out or not (out.number and out.hash and out.time) then return down(self, "no readable block") end
  if type(which) == "number" and out.number ~= which then return down(self, "another block than asked for") end
  return out
end

-- A log as {address, topics, data, block, block_hash, tx, index}, or nil. Those of a block that is going away are none.
local function log_of(l)
  if type(l) ~= "table" or l.removed == true or type(l.topics) ~= "table" or type(l.data) ~= "string" then return nil end
  local out = { address = M.address(l.address), topics = {}, data = l.data, block = M.number(l.blockNumber), block_hash = M.hash(l.blockHash),
    tx = M.hash(l.transactionHash), index = M.number(l.logIndex) }
  for i, t in ipairs(l.topics) do out.topics[i] = M.hash(t) end
  return out.address and out.block and out.block_hash and out.tx and out.index and out or nil
end

--- Logs of a contract with a first topic in blocks from..to. A pending log is left out. Yields.
function Node:logs(address, topic, from, to)
  local list, err = self:call("eth_getLogs", { { address = address, topics = { topic }, fromBlock = M.quantity(from), toBlock = M.quantity(to) } })
  if list == nil then return nil, err end
  if type(list) ~= "table" then return down(self, "no readable logs") end
  local out = {}
  for _, l in ipairs(list) do
    local x = log_of(l)
    if x and x.address == address and x.topics[1] == topic and x.block >= from and x.block <= to then out[#out + 1] = x end
  end
  return out
end

--- {ok, block, block_hash, logs} of a transaction, false while it is not in a block. Yields.
function Node:receipt(tx)
  local r, err = self:call("eth_getTransactionReceipt", { tx })
  if r == nil or r == false then return r, err end
  if type(r) ~= "table" or M.hash(r.transactionHash) ~= tx then return down(self, "no readable receipt") end
  local out = { ok = r.status == "0x1", block = M.number(r.blockNumber), block_hash = M.hash(r.blockHash), logs = {} }
  if not out.block or not out.block_hash then return false end
  for _, l in ipairs(type(r.logs) == "table" and r.logs or {}) do
    local x = log_of(l)
    if x then out.logs[#out.logs + 1] = x end
  end
  return out
end

--- Answer data of a call that changes nothing, at a block (number or tag). Yields.
function Node:view(to, data, at)
  local v, err = self:call("eth_call", { { to = to, data = data }, type(at) == "number" and M.quantity(at) or at or "latest" })
  if v == nil then return nil, err end
  if type(v) == "string" then return v end
  return down(self, "no readable answer of the contract")
end

--- As view, of a function that answers one string; nil, err (rpc.down) for what is none. Yields.
function Node:text(to, data)
  local v, err = self:view(to, data)
  if not v then return nil, err end
  local raw = evm.unhex(v)
  local t = raw and #raw >= 64 and evm.decode({ "string" }, raw)
  if t then return t[1] end
  return down(self, "no readable text of the contract")
end

--- As view, of a function that answers one number or bool: decimal digits | nil, err. A contract that is not there answers nothing,
--- which is none. Yields.
function Node:read(to, data, at)
  local v, err = self:view(to, data, at)
  if not v then return nil, err end
  local n = #v == 66 and M.decimal(v)
  if n then return n end
  return down(self, "no readable number of the contract")
end

return M
