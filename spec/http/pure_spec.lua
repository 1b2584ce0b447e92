-- SPDX-License-Identifier: Apache-2.0
-- Files of /public/ are answered without Lua from the second request on: nothing about them may change by that.
local h = require "spec.support"

local function same(path, method, headers)
  local got = {}
  for i = 1, 3 do
    local r = h.client():request(method or "GET", path, { headers = headers })
    assert.truthy(r.headers["x-request-id"] or r.status == 200 or r.status == 304)
    r.headers["x-request-id"], r.headers.date = nil, nil
    got[i] = { r.status, r.body, r.headers }
  end
  assert.same(got[1], got[2])
  assert.same(got[2], got[3])
  return got[3]
end

describe("a pure route", function()
  it("answers the same every time", function()
    local r = same("/public/browse.html")
    assert.equal(200, r[1])
    assert.equal("no-cache", r[3]["cache-control"])
    assert.equal("DENY", r[3]["x-frame-options"])
    assert.equal(304, same("/public/browse.html", "GET", { ["if-none-match"] = r[3].etag })[1])
    local part = same("/public/browse.html", "GET", { range = "bytes=0-9" })
    assert.equal(206, part[1])
    assert.equal(r[2]:sub(1, 10), part[2])
    assert.equal("", same("/public/browse.html", "HEAD")[2])
    assert.equal(405, h.client():request("PUT", "/public/browse.html", { body = "" }).status)
  end)

  it("still refuses what is not served", function()
    for _, path in ipairs { "/public/nothing.html", "/public/node_modules/a.js", "/public/.hidden.js", "/public/package.json" } do
      for _ = 1, 2 do assert.equal(404, h.client():get(path).status) end
    end
  end)
end)
