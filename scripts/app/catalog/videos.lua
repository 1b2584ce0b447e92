-- SPDX-License-Identifier: Apache-2.0
-- The catalogue, one video, the creator's own videos, changes, deletion, posters.
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local display = require "lib.display"
local errors = require "lib.errors"
local iso = require "lib.iso"
local origins = require "lib.origins"
local page = require "lib.page"

local UNDELETE_DAYS = 7

local COLUMNS = [[v.id::text as id, v.owner_id, u.username::text as owner_name, u.profile_desc as owner_profile_desc, v.title,
  v.description, v.price as price_cents, v.currency::text as currency, v.state as processing_state, v.duration_ms, v.width,
  v.height, v.poster, v.upload_name, case when not v.alone then (select min(f.price) from offers f where f.active and f.currency = v.currency
    and (f.kind = 'rental' and f.video_id = v.id or f.kind = 'bundle' and exists (select from offer_videos m where m.offer_id = f.id and m.video_id = v.id)))
  end as from_cents, v.preview_ms, coalesce(p.pct, cp.pct, 0) as commission_pct, coalesce(p.enabled, cp.enabled, false) as has_affiliate, ]]
  .. iso "v.created_at" .. " as created_at"
local PROGRAM = " left join affiliate_programs p on p.video_id = v.id left join creator_programs cp on cp.creator_id = v.owner_id "
local FROM = " from videos v join users u on u.id = v.owner_id" .. PROGRAM

-- Of a rental: when it ends (before the first play: until when it must be started) and how long it lasts from then on.
local RENTAL = iso "e.expires_at" .. " as rental_ends_at, e.first_play_at is not null as rental_started, e.play_hours"

local function shape(row)
  row.hls_ready = row.processing_state == "ready"
  row.duration = row.duration_ms and row.duration_ms / 1000 or json.null
  -- Another picture has another address: copies of the old one may be kept for an hour.
  local number = row.poster and (row.poster:match("_(%d+)%.jpg$") or row.poster:match("_(%d+)/"))
  row.poster = row.poster and row.processing_state ~= "deleted" and ("/media/poster/" .. row.id .. (number and "?n=" .. number or "")) or json.null
  row.filename = row.id .. ((row.upload_name or ""):match("%.%w+$") or ".mp4"):lower()
  row.upload_name, row.duration_ms = nil, nil
  if not row.has_affiliate then row.commission_pct = 0 end
  -- Sold only for rent or in bundles: what the cheapest of those costs.
  row.price_display = (row.from_cents and "from " or "") .. display.money(row.from_cents or row.price_cents, row.currency)
  return row
end

-- Sort orders: the column list of the cursor, how it continues, how it sorts.
local SORTS = {
  newest = { keys = { "id" }, after = "v.id < $%d::uuid", order = "v.id desc" },
  oldest = { keys = { "id" }, after = "v.id > $%d::uuid", order = "v.id" },
  cheapest = { keys = { "price_cents", "id" }, after = "(v.price, v.id) > ($%d::bigint, $%d::uuid)", order = "v.price, v.id" },
  dearest = { keys = { "price_cents", "id" }, after = "(v.price, v.id) < ($%d::bigint, $%d::uuid)",
    order = "v.price desc, v.id desc" },
  title = { keys = { "sort_title", "id" }, after = "(lower(v.title), v.id) > ($%d::text, $%d::uuid)",
    order = "lower(v.title), v.id" },
}

-- Words of a search as a prefix query; nil when there is none.
local function words(q)
  local out = {}
  for w in q:gmatch("[%w\128-\255]+") do
    if #out < 8 then out[#out + 1] = "'" .. w:sub(1, 60) .. "':*" end
  end
  return #out > 0 and table.concat(out, " & ") or nil
end

local function list(ctx, input)
  local sort = SORTS[input.sort]
  local where, args = { "v.state in ('ready', 'queued', 'processing')", "v.visibility = 'published'", "u.disabled_at is null" }, {}
  local function arg(v)
    args[#args + 1] = v
    return #args
  end
  if input.q then
    local prefix = words(input.q)
    local name = arg(input.q)
    where[#where + 1] = prefix and ("(v.search @@ to_tsquery('simple', $%d) or u.username = $%d::citext)"):format(arg(prefix), name)
      or ("u.username = $%d::citext"):format(name)
  end
  if input.owner_id then where[#where + 1] = ("v.owner_id = $%d"):format(arg(input.owner_id)) end
  local after, err = page.read("videos." .. input.sort, input.cursor, #sort.keys)
  if err then return nil, err end
  if after then
    local first = #args + 1
    for _, v in ipairs(after) do arg(v) end
    where[#where + 1] = sort.after:format(first, first + 1)
  end
  local rows
  rows, err = db.read("select " .. COLUMNS .. ", lower(v.title) as sort_title" .. FROM .. "where " .. table.concat(where, " and ")
    .. " order by " .. sort.order .. (" limit $%d"):format(arg(input.limit + 1)), unpack(args, 1, #args))
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "videos." .. input.sort, function(row)
    local keys = {}
    for i, k in ipairs(sort.keys) do keys[i] = tostring(row[k]) end
    return keys
  end)
  for _, row in ipairs(rows) do
    row.sort_title = nil
    shape(row)
  end
  return ctx:ok { videos = json.array(rows), next_cursor = next_cursor or json.null }
end

-- Nobody's video, or one that a buyer knows and its creator took away.
local function absent(ctx, id)
  if not ctx.user then return errors.not_found("video") end
  local row, err = db.read_one([[select 1 as yes from entitlements e join videos v on v.id = e.video_id
    where v.id = $1::uuid and v.state = 'deleted' and e.user_id = $2 and e.revoked_at is null]], id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return errors.not_found("video") end
  return errors.fail("video.removed", "The creator has removed this video. Should it come back, it is yours as before.", { status = 410 })
end

local function one(ctx, input)
  local row, err = db.read_one("select " .. COLUMNS .. ", v.visibility, coalesce(v.chapters, '[]')::text as chapters, v.error, v.error_code, "
    .. "v.state = 'failed' and v.upload_path is not null as can_retry" .. FROM
    .. "where v.id = $1::uuid and v.state <> 'deleted'", input.id)
  if row == nil then return nil, err end
  if not row then return absent(ctx, input.id) end
  local mine = ctx.user and (ctx.user.id == row.owner_id or ctx.user.is_admin)
  local access, rental = json.null, json.null
  if ctx.user then
    local got
    got, err = db.read_one("select ppv_access($1, $2::uuid) as why, " .. RENTAL .. [[ from users u
      left join entitlements e on e.user_id = u.id and e.video_id = $2::uuid and e.revoked_at is null where u.id = $1]], ctx.user.id, input.id)
    if not got then return nil, err or errors.new("auth.required", "user not found") end
    access = got.why or json.null
    if access == "rental" then rental = { ends_at = got.rental_ends_at, started = got.rental_started, play_hours = got.play_hours } end
  end
  -- One that is not listed any more stays with those who may watch it.
  if not mine and (row.processing_state == "failed" or (row.visibility ~= "published" and access == json.null)) then
    return errors.not_found("video")
  end
  if not mine then row.error, row.error_code, row.visibility, row.can_retry = nil, nil, nil, nil end
  row.chapters = json.array(json.decode(row.chapters))
  local video = shape(row)
  video.access, video.rental = access, rental
  return ctx:ok { video = video }
end

local function mine(ctx, input)
  local after, err = page.read("mine", input.cursor, 1)
  if err then return nil, err end
  local rows
  rows, err = db.read("select v.id::text as id, v.title, v.description, v.price as price_cents, v.currency::text as currency, "
    .. iso "v.created_at" .. [[ as created_at, v.state as processing_state, v.visibility, v.error, v.error_code, v.duration_ms,
    v.poster, v.upload_name, v.deleted_at is not null as deleted, v.state = 'failed' and v.upload_path is not null as can_retry,
    coalesce((select json_agg(distinct ppv_grant_name(e.source, a.username::text)) from allowlist a join entitlements e on e.id = a.id
      where a.video_id = v.id), '[]')::text as allow_users,
    (select count(*) from purchases s where s.video_id = v.id and s.revoked_at is null) as sales,
    (select j.id from jobs j where j.subject = 'video:' || v.id order by j.id desc limit 1) as job_id
    from videos v where v.owner_id = $1 and ($2::uuid is null or v.id < $2::uuid)
    and (v.state <> 'deleted' or v.deleted_at > now() - make_interval(days => $4::int)) order by v.id desc limit $3]],
    ctx.user.id, after and after[1], input.limit + 1, UNDELETE_DAYS)
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "mine", function(row) return { row.id } end)
  for _, row in ipairs(rows) do
    row.allow_users = json.decode(row.allow_users)
    row.allow_count = #row.allow_users
    shape(row)
  end
  return ctx:ok { videos = json.array(rows), next_cursor = next_cursor or json.null }
end

-- What the page for editing needs; a deleted one as long as it can come back.
local function mine_one(ctx, input)
  local row, err = db.one("select v.id::text as id, v.title, v.description, v.price as price_cents, v.currency::text as currency, "
    .. iso "v.created_at" .. " as created_at, " .. iso "(v.deleted_at + make_interval(days => $3::int))" .. [[ as undelete_until,
    v.state as processing_state, v.visibility, v.error, v.error_code, v.duration_ms, v.poster, v.upload_name, v.preview_ms,
    round(coalesce(case when v.state not in ('queued', 'failed') then v.index ->> 'strength' end, v.mark ->> 'strength', '0.95')::numeric
      * 100)::int as strength_pct,
    v.state in ('queued', 'failed') as strength_open,
    coalesce((v.mark ->> 'visible')::int, 0) as mark_visible, coalesce(v.mark ->> 'fail', 'open') as mark_fail,
    v.embed_origins, (select count(*) from purchases s where s.video_id = v.id and s.revoked_at is null) as sales
    from videos v where v.id = $1::uuid and v.owner_id = $2
    and (v.state <> 'deleted' or v.deleted_at > now() - make_interval(days => $3::int))]], input.id, ctx.user.id, UNDELETE_DAYS)
  if row == nil then return nil, err end
  if not row then return errors.not_found("video") end
  row.undelete_days = UNDELETE_DAYS
  return ctx:ok { video = shape(row) }
end

-- What the viewer bought or was given, with where they stopped. What its creator removed is there too, as deleted.
local function library(ctx, input)
  local after, err = page.read("library", input.cursor, 1)
  if err then return nil, err end
  local rows
  rows, err = db.read("select " .. COLUMNS .. ", e.id as entitlement_id, e.kind, " .. RENTAL .. ", " .. iso "e.created_at" .. [[ as purchased_at,
    coalesce(w.position_ms, 0) as position_ms, coalesce(w.completed, false) as completed
    from entitlements e join videos v on v.id = e.video_id join users u on u.id = v.owner_id]] .. PROGRAM .. [[
    left join watch_progress w on w.user_id = e.user_id and w.video_id = e.video_id
    where e.user_id = $1 and e.revoked_at is null and (e.expires_at is null or e.expires_at > now())
    and ($2::bigint is null or e.id < $2::bigint) order by e.id desc limit $3]], ctx.user.id, after and after[1], input.limit + 1)
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "library", function(row) return { row.entitlement_id } end)
  for _, row in ipairs(rows) do
    shape(row)
    if row.kind ~= "rental" then row.rental_started = nil end
  end
  return ctx:ok { videos = json.array(rows), next_cursor = next_cursor or json.null }
end

local function not_yours() return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end

-- What is given away is at most half of the film; before its length is known, whatever is asked is cut when it is shown.
local function check_preview(ctx, input)
  if not input.preview_ms or input.preview_ms == 0 then return true end
  local row, err = db.one("select duration_ms from videos where id = $1::uuid and owner_id = $2", input.id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return not_yours() end
  if row.duration_ms and input.preview_ms * 2 > row.duration_ms then
    return errors.invalid(("The free preview can be at most half of the film: %d seconds"):format(row.duration_ms / 2000),
      { field = "preview_ms" })
  end
  return true
end

local function update(ctx, input)
  local ok, err = check_preview(ctx, input)
  if not ok then return nil, err end
  local embed, odd
  if input.embed_origins then
    embed, odd = origins.read(input.embed_origins)
    if not embed then
      return errors.invalid(("%s cannot be allowed: write up to %d addresses like https://example.org"):format(odd, origins.MAX),
        { field = "embed_origins" })
    end
  end
  local row
  row, err = db.one([[update videos set title = coalesce($3, title), description = coalesce($4, description),
    price = coalesce($5, price), visibility = coalesce($6, visibility), preview_ms = coalesce($7, preview_ms), embed_origins = coalesce($9, embed_origins),
    mark = mark || jsonb_strip_nulls(jsonb_build_object('strength', $8::int / 100.0, 'visible', $10::int, 'fail', $11::text))
    where id = $1::uuid and owner_id = $2 and state <> 'deleted' and ($8::int is null or state in ('queued', 'failed')) returning 1 as yes]],
    input.id, ctx.user.id, input.title, input.description, input.price_cents, input.visibility, input.preview_ms, input.strength_pct,
    embed, input.mark_visible, input.mark_fail)
  if row == nil then return nil, err end
  if row then return ctx:ok { video_id = input.id } end
  row, err = db.one("select 1 as yes from videos where id = $1::uuid and owner_id = $2 and state <> 'deleted'", input.id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return not_yours() end
  return errors.fail("video.prepared", "The strength is part of the film's files: it can be changed only before it is prepared.",
    { field = "strength_pct" })
end

local function delete(ctx, input)
  local done, err = db.tx(function(tx)
    local row, e = tx.one([[update videos set state = 'deleted', deleted_at = now()
      where id = $1::uuid and owner_id = $2 and state <> 'deleted' returning id]], input.id, ctx.user.id)
    if row == nil then return nil, e end
    if not row then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
    local n
    n, e = tx.exec([[select ppv_job_cancel(id) from jobs where subject = 'video:' || $1 and state in ('ready', 'running')]], input.id)
    if not n then return nil, e end
    return audit.write(tx, ctx, "video.delete", "video:" .. input.id)
  end)
  if not done then return nil, err end
  return ctx:ok { video_id = input.id, undelete_days = UNDELETE_DAYS }
end

local function undelete(ctx, input)
  local row, err = db.one([[update videos set state = case when ready_at is not null then 'ready' else 'queued' end, deleted_at = null
    where id = $1::uuid and owner_id = $2 and state = 'deleted' and deleted_at > now() - make_interval(days => $3::int)
    returning state]], input.id, ctx.user.id, UNDELETE_DAYS)
  if row == nil then return nil, err end
  if not row then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
  if row.state == "queued" then
    local n
    n, err = db.exec("select ppv_job_add('media.ingest', jsonb_build_object('video_id', $1::text), 'video:' || $1::text, 'ingest:' || $1::text)",
      input.id)
    if not n then return nil, err end
  end
  return ctx:ok { video_id = input.id, status = row.state }
end

local function poster(ctx, input)
  local row, err = db.read_one("select poster from videos where id = $1::uuid and state = 'ready'", input.id)
  if row == nil then return nil, err end
  if not row or not row.poster then return errors.not_found("poster") end
  return ctx:file("media", row.poster, { ["cache-control"] = "public, max-age=3600" }, "image/jpeg")
end

local ID = { id = { type = "uuid", required = true } }
local CHANGE = { id = { type = "uuid", required = true }, title = { type = "string", max = 200 },
  description = { type = "string", max = 5000, multiline = true, keep_blank = true },
  price_cents = { type = "int", min = 0, max = 1000000000 },
  visibility = { type = "enum", values = { "published", "draft" } }, preview_ms = { type = "int", min = 0, max = 43200000 },
  mark_visible = { type = "int", min = 0, max = 100 }, mark_fail = { type = "enum", values = { "open", "wait" } },
  strength_pct = { type = "int", min = 0, max = 120 },
  embed_origins = { type = "string", max = 2000, multiline = true, keep_blank = true } }

local function paging(default, max, more)
  local input = page.input(default, max)
  for k, v in pairs(more or {}) do input[k] = v end
  return input
end

return { routes = {
  { method = "GET", path = "/api/videos", auth = "public", rate = "600/m", summary = "The catalogue", handler = list,
    input = paging(100, 200, { q = { type = "string", max = 200 }, owner_id = { type = "int", min = 1 },
      sort = { type = "enum", values = { "newest", "oldest", "cheapest", "dearest", "title" }, default = "newest" } }) },
  { method = "GET", path = "/api/videos/:id", auth = "public", rate = "600/m", summary = "One video", input = ID, handler = one },
  { method = "GET", path = "/api/my_videos", auth = "user", summary = "The creator's own videos", input = paging(100, 200),
    handler = mine },
  { method = "GET", path = "/api/my_videos/:id", auth = "user", summary = "One of them, for editing", input = ID,
    handler = mine_one },
  { method = "GET", path = "/api/library", auth = "user", guest = true, summary = "What I may watch", input = paging(50, 200), handler = library },
  { method = "POST", path = "/api/video_update", auth = "user", rate = "60/m", summary = "Change title, price, preview, mark",
    input = CHANGE, handler = update },
  { method = "POST", path = "/api/video_delete", auth = "user", rate = "60/m", summary = "Delete a video", input = ID, handler = delete },
  { method = "DELETE", path = "/api/videos/:id", auth = "user", rate = "60/m", summary = "Delete a video", input = ID, handler = delete },
  { method = "POST", path = "/api/video_undelete", auth = "user", rate = "60/m", summary = "Take a deletion back", input = ID,
    handler = undelete },
  { method = "GET", path = "/media/poster/:id", auth = "none", summary = "The still picture", input = ID, handler = poster },
} }
