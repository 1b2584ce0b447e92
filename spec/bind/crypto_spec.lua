-- SPDX-License-Identifier: Apache-2.0
local c = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"

local function unhex(s) return assert(c.hex_decode((s:gsub("%s", "")))) end

describe("ppv.crypto: known answers", function()
  it("SHA-2 and Keccak", function()
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", c.sha256("", "hex"))
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", c.sha256("abc", "hex"))
    assert.equal("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
      c.sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "hex"))
    assert.equal("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", c.sha256(("a"):rep(1000000), "hex"))
    assert.equal("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
      .. "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f", c.sha512("abc", "hex"))
    assert.equal("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470", c.keccak256("", "hex"))
    assert.equal("4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45", c.keccak256("abc", "hex"))
  end)

  it("HMAC (RFC 4231, RFC 2202)", function()
    assert.equal("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
      c.hmac_sha256(("\11"):rep(20), "Hi There", "hex"))
    assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      c.hmac_sha256("Jefe", "what do ya want for nothing?", "hex"))
    assert.equal("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
      c.hmac_sha256(("\170"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First", "hex"))
    assert.equal("87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
      c.hmac_sha512(("\11"):rep(20), "Hi There", "hex"))
    assert.equal("b617318655057264e28bc0b6fb378c8ef146be00", c.hmac_sha1(("\11"):rep(20), "Hi There", "hex"))
  end)

  it("HKDF-SHA256 (RFC 5869 appendix A.1 to A.3)", function()
    assert.equal("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
      c.hex_encode(c.hkdf(("\11"):rep(22), unhex "f0f1f2f3f4f5f6f7f8f9", 42, unhex "000102030405060708090a0b0c")))
    local function run(from, to)
      local out = {}
      for i = from, to do out[#out + 1] = string.char(i) end
      return table.concat(out)
    end
    assert.equal("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
      .. "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
      c.hex_encode(c.hkdf(run(0x00, 0x4f), run(0xb0, 0xff), 82, run(0x60, 0xaf))))
    assert.equal("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
      c.hex_encode(c.hkdf(("\11"):rep(22), "", 42)))
  end)

  it("AES-128-CBC (NIST SP 800-38A F.2.1)", function()
    local key, iv = unhex "2b7e151628aed2a6abf7158809cf4f3c", unhex "000102030405060708090a0b0c0d0e0f"
    local plain = unhex "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51"
    local sealed = c.aes128_encrypt(key, iv, plain)
    assert.equal("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2", c.hex_encode(sealed:sub(1, 32)))
    assert.equal(48, #sealed)
    assert.equal(plain, c.aes128_decrypt(key, iv, sealed))
    for n = 0, 33 do
      local text = ("x"):rep(n)
      assert.equal(text, c.aes128_decrypt(key, iv, c.aes128_encrypt(key, iv, text)))
    end
  end)

  it("encodings (RFC 4648)", function()
    local plain = { "", "f", "fo", "foo", "foob", "fooba", "foobar" }
    local b64 = { "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" }
    for i, s in ipairs(plain) do
      assert.equal(b64[i], c.base64_encode(s))
      assert.equal((b64[i]:gsub("=", "")), c.base64url_encode(s))
      assert.equal(s, c.base64_decode(b64[i]))
      assert.equal(s, c.base64url_decode((b64[i]:gsub("=", ""))))
    end
    assert.equal("-_-_", c.base64url_encode "\251\255\191")
    assert.equal("00ff80", c.hex_encode "\0\255\128")
    assert.equal("\0\255\128", c.hex_decode "00Ff80")
  end)

  it("every byte survives every encoding", function()
    for n = 0, 70 do
      local s = n > 0 and c.random(n) or ""
      assert.equal(s, c.hex_decode(c.hex_encode(s)))
      assert.equal(s, c.base64_decode(c.base64_encode(s)))
      assert.equal(s, c.base64url_decode(c.base64url_encode(s)))
    end
  end)
end)

local vectors = json.decode(assert(io.open "spec/support/vectors/paypal_webhook.json"):read "*a")

describe("ppv.crypto: signed with a certificate", function()
  local real = vectors.real_paypal_event

  -- over: what differs from the genuine claim
  local function claim(over)
    local o = { cert = real.cert_pem, roots = real.cert_pem, name = ".paypal.com", at = 1431454454, message = real.message,
      signature = c.base64_decode(real.transmission_sig) }
    for k, v in pairs(over or {}) do o[k] = v end
    return o
  end

  it("CRC-32", function()
    assert.equal(0, c.crc32 "")
    assert.equal(3421780262, c.crc32 "123456789")
    assert.equal(1095738169, c.crc32 "The quick brown fox jumps over the lazy dog")
    assert.equal(real.crc32, c.crc32(real.raw_body))
    for _, v in ipairs(vectors.synthetic) do assert.equal(v.crc32_decimal, ("%.0f"):format(c.crc32(v.raw_body)), v.name) end
  end)

  it("takes genuine ones", function()
    assert.is_true(c.verify_certificate(claim()))
    assert.is_true(c.verify_certificate(claim { name = "messageverificationcerts.sandbox.paypal.com" }))
    for _, v in ipairs(vectors.synthetic) do
      assert.is_true(c.verify_certificate { cert = vectors.synthetic_cert_pem, roots = vectors.synthetic_cert_pem, name = ".paypal.com",
        at = 1767323046 + 366 * 86400, message = v.message, signature = c.base64_decode(v.transmission_sig) }, v.name)
    end
  end)

  it("says why it refuses others", function()
    local sig = c.base64_decode(real.transmission_sig)
    for why, over in pairs {
      ["does not fit"] = { message = real.message .. "0" },
      ["not fit"] = { signature = sig:sub(1, -2) .. string.char((sig:byte(-1) + 1) % 256) },
      ["the message"] = { signature = sig:sub(1, 100) },
      ["signature"] = { signature = "" },
      ["not for .paypal.com.evil.example"] = { name = ".paypal.com.evil.example" },
      ["not for paypal.com"] = { name = "paypal.com" },
      ["not for .example.com"] = { name = ".example.com" },
      ["expired"] = { at = 1798700000 },
      ["not yet valid"] = { at = 1400000000 },
      ["issuer"] = { roots = "" },
      ["get local issuer certificate"] = { roots = vectors.synthetic_cert_pem },
    } do
      local v, err = c.verify_certificate(claim(over))
      assert.is_nil(v, why)
      assert.equal("auth.required", err.code, why)
      assert.truthy(err.message:find(why, 1, true), why .. ": " .. err.message)
    end
    for _, over in ipairs { { cert = "" }, { cert = "no certificate" }, { cert = real.cert_pem:sub(1, 900) }, { roots = "x" },
      { cert = real.cert_pem .. real.cert_pem:sub(1, 300) }, { cert = real.cert_pem:rep(17) } } do
      local v, err = c.verify_certificate(claim(over))
      assert.is_nil(v)
      assert.equal("input.invalid", err.code)
    end
  end)

  it("lets a chain end in a trusted certificate, and nowhere else", function()
    -- any other certificate in the place of the issuer does not make it one
    local v, err = c.verify_certificate(claim { cert = real.cert_pem .. vectors.synthetic_cert_pem, roots = vectors.synthetic_cert_pem })
    assert.is_nil(v)
    assert.equal("auth.required", err.code)
    assert.is_true(c.verify_certificate(claim { cert = real.cert_pem .. vectors.synthetic_cert_pem }))
  end)
end)

describe("ppv.crypto: tokens and secrets", function()
  it("a token is for one purpose and any change spoils it", function()
    for _, text in ipairs { "", "hello", "a\0b", ("x"):rep(1000) } do
      local token = c.sign("spec", text)
      assert.truthy(token:find "^[%w%._~-]+$")
      assert.equal(text, c.verify("spec", token))
      local s, err = c.verify("other", token)
      assert.is_nil(s)
      assert.equal("auth.required", err.code)
    end
    local token = c.sign("spec", "hello")
    for i = 1, #token do
      local bad = token:sub(1, i - 1) .. (token:sub(i, i) == "A" and "B" or "A") .. token:sub(i + 1)
      assert.is_nil((c.verify("spec", bad)), "changed at " .. i)
    end
    for _, bad in ipairs { "", ".", "..", "...", token .. "A", token:sub(1, -2), token .. ".x", "a.b.c", ("."):rep(500), "\0", " " .. token } do
      local s, err = c.verify("spec", bad)
      assert.is_nil(s)
      assert.equal("auth.required", err.code)
    end
  end)

  it("sealing differs each time, opens to the same, and notices changes", function()
    local one, two = c.seal "the secret", c.seal "the secret"
    assert.not_equal(one, two)
    assert.is_nil(one:find("secret", 1, true))
    assert.equal("the secret", c.open(one))
    assert.equal("the secret", c.open(two))
    assert.equal("", c.open(c.seal ""))
    assert.is_nil((c.open(one, "another purpose")))
    assert.equal("x", c.open(c.seal("x", "p"), "p"))
    assert.is_nil((c.open(c.seal("x", "p"))))
    for i = 1, #one, 3 do
      local bad = one:sub(1, i - 1) .. (one:sub(i, i) == "A" and "B" or "A") .. one:sub(i + 1)
      assert.is_nil((c.open(bad)), "changed at " .. i)
    end
    for _, bad in ipairs { "", "x", one:sub(1, 20), one .. "AAAA" } do assert.is_nil((c.open(bad))) end
  end)

  it("random values are of the length asked for and differ", function()
    local seen = {}
    for _ = 1, 200 do
      local t = c.random_token()
      assert.equal(43, #t)
      assert.is_nil(seen[t])
      seen[t] = true
    end
    assert.equal(4096, #c.random(4096))
    assert.equal(22, #c.random_token(16))
  end)

  it("equal compares bytes", function()
    assert.is_true(c.equal("", ""))
    assert.is_true(c.equal("a\0b", "a\0b"))
    assert.is_false(c.equal("a\0b", "a\0c"))
    assert.is_false(c.equal("a", "ab"))
  end)
end)

describe("ppv.crypto: passwords", function()
  it("hash and verify, with NUL and long ones", function()
    for _, p in ipairs { "correct horse", "pass\0word", ("x"):rep(1024), "\195\164\195\182" } do
      local phc = assert(c.hash_password(p))
      assert.truthy(phc:find "^%$argon2id%$v=19%$m=%d+,t=%d+,p=%d+%$")
      local ok, rehash = c.verify_password(p, phc)
      assert.is_true(ok)
      assert.is_false(rehash)
      if #p < 1024 then assert.is_false((c.verify_password(p .. "x", phc))) end
      assert.is_false((c.verify_password(p:sub(1, -2), phc)))
    end
    assert.not_equal(c.hash_password "same", c.hash_password "same")
  end)

  it("do the same work without an account", function() assert.is_false((c.verify_password("anything", nil))) end)

  it("answer an error value for a broken hash", function()
    for _, bad in ipairs { "", "x", "$argon2id$", "$2b$10$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=4294967295,t=1,p=1$YWFhYWFhYWE$YWFh" } do
      local ok, err = c.verify_password("x", bad)
      assert.is_true(ok == nil or ok == false, bad)
      if ok == nil then assert.is_string(err.code) end
    end
  end)

  it("yield inside pcall", function()
    local fine, phc = pcall(c.hash_password, "in a protected call")
    assert.is_true(fine)
    assert.is_true((c.verify_password("in a protected call", phc)))
    assert.is_number(db.one("select 1 as x").x)
  end)
end)

describe("ppv.crypto: wrong use raises, bad data does not", function()
  it("raises", function()
    for _, call in ipairs {
      function() c.sha256() end, function() c.sha256(nil) end, function() c.sha256({}) end, function() c.sha256("a", "octal") end,
      function() c.random(-1) end, function() c.random(4097) end, function() c.random(1.5) end, function() c.random "x" end,
      function() c.aes128_encrypt("short", ("i"):rep(16), "x") end, function() c.aes128_encrypt(("k"):rep(16), "short", "x") end,
      function() c.hkdf("s", "i", 0) end, function() c.hkdf("s", "i", 255 * 32 + 1) end, function() c.hash_password "" end,
      function() c.hash_password(("x"):rep(1025)) end, function() c.hash_password(12345) end, function() c.sign("", "x") end,
      function() c.equal("a") end, function() c.crc32() end, function() c.verify_certificate() end,
      function() c.verify_certificate { cert = "x", message = "", signature = "", at = 0 } end,
      function() c.verify_certificate { cert = "x", message = "", signature = "", name = "a.example" } end,
    } do assert.has_error(call) end
  end)

  it("answers error values", function()
    local key = ("k"):rep(16)
    for _, r in ipairs { { c.hex_decode "abc" }, { c.hex_decode "zz" }, { c.base64_decode "a" }, { c.base64_decode "a*bc" },
      { c.base64url_decode "====" }, { c.aes128_decrypt(key, key, "") }, { c.aes128_decrypt(key, key, ("x"):rep(15)) },
      { c.aes128_decrypt(key, key, ("x"):rep(32)) } } do
      assert.is_nil(r[1])
      assert.equal("request.bad", r[2].code)
      assert.is_true(#r[2].message > 3 and #tostring(r[2]) > 3)
    end
  end)
end)
