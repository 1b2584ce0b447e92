-- SPDX-License-Identifier: Apache-2.0
-- The resumable upload: every status of the protocol, what a film becomes, and that nothing stays behind.
local blob = require "ppv.blob"
local conf = require "ppv.conf"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local h = require "spec.support"

local FILM = "\0\0\0\24ftypisom\0\0\2\0isomiso2mp41" .. crypto.random(1024) .. crypto.random(1024) .. crypto.random(1000)
  .. crypto.random(1024) .. crypto.random(1024)
local b64 = crypto.base64_encode

local function meta(t)
  local out = {}
  for k, v in pairs(t) do out[#out + 1] = k .. " " .. b64(v) end
  return table.concat(out, ",")
end

-- One request of the protocol. headers: false leaves a usual one out.
local function tus(u, method, path, headers, body)
  local all = { ["tus-resumable"] = "1.0.0" }
  if method == "PATCH" or body then all["content-type"] = "application/offset+octet-stream" end
  for k, v in pairs(headers or {}) do all[k] = v end
  return u:request(method, path, { headers = all, body = body })
end

local function create(u, o, body)
  o = o or {}
  return tus(u, "POST", "/api/uploads", { ["upload-length"] = tostring(o.length or #FILM),
    ["upload-metadata"] = meta(o.meta or { filename = "film.mp4", filetype = "video/mp4", title = "A <film>", price_cents = "500" }) }, body)
end

local function begun(u, o)
  local r = create(u, o)
  assert.equal(201, r.status, r.body)
  return r.headers.location, r
end

local function patch(u, at, offset, bytes, headers)
  local all = { ["upload-offset"] = tostring(offset) }
  for k, v in pairs(headers or {}) do all[k] = v end
  return tus(u, "PATCH", at, all, bytes)
end

local function offset(u, at)
  local r = tus(u, "HEAD", at)
  assert.equal(200, r.status)
  return tonumber(r.headers["upload-offset"])
end

local function id_of(at) return at:match "[^/]+$" end
local function row(at) return db.one("select * from uploads where id = $1::uuid", id_of(at)) end
local function refused(r, status, code)
  assert.equal(status, r.status, r.body)
  assert.equal("1.0.0", r.headers["tus-resumable"])
  if r.json then
    assert.is_false(r.json.ok)
    assert.equal(code, r.json.code)
    assert.is_true(#r.json.error > 8)
  end
end

describe("a resumable upload", function()
  local u
  before_each(function() u = h.make.user() end)
  after_each(function() db.exec("select ppv_job_cancel(id) from jobs where created_by = $1 and state = 'ready'", u.id) end)

  it("says what it can do to anybody", function()
    local r = h.client():request("OPTIONS", "/api/uploads")
    assert.equal(204, r.status)
    assert.equal("1.0.0", r.headers["tus-version"])
    assert.equal("1.0.0", r.headers["tus-resumable"])
    assert.equal(tostring(conf.get "max_upload"), r.headers["tus-max-size"])
    assert.equal("sha1,sha256", r.headers["tus-checksum-algorithm"])
    for _, name in ipairs { "creation", "creation-with-upload", "termination", "expiration", "checksum" } do
      assert.truthy(("," .. r.headers["tus-extension"] .. ","):find("," .. name .. ",", 1, true), name)
    end
  end)

  it("becomes the film the form would have made", function()
    local at = begun(u)
    assert.equal(0, offset(u, at))
    local r = patch(u, at, 0, FILM:sub(1, 1000))
    assert.equal(204, r.status, r.body)
    assert.equal("1000", r.headers["upload-offset"])
    assert.truthy(r.headers["upload-expires"]:find "^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$")
    assert.equal(1000, offset(u, at))
    local half = u:get(at).json
    assert.same({ "open", 1000, #FILM }, { half.state, half.offset, half.length })
    assert.equal(204, patch(u, at, 1000, FILM:sub(1001, 1000)).status) -- no bytes at all
    assert.equal(204, patch(u, at, 1000, FILM:sub(1001, 4097)).status)
    r = patch(u, at, 4097, FILM:sub(4098))
    assert.equal(204, r.status, r.body)
    assert.equal(tostring(#FILM), r.headers["upload-offset"])
    assert.equal(#FILM, offset(u, at))
    local video = db.one("select * from videos where id = $1::uuid", id_of(at))
    assert.equal("A <film>", video.title)
    assert.equal(500, video.price)
    assert.equal("film.mp4", video.upload_name)
    assert.equal("video/mp4", video.upload_type)
    assert.equal(#FILM, video.upload_size)
    assert.equal(crypto.sha256(FILM, "hex"), video.upload_sha256)
    assert.equal(FILM, blob.read("upload", video.upload_path))
    local job = db.one("select id, kind from jobs where subject = 'video:' || $1", id_of(at))
    assert.equal("media.ingest", job.kind)
    local done = u:get(at).json
    local form = { ok = true, video_id = video.id, owner_id = u.id, filename = video.upload_path, status = "queued", job_id = job.id }
    for k, v in pairs(form) do assert.equal(v, done[k], k) end
    assert.equal("done", done.state)
    refused(patch(u, at, #FILM, ""), 409, "upload.offset")
    refused(tus(u, "DELETE", at), 403, "upload.done")
    assert.is_true(blob.exists("upload", video.upload_path))
  end)

  it("may bring its first bytes, or all of them, when it is created", function()
    local r = create(u, nil, FILM:sub(1, 100))
    assert.equal(201, r.status, r.body)
    assert.equal("100", r.headers["upload-offset"])
    assert.equal(204, patch(u, r.headers.location, 100, FILM:sub(101)).status)
    r = create(u, nil, FILM)
    assert.equal(201, r.status, r.body)
    assert.equal(tostring(#FILM), r.headers["upload-offset"])
    assert.equal(id_of(r.headers.location), u:get(r.headers.location).json.video_id)
    assert.equal(crypto.sha256(FILM, "hex"), db.one("select upload_sha256 as x from videos where id = $1::uuid", id_of(r.headers.location)).x)
  end)

  it("refuses another version, and tells its own", function()
    local at = begun(u)
    for _, v in ipairs { false, "0.2.2", "1.0.1" } do
      for _, call in ipairs { { "POST", "/api/uploads" }, { "PATCH", at }, { "HEAD", at }, { "DELETE", at } } do
        local r = tus(u, call[1], call[2], { ["tus-resumable"] = v, ["upload-length"] = "10", ["upload-offset"] = "0" }, call[1] == "PATCH" and "x" or nil)
        refused(r, 412, "upload.version")
        assert.equal("1.0.0", r.headers["tus-version"])
      end
    end
    assert.equal(0, offset(u, at))
  end)

  for name, case in pairs {
    ["no length"] = { 400, { ["upload-length"] = false } }, ["a negative length"] = { 400, { ["upload-length"] = "-5" } },
    ["a fraction"] = { 400, { ["upload-length"] = "1.5" } }, ["an endless length"] = { 400, { ["upload-length"] = ("9"):rep(30) } },
    ["a length to be told later"] = { 400, { ["upload-length"] = false, ["upload-defer-length"] = "1" } },
    ["nothing"] = { 400, { ["upload-length"] = "0" } }, ["too much"] = { 413, { ["upload-length"] = "99999999999999" } },
    ["metadata that is no base64"] = { 400, { ["upload-metadata"] = "filename ###" } },
    ["metadata said twice"] = { 400, { ["upload-metadata"] = "filename YQ==,filename Yg==" } },
    ["a wrong kind of file"] = { 400, { ["upload-metadata"] = meta { filename = "film.exe" } } },
    ["a name that is no text"] = { 400, { ["upload-metadata"] = meta { filename = "\255\254.mp4" } } },
    ["a title that is too long"] = { 400, { ["upload-metadata"] = meta { title = ("x"):rep(201) } } },
    ["a price that is none"] = { 400, { ["upload-metadata"] = meta { price_cents = "free" } } },
  } do
    it("is not created with " .. name, function()
      local headers = { ["upload-length"] = "10" }
      for k, v in pairs(case[2]) do headers[k] = v end
      local r = tus(u, "POST", "/api/uploads", headers)
      assert.equal(case[1], r.status, r.body)
      assert.is_true(#r.json.error > 8 and #r.json.code > 3)
      assert.equal(0, db.one("select count(*) as n from uploads where owner_id = $1", u.id).n)
    end)
  end

  it("refuses wrong bytes at the wrong place", function()
    local at = begun(u)
    refused(patch(u, at, 0, "x", { ["content-type"] = "text/plain" }), 415, "request.unsupported")
    refused(patch(u, at, 0, "x", { ["upload-offset"] = false }), 400, "upload.bad")
    refused(patch(u, at, 0, "x", { ["upload-offset"] = "-1" }), 400, "upload.bad")
    refused(patch(u, at, 5, "x"), 409, "upload.offset")
    refused(patch(u, at, 0, FILM .. "x"), 413, "request.too_large")
    assert.equal(0, offset(u, at))
    assert.equal(204, patch(u, at, 0, FILM:sub(1, 10)).status)
    refused(patch(u, at, 0, FILM), 409, "upload.offset")
    assert.equal(10, offset(u, at))
    assert.equal(204, patch(u, at, 10, FILM:sub(11)).status)
    assert.equal(crypto.sha256(FILM, "hex"), db.one("select upload_sha256 as x from videos where id = $1::uuid", id_of(at)).x)
  end)

  it("drops a chunk that is not what its checksum says", function()
    local at = begun(u)
    local first, rest = FILM:sub(1, 2000), FILM:sub(2001)
    local function sum(s) return { ["upload-checksum"] = "sha256 " .. b64(crypto.sha256(s)) } end
    refused(patch(u, at, 0, first, sum(rest)), 460, "upload.checksum")
    assert.equal(0, offset(u, at))
    assert.equal(0, blob.size("upload", row(at).path))
    assert.equal(204, patch(u, at, 0, first, sum(first)).status)
    assert.equal(2000, offset(u, at))
    -- SHA-1 of "abc", from FIPS 180
    local abc = b64(crypto.hex_decode "a9993e364706816aba3e25717850c26c9cd0d89d")
    refused(patch(u, at, 2000, "abd", { ["upload-checksum"] = "sha1 " .. abc }), 460, "upload.checksum")
    assert.equal(2000, blob.size("upload", row(at).path))
    local other = begun(u)
    assert.equal(204, patch(u, other, 0, "abc", { ["upload-checksum"] = "sha1 " .. abc }).status)
    for _, text in ipairs { "sha1", "md5 " .. abc, "sha1 ###", "sha256 " .. abc, "sha1  " .. abc } do
      refused(patch(u, at, 2000, rest, { ["upload-checksum"] = text }), 400, "upload.bad")
    end
    assert.equal(204, patch(u, at, 2000, rest, sum(rest)).status)
    assert.equal(crypto.sha256(FILM, "hex"), db.one("select upload_sha256 as x from videos where id = $1::uuid", id_of(at)).x)
  end)

  it("cuts what a killed request wrote and did not vouch for", function()
    local at = begun(u)
    assert.equal(204, patch(u, at, 0, FILM:sub(1, 1000)).status)
    local f = io.open(conf.get "upload_dir" .. "/" .. row(at).path, "ab")
    f:write(("garbage"):rep(100))
    f:close()
    assert.equal(204, patch(u, at, 1000, FILM:sub(1001)).status)
    assert.equal(FILM, blob.read("upload", id_of(at) .. ".mp4"))
  end)

  it("is over when its file is not what was vouched for", function()
    local at = begun(u)
    assert.equal(204, patch(u, at, 0, FILM:sub(1, 1000)).status)
    assert(io.open(conf.get "upload_dir" .. "/" .. row(at).path, "wb")):close()
    refused(patch(u, at, 1000, FILM:sub(1001)), 410, "request.gone")
    refused(tus(u, "HEAD", at), 410)
    local missing = begun(u)
    blob.remove_tree("upload", row(missing).path)
    refused(patch(u, missing, 0, FILM), 410, "request.gone")
  end)

  it("is refused as soon as it is clear that it is no film", function()
    local at = begun(u)
    local path = row(at).path
    refused(patch(u, at, 0, ("I am a text. "):rep(20)), 400, "input.invalid")
    assert.equal("failed", row(at).state)
    assert.is_false(blob.exists("upload", path))
    refused(tus(u, "HEAD", at), 410)
    assert.equal("the file is not a film", u:get(at).json.error)
    at = begun(u, { length = 30 })
    refused(patch(u, at, 0, ("x"):rep(30)), 400, "input.invalid")
    assert.equal("failed", row(at).state)
    assert.equal(0, db.one("select count(*) as n from videos where owner_id = $1", u.id).n)
  end)

  it("can be given up", function()
    local at = begun(u)
    assert.equal(204, patch(u, at, 0, FILM:sub(1, 100)).status)
    local path = row(at).path
    assert.is_true(blob.exists("upload", path))
    assert.equal(204, tus(u, "DELETE", at).status)
    assert.is_false(blob.exists("upload", path))
    assert.is_false(row(at))
    refused(tus(u, "DELETE", at), 404, "request.not_found")
    refused(tus(u, "HEAD", at), 404)
    refused(patch(u, at, 100, FILM:sub(101)), 404, "request.not_found")
  end)

  it("speaks POST where a proxy knows no PATCH", function()
    local at = begun(u)
    local function post(method, headers, body)
      headers["x-http-method-override"] = method
      return tus(u, "POST", at, headers, body)
    end
    local r = post("PATCH", { ["upload-offset"] = "0" }, FILM:sub(1, 50))
    assert.equal(204, r.status, r.body)
    assert.equal("50", post("HEAD", {}).headers["upload-offset"])
    refused(post("GET", {}), 405, "request.method")
    refused(post(false, {}), 405, "request.method")
    assert.equal(204, post("DELETE", {}).status)
  end)

  it("belongs to its owner, on our own pages", function()
    local at = begun(u)
    local stranger, guest = h.make.user(), h.client()
    refused(tus(guest, "POST", "/api/uploads", { ["upload-length"] = "10" }), 401, "auth.required")
    for _, call in ipairs { { "HEAD" }, { "PATCH", FILM }, { "DELETE" }, { "GET" } } do
      refused(tus(stranger, call[1], at, { ["upload-offset"] = "0" }, call[2]), 404, "request.not_found")
      refused(tus(guest, call[1], at, { ["upload-offset"] = "0" }, call[2]), 401, "auth.required")
    end
    for _, foreign in ipairs { { origin = "https://evil.example" }, { origin = false } } do
      refused(patch(u, at, 0, FILM, foreign), 403, "auth.cross_origin")
      foreign["upload-length"] = "10"
      refused(tus(u, "POST", "/api/uploads", foreign), 403, "auth.cross_origin")
    end
    assert.equal(204, patch(u, at, 0, FILM:sub(1, 9), { origin = false, ["x-ppv"] = "1" }).status) -- no browser
    assert.equal(9, offset(u, at))
  end)

  it("counts against the space of its owner while it is open", function()
    local quota, big = conf.get "user_quota", conf.get "max_upload"
    for _ = 1, math.floor(quota / big) do
      local r = create(u, { length = big })
      if r.status == 507 then -- this machine's disk is smaller than the quota
        refused(r, 507, "upload.disk_full")
        db.exec("insert into uploads (owner_id, length, path, expires_at) values ($1, $2, 'none', now() + interval '1 hour')", u.id, quota)
        break
      end
      assert.equal(201, r.status, r.body)
    end
    refused(create(u, { length = big }), 413, "upload.quota")
    db.exec("update uploads set expires_at = now() where owner_id = $1", u.id)
    assert.equal(201, create(u).status)
    db.exec("delete from uploads where owner_id = $1", u.id)
  end)

  it("leaves the disk its reserve, with what others were promised", function()
    local other = h.make.user()
    db.exec("insert into uploads (owner_id, length, path, expires_at) values ($1, 1::bigint << 50, 'none', now() + interval '1 hour')", other.id)
    refused(create(u), 507, "upload.disk_full")
    db.exec("delete from uploads where owner_id = $1", other.id)
    assert.equal(201, create(u).status)
  end)

  it("is one of twenty, and one of two that run", function()
    local at = begun(u)
    db.exec([[insert into uploads (owner_id, length, path, expires_at, busy_until) select $1, 10, 'none', now() + interval '1 hour',
      now() + interval '1 minute' from generate_series(1, 2)]], u.id)
    local r = patch(u, at, 0, FILM)
    refused(r, 429, "request.rate")
    assert.truthy(r.headers["retry-after"])
    db.exec("update uploads set busy_until = now() where owner_id = $1", u.id)
    assert.equal(204, patch(u, at, 0, FILM:sub(1, 5)).status)
    db.exec([[insert into uploads (owner_id, length, path, expires_at) select $1, 10, 'none', now() + interval '1 hour'
      from generate_series(1, 17)]], u.id)
    refused(create(u), 429, "request.rate")
    db.exec("delete from uploads where owner_id = $1 and path = 'none'", u.id)
    assert.equal(201, create(u).status)
  end)

  it("runs out, and its bytes are removed", function()
    local purge = require "jobs.purge"
    local at, done = begun(u), begun(u)
    assert.equal(204, patch(u, at, 0, FILM:sub(1, 100)).status)
    assert.equal(204, patch(u, done, 0, FILM).status)
    local path = row(at).path
    purge.purge_uploads()
    assert.truthy(row(at))
    db.exec("update uploads set expires_at = now() - interval '1 second' where owner_id = $1", u.id)
    refused(tus(u, "HEAD", at), 410)
    refused(patch(u, at, 100, FILM:sub(101)), 410, "request.gone")
    assert.equal(2, purge.purge_uploads())
    assert.is_false(blob.exists("upload", path))
    assert.is_true(blob.exists("upload", id_of(done) .. ".mp4"))
    refused(tus(u, "HEAD", at), 404)
    refused(tus(u, "HEAD", done), 404)
  end)
end)
