-- SPDX-License-Identifier: Apache-2.0
-- Where films' encrypted segments are kept: settings, a test of them, and moving what is there already.
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local copies = require "lib.copies"
local errors = require "lib.errors"
local iso = require "lib.iso"
local settings = require "lib.settings"
local store = require "lib.store"

local FIELDS = { "bucket", "region", "access_key", "secret_key", "endpoint", "public_url", "path_style" }
local NEEDED = { "bucket", "access_key", "secret_key" }

-- The settings of a back end's plugin, as they are stored; {} for local.
local function stored(backend)
  local p = store.plugin(backend)
  if not p then return {} end
  return settings.plugin(p.manifest)
end

local function missing(backend, v)
  local out = {}
  if backend == "local" then return out end
  for _, key in ipairs(NEEDED) do if (v[key] or "") == "" then out[#out + 1] = key end end
  if backend ~= "s3" and (v.endpoint or "") == "" then out[#out + 1] = "endpoint" end
  return out
end

local JOB = "m.id::text as id, m.status, m.backend, m.bucket, m.endpoint, m.include_uploads, m.include_media, m.total_files, m.copied_files, "
  .. "m.failed_files, m.skipped_files, m.retry_attempts, m.last_error, m.resumed_from_job_id::text as resumed_from_job_id, m.started_by_user_id, "
  .. iso "m.created_at" .. " as created_at, " .. iso "m.started_at" .. " as started_at, " .. iso "m.completed_at" .. " as completed_at"

-- A migration whose queue job gave up (its worker died again and again) is over as well.
local function bury()
  return db.exec([[update storage_migrations m set status = 'failed', completed_at = now(), last_error = coalesce(j.error, m.last_error)
    from jobs j where j.id = m.queue_job and j.state in ('dead', 'cancelled') and m.status in ('pending', 'running')]])
end

local function jobs()
  local ok, err = bury()
  if not ok then return nil, err end
  local rows
  rows, err = db.query("select " .. JOB .. " from storage_migrations m order by m.created_at desc, m.id desc limit 20")
  if not rows then return nil, err end
  local running = json.null
  for _, r in ipairs(rows) do
    if r.status == "pending" or r.status == "running" then running = r.id end
    for _, key in ipairs { "last_error", "resumed_from_job_id", "started_by_user_id", "started_at", "completed_at" } do
      if r[key] == nil then r[key] = json.null end
    end
  end
  return json.array(rows), running
end

local function show(ctx)
  local chosen = store.chosen()
  local v, err = stored(chosen.backend)
  if not v then return nil, err end
  local list, running = jobs()
  if not list then return nil, running end
  local here
  here, err = copies.figures()
  if not here then return nil, err end
  local lacks = missing(chosen.backend, v)
  local desired = { backend = chosen.backend, secret_key = "", has_secret_key = (v.secret_key or "") ~= "", access_key = v.access_key or "",
    missing_fields = json.array(lacks), configured = #lacks == 0 }
  local active = { backend = chosen.backend }
  for _, t in ipairs { desired, active } do
    t.bucket, t.region, t.endpoint, t.public_url, t.path_style = v.bucket or "", v.region or "us-east-1", v.endpoint or "", v.public_url or "",
      v.path_style == true
  end
  return ctx:ok { active = active, desired = desired, restart_required = false, running_job = running, jobs = list,
    keep_local = chosen.keep_local, deliver = chosen.deliver, backends = json.array(store.backends()), films = here }
end

-- What the form says, on top of what is stored: values, secret given? | nil, err
local function wanted(input)
  local v, err = stored(input.backend)
  if not v then return nil, err end
  local values = {}
  for k, x in pairs(v) do values[k] = x end
  if input.backend == "local" then return values end
  for _, key in ipairs(FIELDS) do if input[key] ~= nil and not (key == "secret_key" and input[key] == "") then values[key] = input[key] end end
  local lacks = missing(input.backend, values)
  if #lacks > 0 then
    return errors.fail("storage.missing_fields", "Missing: " .. table.concat(lacks, ", "):gsub("_", " ") .. ".",
      { extra = { missing_fields = json.array(lacks) } })
  end
  return values
end

local function test(ctx, input)
  local values, err = wanted(input)
  if not values then return nil, err end
  if input.backend == "local" then return ctx:ok { message = "Films stay on this machine." } end
  local s
  s, err = store.open(input.backend, values)
  if not s then return nil, err end
  local r, ok
  r, err = store.test(s)
  ok = audit.write(nil, ctx, "storage.test", "settings", { place = s.place, ok = r ~= nil })
  if not r or not ok then return nil, err end
  return ctx:ok { message = "A small file was written, read back and deleted.", cors = r.cors,
    warning = r.cors and json.null
      or "Pages may not read from it (no Access-Control-Allow-Origin), so films would not play in browsers: set CORS on the bucket." }
end

local function save(ctx, input)
  local values, err = wanted(input)
  if not values then return nil, err end
  local s = false
  if input.backend ~= "local" then
    s, err = store.open(input.backend, values)
    if not s then return nil, err end
  end
  local ok
  ok, err = copies.may_move(s and s.place)
  if not ok then return nil, err end
  local p = store.plugin(input.backend)
  ok, err = db.tx(function(tx)
    local done, e = settings.set(tx, { storage = { backend = input.backend, keep_local = input.keep_local, deliver = input.deliver } }, ctx.user.id)
    if not done then return nil, e end
    for _, spec in ipairs(input.backend ~= "local" and p.manifest.settings or {}) do
      if input[spec.key] ~= nil and not (spec.type == "secret" and input[spec.key] == "") then
        done, e = settings.set_plugin(tx, p.name, spec.key, input[spec.key], spec.type == "secret", ctx.user.id)
        if not done then return nil, e end
      end
    end
    return audit.write(tx, ctx, "settings.storage", "settings", { backend = input.backend, bucket = input.bucket, endpoint = input.endpoint,
      public_url = input.public_url, region = input.region, keep_local = input.keep_local, deliver = input.deliver, secret_changed = input.secret_key ~= "" })
  end)
  settings.changed()
  if p then settings.plugin_changed(p.name) end
  if not ok then return nil, err end
  store.announce()
  return ctx:ok { message = "Saved.", restart_required = false }
end

local function list(ctx)
  local rows, running = jobs()
  if not rows then return nil, running end
  return ctx:ok { running_job = running, jobs = rows }
end

-- The migration that a new one goes on with: nothing to say | nil, err
local function resumable(id, place)
  local row, err = db.one("select status, place from storage_migrations where id = $1::uuid", id)
  if row == nil then return nil, err end
  if not row then return errors.fail("storage.not_found", "There is no such migration.") end
  if row.status ~= "failed" and row.status ~= "cancelled" and row.status ~= "completed_with_errors" then
    return errors.fail("storage.state", "Only a migration that failed, was cancelled or had errors can be resumed.")
  end
  if row.place ~= place then return errors.fail("storage.state", "That migration went to another storage.") end
  return true
end

local function start(ctx, input)
  if input.include_uploads then
    return errors.fail("storage.scope", "Uploaded originals are not encrypted, so they stay on this machine. Back them up there.")
  end
  if not input.include_media then return errors.fail("storage.scope", "Nothing is chosen to be copied.") end
  local s, err = store.current()
  if s == nil then return nil, err end
  if not s then return errors.fail("storage.local", "Set a storage other than this machine first.") end
  local ok
  ok, err = bury()
  if not ok then return nil, err end
  if input.resume_from_job_id then
    ok, err = resumable(input.resume_from_job_id, s.place)
    if not ok then return nil, err end
  end
  local row
  row, err = db.tx(function(tx)
    local m, e = tx.one([[insert into storage_migrations (backend, bucket, endpoint, place, resumed_from_job_id, started_by_user_id)
      values ($1, $2, $3, $4, $5::uuid, $6) on conflict do nothing returning id::text as id]], s.backend, s.c.settings.bucket or "",
      s.c.settings.endpoint or "", s.place, input.resume_from_job_id, ctx.user.id)
    if m == nil then return nil, e end
    if not m then return errors.fail("storage.running", "A migration is running already.") end
    local n
    n, e = tx.exec([[update storage_migrations set queue_job = ppv_job_add('storage.migrate', jsonb_build_object('id', $1::text), null,
      'storage.migrate', now(), -1, 10, $2::bigint) where id = $1::uuid]], m.id, ctx.user.id)
    if not n then return nil, e end
    n, e = audit.write(tx, ctx, "storage.migrate", "storage:" .. m.id, { place = s.place, resumed_from = input.resume_from_job_id })
    if not n then return nil, e end
    return m
  end)
  if not row then return nil, err end
  return ctx:ok { job_id = row.id, resumed_from_job_id = input.resume_from_job_id or json.null, message = "The migration was started." }
end

local function cancel(ctx, input)
  local row, err = db.tx(function(tx)
    local m, e = tx.one([[update storage_migrations set status = 'cancelled', completed_at = now()
      where id = $1::uuid and status in ('pending', 'running') returning queue_job]], input.id)
    if m == nil then return nil, e end
    if not m then return errors.fail("storage.state", "This migration is not running.") end
    local done
    done, e = tx.exec("select ppv_job_cancel($1)", m.queue_job)
    if not done then return nil, e end
    return audit.write(tx, ctx, "storage.cancel", "storage:" .. input.id)
  end)
  if not row then return nil, err end
  return ctx:ok { message = "The migration was cancelled. What is copied stays." }
end

local function items(ctx, input)
  local known, err = db.read_one("select 1 as yes from storage_migrations where id = $1::uuid", input.id)
  if known == nil then return nil, err end
  if not known then return errors.fail("storage.not_found", "There is no such migration.") end
  local rows
  rows, err = db.read("select id, scope, source_path, object_key, status, retry_attempts, error_message, " .. iso "created_at" .. [[ as created_at
    from storage_migration_items where job_id = $1::uuid and ($2::text is null or status = $2) order by id desc limit 200]], input.id, input.status)
  if not rows then return nil, err end
  for _, r in ipairs(rows) do if r.error_message == nil then r.error_message = json.null end end
  return ctx:ok { job_id = input.id, items = json.array(rows) }
end

local INPUT = {
  backend = { type = "string", max = 60, required = true, pattern = "^[a-z0-9_]+$", hint = "is not known" },
  bucket = { type = "string", max = 200, default = "", keep_blank = true },
  region = { type = "string", max = 60, pattern = "^[%w-]*$", hint = "must be letters, digits and hyphens", default = "us-east-1" },
  access_key = { type = "string", max = 200, default = "", keep_blank = true },
  secret_key = { type = "string", max = 500, raw = true, default = "", keep_blank = true },
  endpoint = { type = "string", max = 300, pattern = "^h?t?t?p?s?:?/?/?[%w._:%[%]-]*/?$", hint = "must be https://host", default = "", keep_blank = true },
  public_url = { type = "string", max = 500, default = "", keep_blank = true },
  path_style = { type = "bool", default = false }, keep_local = { type = "bool", default = true },
  deliver = { type = "bool", default = true },
}
local ID = { id = { type = "uuid", required = true } }

return { routes = {
  { method = "GET", path = "/admin/storage_settings", auth = "admin", summary = "Where films are kept", handler = show },
  { method = "POST", path = "/admin/storage_settings", auth = "admin", step_up = true, rate = "20/m", summary = "Set where films are kept",
    handler = save, input = INPUT },
  { method = "POST", path = "/admin/storage_settings/test", auth = "admin", step_up = true, rate = "20/m", summary = "Try a storage without saving it",
    handler = test, input = INPUT },
  { method = "GET", path = "/admin/storage_migrations", auth = "admin", summary = "Migrations to the storage", handler = list },
  { method = "POST", path = "/admin/storage_migrations", auth = "admin", step_up = true, rate = "20/m", summary = "Copy all films to the storage",
    handler = start, input = { include_uploads = { type = "bool", default = false }, include_media = { type = "bool", default = false },
      resume_from_job_id = { type = "uuid" } } },
  { method = "POST", path = "/admin/storage_migrations/:id/cancel", auth = "admin", summary = "Cancel a migration", handler = cancel, input = ID },
  { method = "GET", path = "/admin/storage_migrations/:id/items", auth = "admin", summary = "Files of a migration", handler = items,
    input = { id = { type = "uuid", required = true }, status = { type = "enum", values = { "copied", "failed", "skipped" } } } },
} }
