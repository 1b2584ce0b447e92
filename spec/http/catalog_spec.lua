-- SPDX-License-Identifier: Apache-2.0
-- The catalogue: paging, orders, search, who sees what; the creator's own list.
local db = require "ppv.db"
local form = require "lib.form"
local h = require "spec.support"

local function list(c, query)
  local r = c:get("/api/videos?" .. form.encode(query))
  assert.equal(200, r.status, r.body)
  return r.json.videos, r.json.next_cursor
end

-- Every film of a list, page by page.
local function walk(c, query, key)
  local out, seen = {}, {}
  repeat
    local rows, cursor = list(c, query)
    assert.is_true(#rows <= query.limit)
    assert.is_true(#rows > 0 or cursor == nil)
    for _, row in ipairs(rows) do
      assert.is_nil(seen[row.id], "twice: " .. row.id)
      seen[row.id] = true
      out[#out + 1] = row[key or "id"]
    end
    query.cursor = cursor
  until not cursor
  return out
end

describe("the catalogue", function()
  local maker, visitor, films, word
  lazy_setup(function()
    maker, visitor, films = h.make.user(), h.client(), {}
    word = "Zq" .. maker.id .. "x"
    local titles = { "banana", "Apple", "cherry", "apple", "\195\132pfel", "date", "Banana" }
    for i, title in ipairs(titles) do
      films[i] = h.make.video(maker, { title = title .. " " .. word, price = ({ 300, 100, 200, 100, 0, 100, 900 })[i] })
    end
  end)

  it("pages through every order without loss or repetition", function()
    for _, limit in ipairs { 1, 2, 3, 7, 50 } do
      local ids = walk(visitor, { owner_id = maker.id, limit = limit, sort = "oldest" })
      assert.same(films, ids)
      local back = walk(visitor, { owner_id = maker.id, limit = limit, sort = "newest" })
      for i, id in ipairs(ids) do assert.equal(id, back[#back + 1 - i]) end
      local cheap = walk(visitor, { owner_id = maker.id, limit = limit, sort = "cheapest" }, "price_cents")
      assert.same({ 0, 100, 100, 100, 200, 300, 900 }, cheap)
      local dear = walk(visitor, { owner_id = maker.id, limit = limit, sort = "dearest" }, "price_cents")
      assert.same({ 900, 300, 200, 100, 100, 100, 0 }, dear)
      assert.equal(#films, #walk(visitor, { owner_id = maker.id, limit = limit, sort = "title" }))
    end
  end)

  it("shows nothing twice when films arrive while somebody pages", function()
    local rows, cursor = list(visitor, { owner_id = maker.id, limit = 3, sort = "newest" })
    local late = h.make.video(maker, { title = "late " .. word })
    local more = list(visitor, { owner_id = maker.id, limit = 50, sort = "newest", cursor = cursor })
    assert.equal(#films - #rows, #more)
    db.exec("delete from videos where id = $1::uuid", late)
    db.exec("update videos set state = 'deleted', deleted_at = now() where id = $1::uuid", late)
  end)

  it("finds words by their beginnings, in any case, and the maker's name", function()
    local function found(q)
      local n = 0
      for _, v in ipairs((list(visitor, { q = q, limit = 100 }))) do if v.owner_id == maker.id then n = n + 1 end end
      return n
    end
    assert.equal(#films, found(word))
    assert.equal(#films, found(word:lower():sub(1, -2)))
    assert.equal(2, found("BANANA " .. word))
    assert.equal(1, found("\195\164pfel " .. word))
    assert.equal(0, found("banana cherry " .. word))
    assert.equal(#films, found(maker.username))
    assert.equal(0, found "nothing has this word")
  end)

  it("survives every search text", function()
    for _, q in ipairs { "'", "''", "\\", "%", "&", "|", "!", "(", "a & | b", "<->", ":*", "a:b", "\226\130\172", "-- x", "'; drop table videos; --",
      ("x "):rep(90),
      ("x"):rep(200), "*", "\"", "a\\'b" } do
      local r = visitor:get("/api/videos?" .. form.encode { q = q })
      assert.equal(200, r.status, q .. ": " .. r.body)
    end
    assert.equal(422, visitor:get("/api/videos?" .. form.encode { q = ("x"):rep(201) }).status)
  end)

  it("refuses foreign cursors, orders and limits", function()
    local _, cursor = list(visitor, { owner_id = maker.id, limit = 1, sort = "newest" })
    for _, q in ipairs { { cursor = cursor, sort = "title" }, { cursor = cursor .. "x" }, { cursor = "x" }, { sort = "random" }, { limit = 0 },
      { limit = 201 },
      { limit = "ten" }, { owner_id = "me" }, { owner_id = -1 } } do
      local r = visitor:get("/api/videos?" .. form.encode(q))
      assert.equal(422, r.status, form.encode(q))
    end
  end)

  it("hides drafts, failed and deleted films and those of a disabled maker", function()
    local m = h.make.user()
    local draft = h.make.video(m, { visibility = "draft" })
    local failed = h.make.video(m, { state = "failed" })
    local deleted = h.make.video(m, { state = "deleted" })
    local shown = h.make.video(m)
    assert.same({ shown }, walk(visitor, { owner_id = m.id, limit = 10 }))
    local stranger = h.make.user()
    for _, id in ipairs { draft, failed, deleted } do
      for _, c in ipairs { visitor, stranger } do assert.equal(404, c:get("/api/videos/" .. id).status) end
    end
    assert.equal(200, m:get("/api/videos/" .. draft).status)
    assert.equal(404, m:get("/api/videos/" .. deleted).status)
    assert.equal(200, visitor:get("/api/videos/" .. shown).status)
    db.exec("update users set disabled_at = now() where id = $1", m.id)
    assert.same({}, walk(visitor, { owner_id = m.id, limit = 10 }))
  end)

  it("never shows what is internal", function()
    for _, path in ipairs { "/api/videos?owner_id=" .. maker.id, "/api/videos/" .. films[1] } do
      local body = visitor:get(path).body
      for _, word_ in ipairs { "title_secret", "upload_path", "upload_name", "password", "@example.org", "sort_title", "bank_account" } do
        assert.is_nil(body:find(word_, 1, true), path .. " has " .. word_)
      end
    end
  end)

  it("lets only the maker change, delete and bring back", function()
    local stranger = h.make.user()
    local film = h.make.video(maker)
    for _, call in ipairs { { "/api/video_update", { id = film, title = "taken" } }, { "/api/video_delete", { id = film } }, { "/api/video_undelete",
      { id = film } } } do
      assert.equal(404, stranger:post(call[1], call[2]).status)
      assert.equal(401, visitor:post(call[1], call[2]).status)
    end
    local r = maker:post("/api/video_update", { id = film, title = "New <b>", price_cents = 123, description = "" })
    assert.equal(200, r.status, r.body)
    local v = visitor:get("/api/videos/" .. film).json.video
    assert.equal("New <b>", v.title)
    assert.equal(123, v.price_cents)
    for _, bad in ipairs { { price_cents = -1 }, { price_cents = 1.5 }, { price_cents = "x" }, { title = ("x"):rep(201) }, { title = "a\0b" },
      { visibility = "secret" } } do
      bad.id = film
      assert.equal(422, maker:post("/api/video_update", bad).status)
    end
    assert.equal(200, maker:post("/api/video_delete", { id = film }).status)
    assert.equal(404, visitor:get("/api/videos/" .. film).status)
    assert.equal(404, maker:post("/api/video_delete", { id = film }).status)
    local gone = maker:get("/api/my_videos/" .. film).json.video
    assert.equal("deleted", gone.processing_state)
    assert.equal(7, gone.undelete_days)
    assert.is_true(gone.undelete_until > require("ppv.time").iso())
    assert.equal(404, stranger:get("/api/my_videos/" .. film).status)
    db.exec("update videos set ready_at = now() where id = $1::uuid", film)
    assert.equal(200, maker:post("/api/video_undelete", { id = film }).status)
    assert.equal(200, visitor:get("/api/videos/" .. film).status)
    assert.same({ "ready", "New <b>" }, { maker:get("/api/my_videos/" .. film).json.video.processing_state,
      maker:get("/api/my_videos/" .. film).json.video.title })
    db.exec("update videos set state = 'deleted', deleted_at = now() - interval '7 days' where id = $1::uuid", film)
    assert.equal(404, maker:post("/api/video_undelete", { id = film }).status)
    assert.equal(404, maker:get("/api/my_videos/" .. film).status)
  end)

  it("lets the maker set preview and, before the film is prepared, the mark's strength", function()
    local film, waiting = h.make.video(maker), h.make.video(maker, { state = "queued" })
    local function get(id) return maker:get("/api/my_videos/" .. id).json.video end
    assert.same({ 0, 95, false }, { get(film).preview_ms, get(film).strength_pct, get(film).strength_open })
    db.exec([[update videos set index = jsonb_build_object('strength', 0.75) where id = $1::uuid]], film) -- made before the default changed
    assert.equal(75, get(film).strength_pct)
    assert.equal(200, maker:post("/api/video_update", { id = film, preview_ms = 4000 }).status)
    assert.equal(4000, get(film).preview_ms)
    assert.equal("A film", get(film).title)
    local r = maker:post("/api/video_update", { id = film, strength_pct = 100, title = "Not this" })
    assert.same({ 409, "video.prepared", "A film" }, { r.status, r.json.code, get(film).title })
    db.exec([[update videos set mark = '{"other": 1}' where id = $1::uuid]], waiting)
    assert.equal(200, maker:post("/api/video_update", { id = waiting, strength_pct = 120 }).status)
    assert.same({ 120, true }, { get(waiting).strength_pct, get(waiting).strength_open })
    assert.equal(1.2, db.one("select (mark->>'strength')::float8 as x from videos where id = $1::uuid and mark ? 'other'", waiting).x)
    for _, bad in ipairs { { preview_ms = -1 }, { preview_ms = 4001 }, { strength_pct = 121 }, { strength_pct = 0.5 } } do
      bad.id = waiting
      assert.equal(422, maker:post("/api/video_update", bad).status)
    end
    assert.equal(404, h.make.user():post("/api/video_update", { id = waiting, strength_pct = 1 }).status)
  end)

  it("shows those who may watch what became of it", function()
    local film, viewer, stranger = h.make.video(maker), h.make.user(), h.make.user()
    assert.equal(200, maker:post("/api/allow", { video_id = film, username = viewer.username }).status)
    assert.equal(200, maker:post("/api/video_update", { id = film, visibility = "draft" }).status)
    assert.equal(200, viewer:get("/api/videos/" .. film).status)
    assert.equal(404, stranger:get("/api/videos/" .. film).status)
    assert.equal(200, maker:post("/api/video_delete", { id = film }).status)
    local r = viewer:get("/api/videos/" .. film)
    assert.same({ 410, "video.removed" }, { r.status, r.json.code })
    assert.equal(404, stranger:get("/api/videos/" .. film).status)
    assert.equal(404, visitor:get("/api/videos/" .. film).status)
    assert.equal("deleted", viewer:get("/api/library").json.videos[1].processing_state)
    assert.equal(404, viewer:get("/api/request_play?video_id=" .. film).status)
    db.exec("update videos set ready_at = now() where id = $1::uuid", film)
    assert.equal(200, maker:post("/api/video_undelete", { id = film }).status)
    assert.equal(200, viewer:get("/api/videos/" .. film).status)
  end)

  it("pages the maker's own list and the library", function()
    local m, viewer = h.make.user(), h.make.user()
    local ids = {}
    for i = 1, 5 do
      ids[i] = h.make.video(m)
      assert.equal(200, m:post("/api/allow", { video_id = ids[i], username = viewer.username }).status)
    end
    for _, case in ipairs { { m, "/api/my_videos" }, { viewer, "/api/library" } } do
      local seen, cursor = {}, nil
      repeat
        local r = case[1]:get(case[2] .. "?" .. form.encode { limit = 2, cursor = cursor })
        assert.equal(200, r.status, r.body)
        for _, v in ipairs(r.json.videos) do seen[#seen + 1] = v.id end
        cursor = r.json.next_cursor
      until not cursor
      assert.same({ ids[5], ids[4], ids[3], ids[2], ids[1] }, seen)
    end
    assert.same({ viewer.username }, m:get("/api/my_videos").json.videos[1].allow_users)
  end)
end)
