-- SPDX-License-Identifier: Apache-2.0
-- Tracing a leaked clip: upload, progress, verdicts, evidence. Creators trace into their own titles, administrators into all.
local blob = require "ppv.blob"
local db = require "ppv.db"
local http = require "ppv.http"
local json = require "ppv.json"
local config = require "lib.config"
local errors = require "lib.errors"
local proof = require "lib.evidence"
local trace = require "lib.trace"

local CLIP_MAX = 2 * 1024 * 1024 * 1024

local function drop(files) for _, f in ipairs(files) do blob.remove_tree("upload", f.path) end end

local function start(ctx)
  local received, err = http.receive(ctx.req, { dir = "upload", max_file = CLIP_MAX, max_total = CLIP_MAX + 65536,
    reserve = config.int("disk_reserve", 0) })
  if not received then return nil, err end
  local f = received.files[1]
  if #received.files ~= 1 or f.field ~= "file" or f.size == 0 then
    drop(received.files)
    return errors.fail("input.invalid", "Send exactly one clip as \"file\".", { status = 400 })
  end
  local ext = (f.filename or ""):match("%.(%w+)$")
  local payload = { path = f.path, ext = ext and #ext <= 10 and ext or nil, name = (f.filename or ""):gsub("[%c]", ""):sub(1, 200),
    sha256 = f.sha256, owner = not ctx:is_admin() and ctx.user.id or nil }
  local job
  job, err = db.one("select ppv_job_add('media.trace', $1::jsonb, 'trace:' || $2::text, null, now(), 1, 2, $2::bigint) as id",
    json.encode(payload), ctx.user.id)
  if not job then
    drop(received.files)
    return nil, err
  end
  return ctx:ok({ job_id = job.id, message = "The clip was received and is being traced." }, 202)
end

local function status(ctx, input)
  local row, err = db.read_one([[select state, progress, info->>'stage' as stage, error, result::text as result from jobs
    where id = $1 and kind = 'media.trace' and (created_by = $2 or $3::boolean)]], input.id, ctx.user.id, ctx:is_admin())
  if row == nil then return nil, err end
  if not row then return errors.not_found("trace") end
  local r = row.result and json.decode(row.result) or {}
  return ctx:ok { job_id = input.id, state = row.state, progress = tonumber(row.progress) or 0, stage = row.stage, error = row.error,
    leak_id = r.leak_id, verdict = r.verdict, reason = r.reason }
end

local SEEN = " from leaks l join videos v on v.id = l.video_id where (v.owner_id = $1 or $2::boolean)"

local function list(ctx)
  local rows, err = db.read([[select l.id, l.video_id::text as video_id, v.title, l.verdict, l.created_at]] .. SEEN
    .. " order by l.id desc limit 100", ctx.user.id, ctx:is_admin())
  if not rows then return nil, err end
  return ctx:ok { leaks = json.array(rows) }
end

local function find(ctx, id)
  local row, err = db.read_one("select l.report->>'file' as file" .. SEEN .. " and l.id = $3", ctx.user.id, ctx:is_admin(), id)
  if row == nil then return nil, err end
  if not row or not row.file then return errors.not_found("leak") end
  return row.file
end

local function show(ctx, input)
  local file, err = find(ctx, input.id)
  if not file then return nil, err end
  local report, why = trace.verify(file)
  if not report then return errors.fail("engine.internal", why) end
  return ctx:ok { leak = report, text = trace.explain(report) }
end

local function evidence(ctx, input)
  local file, err = find(ctx, input.id)
  if not file then return nil, err end
  return { status = 200, body = file, headers = { ["content-type"] = "application/json", ["cache-control"] = "private, no-store",
    ["content-disposition"] = ('attachment; filename="leak-%d.json"'):format(input.id) } }
end

-- The same for people. Its style is within the page, which is meant to be kept as a file.
local function page(ctx, input)
  local file, err = find(ctx, input.id)
  if not file then return nil, err end
  local report, why = trace.verify(file)
  if not report then return errors.fail("engine.internal", why) end
  return { status = 200, body = proof.page(file, report), headers = { ["content-type"] = "text/html; charset=utf-8",
    ["cache-control"] = "private, no-store", ["content-disposition"] = ('attachment; filename="leak-%d.html"'):format(input.id) } }
end

local ID = { id = { type = "int", min = 1, max = 9007199254740991, required = true } }

return { routes = {
  { method = "POST", path = "/api/trace", auth = "user", rate = "20/h", body = "stream", summary = "Trace a leaked clip", handler = start },
  { method = "GET", path = "/api/trace/:id", auth = "user", summary = "How far the tracing is", input = ID,
    handler = status },
  { method = "GET", path = "/api/leaks", auth = "user", summary = "Traced leaks of my titles", handler = list },
  { method = "GET", path = "/api/leaks/:id", auth = "user", summary = "Verdict, suspects and readings of a leak", input = ID,
    handler = show },
  { method = "GET", path = "/api/leaks/:id/evidence", auth = "user", summary = "The signed evidence file", input = ID,
    handler = evidence },
  { method = "GET", path = "/api/leaks/:id/page", auth = "user", summary = "The evidence as a page to keep", input = ID,
    handler = page },
} }
