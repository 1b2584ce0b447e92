-- SPDX-License-Identifier: Apache-2.0
-- The engine's side of spec/chain/evm.mjs: cases that ethers made. Named so that only that test runs it.
local evm = require "ppv.evm"
local json = require "ppv.json"

local f = assert(io.open "build/evm_random.json", "made by spec/chain/evm.mjs")
local cases = json.decode(f:read "*a")
f:close()

-- {hex} -> bytes, all the way down
local function raw(v)
  if type(v) ~= "table" then return v end
  if v.hex then return assert(evm.unhex(v.hex)) end
  local out = {}
  for k, x in pairs(v) do out[k] = raw(x) end
  return out
end

local names = {}
for i, k in ipairs(cases.keys) do
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(k.key)
  file:close()
  os.execute("chmod 600 " .. path)
  names[i] = "random_" .. i
  assert(assert(evm.key_import(names[i], path, true)) == k.address)
  os.remove(path)
end

describe("ppv.evm on random input", function()
  it("encodes and decodes", function()
    for i, c in ipairs(cases.encodings) do
      local values = raw(c.values)
      local data = assert(evm.encode(c.types, values))
      assert.equal(c.data, evm.hex(data), i)
      assert.same(values, evm.decode(c.types, data), i)
    end
  end)

  it("hashes, signs and recovers typed data", function()
    for i, c in ipairs(cases.typed) do
      c.message = raw(c.message)
      local digest = assert(evm.typed_hash(c))
      assert.equal(c.digest, evm.hex(digest), i)
      assert.equal(c.signature, evm.hex(evm.sign(names[c.by + 1], digest)), i)
      assert.equal(cases.keys[c.by + 1].address, evm.recover(digest, evm.unhex(c.signature)), i)
    end
  end)

  it("signs transactions", function()
    for i, c in ipairs(cases.transactions) do
      local out, hash = assert(evm.raw_transaction(c.tx, names[c.by + 1]))
      assert.equal(c.raw, out, i)
      assert.equal(evm.hex(evm.keccak256(evm.unhex(c.raw))), hash, i)
    end
  end)
end)
