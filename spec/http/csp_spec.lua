-- SPDX-License-Identifier: Apache-2.0
-- Browsers report to /csp what the Content-Security-Policy refused; nobody can fill the log with it.
local cache = require "ppv.cache"
local h = require "spec.support"
local json = require "ppv.json"

local REPORT = json.encode { ["csp-report"] = { ["document-uri"] = "https://x/y?token=secret", ["blocked-uri"] = "inline",
  ["effective-directive"] = "script-src-elem" } }

describe("the headers of an answer", function()
  local of_pages = { "x-frame-options", "referrer-policy", "cross-origin-opener-policy", "permissions-policy" }

  it("guard a page, and whatever a browser might take for one", function()
    for _, path in ipairs { "/public/browse.html", "/public/js/account.js", "/health" } do
      local r = h.client():get(path)
      assert.equal(200, r.status, path)
      for _, name in ipairs(of_pages) do assert.is_string(r.headers[name], name) end
      assert.truthy(r.headers["content-security-policy"]:find("script-src 'self'", 1, true))
      assert.equal("nosniff", r.headers["x-content-type-options"])
    end
  end)

  it("let JSON, which is no page, do nothing at all", function()
    local c = h.client()
    for status, r in pairs { [200] = c:get "/api/videos", [404] = c:get "/api/nothing", [401] = c:get "/api/me" } do
      assert.equal(status, r.status)
      assert.equal("default-src 'none'; frame-ancestors 'none'", r.headers["content-security-policy"])
      assert.equal("nosniff", r.headers["x-content-type-options"])
      assert.equal("same-origin", r.headers["cross-origin-resource-policy"])
      assert.equal("no-store", r.headers["cache-control"])
      for _, name in ipairs(of_pages) do assert.is_nil(r.headers[name], name) end
    end
  end)
end)

describe("a report of the Content-Security-Policy", function()
  it("is taken from anybody, whatever it holds", function()
    local policy = h.client():get("/public/browse.html").headers["content-security-policy"]
    assert.truthy(policy:find("report-uri /csp", 1, true))
    for _, body in ipairs { REPORT, "", "{", "[]", '"x"', '{"csp-report":[1]}', '{"csp-report":{"blocked-uri":{}}}', "\0\255" } do
      local r = h.client():request("POST", "/csp", { body = body, headers = { ["content-type"] = "application/csp-report" } })
      assert.equal(204, r.status, body)
      assert.equal("", r.body)
    end
    assert.equal(204, h.client():request("POST", "/csp", { body = REPORT, headers = { origin = false } }).status)
    assert.equal(413, h.client():request("POST", "/csp", { body = ("x"):rep(16385) }).status)
  end)

  it("is logged once a minute and limited by address", function()
    cache.del "csp:log"
    local log, lines = require "ppv.log", {}
    local warn = log.warn
    log.warn = function(event, fields) lines[#lines + 1] = { event, fields } end
    for _ = 1, 3 do h.client():request("POST", "/csp", { body = REPORT }) end
    log.warn = warn
    assert.equal(1, #lines)
    assert.equal("csp.report", lines[1][1])
    assert.same({ "https://x/y", "inline", "script-src-elem" },
      { lines[1][2].page, lines[1][2].blocked, lines[1][2].directive })
    cache.incr("rate:POST /csp:127.0.0.1", 100, 60)
    local r = require("ppv.fetch").request { method = "POST", url = h.url .. "/csp", body = REPORT, allow_private = true }
    assert.equal(429, r.status)
    cache.del "rate:POST /csp:127.0.0.1"
  end)
end)
