-- SPDX-License-Identifier: Apache-2.0
-- Chapters from their creator to everybody who sees the title.
local h = require "spec.support"

describe("chapters", function()
  it("are the creator's to write and everybody's to see", function()
    local maker, other = h.make.user(), h.make.user()
    local id = h.make.video(maker)
    local at = "/api/videos/" .. id .. "/chapters"
    assert.same({}, h.client():get("/api/videos/" .. id).json.video.chapters)
    assert.equal("", maker:get(at).json.text)
    local r = maker:post(at, { text = "0:00 One\n0:02 Two" })
    assert.equal(200, r.status, r.body)
    assert.same({ 2, "0:00 One\n0:02 Two" }, { r.json.count, maker:get(at).json.text })
    assert.same({ { 0, "One" }, { 2000, "Two" } }, h.client():get("/api/videos/" .. id).json.video.chapters)
    r = maker:post(at, { text = "0:02 Two\n0:01 One" })
    assert.same({ 422, "input.invalid" }, { r.status, r.json.code })
    for _, bad in ipairs { other:get(at), other:post(at, { text = "" }) } do assert.equal(404, bad.status) end
    assert.equal(401, h.client():post(at, { text = "" }).status)
    assert.equal(0, maker:post(at, { text = "" }).json.count)
    assert.same({}, h.client():get("/api/videos/" .. id).json.video.chapters)
  end)
end)
