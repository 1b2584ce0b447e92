-- SPDX-License-Identifier: Apache-2.0
-- A creator chooses the still picture among those of the film.
local blob = require "ppv.blob"
local db = require "ppv.db"
local h = require "spec.support"

describe("the poster", function()
  it("is chosen by the creator alone, among what the preparation took", function()
    local maker, other = h.make.user(), h.make.user()
    local id = h.make.video(maker)
    local at = "/api/videos/" .. id .. "/poster"
    assert.equal(404, maker:get(at .. "s").status)
    assert(db.exec([[update videos set poster = id || '/poster.jpg', index = '{"poster":"poster.jpg","posters":["poster_1.jpg"]}'
      where id = $1::uuid]], id))
    for _, name in ipairs { "poster", "poster_1" } do assert(blob.write("media", id .. "/" .. name .. ".jpg", name)) end
    assert.same({ { choice = 1, url = at .. "s/1", chosen = true }, { choice = 2, url = at .. "s/2", chosen = false } }, maker:get(at .. "s").json.items)
    assert.equal("poster_1", maker:get(at .. "s/2").body)
    assert.equal(404, maker:get(at .. "s/3").status)
    local before = maker:get("/api/videos/" .. id).json.video.poster
    assert.equal("poster", h.client():get(before).body)
    assert.equal(200, maker:post(at, { choice = 2 }).status)
    local after = maker:get("/api/videos/" .. id).json.video.poster
    assert.not_equal(before, after) -- copies of the old one in caches are not shown
    assert.equal("poster_1", h.client():get(after).body)
    for _, bad in ipairs { 0, 3, "x" } do assert.equal(422, maker:post(at, { choice = bad }).status) end
    for _, r in ipairs { other:get(at .. "s"), other:get(at .. "s/1"), other:post(at, { choice = 1 }) } do assert.equal(404, r.status) end
    assert.equal(401, h.client():post(at, { choice = 1 }).status)
  end)
end)
