-- SPDX-License-Identifier: Apache-2.0
-- Preparing an uploaded film: probe, encode in the sandboxed child, then one transaction that makes it watchable.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local media = require "ppv.media"
local metrics = require "ppv.metrics"
local time = require "ppv.time"
local chapters = require "lib.chapters"
local context = require "lib.ctx"
local copies = require "lib.copies"
local mailer = require "lib.mailer"
local subtitles = require "lib.subtitles"

local TIMEOUT_S = 12 * 3600
local INDEX_MAX = 32 * 1024 * 1024

local function lost() return nil, { code = "job.lost", message = "the job was cancelled or taken over", retry = false } end

local function begin(id)
  return db.one([[update videos set state = 'processing', error = null, error_code = null
    where id = $1::uuid and state in ('queued', 'processing', 'failed') and upload_path is not null
    returning upload_path, title_secret, title, owner_id, (mark->>'strength')::float8 as strength]], id)
end

-- Tells the table and whoever watches the progress bar, once a second; false ends the child.
local function reporter(job, id)
  local last = 0
  return function(event)
    local now = time.mono()
    if now - last < 1 then return true end
    last = now
    local ok, err = job:progress(event.progress or 0, { eta_s = event.eta_s, stage = event.stage })
    if not ok and err and err.code == "job.lost" then return false end
    db.notify("video_progress", id)
    return true
  end
end

-- The child writes beside the film's directory (<id>.new.part, where an attempt after a crash goes on; <id>.new when it is
-- complete); that moves in, the index last. A film that is being watched keeps its old files until `ppv media gc`: the new
-- ones have other names.
local function beside(id) return id .. ".new" end

local function clear(id)
  for _, dir in ipairs { beside(id), beside(id) .. ".part" } do
    local ok, err = blob.remove_tree("media", dir)
    if not ok then log.warn("ingest.leftover", { video = id, code = err.code }) end
  end
end

-- width and height are absent for audio.
local function insert_rendition(tx, id, kind, r)
  local bytes = 0
  for _, s in ipairs(r.segments) do bytes = bytes + s.size end
  if r.segments_b then bytes = 2 * bytes end -- of equal length, one by one
  return tx.exec([[insert into renditions (video_id, name, kind, width, height, bandwidth, codecs, init_path, segments, nsegments, bytes,
    language, label, is_default)
    values ($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11, nullif($12, ''), nullif($13, ''), $14)
    on conflict (video_id, name) do update set kind = excluded.kind, width = excluded.width, height = excluded.height,
    bandwidth = excluded.bandwidth, codecs = excluded.codecs, init_path = excluded.init_path, segments = excluded.segments,
    nsegments = excluded.nsegments, bytes = excluded.bytes, language = excluded.language, label = excluded.label,
    is_default = excluded.is_default, previous = jsonb_build_object('init', renditions.init_path, 'segments', renditions.segments)]], id, r.name, kind,
    r.w, r.h, math.ceil(r.bandwidth), r.codecs, r.init,
    json.encode { a = json.array(r.segments), b = r.segments_b and json.array(r.segments_b) }, #r.segments, bytes,
    r.language, r.label, r.default or false)
end

-- The subtitles that were in the film's file. Those that its creator added stay.
local function insert_subtitles(tx, id, list)
  local n, e = tx.exec("delete from subtitles where video_id = $1::uuid and source = 'embedded'", id)
  for i, t in ipairs(list) do
    if not n then break end
    n, e = tx.exec([[insert into subtitles (video_id, source, position, language, label, cues, vtt)
      values ($1::uuid, 'embedded', $2, nullif($3, ''), nullif($4, ''), $5, $6)]], id, i - #list, t.language, t.label, #t.cues,
      subtitles.vtt(t.cues))
  end
  return n, e
end

-- Reads what the child found: list of {language, label, cues}, the default one first.
local function read_subtitles(id, index)
  local out = {}
  for _, t in ipairs(index.subtitles or {}) do
    local text, err = blob.read("media", beside(id) .. "/" .. t.file, INDEX_MAX)
    if not text then return nil, err end
    local cues = subtitles.from_film(json.decode(text) or {}, t.codec)
    if #cues > 0 then
      table.insert(out, t.default and 1 or #out + 1, { language = t.language, label = t.label, cues = cues })
    end
  end
  return out
end

local function publish(job, id, index, result, state, texts)
  return db.tx(function(tx)
    local mine, e = tx.one("select ppv_job_heartbeat($1, $2) as yes", job.id, job.fence)
    if not mine then return nil, e end
    if not mine.yes then return lost() end
    local n
    local names = {}
    for _, list in ipairs { { "video", index.renditions }, { "audio", index.audio or {} } } do
      for _, r in ipairs(list[2]) do
        n, e = insert_rendition(tx, id, list[1], r)
        if not n then return nil, e end
        names[#names + 1] = r.name
      end
    end
    n, e = insert_subtitles(tx, id, texts)
    if not n then return nil, e end
    n, e = tx.exec("delete from renditions where video_id = $1::uuid and name <> all($2::text[])", id, db.array(names))
    if not n then return nil, e end
    n, e = tx.exec([[update videos set state = 'ready', ready_at = now(), duration_ms = $2, width = $3, height = $4,
      poster = case when poster = poster_own then poster else $5 end,
      index = $6::jsonb, chapters = coalesce(chapters, $8::jsonb), error = null, error_code = null where id = $1::uuid and state = $7]], id,
      math.max(1, math.floor(index.duration * 1000 + 0.5)), index.width, index.height,
      index.poster and (id .. "/" .. index.poster) or nil, json.encode(result), state,
      json.encode(json.array(chapters.from_film(index.chapters))))
    if not n then return nil, e end
    if n == 0 then return lost() end
    return copies.want(tx, id)
  end)
end

local function tell(owner_id, template, values)
  local row = db.read_one("select email::text as email from users where id = $1", owner_id)
  if row then mailer.queue(nil, row.email, template, values) end
end

local function read_index(id)
  local text, err = blob.read("media", beside(id) .. "/index.json", INDEX_MAX)
  if not text then return nil, err end
  local index = json.decode(text)
  if type(index) ~= "table" or type(index.renditions) ~= "table" or #index.renditions == 0 then
    return nil, { code = "media.internal", message = "the encoder's index is broken", retry = true }
  end
  return index
end

-- A film that this job's last attempt encoded to the end but did not publish: index, and what the child would have answered.
local function complete(job, id)
  if job.attempt < 2 or not blob.exists("media", beside(id) .. "/index.json") then return nil end
  local index, err = read_index(id)
  if not index then return nil, nil, err end
  local result = {}
  for k, value in pairs(index) do result[k] = value end
  for _, group in ipairs { "renditions", "audio" } do
    local list = {}
    for i, r in ipairs(index[group] or {}) do
      list[i] = {}
      for k, value in pairs(r) do if k ~= "segments" and k ~= "segments_b" then list[i][k] = value end end
    end
    result[group] = json.array(list)
  end
  result.reference = nil
  return index, result
end

-- Probe and encode in the child -> its result.
local function film(job, id, v, secret)
  local ext = v.upload_path:match("%.(%w+)$")
  local probed, err = media.run("probe", { id = id, input = v.upload_path, ext = ext })
  if not probed then return nil, err end
  local ok
  ok, err = blob.remove_tree("media", beside(id)) -- of another job
  if not ok then return nil, err end
  local result
  result, err = media.run("ingest", { id = id, input = v.upload_path, output = beside(id), title_secret = secret, ext = ext,
    duration = probed.duration, strength = v.strength }, reporter(job, id))
  if result and result.kept > 0 then
    log.info("video.resumed", { video = id, kept = result.kept, encoded = result.encoded })
    metrics.count("ingest_segments_kept_total", result.kept)
  end
  if result and result.fallback then log.warn("ingest.software", { video = id, why = result.fallback }) end
  return result, err
end

local function encode(job, id, v, state)
  local secret = crypto.open(v.title_secret or "")
  if not secret then return nil, { code = "media.internal", message = "the title's secret cannot be opened", retry = false } end
  local index, result, err = complete(job, id)
  if err then return nil, err end
  if not index then
    result, err = film(job, id, v, secret)
    if not result then return nil, err end
    index, err = read_index(id)
    if not index then return nil, err end
  end
  local texts
  texts, err = read_subtitles(id, index)
  if not texts then return nil, err end
  local ok
  ok, err = blob.merge("media", beside(id), id, "index.json")
  if not ok then return nil, err end
  return publish(job, id, index, result, state, texts)
end

local MACHINE = { ["media.internal"] = true, ["media.disk_full"] = true, ["media.cancelled"] = true, ["media.bad_job"] = true }

local function is_file_fault(err)
  local code = tostring(err.code)
  return code:find("^media%.") ~= nil and not MACHINE[code]
end

-- Faults of the file are final; faults of the machine are tried again.
local function is_final(job, err)
  return is_file_fault(err) or err.retry == false and err.code ~= "job.lost" or job.attempt >= job.max_attempts
end

-- A file that can never become a film is not kept for another try. The row forgets it first.
local function drop_original(id, path)
  local n = db.exec("update videos set upload_path = null where id = $1::uuid and state = 'failed' and upload_path = $2", id, path)
  if n and n > 0 then
    local ok, err = blob.remove_tree("upload", path)
    if not ok then log.warn("ingest.original", { video = id, code = err.code }) end
  end
end

local function run(job)
  local id = job.payload.video_id
  local v, err = begin(id)
  if v == nil then return nil, err end
  if not v then return { skipped = true } end
  db.notify("video_progress", id)
  local ok
  ok, err = encode(job, id, v, "processing")
  if ok then
    metrics.count("ingests_total", 1)
    log.info("video.ready", { video = id })
    tell(v.owner_id, "video_ready", { title = v.title, url = context.base_url() .. "/public/watch.html?video_id=" .. id })
    db.notify("video_progress", id)
    return { video_id = id }
  end
  if err.code == "job.lost" then return nil, err end
  local final = is_final(job, err)
  if final then
    clear(id)
    metrics.count("ingest_failures_total", 1)
    local reason = tostring(err.code):find("^media%.") and tostring(err.message) or "The preparation failed. Please try again."
    local n = db.exec([[update videos set state = 'failed', error_code = $2, error = $3
      where id = $1::uuid and state = 'processing']], id, tostring(err.code):sub(1, 80), reason:sub(1, 1000))
    if n and n > 0 then
      tell(v.owner_id, "video_failed", { title = v.title, reason = reason })
      if is_file_fault(err) then drop_original(id, v.upload_path) end
    end
    db.notify("video_progress", id)
  end
  return nil, { code = err.code, message = tostring(err.message), retry = not final }
end

-- A film that stays on sale while it is encoded again; when that fails, it is as before.
local function again(job)
  local id = job.payload.video_id
  local v, err = db.read_one([[select upload_path, title_secret, title, owner_id, (mark->>'strength')::float8 as strength from videos
    where id = $1::uuid and state = 'ready' and upload_path is not null]], id)
  if v == nil then return nil, err end
  if not v then return { skipped = true } end
  local ok
  ok, err = encode(job, id, v, "ready")
  if ok then
    log.info("video.reencoded", { video = id })
    return { video_id = id }
  end
  if err.code == "job.lost" then return nil, err end
  local final = is_final(job, err)
  if final then clear(id) end
  return nil, { code = err.code, message = tostring(err.message), retry = not final }
end

return { jobs = { ["media.reencode"] = { run = again, timeout = TIMEOUT_S }, ["media.ingest"] = { run = run, timeout = TIMEOUT_S } } }
