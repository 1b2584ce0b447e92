-- SPDX-License-Identifier: Apache-2.0
-- What an upload refuses, with a sentence, leaving no file and no row; and what it accepts.
local conf = require "ppv.conf"
local db = require "ppv.db"
local h = require "spec.support"

local MP4 = "\0\0\0\24ftypisom\0\0\2\0isomiso2mp41" .. ("\0"):rep(200)

local function files()
  local pipe = io.popen("find '" .. conf.get "upload_dir" .. "' -type f 2>/dev/null | sort")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function rows(u) return db.one("select count(*) as n from videos where owner_id = $1", u.id).n end

-- parts: list of {name, value} or {name, value, filename}
local function form(parts, mark)
  mark = mark or "spec-mark"
  local out = {}
  for _, p in ipairs(parts) do
    out[#out + 1] = "--" .. mark .. '\r\ncontent-disposition: form-data; name="' .. p[1] .. '"'
      .. (p[3] and '; filename="' .. p[3] .. '"\r\ncontent-type: video/mp4' or "") .. "\r\n\r\n" .. p[2] .. "\r\n"
  end
  return table.concat(out) .. "--" .. mark .. "--\r\n"
end

local function send(u, parts, o)
  o = o or {}
  return u:request("POST", "/api/upload", { body = o.body or form(parts),
    headers = { ["content-type"] = o.type or "multipart/form-data; boundary=spec-mark" } })
end

local function film(more) -- the parts of a good upload with changes
  local t = { title = "A film", price_cents = "500", description = "About it" }
  for k, v in pairs(more or {}) do t[k] = v end
  local parts = {}
  for k, v in pairs(t) do if v then parts[#parts + 1] = { k, v } end end
  return parts
end

local function with_file(parts, content, name, field)
  parts[#parts + 1] = { field or "file", content or MP4, name or "film.mp4" }
  return parts
end

describe("what a killed upload left", function()
  local function touch(name, age)
    local path = conf.get "upload_dir" .. "/" .. name
    assert.equal(0, os.execute(("mkdir -p '%s' && touch -d '%s' '%s'"):format(conf.get "upload_dir", age, path)))
    return function()
      local f = io.open(path)
      return f and f:close() or false
    end
  end

  it("is removed after a day, and nothing else", function()
    local purge = require "jobs.purge"
    local old = touch(("a"):rep(32) .. ".part", "25 hours ago")
    local young = touch(("b"):rep(32) .. ".part", "23 hours ago")
    local kept = touch(("c"):rep(32) .. ".mp4", "2 years ago")
    assert.equal(1, purge.purge_parts())
    assert.is_false(old())
    assert.is_true(young())
    assert.is_true(kept())
    assert.equal(0, purge.purge_parts())
    os.execute("rm -f '" .. conf.get "upload_dir" .. "'/" .. ("b"):rep(32) .. ".part '" .. conf.get "upload_dir" .. "'/" .. ("c"):rep(32) .. ".mp4")
  end)
end)

describe("an upload", function()
  local u
  before_each(function() u = h.make.user() end)

  it("is stored, queued and shown to its owner", function()
    local r = send(u, with_file(film { title = " My <film> " }))
    assert.equal(201, r.status, r.body)
    assert.equal("queued", r.json.status)
    local row = db.one("select * from videos where id = $1::uuid", r.json.video_id)
    assert.equal("My <film>", row.title)
    assert.equal(500, row.price)
    assert.equal(#MP4, row.upload_size)
    assert.equal(require("ppv.crypto").sha256(MP4, "hex"), row.upload_sha256)
    assert.equal(r.json.video_id .. ".mp4", row.upload_path)
    assert.truthy(files():find(row.upload_path, 1, true))
    assert.is_nil(files():find ".part")
    assert.equal("media.ingest", db.one("select kind from jobs where subject = 'video:' || $1", r.json.video_id).kind)
    local s = u:get("/api/videos/" .. r.json.video_id .. "/status")
    assert.equal("queued", s.json.status)
    assert.equal(404, h.make.user():get("/api/videos/" .. r.json.video_id .. "/status").status)
    r = u:post("/api/videos/" .. r.json.video_id .. "/cancel", {})
    assert.equal(200, r.status, r.body)
    assert.equal("failed", r.json.status)
  end)

  it("takes the smallest form and every accepted extension", function()
    local r = send(u, with_file {})
    assert.equal(201, r.status, r.body)
    local row = db.one("select title, price from videos where id = $1::uuid", r.json.video_id)
    assert.same({ title = "Untitled", price = 0 }, row)
    for _, name in ipairs { "a.MOV", "a.mkv", "a.webm", "a.m4v", "a.b.mp4", "..\\..\\evil.mp4", "../../evil.mp4", "\195\164 b.mp4" } do
      r = send(u, with_file(film(), nil, name))
      assert.equal(201, r.status, name .. ": " .. r.body)
      assert.truthy(r.json.filename:find("^" .. r.json.video_id:gsub("%-", "%%-") .. "%.%w+$"), r.json.filename)
    end
    db.exec("select ppv_job_cancel(id) from jobs where created_by = $1 and state = 'ready'", u.id)
  end)

  for name, case in pairs {
    ["no file"] = { film() }, ["nothing at all"] = { {} }, ["the file under another name"] = { with_file(film(), nil, nil, "video") },
    ["two files"] = { with_file(with_file(film())) }, ["a negative price"] = { with_file(film { price_cents = "-1" }) },
    ["a fraction as price"] = { with_file(film { price_cents = "1.5" }) }, ["words as price"] = { with_file(film { price_cents = "free" }) },
    ["a price beyond the limit"] = { with_file(film { price_cents = "1000000001" }) },
      ["an endless price"] = { with_file(film { price_cents = ("9"):rep(40) }) },
    ["a title that is too long"] = { with_file(film { title = ("x"):rep(201) }) }, ["a title that is no text"] = { with_file(film { title = "\255\254" }) },
    ["a title with control characters"] = { with_file(film { title = "a\0b" }) },
    ["a description that is too long"] = { with_file(film { description = ("x"):rep(5001) }) },
    ["a wrong extension"] = { with_file(film(), nil, "film.exe") }, ["a page"] = { with_file(film(), nil, "film.html") },
    ["an empty file"] = { with_file(film(), "") }, ["a text"] = { with_file(film(), "hello, I am a film") },
    ["a playlist"] = { with_file(film(), "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "a.mp4") },
    ["a page called film"] = { with_file(film(), "<html><script>alert(1)</script>", "a.mp4") },
  } do
    it("is refused: " .. name, function()
      local before = files()
      local r = send(u, case[1])
      assert.equal(400, r.status, r.body)
      if name == "two files" then assert.equal("Send exactly one file.", r.json.error) end
      assert.is_false(r.json.ok)
      assert.is_true(#r.json.error > 8 and #r.json.code > 3)
      assert.equal("validation", r.json.where)
      assert.equal(0, rows(u))
      assert.equal(before, files())
    end)
  end

  it("is refused: a broken body", function()
    local good = form(with_file(film()))
    for _, case in ipairs { { body = good:sub(1, -10) }, { body = good, type = "multipart/form-data" }, { body = good,
      type = "multipart/form-data; boundary=other" },
      { body = "x" }, { body = "{}", type = "application/json" }, { body = good, type = "text/plain" }, { body = good,
        type = "multipart/form-data; boundary=" .. ("b"):rep(300) },
      { body = "--spec-mark\r\n" .. ("x-header: y\r\n"):rep(2000) .. "\r\nx\r\n--spec-mark--\r\n" } } do
      local before = files()
      local r = send(u, nil, case)
      assert.is_true(r.status >= 400 and r.status < 500, r.status .. " " .. r.body)
      assert.is_true(#r.json.error > 8)
      assert.equal(0, rows(u))
      assert.equal(before, files())
    end
  end)

  it("is refused: too many fields, whatever they are", function()
    local parts = film()
    for i = 1, 100 do parts[#parts + 1] = { "f" .. i, "x" } end
    local r = send(u, with_file(parts))
    assert.is_true(r.status >= 400 and r.status < 500, r.body)
    assert.equal(0, rows(u))
  end)

  it("needs somebody who is logged in, on our own page", function()
    local before = files()
    assert.equal(401, send(h.client(), with_file(film())).status)
    local r = u:request("POST", "/api/upload", { body = form(with_file(film())), headers = { origin = "https://evil.example",
      ["content-type"] = "multipart/form-data; boundary=spec-mark" } })
    assert.equal(403, r.status)
    assert.equal(before, files())
    assert.equal(0, rows(u))
  end)

  it("counts against the space of its owner", function()
    db.exec([[insert into videos (owner_id, title, upload_path, upload_size) values ($1, 'big', 'none', 1::bigint << 50)]], u.id)
    local before = files()
    local r = send(u, with_file(film()))
    assert.equal(413, r.status, r.body)
    assert.equal("upload.quota", r.json.code)
    assert.equal(before, files())
  end)

  it("a failed one does not use up the two that may run", function()
    for _ = 1, 4 do assert.equal(400, send(u, film()).status) end
    assert.equal(201, send(u, with_file(film())).status)
  end)
end)
