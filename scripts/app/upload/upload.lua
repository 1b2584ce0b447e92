-- SPDX-License-Identifier: Apache-2.0
-- Uploading a film and following its preparation.
local blob = require "ppv.blob"
local cache = require "ppv.cache"
local db = require "ppv.db"
local events = require "ppv.events"
local http = require "ppv.http"
local json = require "ppv.json"
local time = require "ppv.time"
local errors = require "lib.errors"
local intake = require "lib.intake"
local schema = require "lib.schema"

local PARALLEL = 2
local refuse = intake.refuse

local function check_file(received)
  if #received.files == 0 then return refuse("missing file") end
  if #received.files > 1 then return refuse("Send exactly one file.") end
  local f = received.files[1]
  if f.field ~= "file" then return refuse("missing file") end
  local ext, err = intake.extension(f.filename)
  if not ext then return nil, err end
  if f.size == 0 then return refuse("the file is empty") end
  local ok
  ok, err = intake.check_head(f.path)
  if not ok then return nil, err end
  return ext
end

local function take(ctx)
  local max = intake.max()
  local length = tonumber(ctx:header("content-length") or "")
  if length and length > max + 65536 then
    return errors.fail("request.too_large", "The file is too large.", { where = "validation" })
  end
  local ok, err = intake.room(db, ctx.user.id, length or 0)
  if not ok then return nil, err end
  local received
  received, err = http.receive(ctx.req, { dir = "upload", max_file = max, max_total = max + 65536,
    reserve = intake.reserve() })
  if not received then
    local ours = err.code == "request.too_large" or err.code == "input.invalid"
    return nil, errors.new(err.code, err.message, { where = ours and "validation" or "multipart",
      status = err.code == "input.invalid" and 400 or nil })
  end
  local done
  local fields
  fields, err = schema.apply(intake.FIELDS, received.fields, { where = "validation" })
  if fields then
    local ext
    ext, err = check_file(received)
    if ext then done, err = intake.store(ctx, fields, received.files[1], ext) end
  else
    err.status = 400
  end
  if not done then
    for _, f in ipairs(received.files) do blob.remove_tree("upload", f.path) end
    return nil, err
  end
  return done
end

local function upload(ctx)
  local slot = "uploads:" .. ctx.user.id
  local n = cache.incr(slot, 1, 6 * 3600)
  if n and n > PARALLEL then
    cache.incr(slot, -1, 6 * 3600)
    return errors.fail("request.rate", "You have two uploads running already.", { retry = true, retry_after = 30, where = "validation" })
  end
  local fine, done, err = pcall(take, ctx)
  cache.incr(slot, -1, 6 * 3600)
  if not fine then error(done, 0) end
  if not done then return nil, err end
  return ctx:ok(intake.answer(ctx.user.id, done), 201)
end

local STATUS = [[select v.id::text as video_id, v.state, v.error, v.error_code, j.id as job_id, j.state as job_state, j.progress,
  j.info::text as info, j.attempts, (select count(*) from jobs b where b.state = 'ready' and b.kind = 'media.ingest' and b.id < j.id) as ahead
  from videos v left join lateral (select * from jobs where subject = 'video:' || v.id::text order by id desc limit 1) j on true
  where v.id = $1::uuid and v.state <> 'deleted' and (v.owner_id = $2 or $3::boolean)]]

local function status_of(ctx, id)
  local row, err = db.read_one(STATUS, id, ctx.user.id, ctx.user.is_admin)
  if row == nil then return nil, err end
  if not row then return errors.not_found("video") end
  local info = row.info and json.decode(row.info) or {}
  return { video_id = row.video_id, status = row.state, job_id = row.job_id, job_state = row.job_state,
    progress = row.state == "ready" and 1 or tonumber(row.progress) or 0, eta_s = info.eta_s, stage = info.stage,
    queue_position = row.job_state == "ready" and row.ahead or nil, error = row.error, error_code = row.error_code,
    hls_ready = row.state == "ready" }
end

local function status(ctx, input)
  local s, err = status_of(ctx, input.id)
  if not s then return nil, err end
  return ctx:ok(s)
end

local function is_final(s) return s.status == "ready" or s.status == "failed" or (s.job_state == "cancelled" and s.status ~= "processing") end

-- Server-sent events: the state now, and again whenever it changed, until it is final or five minutes are over.
local function follow(ctx, input)
  local s, err = status_of(ctx, input.id)
  if not s then return nil, err end
  local sub
  sub, err = events.subscribe("video_progress")
  if not sub then return nil, err end
  local ok
  ok, err = http.stream_open(ctx.req, 200, { ["content-type"] = "text/event-stream", ["cache-control"] = "no-store",
    ["x-accel-buffering"] = "no" })
  if not ok then return nil, err end
  local last, started = nil, time.mono()
  while true do
    local text = json.encode(s)
    if not http.stream_write(ctx.req, text ~= last and ("data: " .. text .. "\n\n") or ": still here\n\n") then break end
    last = text
    if is_final(s) or time.mono() - started > 300 then break end
    local waited = time.mono()
    repeat
      local payload = sub:next(5)
    until payload == input.id or payload == "" or time.mono() - waited >= 5
    s = status_of(ctx, input.id)
    if not s then break end
  end
  http.stream_end(ctx.req)
  return { status = 200, headers = {}, body = { streamed = true } }
end

local function own_job(ctx, id)
  local row, err = db.read_one([[select j.id, j.state, v.state as video_state from videos v
    left join lateral (select * from jobs where subject = 'video:' || v.id::text order by id desc limit 1) j on true
    where v.id = $1::uuid and v.owner_id = $2 and v.state <> 'deleted']], id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
  return row
end

local function cancel(ctx, input)
  local job, err = own_job(ctx, input.id)
  if not job then return nil, err end
  if job.video_state == "ready" then return errors.fail("job.finished", "The film is ready already.") end
  local done
  done, err = db.tx(function(tx)
    local n, e
    if job.id then
      n, e = tx.one("select ppv_job_cancel($1) as yes", job.id)
      if not n then return nil, e end
    end
    return tx.exec([[update videos set state = 'failed', error_code = 'media.cancelled', error = 'You stopped the preparation.'
      where id = $1::uuid and state in ('queued', 'processing')]], input.id)
  end)
  if not done then return nil, err end
  db.notify("video_progress", input.id)
  return ctx:ok { video_id = input.id, status = "failed" }
end

local function retry(ctx, input)
  local job, err = own_job(ctx, input.id)
  if not job then return nil, err end
  if job.video_state ~= "failed" then return errors.fail("job.finished", "Only a failed film can be tried again.") end
  local got
  got, err = db.tx(function(tx)
    local v, e = tx.one([[update videos set state = 'queued', error = null, error_code = null
      where id = $1::uuid and state = 'failed' and upload_path is not null returning id]], input.id)
    if v == nil then return nil, e end
    if not v then return errors.fail("job.finished", "The original file is no longer there.") end
    return tx.one([[select ppv_job_add('media.ingest', jsonb_build_object('video_id', $1::text), 'video:' || $1::text,
      'ingest:' || $1::text, now(), 0, 3, $2) as id]], input.id, ctx.user.id)
  end)
  if not got then return nil, err end
  return ctx:ok { video_id = input.id, status = "queued", job_id = got.id }
end

local ID = { id = { type = "uuid", required = true } }

return { routes = {
  { method = "POST", path = "/api/upload", auth = "user", rate = "30/h", body = "stream", where = true, summary = "Upload a film",
    handler = upload },
  { method = "GET", path = "/api/videos/:id/status", auth = "user", summary = "How far its preparation is", input = ID, handler = status },
  { method = "GET", path = "/api/videos/:id/events", auth = "user", rate = "60/m", summary = "The same as server-sent events",
    input = ID, handler = follow },
  { method = "POST", path = "/api/videos/:id/cancel", auth = "user", rate = "60/m", summary = "Stop the preparation", input = ID,
    handler = cancel },
  { method = "POST", path = "/api/videos/:id/retry", auth = "user", rate = "60/m", summary = "Try a failed film again", input = ID,
    handler = retry },
} }
