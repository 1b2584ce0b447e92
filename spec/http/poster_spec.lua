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
    assert.same({ { choice = 1, url = at .. "s/1", chosen = true, own = false },
      { choice = 2, url = at .. "s/2", chosen = false, own = false } }, maker:get(at .. "s").json.items)
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

  it("may be a picture of the creator's own, never served as it was sent", function()
    local maker, other = h.make.user(), h.make.user()
    local id = h.make.video(maker)
    local at = "/api/videos/" .. id .. "/poster"
    assert(db.exec([[update videos set poster = id || '/poster.jpg', index = '{"poster":"poster.jpg"}' where id = $1::uuid]], id))
    assert(blob.write("media", id .. "/poster.jpg", "old"))
    local dir = os.tmpname()
    os.remove(dir)
    local function made(name, args)
      assert(os.execute(("ffmpeg -nostdin -v error -y -f lavfi -i %s '%s'"):format(args, dir .. name)))
      local f = assert(io.open(dir .. name, "rb"))
      local bytes = f:read "*a"
      f:close()
      os.remove(dir .. name)
      return bytes
    end
    local function send(u, bytes)
      return u:request("POST", at .. "s", { headers = { ["content-type"] = "multipart/form-data; boundary=mark" },
        body = '--mark\r\ncontent-disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' .. bytes .. "\r\n--mark--\r\n" })
    end
    local function size(bytes) -- of a JPEG, from its frame header
      local p = bytes:find("\255\192", 1, true)
      return bytes:byte(p + 7) * 256 + bytes:byte(p + 8), bytes:byte(p + 5) * 256 + bytes:byte(p + 6)
    end
    local secret = "GPS 52.5 13.4"
    for name, args in pairs { [".png"] = "testsrc2=s=2000x1000 -frames:v 1", [".jpg"] = "testsrc2=s=2000x1000 -frames:v 1 -pix_fmt yuvj420p",
      [".webp"] = "testsrc2=s=2000x1000 -frames:v 1 -c:v libwebp -lossless 1" } do
      local bytes = made(name, args)
      if name == ".jpg" then bytes = bytes:sub(1, 2) .. "\255\254\0" .. string.char(#secret + 2) .. secret .. bytes:sub(3) end
      local r = send(maker, bytes)
      assert.equal(201, r.status, name .. r.body)
      local url = maker:get("/api/videos/" .. id).json.video.poster
      local got = h.client():get(url)
      assert.same({ "\255\216\255", "image/jpeg" }, { got.body:sub(1, 3), got.headers["content-type"] })
      assert.same({ 1280, 640 }, { size(got.body) })
      assert.is_nil(got.body:find(secret, 1, true))
      assert.equal(1, #assert(blob.list("media", "posters")))
    end
    local items = maker:get(at .. "s").json.items
    assert.same({ { false, false }, { true, true } }, { { items[1].chosen, items[1].own }, { items[2].chosen, items[2].own } })
    assert.equal(200, maker:post(at, { choice = 1 }).status)
    assert.equal("old", h.client():get(maker:get("/api/videos/" .. id).json.video.poster).body)
    assert.equal(200, maker:post(at, { choice = 2 }).status)
    local good = made(".png", "testsrc2=s=300x200 -frames:v 1")
    for _, bad in ipairs { "", "hello", "GIF89a" .. ("x"):rep(100), "\255\216\255" .. ("x"):rep(1000), good:sub(1, #good / 2),
      "<svg xmlns='http://www.w3.org/2000/svg'/>",
      made(".png", "testsrc2=s=40x40 -frames:v 1"), "\137PNG\r\n\26\n\0\0\0\13IHDR\0\0\255\255\0\0\255\255\8\2\0\0\0" .. ("x"):rep(99) } do
      local r = send(maker, bad)
      assert.same({ 422, "media.bad_picture" }, { r.status, r.json.code }, bad:sub(1, 20))
      assert.truthy(r.json.error:find "^[A-Z].+%.$", r.body)
    end
    for _, who in ipairs { other, h.client() } do assert.is_true(send(who, good).status >= 400) end
    assert.equal(1, #assert(blob.list("media", "posters"))) -- nothing is left of what was refused or replaced
  end)
end)
