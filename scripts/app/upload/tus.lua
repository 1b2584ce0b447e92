-- SPDX-License-Identifier: Apache-2.0
-- Uploads in pieces that survive lost connections and restarts: tus 1.0.0 (https://tus.io/protocols/resumable-upload) with
-- creation, creation-with-upload, termination, expiration and checksum. uploads.received is what lies on the disk for certain:
-- it is written after the engine has synced these bytes, and a file that is longer is cut there before the next ones.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local http = require "ppv.http"
local json = require "ppv.json"
local log = require "ppv.log"
local time = require "ppv.time"
local config = require "lib.config"
local errors = require "lib.errors"
local intake = require "lib.intake"
local iso = require "lib.iso"
local schema = require "lib.schema"

local VERSION = "1.0.0"
local TUS = { ["tus-resumable"] = VERSION }
local DIGEST = { sha1 = 20, sha256 = 32 }
local OPEN_MAX = 20 -- unfinished uploads of one creator
local PLACE_S, PLACE_EVERY_S = 5, 0.1 -- how long one waits to be among a creator's parallel uploads
local BUSY = "interval '20 seconds'" -- longer than the engine lets a sender be silent

local function expiry() return config.int("upload_expiry", 172800) end
local function parallel() return config.int("upload_parallel", 2) end
local function bad(message) return errors.fail("upload.bad", message, { status = 400 }) end
local function gone() return errors.fail("request.gone", "This upload ran out or was given up. Please start it again.") end
local function http_date(epoch) return os.date("!%a, %d %b %Y %H:%M:%S GMT", epoch) end

local function spoken(ctx)
  if ctx:header "tus-resumable" == VERSION then return true end
  return errors.fail("upload.version", "Send the header Tus-Resumable: " .. VERSION .. ".", { status = 412,
    headers = { ["tus-version"] = VERSION } })
end

-- A header that is a whole number; nil when it is missing or none.
local function number(ctx, name)
  local text = ctx:header(name)
  return text and text:find "^%d+$" and #text <= 15 and tonumber(text) or nil
end

local function has_body(ctx)
  return ctx:header "transfer-encoding" ~= nil or (number(ctx, "content-length") or 0) > 0
end

local function right_type(ctx)
  if (ctx:header "content-type" or ""):lower() == "application/offset+octet-stream" then return true end
  return errors.fail("request.unsupported", "Send the bytes as application/offset+octet-stream.")
end

-- "name base64,flag,..." -> {name = text}
local function metadata(text)
  local out = {}
  for pair in (text or ""):gmatch "[^,]+" do
    local name, value = pair:match "^%s*(%S+)%s*(%S*)%s*$"
    local plain = name and (value == "" and "" or crypto.base64_decode(value))
    if not plain or out[name] then return bad "Upload-Metadata is not a list of names and base64 texts." end
    out[name] = plain
  end
  return out
end

-- {digest, want} of Upload-Checksum, {} without one.
local function checksum(ctx)
  local text = ctx:header "upload-checksum"
  if not text then return {} end
  local name, value = text:match "^(%w+) (%S+)$"
  local want = name and DIGEST[name] and crypto.base64_decode(value)
  if not want or #want ~= DIGEST[name] then return bad "Upload-Checksum is not sha1 or sha256 and the base64 of such a digest." end
  return { digest = name, want = want }
end

local COLUMNS = [[u.id::text as id, u.owner_id, u.state, u.length, u.received, u.hash, u.path, u.name, u.type, u.fields::text as fields,
  u.metadata, u.error, u.error_code, u.expires_at < now() as expired, extract(epoch from u.expires_at)::bigint as expires]]

local function find(ctx, id)
  local row, err = db.one("select " .. COLUMNS .. " from uploads u where u.id = $1::uuid and u.owner_id = $2", id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return errors.not_found "upload" end
  if row.state ~= "done" and (row.expired or row.state == "failed") then return gone() end
  return row
end

-- ---- creating

local function asked(ctx)
  local meta, err = metadata(ctx:header "upload-metadata")
  if not meta then return nil, err end
  if ctx:header "upload-defer-length" then return bad "The length must be known when the upload is created." end
  local u = { length = number(ctx, "upload-length"), name = meta.filename or meta.name or "", type = meta.filetype or meta.type or "" }
  if not u.length then return bad "Upload-Length is not a number of bytes." end
  if u.length == 0 then return intake.refuse "the file is empty" end
  if u.length > intake.max() then return errors.fail("request.too_large", "The file is too large.", { where = "validation" }) end
  u.ext, err = intake.extension(u.name)
  if not u.ext then return nil, err end
  u.fields, err = schema.apply(intake.FIELDS, { title = meta.title, price_cents = meta.price_cents or meta.price,
    description = meta.description }, { where = "validation" })
  if not u.fields then
    err.status = 400
    return nil, err
  end
  u.name, u.type = u.name:gsub("[%c]", ""):sub(1, 200), u.type:sub(1, 100)
  if not (schema.utf8_length(u.name) and schema.utf8_length(u.type)) then return bad "The file's name is not UTF-8." end
  return u
end

-- A creator's uploads begin one after the other, so that two at once cannot both take the last room.
local function reserve(ctx, u)
  return db.tx(function(tx)
    local row, err = tx.one("select pg_advisory_xact_lock(7705, $1::int)::text as x", ctx.user.id % 2147483647)
    if not row then return nil, err end
    row, err = tx.one("select count(*) as n from uploads where owner_id = $1 and state = 'open' and expires_at > now()", ctx.user.id)
    if not row then return nil, err end
    if row.n >= OPEN_MAX then
      return errors.fail("request.rate", ("You have %d unfinished uploads. Finish one or give it up first."):format(row.n), { where = "validation" })
    end
    local ok
    ok, err = intake.room(tx, ctx.user.id, u.length)
    if not ok then return nil, err end
    return tx.one([[insert into uploads (id, owner_id, length, path, name, type, fields, metadata, expires_at)
      select i.id, $1, $2, i.id || '.' || $3, $4, $5, $6::jsonb, $7, now() + make_interval(secs => $8)
      from (select ppv_uuid7() as id) i returning id::text as id, path]], ctx.user.id, u.length, u.ext, u.name, u.type,
      json.encode(u.fields), ctx:header "upload-metadata" or "", expiry())
  end)
end

-- ---- receiving

-- Marks the upload as being written: its row, or false when the creator has as many running already.
local function mark(ctx, id)
  return db.one("update uploads u set busy_until = now() + " .. BUSY .. [[ where u.id = $1::uuid and u.owner_id = $2
    and u.state = 'open' and u.expires_at > now() and (select count(*) from uploads o where o.owner_id = $2 and o.id <> u.id
    and o.busy_until > now()) < $3::int returning ]] .. COLUMNS, id, ctx.user.id, parallel())
end

-- Marks the upload as being written and answers it; refuses a creator's third at the same time. A client whose connection broke is back
-- before its end has been seen here, so a place is waited for. Yields.
local function begin(ctx, id)
  local row, err
  for _ = 0, PLACE_S / PLACE_EVERY_S do
    row, err = mark(ctx, id)
    if row or row == nil then return row, err end
    row, err = find(ctx, id)
    if not row then return nil, err end
    if row.state == "done" then break end
    time.sleep(PLACE_EVERY_S)
  end
  if row.state == "done" then return errors.fail("upload.offset", "This upload is complete.", { status = 409 }) end
  return errors.fail("request.rate", ("You have %d uploads running already."):format(parallel()), { retry = true, retry_after = 10 })
end

local function release(u) db.exec("update uploads set busy_until = null where id = $1::uuid", u.id) end

local function note(u, got, over)
  local n, err = db.exec("update uploads set received = $2, hash = $3, expires_at = now() + make_interval(secs => $4), busy_until = "
    .. (over and "null" or "now() + " .. BUSY) .. " where id = $1::uuid and state = 'open' and received <= $2", u.id, got.offset, got.state,
    expiry())
  if not n then return nil, err end
  if n == 0 then return gone() end
  u.received, u.hash = got.offset, got.state
  return true
end

-- The film is refused: the upload says so until it expires, its bytes go now.
local function give_up(u, err)
  local n = db.exec([[update uploads set state = 'failed', error_code = $2, error = $3, busy_until = null
    where id = $1::uuid and state = 'open']], u.id, err.code, err.message)
  if n and n > 0 then blob.remove_tree("upload", u.path) end
  return nil, err
end

-- True, or the upload is given up because its bytes are no film; or they were taken away meanwhile.
local function check_film(u)
  local ok, err = intake.check_head(u.path)
  if ok then return true end
  if err.code == "input.invalid" then return give_up(u, err) end
  if err.code == "request.not_found" then return gone() end
  return nil, err
end

local function finish(ctx, u, got)
  local ok, err = check_film(u)
  if not ok then return nil, err end
  return intake.store(ctx, json.decode(u.fields), { path = u.path, filename = u.name, type = u.type, size = u.length, sha256 = got.sha256 },
    nil, { id = u.id, also = function(tx)
      local n, e = tx.exec([[update uploads set state = 'done', received = length, hash = '', busy_until = null
        where id = $1::uuid and state = 'open']], u.id)
      if n == 0 then return gone() end
      return n, e
    end })
end

-- A text of ten gigabytes need not arrive to be refused.
local function early(u, got)
  if u.received >= intake.HEAD or got.offset < intake.HEAD then return true end
  return check_film(u)
end

local function take(ctx, u, sum)
  local spec = { offset = u.received, max = u.length - u.received, reserve = intake.reserve(), state = u.hash, digest = sum.digest,
    want = sum.want }
  while true do
    local got, err = http.append(ctx.req, spec)
    if not got then
      if err.code == "request.not_found" then return give_up(u, select(2, gone())) end
      if err.code == "io.disk_full" then err = errors.new("upload.disk_full",
        "There is not enough room for this film on the server at the moment.", { status = 507 }) end
      return nil, err
    end
    if got.mismatch then
      return errors.fail("upload.checksum", "These bytes are not those of the checksum; they were dropped.", { status = 460 })
    end
    if got.ended and got.offset == u.length then return finish(ctx, u, got) end
    local over = got.ended or got.cut
    local ok
    ok, err = early(u, got)
    if ok then ok, err = note(u, got, over) end
    if not ok then return nil, err end
    if over then return true end
  end
end

-- The body of a request onto the upload, from this offset. The lock comes first: what the row says is then the last word.
local function receive(ctx, id, offset, path)
  local sum, err = checksum(ctx)
  if not sum then return nil, err end
  local ok
  ok, err = http.append_open(ctx.req, "upload", path)
  if not ok then
    if err.code == "request.conflict" then
      return errors.fail("upload.locked", "Another request is writing to this upload.", { status = 423, retry = true, retry_after = 1 })
    end
    if err.code == "request.not_found" then return gone() end
    return nil, err
  end
  local u
  u, err = begin(ctx, id)
  if not u then return nil, err end
  if u.received ~= offset then
    ok, err = nil, errors.new("upload.offset", ("The upload is at offset %d."):format(u.received), { status = 409 })
  elseif (number(ctx, "content-length") or 0) > u.length - u.received then
    ok, err = nil, errors.new("request.too_large", "These are more bytes than the upload was to have.")
  else
    ok, err = take(ctx, u, sum)
  end
  if not ok then
    release(u)
    return nil, err
  end
  if ok ~= true then u.received = u.length end
  u.expires = os.time() + expiry()
  return u
end

local function patch(ctx, input)
  local offset = number(ctx, "upload-offset")
  local ok, err = spoken(ctx)
  if ok then ok, err = right_type(ctx) end
  if not ok then return nil, err end
  if not offset then return bad "Upload-Offset is not a number of bytes." end
  local u
  u, err = find(ctx, input.id)
  if u then u, err = receive(ctx, u.id, offset, u.path) end
  if not u then return nil, err end
  return { status = 204, body = "", headers = { ["upload-offset"] = ("%d"):format(u.received), ["upload-expires"] = http_date(u.expires) } }
end

local function create(ctx)
  local ok, err = spoken(ctx)
  if ok and has_body(ctx) then ok, err = right_type(ctx) end
  if not ok then return nil, err end
  local u
  u, err = asked(ctx)
  if not u then return nil, err end
  local row
  row, err = reserve(ctx, u)
  if not row then return nil, err end
  ok, err = blob.write("upload", row.path, "")
  if not ok then return nil, err end
  local headers = { location = "/api/uploads/" .. row.id, ["upload-expires"] = http_date(os.time() + expiry()) }
  log.info("upload.created", { user = ctx.user.id, upload = row.id, length = u.length })
  if has_body(ctx) then
    local got
    got, err = receive(ctx, row.id, 0, row.path)
    if not got then return nil, err end
    headers["upload-offset"] = ("%d"):format(got.received)
  end
  return { status = 201, body = "", headers = headers }
end

-- ---- the rest

local function head(ctx, input)
  local ok, err = spoken(ctx)
  if not ok then return nil, err end
  local u
  u, err = find(ctx, input.id)
  if not u then return nil, err end
  return { status = 200, body = "", headers = { ["upload-offset"] = ("%d"):format(u.received), ["upload-length"] = ("%d"):format(u.length),
    ["upload-metadata"] = u.metadata, ["upload-expires"] = u.state == "open" and http_date(u.expires) or nil, ["cache-control"] = "no-store" } }
end

-- The row stops the request that is still writing; the file goes first, so that none stays behind without a row.
local function terminate(ctx, input)
  local ok, err = spoken(ctx)
  if not ok then return nil, err end
  local row
  row, err = db.one([[update uploads set expires_at = now(), state = 'failed', busy_until = null where id = $1::uuid and owner_id = $2
    and state <> 'done' returning path]], input.id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then
    row, err = find(ctx, input.id)
    if not row then return nil, err end
    return errors.fail("upload.done", "This upload has become a film. Delete it among your videos.", { status = 403 })
  end
  ok, err = blob.remove_tree("upload", row.path)
  if not ok then return nil, err end
  ok, err = db.exec("delete from uploads where id = $1::uuid", input.id)
  if not ok then return nil, err end
  return ctx:empty()
end

local OVERRIDE = { PATCH = patch, DELETE = terminate, HEAD = head }
local function override(ctx, input)
  local run = OVERRIDE[ctx:header "x-http-method-override" or ""]
  if not run then return errors.fail("request.method", "Send PATCH, HEAD or DELETE, or name it in X-HTTP-Method-Override.") end
  return run(ctx, input)
end

local function show(ctx, input)
  local u, err = db.one("select " .. COLUMNS .. ", " .. iso "u.expires_at" .. [[ as expires_at, v.state as video_state,
    (select j.id from jobs j where j.subject = 'video:' || u.id::text order by j.id limit 1) as job_id
    from uploads u left join videos v on v.id = u.id where u.id = $1::uuid and u.owner_id = $2]], input.id, ctx.user.id)
  if u == nil then return nil, err end
  if not u then return errors.not_found "upload" end
  local out = { upload_id = u.id, state = u.state, length = u.length, offset = u.received, name = u.name, expires_at = u.expires_at,
    error = u.error, error_code = u.error_code }
  if u.state == "done" then
    for k, v in pairs(intake.answer(u.owner_id, { video_id = u.id, path = u.path, job_id = u.job_id, status = u.video_state })) do out[k] = v end
  end
  return ctx:ok(out)
end

local function options()
  return { status = 204, body = "", headers = { ["tus-version"] = VERSION, ["tus-max-size"] = ("%d"):format(intake.max()),
    ["tus-extension"] = "creation,creation-with-upload,termination,expiration,checksum", ["tus-checksum-algorithm"] = "sha1,sha256",
    allow = "OPTIONS, POST, HEAD, GET, PATCH, DELETE" } }
end

local ID = { id = { type = "uuid", required = true } }

return { routes = {
  { method = "OPTIONS", path = "/api/uploads", auth = "none", headers = TUS, summary = "What the resumable upload can do", handler = options },
  { method = "OPTIONS", path = "/api/uploads/:id", auth = "none", headers = TUS, summary = "The same", handler = options },
  { method = "POST", path = "/api/uploads", auth = "user", rate = "60/h", body = "stream", headers = TUS, where = true,
    summary = "Begin a resumable upload (tus)", handler = create },
  { method = "HEAD", path = "/api/uploads/:id", auth = "user", rate = "600/m", headers = TUS, summary = "How much of it has arrived", input = ID,
    handler = head },
  { method = "PATCH", path = "/api/uploads/:id", auth = "user", body = "stream", headers = TUS, summary = "The next bytes", input = ID,
    handler = patch },
  { method = "DELETE", path = "/api/uploads/:id", auth = "user", rate = "600/m", headers = TUS, summary = "Give it up", input = ID,
    handler = terminate },
  { method = "POST", path = "/api/uploads/:id", auth = "user", body = "stream", headers = TUS, summary = "PATCH, HEAD or DELETE by X-HTTP-Method-Override",
    input = ID, handler = override },
  { method = "GET", path = "/api/uploads/:id", auth = "user", rate = "600/m", headers = TUS, summary = "The upload, and the film it became",
    input = ID, handler = show },
} }
