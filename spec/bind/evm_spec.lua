-- SPDX-License-Identifier: Apache-2.0
-- ppv.evm against vectors made by ethers and viem and accepted by a chain, what it refuses, and its keys.
local conf = require "ppv.conf"
local crypto = require "ppv.crypto"
local evm = require "ppv.evm"
local time = require "ppv.time"
local sealed = require "lib.sealed"
local support = require "spec.support.gateway"

local v = support.vectors "evm"
local function unhex(s) return assert(evm.unhex(s)) end
local function joined(c) return unhex(c.r) .. unhex(c.s) .. string.char(c.v) end

-- A key that the specification knows, under a name of its own; it goes the only way there is: through a file.
local names = {}
local function key(hex)
  local name = "k" .. hex:sub(3, 12)
  if names[name] then return name end
  local path = os.tmpname()
  local f = assert(io.open(path, "w"))
  f:write(hex, "\n")
  f:close()
  assert.equal(0, os.execute("chmod 600 " .. path))
  names[name] = assert(evm.key_import(name, path, true))
  os.remove(path)
  return name
end

-- typed data of ethers in our words; bytes of the message to raw ones
local function typed(td)
  local function raw(t, x)
    if td.types[t] then
      local out = {}
      for _, f in ipairs(td.types[t]) do out[f.name] = raw(f.type, x[f.name]) end
      return out
    end
    return t:find "^bytes" and unhex(x) or x
  end
  return { domain = td.domain, types = td.types, primary = td.primaryType, message = raw(td.primaryType, td.message) }
end

describe("ppv.evm: known answers", function()
  it("hashes, topics and selectors", function()
    for i, c in ipairs(v.keccak256) do
      local s = c.encoding == "hex" and unhex(c.input) or c.input
      assert.equal(c.expected, evm.hex(evm.keccak256(s)), "keccak " .. i)
      assert.equal(c.expected:sub(3), crypto.keccak256(s, "hex"))
    end
    for _, c in ipairs(v.event_topics) do assert.equal(c.expected, evm.topic(c.signature)) end
    for _, c in ipairs(v.function_selectors) do assert.equal(c.expected, evm.hex(evm.selector(c.signature))) end
  end)

  it("addresses", function()
    for _, c in ipairs(v.addresses) do
      assert.equal(c.address_eip55, evm.address(c.address_lower))
      assert.equal(c.address_eip55, evm.address(c.address_eip55))
      assert.equal(c.address_eip55, evm.address("0x" .. c.address_lower:sub(3):upper()))
      assert.equal(c.address_eip55, evm.key_address(key(c.private_key)))
      local public = unhex(c.public_key_uncompressed)
      assert.equal(c.address_lower, evm.hex(evm.keccak256(public:sub(2)):sub(13)))
      local swapped = c.address_eip55:gsub("%a", function(a) return a:lower() == a and a:upper() or a:lower() end):gsub("^0X", "0x")
      assert.is_nil(evm.address(swapped), swapped)
    end
    for _, bad in ipairs { "", "0x", "0x12", v.addresses[1].address_lower:sub(3), v.addresses[1].address_lower .. "0",
      "0X" .. v.addresses[1].address_lower:sub(3), v.addresses[1].address_lower:sub(1, -2) .. "g" } do
      local none, err = evm.address(bad)
      assert.is_nil(none, bad)
      assert.equal("input.invalid", err.code)
    end
  end)

  it("texts that wallets sign (EIP-191)", function()
    for _, c in ipairs(v.eip191) do
      local digest = evm.personal_hash(c.message_utf8 or unhex(c.message_hex))
      assert.equal(c.digest, evm.hex(digest))
      assert.equal(c.signer, evm.recover(digest, joined(c)))
      assert.equal(c.signature, evm.hex(evm.sign(key(c.private_key), digest)))
    end
  end)

  it("signatures at the edges", function()
    local e = v.signature_edge_cases
    for _, c in ipairs(e.cases) do
      local who, err = evm.recover(unhex(e.digest), joined(c))
      if c.expect == "reject" then
        assert.are_not.equal(e.signer, who, c.name)
        if not c.name:find "parity" then assert.equal("input.invalid", err and err.code, c.name) end
      else
        assert.equal(e.signer, who, c.name)
      end
    end
    local good = joined(e.cases[1])
    for _, sig in ipairs { good:sub(1, 64), good .. "\0", "", unhex(e.eip2098_compact), good:sub(1, 64) .. "\2", good:sub(1, 64) .. "\255" } do
      assert.is_nil(evm.recover(unhex(e.digest), sig))
    end
  end)

  it("typed data (EIP-712)", function()
    for _, c in ipairs(v.eip712) do
      local t = typed(c.typed_data)
      assert.equal(c.domain_separator, evm.hex(evm.domain_hash(t)), c.name)
      assert.equal(c.struct_hash, evm.hex(evm.struct_hash(t)), c.name)
      local digest = evm.typed_hash(t)
      assert.equal(c.digest, evm.hex(digest), c.name)
      assert.equal(c.signer, evm.recover(digest, joined(c)), c.name)
      assert.equal(c.signature, evm.hex(evm.sign(key(c.private_key), digest)), c.name)
      assert.equal(c.type_hash, evm.hex(evm.keccak256(c.encode_type)))
    end
  end)

  it("arrays of structs, as the splitter's invoice has them", function()
    local to = v.addresses[1].address_eip55
    local t = { domain = { name = "PPV Splitter", version = "1", chainId = 31337, verifyingContract = to }, primary = "Invoice", types = {
      Invoice = { { name = "id", type = "bytes32" }, { name = "payees", type = "Payee[]" }, { name = "deadline", type = "uint64" } },
      Payee = { { name = "to", type = "address" }, { name = "amount", type = "uint256" } } },
      message = { id = ("\1"):rep(32), deadline = 5, payees = { { to = to, amount = "7" }, { to = to, amount = 8 } } } }
    local payee = evm.keccak256 "Payee(address to,uint256 amount)"
    local function one(n) return evm.keccak256(payee .. evm.encode({ "address", "uint256" }, { to, n })) end
    local want = evm.keccak256(evm.keccak256 "Invoice(bytes32 id,Payee[] payees,uint64 deadline)Payee(address to,uint256 amount)"
      .. ("\1"):rep(32) .. evm.keccak256(one(7) .. one(8)) .. evm.encode({ "uint64" }, { 5 }))
    assert.equal(evm.hex(want), evm.hex(evm.struct_hash(t)))
    t.message.payees[2].amount = "9"
    assert.are_not.equal(evm.hex(want), evm.hex(evm.struct_hash(t)))
    t.message.payees[2].amount = nil
    assert.is_nil(evm.struct_hash(t))
    t.types.Payee[2].type = "Payee[]"
    assert.is_nil(evm.struct_hash(t)) -- a struct of itself
  end)

  it("calls and encodings", function()
    for _, c in ipairs(v.abi_encode) do
      local values = {}
      for i, x in ipairs(c.values) do values[i] = c.types[i]:find "^bytes" and unhex(x) or x end
      local data = assert(evm.encode(c.types, values))
      assert.equal(c.expected, evm.hex(data))
      for i, x in ipairs(values) do if type(x) == "number" then values[i] = ("%d"):format(x) end end
      assert.same(values, evm.decode(c.types, data))
    end
    local c = v.erc20_transfer_calldata
    assert.equal(c.expected, evm.call("transfer(address,uint256)", c.to, c.amount))
  end)
end)

describe("ppv.evm: what a chain accepted", function()
  it("a splitter's payment", function()
    local s = support.vectors "splitter_chain"
    local data = evm.encode(s.abi_types, { unhex(s.invoice_uid_bytes32), "0x" .. ("0"):rep(40), s.min_amount_wei, s.creator, s.creator_bp,
      unhex(s.video_id_hash), s.payer, s.deadline, s.contract, s.chainId })
    assert.equal(s.abi_encoded, evm.hex(data))
    assert.equal(s.data_hash, evm.hex(evm.keccak256(data)))
    local digest = evm.personal_hash(evm.keccak256(data))
    assert.equal(s.eip191_digest, evm.hex(digest))
    assert.equal(s.admin, evm.recover(digest, joined(s.signature)))
    assert.is_nil(evm.recover(digest, joined(s.high_s_twin)))
    assert.equal(evm.hex(joined(s.signature)), evm.hex(evm.sign(key(s.admin_private_key), digest)))
    assert.equal(s.calldata, evm.call("payNativeSigned(bytes32,address,uint16,string,uint256,uint256,uint8,bytes32,bytes32)",
      unhex(s.invoice_uid_bytes32), s.creator, s.creator_bp, s.video_id, s.min_amount_wei, s.deadline, s.signature.v, unhex(s.signature.r),
      unhex(s.signature.s)))
    local log = s.receipt.logs[1]
    assert.equal(evm.topic "Paid(bytes32,address,address,address,address,uint256,string)", log.topics[1])
    local got = assert(evm.decode({ "address", "address", "uint256", "string" }, unhex(log.data)))
    assert.same({ s.admin, "0x" .. ("0"):rep(40), s.min_amount_wei, s.video_id }, got)
    assert.same({ s.payer }, evm.decode({ "address" }, unhex(log.topics[3])))
    local seed = s.seed_backend_8_field
    assert.equal(seed.data_hash, evm.hex(evm.keccak256(unhex(seed.abi_encoded))))
    assert.equal(s.admin, evm.recover(evm.personal_hash(unhex(seed.data_hash)), joined(seed.signature)))
  end)

  it("a token's authorization and permit", function()
    local t = support.vectors "token_chain"
    local a = {}
    for k, x in pairs(t.eip3009.authorization) do a[k] = x end
    a.nonce = unhex(a.nonce)
    local td = { domain = t.domain, primary = "TransferWithAuthorization", message = a,
      types = { TransferWithAuthorization = v.eip712[3].typed_data.types.TransferWithAuthorization } }
    assert.equal(t.domain_separator_onchain, evm.hex(evm.domain_hash(td)))
    local sig = unhex(t.eip3009.signature)
    assert.equal(t.payer, evm.recover(evm.typed_hash(td), sig))
    assert.equal(t.eip3009.signature, evm.hex(evm.sign(key(t.payer_private_key), evm.typed_hash(td))))
    assert.equal(t.eip3009.calldata, evm.call(
      "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)", a.from, a.to, a.value, a.validAfter,
      a.validBefore, a.nonce, sig:byte(65), sig:sub(1, 32), sig:sub(33, 64)))
    a.value = "10001"
    assert.are_not.equal(t.payer, evm.recover(evm.typed_hash(td), sig))
    local p = { domain = t.domain, primary = "Permit", message = t.eip2612.message, types = { Permit = v.eip712[2].typed_data.types.Permit } }
    sig = unhex(t.eip2612.signature)
    assert.equal(t.payer, evm.recover(evm.typed_hash(p), sig))
    local m = t.eip2612.message
    assert.equal(t.eip2612.calldata, evm.call("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", m.owner, m.spender, m.value,
      m.deadline, sig:byte(65), sig:sub(1, 32), sig:sub(33, 64)))
    assert.equal(evm.topic "AuthorizationUsed(address,bytes32)", t.eip3009.logs[1].topics[1])
    assert.equal(evm.topic "Transfer(address,address,uint256)", t.eip3009.logs[2].topics[1])
    assert.same({ "10000" }, evm.decode({ "uint256" }, unhex(t.eip3009.logs[2].data)))
    assert.same({ true }, evm.decode({ "bool" }, unhex(t.eip3009.authorizationState_after)))
  end)
end)

describe("ppv.evm: what is refused", function()
  it("values that are not of their type", function()
    local max = "115792089237316195423570985008687907853269984665640564039457584007913129639935"
    assert.truthy(evm.encode({ "uint256", "int256", "int8" }, { max, "-57896044618658097711785492504343953926634992332820282019728792003956564819968", -128 }))
    for _, c in ipairs { { "uint256", "115792089237316195423570985008687907853269984665640564039457584007913129639936" }, { "uint256", "-1" },
      { "uint256", -1 }, { "uint256", 1.5 }, { "uint256", 2 ^ 53 }, { "uint256", "01" }, { "uint256", "" }, { "uint256", "0x1" }, { "uint256", " 1" },
      { "uint256", "1e3" }, { "uint256", true }, { "uint8", 256 }, { "int8", 128 }, { "int8", -129 }, { "int256", "-0" },
      { "int256", "57896044618658097711785492504343953926634992332820282019728792003956564819968" }, { "bool", 1 }, { "bool", "true" },
      { "address", "0x12" }, { "bytes32", ("x"):rep(31) }, { "bytes32", ("x"):rep(33) }, { "string", "\255" }, { "uint256[]", 1 },
      { "uint256[2]", { 1 } }, { "(bool,bool)", { true } }, { "uint256[]", { 1, "x" } } } do
      local none, err = evm.encode({ c[1] }, { c[2] })
      assert.is_nil(none, c[1] .. " " .. tostring(c[2]))
      assert.equal("input.invalid", err.code)
    end
    assert.is_nil(evm.encode({ "bool" }, {}))
    assert.is_nil(evm.encode({ "bool" }, { true, true }))
    assert.same({ max, "-1", "-128" }, evm.decode({ "uint256", "int256", "int8" }, evm.encode({ "uint256", "int256", "int8" }, { max, "-1", -128 })))
  end)

  it("types that are none", function()
    for _, t in ipairs { "uint", "int", "uint0", "uint7", "uint264", "uint08", "bytes0", "bytes33", "bytes032", "Bool", "bool ", "bool[0]", "bool[01]",
      "bool[", "bool]", "(bool", "()", "(bool,)", ",", "(bool)x", "address payable", "bool[1025]", ("("):rep(20) .. "bool" .. (")"):rep(20),
      "bool" .. ("[]"):rep(20), "bytes32[1024][1024]" } do
      assert.is_nil(evm.encode({ t }, { true }), t)
    end
    for _, sig in ipairs { "f", "f(", "(bool)", "f(bool) ", "f (bool)", "f(bool)[]", "1f()", "f(uint)" } do assert.is_nil(evm.selector(sig), sig) end
    assert.equal(4, #evm.selector "f()")
  end)

  it("encodings with anything to hide", function()
    local types = { "uint8", "string", "bytes[]", "bool" }
    local data = evm.encode(types, { 7, "text", { "a", ("b"):rep(40) }, true })
    assert.same({ "7", "text", { "a", ("b"):rep(40) }, true }, evm.decode(types, data))
    assert.is_nil(evm.decode(types, data .. ("\0"):rep(32)))
    for n = 0, #data - 1 do assert.is_nil(evm.decode(types, data:sub(1, n)), n) end
    -- each change is refused or is another value
    for i = 1, #data do
      local other = data:sub(1, i - 1) .. string.char((data:byte(i) + 1) % 256) .. data:sub(i + 1)
      local got = evm.decode(types, other)
      if got then assert.equal(evm.hex(other), evm.hex(evm.encode(types, got))) end
    end
  end)
end)

describe("ppv.evm: 256 bits", function()
  local max = "115792089237316195423570985008687907853269984665640564039457584007913129639935"
  it("adds, subtracts, compares", function()
    assert.equal("340282366920938463463374607431768211456", evm.add("340282366920938463463374607431768211455", 1))
    assert.is_nil(evm.add(max, 1))
    assert.equal("0", evm.sub(max, max))
    assert.is_nil(evm.sub("1", "2"))
    assert.equal("340282366920938463463374607431768211455", evm.sub("340282366920938463463374607431768211456", "1"))
    assert.same({ -1, 0, 1 }, { evm.cmp(1, "2"), evm.cmp("18446744073709551616", "18446744073709551616"), evm.cmp(max, "9") })
    assert.has_error(function() evm.add("1.5", 1) end)
    assert.has_error(function() evm.add(-1, 1) end)
  end)

  it("multiplies and divides, rounding as told", function()
    assert.equal(max, evm.muldiv(max, max, max, "down"))
    assert.equal("3", evm.muldiv(10, 1, 3, "down"))
    assert.equal("4", evm.muldiv(10, 1, 3, "up"))
    assert.equal("3", evm.muldiv(9, 1, 3, "up"))
    assert.is_nil(evm.muldiv(max, 2, 1, "down"))
    assert.is_nil(evm.muldiv(1, 1, 0, "down"))
    assert.equal("4990000", evm.muldiv(499, "1000000", 100, "up")) -- cents to a token's atoms
    assert.has_error(function() evm.muldiv(1, 1, 1, "half") end)
  end)
end)

-- Transactions of the key 0x11...11 to one address, by ethers 6.17.0; the hash covers the signature.
local TRANSACTIONS = {
  { tx = { chain_id = 31337, nonce = 0, tip = 0, fee_cap = 1000000000, gas = 21000, value = 0, data = "0x" },
    hash = "0x1bc29034da21905b8370a91e7d5a904d443e993999ce7b3147391933e219b9d1" },
  { tx = { chain_id = "8453", nonce = 127, tip = "1000000", fee_cap = "2000000000", gas = 120000, value = "1000000000000000000", data = "0x7f" },
    hash = "0x4c238d3e5683c325092bceefa85cbdc9eb4f6321044a589dcd50f6f56f9a4119" },
  { tx = { chain_id = 84532, nonce = 128, tip = 1, fee_cap = 256, gas = 65536, value = 1, data = "0x" .. ("80"):rep(60) },
    hash = "0x1a66cb97698eb04924ce10bdfc8fe61f6bcccec14b51c661b327e46b51669919" },
  { tx = { chain_id = 1, nonce = 300, tip = 1, fee_cap = 2, gas = 3, value = 4, data = "0xcf092995" .. ("00ff"):rep(150) },
    hash = "0x4cd89bf4e7b13faf3015c5d293a9d13de074bd3929843ae7b9396dd539685a27" },
}

describe("ppv.evm: keys", function()
  it("are made, named and kept aside, sealed for their name", function()
    local first = assert(evm.key_new "spec_key")
    assert.equal(first, evm.key_address "spec_key")
    local none, err = evm.key_new "spec_key"
    assert.is_nil(none)
    assert.equal("request.conflict", err.code)
    local second = assert(evm.key_new("spec_key", true))
    assert.are_not.equal(first, second)
    local seen = {}
    for _, k in ipairs(assert(evm.key_list())) do seen[k.name] = k.sealed_by end
    assert.equal(sealed.newest(), seen.spec_key)
    assert.equal(sealed.newest(), seen["spec_key." .. first])
    local digest = evm.keccak256 "x"
    assert.equal(second, evm.recover(digest, evm.sign("spec_key", digest)))
    local dir = conf.get "var_dir" .. "/keys/"
    local f = assert(io.open(dir .. "spec_key"))
    local text = f:read "*l"
    f:close()
    assert.has_error(function() crypto.open(text, "evm/spec_key") end)
    assert.has_error(function() crypto.seal(("k"):rep(32), "evm/spec_key") end)
    f = assert(io.open(dir .. "spec_other", "w"))
    f:write(text, "\n")
    f:close()
    assert.equal(0, os.execute("chmod 600 " .. dir .. "spec_other"))
    none, err = evm.key_address "spec_other"
    assert.is_nil(none)
    assert.equal("auth.required", err.code)
    assert.equal(0, os.execute("chmod 644 " .. dir .. "spec_other"))
    none, err = evm.sign("spec_other", digest)
    assert.is_nil(none)
    assert.equal("config.invalid", err.code)
    os.remove(dir .. "spec_other")
    local done, bad = assert(evm.key_reseal())
    assert.is_true(done >= 2)
    assert.equal(0, bad)
    assert.equal(second, evm.key_address "spec_key")
    for _, name in ipairs { "../secret", "a/b", "A", "a.b", "nobody" } do assert.is_nil(evm.sign(name, digest), name) end
  end)

  it("a file that others may read or that holds no key is not imported", function()
    local path = os.tmpname()
    for _, c in ipairs { { "600", ("0"):rep(64) }, { "600", ("1"):rep(63) }, { "600", ("f"):rep(64) }, { "644", ("1"):rep(64) }, { "600", ("1"):rep(66) } } do
      local f = assert(io.open(path, "w"))
      f:write(c[2])
      f:close()
      os.execute("chmod " .. c[1] .. " " .. path)
      assert.is_nil(evm.key_import("spec_import", path), c[2])
    end
    os.remove(path)
    assert.is_nil(evm.key_address "spec_import")
  end)

  it("the one for invoices signs so many a minute and no more", function()
    assert(evm.key_new("invoice_signer", true))
    local digest, most, signed = evm.keccak256 "x", tonumber(conf.get "invoice_rate"), 0
    local minute = math.floor(time.now() / 60)
    local sig, err
    repeat
      sig, err = evm.sign("invoice_signer", digest)
      if sig then signed = signed + 1 end
    until not sig or signed > 3 * most
    assert.equal("request.rate", err and err.code)
    -- the minute may have changed on the way
    assert.is_true(signed >= most and signed <= most * (1 + math.floor(time.now() / 60) - minute), signed)
    assert.truthy(evm.sign("spec_key", digest))
  end)

  it("transactions are those of other libraries", function()
    local to = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    local one = key("0x" .. ("1"):rep(64))
    for _, c in ipairs(TRANSACTIONS) do
      local tx = { to = to }
      for k, x in pairs(c.tx) do tx[k] = x end
      local raw, hash = assert(evm.raw_transaction(tx, one))
      assert.equal(c.hash, hash)
      assert.equal(c.hash, evm.hex(evm.keccak256(unhex(raw))))
    end
  end)

  it("are not among what plugins may have", function()
    local allowed = require("sandbox.base").modules["ppv.evm"].only
    for _, name in ipairs(allowed) do
      assert.is_function(evm[name], name)
      assert.is_nil(name:find "^key_" or name:find "^sign" or name:find "^raw", name)
    end
    assert.equal(18, #allowed)
  end)
end)
