-- SPDX-License-Identifier: Apache-2.0
-- What somebody watched and where they stopped; they can take single films or all of it out.
local db = require "ppv.db"
local json = require "ppv.json"
local errors = require "lib.errors"
local iso = require "lib.iso"
local page = require "lib.page"

local function save_progress(ctx, input)
  local n, err = db.exec([[insert into watch_progress (user_id, video_id, position_ms, watched_ms, completed)
    select $1, v.id, least($3::bigint, coalesce(v.duration_ms, $3::bigint)), $4, $5 from videos v
    where v.id = $2::uuid and v.state <> 'deleted'
    on conflict (user_id, video_id) do update set position_ms = excluded.position_ms,
    watched_ms = watch_progress.watched_ms + excluded.watched_ms,
    completed = watch_progress.completed or excluded.completed, updated_at = now()]],
    ctx.user.id, input.id, input.position_ms, input.watched_ms, input.completed)
  if not n then return nil, err end
  if n == 0 then return errors.not_found("video") end
  return ctx:ok()
end

local function get_progress(ctx, input)
  local row, err = db.read_one([[select position_ms, watched_ms, completed from watch_progress
    where user_id = $1 and video_id = $2::uuid]], ctx.user.id, input.id)
  if row == nil then return nil, err end
  return ctx:ok(row or { position_ms = 0, watched_ms = 0, completed = false })
end

local function continue(ctx)
  local rows, err = db.read([[select w.video_id::text as video_id, v.title, w.position_ms, v.duration_ms, w.completed,
    case when v.poster is not null then '/media/poster/' || v.id end as poster
    from watch_progress w join videos v on v.id = w.video_id and v.state = 'ready'
    where w.user_id = $1 order by w.updated_at desc limit 50]], ctx.user.id)
  if not rows then return nil, err end
  return ctx:ok { items = json.array(rows) }
end

local function history(ctx, input)
  local after, err = page.read("history", input.cursor, 2)
  if err then return nil, err end
  local rows
  rows, err = db.read("select w.video_id::text as video_id, v.title, u.username::text as owner_name, w.position_ms, w.watched_ms, v.duration_ms, w.completed, "
    .. iso "w.updated_at" .. [[ as watched_at, extract(epoch from w.updated_at)::text as at,
    case when v.state = 'ready' and v.poster is not null then '/media/poster/' || v.id end as poster, v.state = 'ready' as available
    from watch_progress w join videos v on v.id = w.video_id join users u on u.id = v.owner_id where w.user_id = $1
    and ($2::text is null or (w.updated_at, w.video_id) < (to_timestamp($2::float8), $3::uuid))
    order by w.updated_at desc, w.video_id desc limit $4]], ctx.user.id, after and after[1], after and after[2], input.limit + 1)
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "history", function(row) return { row.at, row.video_id } end)
  for _, row in ipairs(rows) do row.at = nil end
  return ctx:ok { items = json.array(rows), next_cursor = next_cursor or json.null }
end

local function forget(ctx, input)
  local n, err = db.exec("delete from watch_progress where user_id = $1 and ($2::uuid is null or video_id = $2::uuid)",
    ctx.user.id, input.id)
  if not n then return nil, err end
  return ctx:ok { removed = n }
end

local ID = { id = { type = "uuid", required = true } }

return { routes = {
  { method = "GET", path = "/api/videos/:id/progress", auth = "user", guest = true, summary = "Where I stopped", input = ID, handler = get_progress },
  { method = "POST", path = "/api/videos/:id/progress", auth = "user", guest = true, rate = "120/m", summary = "Remember where I am",
    handler = save_progress, input = { id = { type = "uuid", required = true },
      position_ms = { type = "int", min = 0, max = 43200000, required = true },
      watched_ms = { type = "int", min = 0, max = 600000, default = 0 }, completed = { type = "bool", default = false } } },
  { method = "GET", path = "/api/watch/continue", auth = "user", guest = true, summary = "What I was watching", handler = continue },
  { method = "GET", path = "/api/watch/history", auth = "user", guest = true, summary = "Everything I watched, newest first", input = page.input(50, 200),
    handler = history },
  { method = "DELETE", path = "/api/watch/history/:id", auth = "user", guest = true, rate = "120/m", summary = "Take one film out of my history", input = ID,
    handler = forget },
  { method = "DELETE", path = "/api/watch/history", auth = "user", guest = true, rate = "30/m", summary = "Clear my history", handler = forget },
} }
