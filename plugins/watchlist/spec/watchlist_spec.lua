-- SPDX-License-Identifier: Apache-2.0
local h = require "spec.support"

describe("route plugin watchlist", function()
  local a, b = "01890000-0000-7000-8000-000000000001", "01890000-0000-7000-8000-000000000002"

  it("keeps the newest film first and forgets removed ones", function()
    local viewer = h.make.user()
    assert.same({}, viewer:get("/api/watchlist").json.items)
    for _, id in ipairs { a, b, a, b } do assert.equal(204, viewer:request("PUT", "/api/watchlist/" .. id).status) end
    assert.same({ b, a }, viewer:get("/api/watchlist").json.items)
    assert.equal(204, viewer:request("DELETE", "/api/watchlist/" .. b).status)
    assert.same({ a }, viewer:get("/api/watchlist").json.items)
  end)

  it("keeps one list for each person", function()
    local one, two = h.make.user(), h.make.user()
    one:request("PUT", "/api/watchlist/" .. a)
    assert.same({}, two:get("/api/watchlist").json.items)
  end)

  it("refuses strangers and names that are no film", function()
    assert.equal(401, h.client():get("/api/watchlist").status)
    assert.equal(401, h.client():request("PUT", "/api/watchlist/" .. a).status)
    assert.equal(422, h.make.user():request("PUT", "/api/watchlist/nonsense").status)
  end)
end)
