-- SPDX-License-Identifier: Apache-2.0
-- Copies films to the storage: new ones as they are published, all of them by a migration. Both go on where they stopped.
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local time = require "ppv.time"
local copies = require "lib.copies"
local errors = require "lib.errors"
local store = require "lib.store"

local TIMEOUT_S = 24 * 3600
local PATIENCE_S = 1800 -- how long a migration waits for a storage that does not answer before it gives its place to other jobs

-- New films ------------------------------------------------------------------------------------------------------------

-- Films that wait, one after the other, until none does or the storage fails: then each waits longer, at most an hour.
local function copy(job)
  local s, err = store.current()
  if s == nil then return nil, err end
  if not s then return { skipped = true } end
  local done = 0
  while true do
    local row
    row, err = db.one([[select c.video_id::text as id from video_copies c join videos v on v.id = c.video_id
      where c.wanted and c.next_try <= now() and v.state = 'ready' order by c.next_try limit 1]])
    if row == nil then return nil, err end
    if not row then return { films = done } end
    local sum, why = copies.copy(s, row.id, function() return (job:progress(0, { film = row.id })) == true end)
    if not sum or sum.failed > 0 then
      local text = sum and sum.failed .. " files are missing or damaged here" or errors.sentence(why)
      log.warn("storage.copy_failed", { video = row.id, error = text })
      local n
      n, err = db.exec([[update video_copies set attempts = attempts + 1, error = left($2, 500),
        next_try = now() + make_interval(secs => least(3600, 30 * power(2, least(attempts, 10)))) where video_id = $1::uuid]], row.id, text)
      if not n then return nil, err end
      if not sum then return { films = done, error = text } end
    else
      done = done + 1
      log.info("storage.copied", { video = row.id, files = sum.files, bytes = sum.bytes })
    end
  end
end

-- A film whose time to try again has come, or whose job was lost.
local function wake()
  store.announce()
  local row = db.read_one "select 1 as yes from video_copies where wanted and next_try <= now() limit 1"
  if row then db.one "select ppv_job_add('storage.copy', '{}', null, 'storage.copy', now(), -1, 3)" end
end

-- Segments that were copied long enough ago are removed here, if the operator wants that.
local function trim()
  if store.chosen().keep_local then return end
  local s = store.current()
  if not s then return end
  local rows = db.query([[select c.video_id::text as id from video_copies c join videos v on v.id = c.video_id and v.ready_at = c.version
    where c.trim_at < now() and c.copied_at < now() - make_interval(secs => $2) and c.place = $1 and not c.wanted and v.state = 'ready'
    order by c.trim_at limit 20]], s.place, copies.KEEP_S)
  for _, r in ipairs(rows or {}) do
    local n, err = copies.trim(s, r.id)
    if n then log.info("storage.trimmed", { video = r.id, files = n }) else log.warn("storage.trim_failed", { video = r.id, error = err.message }) end
  end
end

-- Migrations -----------------------------------------------------------------------------------------------------------

local function add_items(m)
  if #m.items == 0 then return true end
  local n, err = db.exec([[insert into storage_migration_items (job_id, scope, source_path, object_key, status, retry_attempts, error_message)
    select $1::uuid, 'media', x.path, x.key, x.status, x.tries, x.error from jsonb_to_recordset($2::jsonb)
    as x(path text, key text, status text, tries bigint, error text)]], m.id, json.encode(json.array(m.items)))
  m.items = {}
  return n, err
end

-- Writes down how far it is. -> true | nil, err: job.lost when it was cancelled
local function note(m, last_error)
  local ok, err = add_items(m)
  if not ok then return nil, err end
  local n
  n, err = db.exec([[update storage_migrations m set status = 'running', started_at = coalesce(started_at, now()), total_files = $2, last_error = $3,
    retry_attempts = $4, copied_files = $5, failed_files = $6, skipped_files = $7 where id = $1::uuid and status in ('pending', 'running')]],
    m.id, m.total, last_error, m.retries, m.copied, m.failed, m.skipped)
  if not n then return nil, err end
  if n == 0 then return errors.fail("job.lost", "the migration was cancelled") end
  return true
end

-- What an earlier attempt of the same migration did counts; what failed is tried again.
local function begin(job)
  local m, err = db.one([[select id::text as id, place, retry_attempts as retries from storage_migrations
    where id = $1::uuid and status in ('pending', 'running')]], job.payload.id)
  if not m then return m, err end
  local ok
  ok, err = db.exec("delete from storage_migration_items where job_id = $1::uuid and status = 'failed'", m.id)
  if not ok then return nil, err end
  local rows
  rows, err = db.query("select source_path as path, status from storage_migration_items where job_id = $1::uuid", m.id)
  if not rows then return nil, err end
  m.items, m.known, m.copied, m.skipped, m.failed, m.total = {}, {}, 0, 0, 0, 0
  for _, r in ipairs(rows) do
    m.known[r.path] = true
    m[r.status] = m[r.status] + 1
  end
  m.films, err = db.query "select id::text as id from videos where state = 'ready' and index is not null order by id"
  if not m.films then return nil, err end
  for _, v in ipairs(m.films) do
    local names = copies.names(v.id)
    m.total = m.total + (names and #names or 1)
  end
  return m
end

local function item(m, id, name, status, tries, err)
  local path = id .. "/" .. name
  m.retries = m.retries + (tries or 1) - 1
  if m.known[path] and status ~= "failed" then return end
  m.known[path] = true
  m[status] = m[status] + 1
  m.items[#m.items + 1] = { path = path, key = "videos/" .. path, status = status, tries = (tries or 1) - 1, error = err and errors.sentence(err):sub(1, 500) }
end

-- One film, with the patience that a storage which is down for a while needs. -> true | nil, err
local function film(job, m, s, id)
  local since, pause = time.mono(), 1
  while true do
    local sum, err = copies.copy(s, id, function(name, status, tries, why)
      item(m, id, name, status, tries, why)
      since, pause = time.mono(), 1
      if #m.items >= 100 and not note(m, nil) then return false end
      return (job:progress(m.total > 0 and (m.copied + m.skipped + m.failed) / m.total or 0, { film = id })) == true
    end)
    local ok = sum
    if sum and sum.failed == 0 and store.chosen().keep_local then ok, err = copies.bring_back(s, id) end
    if ok then return true end
    local code = tostring(err.code)
    if code == "request.not_found" or code:find "^io%." or code == "video.not_ready" then
      item(m, id, "SHA256SUMS", "failed", 1, err)
      return true
    end
    if not err.retry or time.mono() - since > PATIENCE_S then return nil, err end
    m.retries = m.retries + 1
    ok, err = note(m, errors.sentence(err))
    if not ok then return nil, err end
    time.sleep(pause)
    pause = math.min(60, pause * 2)
    if not job:progress(0) and job.lost then return errors.fail("job.lost", "the job was taken over") end
  end
end

local function finish(m, status, text)
  local ok, err = note(m, text)
  if not ok then return nil, err end
  return db.exec("update storage_migrations set status = $2, completed_at = now() where id = $1::uuid and status = 'running'", m.id, status)
end

local function migrate(job)
  local m, err = begin(job)
  if m == nil then return nil, err end
  if not m then return { skipped = true } end
  local s, ok
  s, err = store.current()
  if s == nil then return nil, err end
  if not s or s.place ~= m.place then
    finish(m, "failed", "The storage was changed.")
    return { failed = true }
  end
  ok, err = note(m, nil)
  for _, v in ipairs(ok and m.films or {}) do
    ok, err = film(job, m, s, v.id)
    if not ok then break end
  end
  if ok then
    ok, err = finish(m, m.failed > 0 and "completed_with_errors" or "completed", m.failed > 0 and m.failed .. " files could not be copied" or nil)
    if ok then return { copied = m.copied, skipped = m.skipped, failed = m.failed } end
  end
  if err.code == "job.lost" or err.code == "storage.stopped" then return nil, errors.new("job.lost", "the migration was cancelled") end
  local final = not err.retry or job.attempt >= job.max_attempts
  if final then finish(m, "failed", errors.sentence(err)) else note(m, errors.sentence(err)) end
  return nil, { code = err.code, message = errors.sentence(err), retry = not final }
end

-- The twenty newest are shown; the items of others are of no use.
local function purge()
  db.exec [[delete from storage_migrations where status not in ('pending', 'running') and created_at < now() - interval '30 days'
    and id not in (select id from storage_migrations order by created_at desc limit 20)]]
end

return { jobs = { ["storage.copy"] = { run = copy, timeout = TIMEOUT_S }, ["storage.migrate"] = { run = migrate, timeout = TIMEOUT_S } },
  ticks = { { name = "storage_wake", every = 60, run = wake }, { name = "storage_trim", every = 300, run = trim },
    { name = "storage_purge", every = 86400, run = purge } } }
