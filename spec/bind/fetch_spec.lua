-- SPDX-License-Identifier: Apache-2.0
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local fetch = require "ppv.fetch"
local h = require "spec.support"
local json = require "ppv.json"
local time = require "ppv.time"

local function get(o)
  if type(o) == "string" then o = { url = h.url .. o } end
  o.allow_private = true
  return fetch.request(o)
end

local function failed(code, v, err)
  assert.is_nil(v)
  assert.equal(code, err.code)
  assert.is_true(#err.message > 3)
  assert.is_boolean(err.retry)
end

describe("ppv.fetch", function()
  it("answers status, headers with lower-case names, and body", function()
    local r = assert(get "/api/videos?limit=1")
    assert.equal(200, r.status)
    assert.truthy(r.headers["content-type"]:find("json", 1, true))
    assert.is_true(json.decode(r.body).ok)
    assert.equal(404, get("/api/none").status)
  end)

  it("does not follow redirects", function()
    local r = assert(get "/auth/login")
    assert.is_true(r.status >= 300 and r.status < 400)
    assert.is_string(r.headers.location)
  end)

  it("sends forms and JSON", function()
    local u = h.make.user()
    local r = assert(get { url = h.url .. "/auth/login", headers = { origin = h.url }, form = { email = u.email, password = u.password } })
    assert.equal(200, r.status, r.body)
    r = assert(get { url = h.url .. "/auth/login", headers = { origin = h.url }, json = { email = u.email, password = u.password } })
    assert.equal(200, r.status, r.body)
    r = assert(get { url = h.url .. "/auth/login", headers = { origin = h.url }, form = { email = "a&b=c@example.org", password = "x+y %\0" } })
    assert.is_true(r.status >= 400 and r.status < 500)
  end)

  it("sends a file and writes an answer to one, without a string between", function()
    local name = "fetch-spec-" .. crypto.hex_encode(crypto.random(6))
    assert(blob.write("tmp", name, ("a"):rep(70000)))
    local r = assert(get { url = h.url .. "/csp", method = "POST", upload = { root = "tmp", path = name } })
    assert.equal(413, r.status) -- all of it came: what is shorter is taken
    assert(blob.write("tmp", name, ("a"):rep(700)))
    r = assert(get { url = h.url .. "/csp", method = "POST", upload = { root = "tmp", path = name } })
    assert.equal(204, r.status)
    r = assert(get { url = h.url .. "/public/styles.css", download = { root = "tmp", path = name } })
    assert.equal("", r.body)
    local bytes = assert(get "/public/styles.css").body
    assert.is_true(#bytes > 100)
    assert.equal(bytes, blob.read("tmp", name))
    assert.equal(crypto.sha256(bytes, "hex"), blob.sha256("tmp", name))
    r = assert(get { url = h.url .. "/api/none", download = { root = "tmp", path = name } })
    assert.equal(404, r.status)
    assert.is_true(#r.body > 0)
    failed("request.not_found", get { url = h.url .. "/csp", upload = { root = "tmp", path = "no-such-file" } })
    failed("auth.forbidden", get { url = h.url .. "/csp", upload = { root = "tmp", path = "../secret" } })
    failed("auth.forbidden", get { url = h.url .. "/csp", download = { root = "tmp", path = "/etc/x" } })
    blob.remove_tree("tmp", name)
  end)

  it("stops at max_body", function() failed("request.too_large", get { url = h.url .. "/api/videos", max_body = 10 }) end)

  it("refuses what is no address of the web, and broken requests", function()
    for _, url in ipairs { "file:///etc/passwd", "ftp://example.org/", "gopher://localhost/", "dict://localhost:1/", "javascript:1", "localhost",
      "http://", "http:///x", "http://a b/", "http://localhost\r\nx: y/" } do
      local v, err = get { url = url }
      assert.is_nil(v, url)
      assert.is_true(({ ["input.invalid"] = 1, ["net.refused"] = 1, ["net.failed"] = 1 })[err.code] ~= nil, url .. ": " .. err.code)
    end
    local fine, v, err = pcall(get, { url = h.url .. "/", headers = { ["x-bad"] = "a\r\nhost: evil" } })
    assert.is_true(not fine or (v == nil and err.code == "input.invalid"))
    fine, v, err = pcall(get, { url = h.url .. "/", method = "GET / HTTP/1.1\r\nx: y" })
    assert.is_true(not fine or (v == nil and err.code == "input.invalid"))
  end)

  it("answers an error value when nobody listens", function() failed("net.failed", get { url = "http://127.0.0.1:1/" }) end)

  it("gives up in time", function()
    local u = h.make.user()
    local film = h.make.video(u, { state = "queued" }) -- its events stay open
    local started = time.mono()
    failed("engine.timeout", get { url = h.url .. "/api/videos/" .. film .. "/events", headers = { cookie = u:cookie() }, timeout = 0.3 })
    assert.is_true(time.mono() - started < 3)
  end)

  it("waits inside pcall", function()
    local fine, r = pcall(get, "/api/videos?limit=1")
    assert.is_true(fine)
    assert.equal(200, r.status)
    fine = pcall(function()
      get "/api/videos?limit=1"
      error "after a wait"
    end)
    assert.is_false(fine)
  end)

  it("raises for wrong use", function()
    for _, call in ipairs { function() fetch.request() end, function() fetch.request {} end, function() fetch.request(5) end,
      function() fetch.request { url = 5 } end, function() fetch.request { url = h.url, timeout = -1 } end,
      function() fetch.request { url = h.url, timeout = "soon" } end, function() fetch.request { url = h.url, headers = "x" } end,
      function() fetch.request { url = h.url, form = { 1 } } end, function() fetch.request { url = h.url, json = { print } } end,
      function() fetch.request { url = h.url, max_body = -1 } end } do assert.has_error(call) end
  end)
end)

describe("waiting", function()
  it("is refused where nothing can wait", function()
    assert.has_error(function() table.sort({ 2, 1 }, function(a, b) time.sleep(0.01) return a < b end) end)
    assert.has_error(function() return (("x"):gsub("x", function() time.sleep(0.01) end)) end)
  end)

  it("sleeps as long as asked", function()
    local started = time.mono()
    time.sleep(0.1)
    local took = time.mono() - started
    assert.is_true(took >= 0.099 and took < 3)
    assert.has_error(function() time.sleep(-1) end)
    assert.has_error(function() time.sleep(3601) end)
  end)
end)
