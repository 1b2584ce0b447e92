-- SPDX-License-Identifier: Apache-2.0
-- What a runner of a job worker does: claim one job, run it, tell the table. The engine calls run_one again and again.
local db = require "ppv.db"
local jobs = require "ppv.jobs"
local json = require "ppv.json"
local log = require "ppv.log"

local M = {}
local handlers, kinds = {}, {}
local running = {} -- slot -> job
local LEASE_S = 60
local DEFAULT_TIMEOUT_S = 600

local function message(e)
  if type(e) == "table" then
    return tostring(e.message or e.code or "error"), e.retry ~= false, e.code
  end
  return tostring(e), true, nil
end

function M.start(boot)
  handlers = boot.jobs or {}
  local media, other = {}, {}
  for kind in pairs(handlers) do
    local list = kind:find("^media") and media or other
    list[#list + 1] = kind
  end
  kinds = { media = media, other = other }
end

local function decoded(v)
  if type(v) ~= "string" then return v end
  return json.decode(v)
end

-- The job's own view: fields, job:progress(share, info) and job:alive().
local function view(row, slot)
  local job = { id = row.id, kind = row.kind, payload = decoded(row.payload) or {}, subject = row.subject,
    attempt = row.attempts, attempts = row.attempts, max_attempts = row.max_attempts, fence = row.fence, slot = slot, created_by = row.created_by }
  function job.progress(self, share, info)
    self.share, self.info = share, info
    local now = require("ppv.time").mono()
    if self.told and now - self.told < 1 then return true end
    self.told = now
    return M.beat(self)
  end
  return job
end

function M.beat(job)
  local row, err = db.one("select ppv_job_heartbeat($1, $2, $3::real, $4::jsonb, $5) as mine", job.id, job.fence,
    job.share, job.info and json.encode(job.info) or nil, LEASE_S)
  if row and row.mine == false then
    job.lost = true
    return nil, { code = "job.lost", message = "the job was cancelled or taken over", retry = false }
  end
  if not row then return nil, err end
  return true
end

-- Each 15 s, in its own task.
function M.heartbeat()
  for slot, job in pairs(running) do
    M.beat(job)
    if job.lost then
      log.warn("job.lost", { id = job.id, kind = job.kind })
      running[slot] = nil
      jobs.cancel(slot)
    end
  end
end

local function finish(job, ok, result, err)
  if job.lost then return end
  if ok and not (result == nil and err ~= nil) then
    local reply = type(result) == "table" and json.encode(result) or nil
    local done, why = db.one("select ppv_job_finish($1, $2, $3::jsonb) as done", job.id, job.fence, reply)
    if not done then log.error("job.finish", { id = job.id, error = message(why) }) end
    return
  end
  local text, retry = message(ok and err or result)
  log.warn("job.failed", { id = job.id, kind = job.kind, attempt = job.attempt, error = text })
  db.one("select ppv_job_fail($1, $2, $3, $4) as state", job.id, job.fence, text, retry)
end

-- -> seconds until the next look; negative = the poll time.
function M.run_one(slot, lane)
  if #kinds[lane] == 0 then return 5 end
  local row, err = db.one("select * from ppv_job_claim($1::text[], $2, $3)", db.array(kinds[lane]), jobs.owner(), LEASE_S)
  if row == nil then
    log.warn("job.claim", { error = message(err) })
    return 5
  end
  if not row then return -1 end
  local job = view(row, slot)
  local handler = handlers[job.kind]
  running[slot] = job
  jobs.set_timeout(handler.timeout or DEFAULT_TIMEOUT_S)
  local ok, result, fail = pcall(handler.run, job)
  jobs.set_timeout(30)
  finish(job, ok, result, fail)
  jobs.set_timeout(0)
  running[slot] = nil
  return 0
end

-- The runner's task was ended from outside.
function M.abandon(slot, why, stopping)
  local job = running[slot]
  running[slot] = nil
  if not job or job.lost then return end
  if stopping then
    db.one("select ppv_job_release($1, $2) as done", job.id, job.fence)
  else
    db.one("select ppv_job_fail($1, $2, $3, true) as state", job.id, job.fence, why)
  end
end

return M
