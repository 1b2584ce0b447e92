-- SPDX-License-Identifier: Apache-2.0
-- The signatures are those of Amazon's documentation ("Signature Calculations for the Authorization Header", "... Query Parameters").
local loader = assert(loadfile "plugins/s3/handler.lua")
local sigv4 = dofile "plugins/s3/sigv4.lua"
local s3 = setfenv(loader, setmetatable({ require = function(name) return name == "sigv4" and sigv4 or require(name) end }, { __index = _G }))()

local KEYS = { access_key = "AKIAIOSFODNN7EXAMPLE", secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region = "us-east-1" }
local DAY = 1369353600 -- 2013-05-24

local function ctx(over)
  local s = { bucket = "films", endpoint = "", public_url = "", path_style = false }
  for k, v in pairs(KEYS) do s[k] = v end
  for k, v in pairs(over or {}) do s[k] = v end
  return { settings = s, err = function(_, code, message, retry) return { code = code, message = message, retry = retry } end }
end

describe("storage s3", function()
  it("signs as Amazon does", function()
    local function signed(r)
      r.host, r.now = "examplebucket.s3.amazonaws.com", DAY
      return sigv4.sign(KEYS, r).authorization:match "Signature=(%x+)$"
    end
    assert.equal("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
      signed { method = "GET", path = "/test.txt", headers = { range = "bytes=0-9" }, hash = sigv4.EMPTY })
    assert.equal("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
      signed { method = "PUT", path = "/test%24file.text", headers = { date = "Fri, 24 May 2013 00:00:00 GMT", ["x-amz-storage-class"] = "REDUCED_REDUNDANCY" },
        hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072" })
    assert.equal("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
      signed { method = "GET", path = "/", query = sigv4.query { ["max-keys"] = 2, prefix = "J" }, headers = {}, hash = sigv4.EMPTY })
    assert.equal("https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1"
      .. "%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
      .. "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
      sigv4.presign(KEYS, "https://examplebucket.s3.amazonaws.com", "examplebucket.s3.amazonaws.com", { "/test.txt" }, DAY, 86400)[1])
  end)

  it("knows the day of every second", function()
    for _, t in ipairs { 0, 951782399, 951782400, DAY, 1709164799, 1709251200, 4102444800 } do
      assert.equal(os.date("!%Y%m%dT%H%M%SZ", t), sigv4.stamp(t))
    end
  end)

  it("names the bucket in the host or in the path", function()
    local key = { key = "media/a-1/x.m4s" }
    assert.equal("https://films.s3.us-east-1.amazonaws.com/videos/a-1/x.m4s", s3.get(ctx(), key).url)
    assert.equal("http://127.0.0.1:9000/films/videos/a-1/x.m4s", s3.get(ctx { endpoint = "http://127.0.0.1:9000", path_style = true }, key).url)
    assert.equal("https://s3.us-east-1.amazonaws.com/my.films/videos/a-1/x.m4s", s3.get(ctx { bucket = "my.films" }, key).url)
    for _, bad in ipairs { { bucket = "" }, { bucket = "a/b" }, { secret_key = "" }, { endpoint = "https://x/y" }, { endpoint = "ftp://x" } } do
      local got, err = s3.get(ctx(bad), key)
      assert.is_nil(got)
      assert.equal("storage.settings", err.code)
    end
  end)

  it("never shows the secret", function()
    for _, fn in ipairs { "put", "get", "delete", "stat" } do
      local plan = s3[fn](ctx(), { key = "media/a/b.m4s", sha256 = sigv4.EMPTY })
      for _, v in pairs(plan.headers) do assert.is_nil(tostring(v):find(KEYS.secret_key, 1, true)) end
      assert.is_nil(plan.url:find("EXAMPLEKEY", 1, true))
    end
  end)

  it("reads lists and refusals", function()
    local list = s3.read(ctx(), "list", { status = 200, body = "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>videos/a/x.m4s</Key>"
      .. "<LastModified>2026-01-02T03:04:05.678Z</LastModified><Size>12</Size></Contents><Contents><Key>else/a&amp;b</Key>"
      .. "<LastModified>2026-01-02T03:04:05.678Z</LastModified><Size>1</Size></Contents></ListBucketResult>" })
    assert.same({ objects = { { key = "media/a/x.m4s", size = 12, modified = "2026-01-02T03:04:05Z" } }, next = "else/a&b" }, list)
    assert.is_false(s3.read(ctx(), "stat", { status = 404, headers = {}, body = "" }))
    local function says(status, code)
      local got, err = s3.read(ctx(), "put", { status = status, headers = {}, body = "<Error><Code>" .. code .. "</Code></Error>" })
      assert.is_nil(got)
      return err
    end
    assert.truthy(says(403, "SignatureDoesNotMatch").message:find "secret key")
    assert.is_falsy(says(403, "SignatureDoesNotMatch").retry)
    assert.truthy(says(404, "NoSuchBucket").message:find "no bucket")
    assert.is_true(says(503, "SlowDown").retry)
    assert.is_true(says(500, "").retry)
  end)
end)
