-- SPDX-License-Identifier: Apache-2.0
-- What was watched: for a creator over the own titles, for administrators over all. People are counted, never named, and
-- the owner's own playing does not count.
local db = require "ppv.db"
local json = require "ppv.json"
local errors = require "lib.errors"

local POINTS = 200 -- of the retention curve, at most
local PLAYS = "ppv_analytics_plays($1, $2::uuid, now() - make_interval(days => $3::int))"

local SQL = {
  totals = [[select count(*) as plays, count(distinct user_id) as viewers, coalesce(sum(watched_s), 0)::bigint as watch_seconds,
    count(*) filter (where completed) as completions from ]] .. PLAYS,
  daily = [[select extract(epoch from date_trunc('day', first_at))::bigint as day, count(*) as plays, sum(watched_s)::bigint as watch_seconds,
    count(*) filter (where completed) as completions from ]] .. PLAYS .. " group by 1 order by 1",
  -- The most playbacks that were going on at one moment of each hour: they come (+1) and go (-1); arrivals count first.
  concurrent = [[select extract(epoch from date_trunc('hour', at))::bigint as hour, max(n) as viewers from (
    select at, sum(step) over (order by at, step desc rows unbounded preceding) as n from (
      select first_at as at, 1 as step from ]] .. PLAYS .. " union all select last_at, -1 from " .. PLAYS .. [[) e) c
    group by 1 order by 1]],
  renditions = [[select e.key as name, sum(e.value::bigint)::bigint as segments from ]] .. PLAYS .. [[ p, jsonb_each_text(p.renditions) e
    group by 1 order by 2 desc]],
  titles = [[select p.video_id::text as video_id, max(v.title) as title, count(*) as plays, count(distinct p.user_id) as viewers,
    sum(p.watched_s)::bigint as watch_seconds, count(*) filter (where p.completed) as completions
    from ]] .. PLAYS .. [[ p join videos v on v.id = p.video_id group by 1 order by 5 desc limit 100]],
  -- How many playbacks held each segment: every watched range opens at its first and closes after its last number.
  retention = [[select seq, sum(sum(step)) over (order by seq)::bigint as plays from (
    select lower(r) as seq, 1 as step from ]] .. PLAYS .. [[ p, unnest(p.watched) r
    union all select upper(r), -1 from ]] .. PLAYS .. [[ p, unnest(p.watched) r) e group by seq order by seq]],
  now = [[select count(distinct k.playback_id) as n from key_log k join videos v on v.id = k.video_id
    where k.at > now() - interval '1 minute' and ($1::bigint is null or v.owner_id = $1) and ($2::uuid is null or v.id = $2::uuid)]],
}

-- The share of the playbacks that saw each stretch of the film, as at most POINTS {second, percent}.
local function curve(steps, film, plays)
  local out, at, held = {}, 1, 0
  local stride = math.max(1, math.ceil(film.nsegments / POINTS))
  for seq = 0, film.nsegments - 1 do
    while steps[at] and steps[at].seq <= seq do
      held = steps[at].plays
      at = at + 1
    end
    if seq % stride == 0 then
      out[#out + 1] = { second = seq * film.duration_ms / film.nsegments / 1000, percent = math.floor(held * 1000 / plays + 0.5) / 10 }
    end
  end
  return out
end

local function film_of(owner, id)
  local row, err = db.read_one([[select v.title, v.duration_ms, (select max(nsegments) from renditions r where r.video_id = v.id and r.kind = 'video')
    as nsegments from videos v where v.id = $2::uuid and ($1::bigint is null or v.owner_id = $1)]], owner, id)
  if row == nil then return nil, err end
  if not row then return errors.not_found("video") end
  return row
end

local function report(ctx, owner, input)
  local out, film = { days = input.days }, nil
  if input.video_id then
    local err
    film, err = film_of(owner, input.video_id)
    if not film then return nil, err end
    out.title, out.duration = film.title, film.duration_ms and film.duration_ms / 1000 or json.null
  end
  for _, name in ipairs { "totals", "daily", "concurrent", "renditions", "titles" } do
    local rows, err = db.read(SQL[name], owner, input.video_id, input.days)
    if not rows then return nil, err end
    out[name] = json.array(rows)
  end
  out.totals = out.totals[1]
  local now, err = db.read_one(SQL.now, owner, input.video_id)
  if not now then return nil, err end
  out.totals.now = now.n
  if film and film.nsegments and out.totals.plays > 0 then
    local steps
    steps, err = db.read(SQL.retention, owner, input.video_id, input.days)
    if not steps then return nil, err end
    out.retention = json.array(curve(steps, film, out.totals.plays))
  end
  return ctx:ok(out)
end

local INPUT = { video_id = { type = "uuid" }, days = { type = "int", min = 1, max = 400, default = 30 } }

return { routes = {
  { method = "GET", path = "/api/analytics", auth = "user", rate = "60/m", summary = "What was watched of my titles", input = INPUT,
    handler = function(ctx, input) return report(ctx, ctx.user.id, input) end },
  { method = "GET", path = "/admin/analytics", auth = "admin", rate = "60/m", summary = "What was watched", input = INPUT,
    handler = function(ctx, input) return report(ctx, nil, input) end },
} }
