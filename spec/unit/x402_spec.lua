-- SPDX-License-Identifier: Apache-2.0
-- The words of x402 against what its own libraries wrote and judged (spec/support/vectors/x402.json).
local crypto = require "ppv.crypto"
local evm = require "ppv.evm"
local json = require "ppv.json"
local x402 = require "lib.x402"
local vectors = require("spec.support.gateway").vectors "x402"

local NOW = 1793491200
local function cfg_of(r)
  local chain = tonumber(r.network:match "^eip155:(%d+)$")
  return { network = r.network, network_v1 = x402.V1[chain], chain_id = chain, asset = evm.address(r.asset), pay_to = evm.address(r.payTo),
    token_name = r.extra.name, token_version = r.extra.version }
end
local V2 = vectors.v2.payment_required.accepts[1]
local cfg = cfg_of(V2)

describe("x402", function()
  it("reads the headers of both versions, and finds the payment good", function()
    for _, c in ipairs { { vectors.v2.payment_signature_header, 2 }, { vectors.v1.x_payment_header, 1 },
      { vectors.sdk_generated_samples.v2_header, 2, 1795580000 }, { vectors.sdk_generated_samples.v1_header, 1, 1795580000 } } do
      local p = assert(x402.read(assert(x402.unpack(c[1])), c[2]))
      assert.equal(vectors.keys.payer, p.from)
      assert.is_nil(x402.wrong(cfg, p, "10000", c[3] or NOW))
      assert.is_nil(x402.read(x402.unpack(c[1]), 3 - c[2])) -- not the other version
    end
    assert.same(vectors.sdk_generated_samples.v2_payload, x402.unpack(vectors.sdk_generated_samples.v2_header))
    local p = x402.read(x402.unpack(vectors.v2.payment_signature_header), 2)
    assert.equal(vectors.eip712_digest, evm.hex(evm.typed_hash(x402.typed(cfg, p))))
    assert.equal(vectors.signature, evm.hex(p.signature))
  end)

  it("asks in the words of both versions", function()
    assert.same(V2, x402.requirement(cfg, "10000"))
    local want = vectors.v1.payment_required_body.accepts[1]
    assert.same(want, x402.requirement_v1(cfg, "10000", { url = want.resource, description = want.description, mimeType = want.mimeType }))
    local h = x402.pack(vectors.v2.payment_required)
    assert.same(x402.unpack(vectors.v2.payment_required_header), x402.unpack(h))
    assert.same(vectors.v2.settle_response, x402.unpack(vectors.v2.payment_response_header))
    assert.same(vectors.v1.settle_response, x402.unpack(vectors.v1.x_payment_response_header))
  end)

  it("judges as the protocol's own facilitator does", function()
    assert.equal(9, #vectors.facilitator_verify_cases)
    for _, c in ipairs(vectors.facilitator_verify_cases) do
      local p = assert(x402.read(c.paymentPayload, 2), c.name)
      local why = x402.wrong(cfg_of(c.paymentRequirements), p, c.paymentRequirements.amount, NOW)
      assert.equal(c.expected.invalidReason, why, c.name)
      assert.equal(c.expected.isValid, why == nil, c.name)
    end
  end)

  it("recovers the payer of the published sample", function()
    local s = vectors.published_spec_sample
    local a = {}
    for k, v in pairs(s.authorization) do a[k] = v end
    a.nonce = evm.unhex(a.nonce)
    local hash = evm.typed_hash { domain = s.domain, types = x402.TYPES, primary = "TransferWithAuthorization", message = a }
    assert.equal(s.expected_signer:lower(), evm.recover(hash, evm.unhex(s.signature)):lower())
  end)

  it("refuses what it cannot read, and every change of a good payment", function()
    local function of(change)
      local t = json.decode(json.encode(x402.unpack(vectors.v2.payment_signature_header)))
      change(t, t.payload.authorization)
      return x402.read(t, 2)
    end
    for _, change in ipairs {
      function(t) t.x402Version = 3 end, function(t) t.accepted = nil end, function(t) t.payload = "x" end, function(_, a) a.value = 10000 end,
      function(_, a) a.value = "1e4" end, function(_, a) a.value = "010000" end, function(_, a) a.value = ("9"):rep(78) end, function(_, a) a.value = "-1" end,
      function(_, a) a.from = a.from:sub(1, -2) end, function(_, a) a.nonce = "0x12" end, function(_, a) a.validBefore = nil end,
      function(t) t.payload.signature = "0xzz" end, function(t) t.payload.signature = nil end,
      function(t) t.extensions = { ["payment-identifier"] = { info = { id = "short" } } } end,
      function(t) t.extensions = { ["payment-identifier"] = { info = { id = ("a b"):rep(10) } } } end,
    } do
      local none, err = of(change)
      assert.is_nil(none)
      assert.equal("payment.malformed", err.code)
      assert.equal(400, err.status)
    end
    for want, change in pairs {
      invalid_exact_evm_signature = function(_, a) a.value = "10001" end,
      invalid_scheme = function(t) t.accepted.scheme = "upto" end,
      invalid_exact_evm_network_mismatch = function(t) t.accepted.network = "eip155:8453" end,
    } do assert.equal(want, x402.wrong(cfg, assert(of(change)), "10000", NOW)) end
    -- what the client says it accepted changes nothing: the price is ours
    local p = assert(of(function(t) t.accepted.amount, t.accepted.payTo, t.accepted.asset = "1", vectors.keys.payer, vectors.keys.payer end))
    assert.is_nil(x402.wrong(cfg, p, "10000", NOW))
    assert.equal("invalid_exact_evm_payload_authorization_value_mismatch", x402.wrong(cfg, p, "9999", NOW))
    for _, text in ipairs { "", "x", "bnVsbA==", "e30", crypto.base64_encode "[1", crypto.base64_encode(("["):rep(3000)) } do
      local t = x402.unpack(text)
      assert.is_true(t == nil or x402.read(t, 2) == nil)
    end
  end)

  it("counts prices in a token's smallest units, never below the price", function()
    assert.equal("4990000", x402.atoms(499, 2, 6, "1"))
    assert.equal("4990999", x402.atoms(499, 2, 6, "0.9998")) -- 4.990998199...
    assert.equal("1", x402.atoms(1, 2, 0, "3000"))
    assert.equal("29373", x402.atoms(499, 0, 6, "16988.4"):sub(1, 5))
    assert.equal("1996000000000000", x402.atoms(499, 2, 18, "2500"))
    for _, rate in ipairs { "", "0", "0.0", "-1", "1e3", "abc", "1,5", "." } do assert.is_nil(x402.atoms(499, 2, 6, rate), rate) end
  end)

  it("lets an address sign in once, here, for five minutes", function()
    local url, host = "https://films.example/api/v1/videos/1/access", "films.example"
    local f = os.tmpname()
    local h = assert(io.open(f, "w"))
    h:write(("2"):rep(64))
    h:close()
    os.execute("chmod 600 " .. f)
    local address = assert(evm.key_import("x402_spec", f, true))
    os.remove(f)
    local function sign(over, at)
      local info = x402.sign_in(cfg, url, host, NOW).info
      local t = { address = address, chainId = cfg.network, type = "eip191" }
      for k, v in pairs(info) do t[k] = v end
      for k, v in pairs(over or {}) do t[k] = v end
      local text = table.concat({ t.domain .. " wants you to sign in with your Ethereum account:", t.address, "", t.statement, "", "URI: " .. t.uri,
        "Version: 1", "Chain ID: 84532", "Nonce: " .. t.nonce, "Issued At: " .. t.issuedAt, "Expiration Time: " .. t.expirationTime }, "\n")
      t.signature = evm.hex(evm.sign("x402_spec", evm.personal_hash(text)))
      return x402.signed_in(cfg, t, url, host, at or NOW + 10)
    end
    assert.equal(address, (sign()))
    for want, over in pairs { domain = { domain = "evil.example" }, uri = { uri = url .. "x" }, chainId = { chainId = "eip155:1" },
      nonce = { nonce = ("0"):rep(56) }, signature = { address = vectors.keys.payer } } do
      local none, why = sign(over)
      assert.is_nil(none)
      assert.equal(want, why)
    end
    local none, why = sign(nil, NOW + 301)
    assert.is_nil(none)
    assert.equal("expired", why)
  end)
end)
