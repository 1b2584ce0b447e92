-- SPDX-License-Identifier: Apache-2.0
-- Users, videos, jobs, plugins, the audit log.
local db = require "ppv.db"
local host = require "ppv.host"
local json = require "ppv.json"
local plugin = require "ppv.plugin"
local audit = require "lib.audit"
local errors = require "lib.errors"
local iso = require "lib.iso"
local page = require "lib.page"
local registry = require "lib.registry"
local session = require "lib.session"
local settings = require "lib.settings"

local function like(q) return q and (q:gsub("[\\%%_]", "\\%0")) end

local function users(ctx, input)
  local after, err = page.read("admin.users", input.cursor, 1)
  if err then return nil, err end
  local rows
  rows, err = db.read([[select u.id, u.username::text as username, u.email::text as email, u.is_admin,
    u.disabled_at is not null as suspended, coalesce(a.balance, 0) as balance_cents,
    (select count(*) from videos v where v.owner_id = u.id and v.state <> 'deleted') as videos,
    (select count(*) from purchases p where p.user_id = u.id) as purchases, ]] .. iso "u.created_at" .. " as created_at, "
    .. iso "u.last_login_at" .. [[ as last_login_at
    from users u left join ledger_accounts a on a.kind = 'user' and a.owner_id = u.id and a.name = 'wallet' and a.currency = 'USD'
    where ($1::text is null or u.username::text ilike '%' || $1::text || '%' or u.email::text ilike '%' || $1::text || '%')
    and ($2::bigint is null or u.id < $2::bigint) order by u.id desc limit $3]], like(input.q), after and after[1], input.limit + 1)
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "admin.users", function(row) return { row.id } end)
  return ctx:ok { users = json.array(rows), next_cursor = next_cursor or json.null }
end

local function suspend(on)
  return function(ctx, input)
    if input.id == ctx.user.id then return errors.invalid("You cannot suspend yourself.") end
    local done, err = db.tx(function(tx)
      local row, e = tx.one([[update users set disabled_at = case when $2::boolean then now() end
        where id = $1 returning id]], input.id, on)
      if row == nil then return nil, e end
      if not row then return errors.not_found("user") end
      local ended = 0
      if on then
        ended, e = session.revoke_all(input.id, nil, tx)
        if not ended then return nil, e end
        local n
        n, e = tx.exec([[update playback_sessions set state = 'ended', end_reason = 'suspended', ended_at = now()
          where user_id = $1 and state = 'ready']], input.id)
        if not n then return nil, e end
      end
      local ok
      ok, e = audit.write(tx, ctx, on and "user.suspend" or "user.unsuspend", "user:" .. input.id, { reason = input.reason })
      if not ok then return nil, e end
      return ended
    end)
    if not done then return nil, err end
    return ctx:ok { user_id = input.id, suspended = on, sessions_ended = done }
  end
end

local function videos(ctx, input)
  local after, err = page.read("admin.videos", input.cursor, 1)
  if err then return nil, err end
  local rows
  rows, err = db.read([[select v.id::text as id, v.title, v.owner_id, u.username::text as owner_name, v.price as price_cents,
    v.currency::text as currency, v.state, v.visibility, v.error, v.error_code, v.duration_ms, v.upload_size, ]]
    .. iso "v.created_at" .. [[ as created_at, (select count(*) from purchases p where p.video_id = v.id) as sales
    from videos v join users u on u.id = v.owner_id
    where ($1::text is null or v.title ilike '%' || $1::text || '%' or u.username::text ilike $1::text)
    and ($2::text is null or v.state = $2::text) and ($3::uuid is null or v.id < $3::uuid) order by v.id desc limit $4]],
    like(input.q), input.state, after and after[1], input.limit + 1)
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "admin.videos", function(row) return { row.id } end)
  return ctx:ok { videos = json.array(rows), next_cursor = next_cursor or json.null }
end

local function take_down(ctx, input)
  local done, err = db.tx(function(tx)
    local row, e = tx.one([[update videos set state = 'deleted', deleted_at = now() where id = $1::uuid and state <> 'deleted'
      returning id]], input.id)
    if row == nil then return nil, e end
    if not row then return errors.not_found("video") end
    return audit.write(tx, ctx, "video.take_down", "video:" .. input.id, { reason = input.reason })
  end)
  if not done then return nil, err end
  return ctx:ok { video_id = input.id }
end

local function revoke_access(ctx, input)
  local row, err = db.one("select ppv_revoke($1, $2, $3::uuid, $4, $5::inet) as yes", ctx.user.id, input.user_id, input.video_id, input.reason,
    ctx.ip)
  if not row then return nil, err end
  return ctx:ok { removed = row.yes and 1 or 0 }
end

local function jobs(ctx, input)
  local rows, err = db.read("select id, kind, subject, state, priority, attempts, max_attempts, progress, info::text as info, error, "
    .. iso "created_at" .. " as created_at, " .. iso "run_at" .. " as run_at, " .. iso "started_at" .. " as started_at, "
    .. iso "finished_at" .. [[ as finished_at from jobs where ($1::text is null or state = $1::text)
    and ($2::text is null or kind = $2::text) order by id desc limit $3]], input.state, input.kind, input.limit)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do
    row.info = row.info and json.decode(row.info) or nil
    row.progress = tonumber(row.progress)
  end
  return ctx:ok { jobs = json.array(rows) }
end

local function job_action(fn, action)
  return function(ctx, input)
    local row, err = db.tx(function(tx)
      local got, e = tx.one("select " .. fn .. "($1) as yes", input.id)
      if not got then return nil, e end
      if not got.yes then return errors.fail("job.state", "The job is not in a state for this.") end
      local ok
      ok, e = audit.write(tx, ctx, action, "job:" .. input.id)
      if not ok then return nil, e end
      return got
    end)
    if not row then return nil, err end
    return ctx:ok { job_id = input.id }
  end
end

local function plugins(ctx)
  local state = plugin.state()
  local out = {}
  for i, p in ipairs(registry.list) do
    local fields = {}
    local loaded = registry.by_name[p.name]
    local values = loaded and settings.plugin(loaded.manifest) or {}
    for k, s in ipairs(p.settings) do
      local v = values[s.key]
      if s.type == "secret" then v = v and v ~= "" and "set" or "" end
      fields[k] = { key = s.key, type = s.type, title = s.title or s.key, help = s.help or "", required = s.required or false,
        values = s.values, value = v == nil and json.null or v }
    end
    out[i] = { name = p.name, kind = p.kind, version = p.version, title = p.title, state = p.state, hash = host.source_hash(p.name),
      caps = json.array(p.caps), settings = json.array(fields) }
  end
  return ctx:ok { plugins = json.array(out), bundle = { id = state.id, hash = state.hash, read_at = state.read_at },
    problems = json.array(state.problems or {}) }
end

local function reload(ctx)
  local answer, err = plugin.reload()
  if not answer then return nil, err end
  local ok
  ok, err = audit.write(nil, ctx, "plugin.reload", "plugins", { ok = answer.ok })
  if not ok then return nil, err end
  if not answer.ok then
    return ctx:json(409, { ok = false, error = "The new code was refused; the running code stays.", code = "plugin.invalid",
      problems = json.array(answer.problems or {}), request_id = ctx.id })
  end
  return ctx:ok { id = answer.id, hash = answer.hash, problems = json.array(answer.problems or {}) }
end

local function rollback(ctx)
  local answer, err = plugin.rollback()
  if not answer then return nil, err end
  local ok
  ok, err = audit.write(nil, ctx, "plugin.rollback", "plugins", { ok = answer.ok })
  if not ok then return nil, err end
  return ctx:json(answer.ok and 200 or 409, answer)
end

-- The fields of the settings form: setting_<key>, checked by the manifest's type. A blank secret keeps the old one.
local function save_plugin(ctx, input)
  local p = registry.by_name[input.name]
  if not p then return errors.not_found("plugin") end
  local values, secrets = registry.values(p.manifest, input.settings or {})
  if not values then return nil, secrets end
  local done, err = db.tx(function(tx)
    local names = {}
    for key, value in pairs(values) do
      local ok, e = settings.set_plugin(tx, p.name, key, value, secrets[key], ctx.user.id)
      if not ok then return nil, e end
      names[#names + 1] = key
    end
    return audit.write(tx, ctx, "plugin.settings", "plugin:" .. p.name, { keys = json.array(names) })
  end)
  settings.plugin_changed(p.name)
  if not done then return nil, err end
  return ctx:ok()
end

local function audit_log(ctx, input)
  local after, err = page.read("admin.audit", input.cursor, 1)
  if err then return nil, err end
  local rows
  rows, err = db.read("select a.id, " .. iso "a.at" .. [[ as at, a.actor_id, u.username::text as actor, a.action, a.target,
    a.detail::text as detail, host(a.ip) as ip from audit_log a left join users u on u.id = a.actor_id
    where ($1::bigint is null or a.id < $1::bigint) and ($2::text is null or a.action = $2::text) order by a.id desc limit $3]],
    after and after[1], input.action, input.limit + 1)
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "admin.audit", function(row) return { row.id } end)
  for _, row in ipairs(rows) do row.detail = json.decode(row.detail) end
  return ctx:ok { items = json.array(rows), next_cursor = next_cursor or json.null }
end

local USER_ID = { id = { type = "int", min = 1, required = true }, reason = { type = "string", max = 500, default = "" } }
local VIDEO_ID = { id = { type = "uuid", required = true }, reason = { type = "string", max = 500, default = "" } }
local JOB_ID = { id = { type = "int", min = 1, required = true } }

local function paged(more)
  local input = page.input(50, 200)
  for k, v in pairs(more) do input[k] = v end
  return input
end

return { routes = {
  { method = "GET", path = "/admin/users", auth = "admin", summary = "Users", input = paged { q = { type = "string", max = 100 } },
    handler = users },
  { method = "POST", path = "/admin/users/:id/suspend", auth = "admin", step_up = true, summary = "Suspend a user", input = USER_ID,
    handler = suspend(true) },
  { method = "POST", path = "/admin/users/:id/unsuspend", auth = "admin", step_up = true, summary = "Lift a suspension", input = USER_ID,
    handler = suspend(false) },
  { method = "GET", path = "/admin/videos", auth = "admin", summary = "Videos", handler = videos,
    input = paged { q = { type = "string", max = 100 }, state = { type = "string", max = 20 } } },
  { method = "POST", path = "/admin/videos/:id/delete", auth = "admin", summary = "Take a video down", input = VIDEO_ID,
    handler = take_down },
  { method = "POST", path = "/admin/access/revoke", auth = "admin", step_up = true, summary = "Take access to a video back", handler = revoke_access,
    input = { user_id = { type = "int", min = 1, required = true }, video_id = { type = "uuid", required = true },
      reason = { type = "string", max = 500, required = true } } },
  { method = "GET", path = "/admin/jobs", auth = "admin", summary = "Background jobs", handler = jobs,
    input = { state = { type = "string", max = 20 }, kind = { type = "string", max = 60 },
      limit = { type = "int", min = 1, max = 500, default = 100 } } },
  { method = "POST", path = "/admin/jobs/:id/retry", auth = "admin", summary = "Run a job again", input = JOB_ID,
    handler = job_action("ppv_job_retry", "job.retry") },
  { method = "POST", path = "/admin/jobs/:id/cancel", auth = "admin", summary = "Cancel a job", input = JOB_ID,
    handler = job_action("ppv_job_cancel", "job.cancel") },
  { method = "GET", path = "/admin/plugins", auth = "admin", summary = "Plugins and what is wrong with them", handler = plugins },
  { method = "POST", path = "/admin/plugins/reload", auth = "admin", summary = "Read scripts and plugins again", handler = reload },
  { method = "POST", path = "/admin/plugins/rollback", auth = "admin", summary = "Back to the code before", handler = rollback },
  { method = "POST", path = "/admin/plugins/:name/settings", auth = "admin", step_up = true, summary = "Settings of a plugin", handler = save_plugin,
    input = { name = { type = "string", max = 60, required = true }, settings = { type = "object" } } },
  { method = "GET", path = "/admin/audit", auth = "admin", summary = "Audit log", input = paged { action = { type = "string", max = 80 } },
    handler = audit_log },
} }
