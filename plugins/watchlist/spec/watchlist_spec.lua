-- SPDX-License-Identifier: Apache-2.0
local h = require "spec.support"

describe("route plugin watchlist", function()
  local app
  lazy_setup(function() app = h.engine {} end)
  lazy_teardown(function() app:stop() end)

  it("keeps the newest film first and forgets removed ones", function()
    local viewer = app.make.viewer()
    local a, b = "01890000-0000-7000-8000-000000000001", "01890000-0000-7000-8000-000000000002"
    assert.equal(204, viewer:put("/api/watchlist/" .. a).status)
    assert.equal(204, viewer:put("/api/watchlist/" .. b).status)
    assert.same({ b, a }, viewer:get("/api/watchlist").json.items)
    assert.equal(204, viewer:delete("/api/watchlist/" .. b).status)
    assert.same({ a }, viewer:get("/api/watchlist").json.items)
  end)

  it("refuses strangers", function() assert.equal(401, app:guest():get("/api/watchlist").status) end)
end)
