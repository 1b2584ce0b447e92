-- SPDX-License-Identifier: Apache-2.0
-- Films in the storage outside of this machine: copying them there, fetching files back, removing them here or there.
-- What is copied: the sealed segments and their headers, each of the hash that its encoder wrote down. Everything else (index,
-- pictures, the free preview, the original) never leaves. A name never gets other bytes, so a copy can only be there or not.
local blob = require "ppv.blob"
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local time = require "ppv.time"
local errors = require "lib.errors"
local store = require "lib.store"

local M = {}

-- Files that playlists of before name stay for those who are watching: as long as a playback session may last, and an hour.
M.KEEP_S = 13 * 3600
local SUMS_MAX = 32 * 1024 * 1024

local function key_of(id, name) return "media/" .. id .. "/" .. name end
local function file_of(id, name) return { root = "media", path = id .. "/" .. name, type = name:find "%.mp4$" and "video/mp4" or "video/iso.segment" } end

--- The files of a film that belong into the storage: list of {name, sha256}, and the same by name. nil, err. Yields.
function M.names(id)
  local text, err = blob.read("media", id .. "/SHA256SUMS", SUMS_MAX)
  if not text then return nil, err end
  local out, by = {}, {}
  for sum, name in text:gmatch "(%x+)  ([^\n]+)\n" do
    if #sum == 64 and (name:find "^%x+%.m4s$" or name:find "^init_[%w_]+%.mp4$") then
      out[#out + 1] = { name = name, sha256 = sum:lower() }
      by[name] = out[#out]
    end
  end
  return out, by
end

--- What the storage has of a film: {name = size}, how many | nil, err. Yields.
function M.listed(s, id)
  local out, n, prefix = {}, 0, "media/" .. id .. "/"
  local ok, err = store.list(s, prefix, function(o)
    if o.key:sub(1, #prefix) == prefix then out[o.key:sub(#prefix + 1)], n = o.size or 0, n + 1 end
  end)
  if not ok then return nil, err end
  return out, n
end

-- The error is about this file here, not about the storage.
local function is_local(err)
  local code = tostring(err.code)
  return code:find "^io%." ~= nil or code == "request.not_found" or code == "auth.forbidden" or code == "storage.too_large"
end

-- Sends one file. -> "copied" | "failed", tries, why | nil, err
local function send(s, id, f)
  local file = file_of(id, f.name)
  local size, err = blob.size(file.root, file.path)
  if not size then return "failed", 1, err end
  local ok, why, tries = store.put(s, key_of(id, f.name), file, f.sha256, size)
  if ok then return "copied", tries, nil, size end
  if is_local(why) then return "failed", tries, why end
  local sum = blob.sha256(file.root, file.path)
  if sum ~= f.sha256 then return "failed", tries, errors.new("media.damaged", "The file here is damaged: ppv media rebuild " .. id) end
  return nil, why, tries
end

--- Copies what is missing of a film. each(name, "copied" | "skipped" | "failed", tries, err) -> false ends it.
-- -> {files, bytes, failed} | nil, err: the storage does not work (err.retry: now), or storage.stopped. Yields.
function M.copy(s, id, each)
  local v, err = db.read_one("select ready_at::text as version from videos where id = $1::uuid and state = 'ready'", id)
  if not v then return nil, err or errors.new("video.not_ready", "The film is not ready.") end
  local list
  list, err = M.names(id)
  if not list then return nil, err end
  local there
  there, err = M.listed(s, id)
  if not there then return nil, err end
  local sum = { files = 0, bytes = 0, failed = 0 }
  for _, f in ipairs(list) do
    local size, what, tries, why = there[f.name], "skipped", 1, nil
    local here = blob.exists("media", id .. "/" .. f.name) and blob.size("media", id .. "/" .. f.name)
    if not size or here and here ~= size then
      what, tries, why, size = send(s, id, f)
      if not what then return nil, tries end
    end
    if what == "failed" then sum.failed = sum.failed + 1 else sum.files, sum.bytes = sum.files + 1, sum.bytes + (size or 0) end
    if what == "copied" then metrics.count("storage_objects_copied_total", 1) end
    if each and each(f.name, what, tries, why) == false then return errors.fail("storage.stopped", "The copy was stopped.") end
  end
  if sum.failed == 0 then
    -- Whoever encoded it anew meanwhile asked for a copy of that.
    local n
    n, err = db.exec([[insert into video_copies (video_id, place, version, files, bytes, copied_at, wanted, trim_at)
      select id, $2, ready_at, $4, $5, now(), false, now() + make_interval(secs => $6) from videos where id = $1::uuid and ready_at = $3::timestamptz
      on conflict (video_id) do update set place = excluded.place, version = excluded.version, files = excluded.files, bytes = excluded.bytes,
      copied_at = case when video_copies.place = excluded.place and video_copies.version = excluded.version then video_copies.copied_at else now() end,
      wanted = false, attempts = 0, error = null, trim_at = excluded.trim_at,
      trimmed = video_copies.trimmed and video_copies.version = excluded.version]], id, s.place, v.version, sum.files, sum.bytes, M.KEEP_S)
    if not n then return nil, err end
  end
  return sum
end

--- Fetches what is missing here of a film. -> how many | nil, err. Yields.
function M.bring_back(s, id)
  local list, err = M.names(id)
  if not list then return nil, err end
  local n = 0
  for _, f in ipairs(list) do
    if not blob.exists("media", id .. "/" .. f.name) then
      local ok
      ok, err = store.get(s, key_of(id, f.name), file_of(id, f.name), f.sha256)
      if not ok then return nil, err end
      n = n + 1
    end
  end
  local ok
  ok, err = db.exec("update video_copies set trimmed = false where video_id = $1::uuid", id)
  if not ok then return nil, err end
  return n
end

--- Makes sure that a file of a film is here, to be read now. -> true | nil, err. Yields when it has to be fetched.
function M.need(id, name)
  if blob.exists("media", id .. "/" .. name) then return true end
  local row, err = db.read_one("select place from video_copies where video_id = $1::uuid and place <> ''", id)
  if row == nil then return nil, err end
  if not row then return errors.not_found("segment") end
  local s
  s, err = store.current()
  if s == nil then return nil, err end
  if not s or s.place ~= row.place then return errors.fail("storage.elsewhere", "The film's files are in a storage that is not set.") end
  local sums
  sums, err = blob.read("media", id .. "/SHA256SUMS", SUMS_MAX)
  if not sums then return nil, err end
  local at = sums:find("  " .. name .. "\n", 1, true)
  if not at or not name:find "%.m4s$" and not name:find "^init_" then return errors.not_found("segment") end
  local ok
  ok, err = store.get(s, key_of(id, name), file_of(id, name), sums:sub(at - 64, at - 1))
  if not ok then return nil, err end
  metrics.count("storage_objects_fetched_total", 1)
  return db.exec("update video_copies set trim_at = now() + make_interval(secs => $2) where video_id = $1::uuid", id, M.KEEP_S)
end

-- The fingerprints by which a leaked clip finds its title are always here.
local function kept(id)
  local text, err = blob.read("media", id .. "/index.json", SUMS_MAX)
  local index = text and json.decode(text)
  if not index then return nil, err or errors.new("engine.internal", "the index of " .. id .. " is broken") end
  local out = {}
  for _, f in ipairs(index.fingerprint or {}) do out[f.name] = true end
  return out
end

--- Removes the segments of a film here that the storage has, nobody's playlist names any more and nobody needed lately.
-- -> how many | nil, err. Yields.
function M.trim(s, id)
  local list, err = M.names(id)
  if not list then return nil, err end
  local keep
  keep, err = kept(id)
  if not keep then return nil, err end
  local there
  there, err = M.listed(s, id)
  if not there then return nil, err end
  local files
  files, err = blob.list("media", id, ".m4s")
  if not files then return nil, err end
  local here, limit, n, left = {}, time.now() - M.KEEP_S, 0, false
  for _, f in ipairs(files) do here[f.name] = f end
  local ok
  ok, err = db.exec("update video_copies set trimmed = true where video_id = $1::uuid and place = $2", id, s.place)
  if not ok then return nil, err end
  for _, f in ipairs(list) do
    local mine = here[f.name]
    if mine and not keep[f.name] then
      if mine.mtime >= limit or there[f.name] ~= mine.size then
        left = true
      else
        ok, err = blob.remove_tree("media", id .. "/" .. f.name)
        if not ok then return nil, err end
        n = n + 1
      end
    end
  end
  ok, err = db.exec("update video_copies set trim_at = case when $2 then now() + interval '1 hour' end where video_id = $1::uuid", id, left)
  if not ok then return nil, err end
  return n
end

--- Removes all objects of a film. -> how many | nil, err. Yields.
function M.remove(s, id)
  local there, err = M.listed(s, id)
  if not there then return nil, err end
  local n = 0
  for name in pairs(there) do
    local ok
    ok, err = store.delete(s, key_of(id, name))
    if not ok then return nil, err end
    n = n + 1
  end
  return n
end

--- A film that is gone for good loses its objects. -> true | nil, err (try again later). Yields.
function M.forget(id)
  local row, err = db.one("select place from video_copies where video_id = $1::uuid and place <> ''", id)
  if row == nil then return nil, err end
  if not row then return true end
  local s
  s, err = store.current()
  if s == nil then return nil, err end
  if s and s.place == row.place then
    local n
    n, err = M.remove(s, id)
    if not n then return nil, err end
  else
    log.warn("storage.left_behind", { video = id, place = row.place })
  end
  return db.exec("delete from video_copies where video_id = $1::uuid", id)
end

--- What the storage holds of a film whose copy there is complete: {name = size, lost = {name = true}}; false: there is no such copy. Yields.
function M.held(id)
  local row, err = db.read_one("select c.place from video_copies c join videos v on v.id = c.video_id and v.ready_at = c.version where v.id = $1::uuid", id)
  if not row then return row, err end
  local s
  s, err = store.current()
  if s == nil then return nil, err end
  if not s or s.place ~= row.place then return false end
  local there, list
  there, err = M.listed(s, id)
  if not there then return nil, err end
  list, err = M.names(id)
  if not list then return nil, err end
  local lost = {}
  for _, f in ipairs(list) do if not there[f.name] then lost[f.name] = true end end
  there.lost = lost
  return there
end

--- Objects that no film needs; what a film may need was written at least KEEP_S ago: {{root = "storage", path, size, why}}. Yields.
function M.orphans()
  local s, err = store.current()
  if not s then return s == false and {} or nil, err end
  local out, films, limit = {}, {}, time.iso(time.now() - M.KEEP_S)
  local ok
  ok, err = store.list(s, "media/", function(o)
    local id, name = o.key:match "^media/(%x[%x-]+)/(.+)$"
    if id then
      films[id] = films[id] or {}
      table.insert(films[id], { name = name, key = o.key, size = o.size, old = o.modified < limit })
    end
  end)
  if not ok then return nil, err end
  for id, objects in pairs(films) do
    local row
    row, err = db.read_one("select v.state, v.index is not null as published from videos v where v.id::text = $1", id)
    if row == nil then return nil, err end
    local _, by
    if row and row.published then
      _, by = M.names(id)
      if not _ then by = nil end
    end
    for _, o in ipairs(objects) do
      local why = not row and "there is no such film" or o.old and (not row.published and "the film was never published"
        or by and not by[o.name] and "from before the last encode")
      if why then out[#out + 1] = { root = "storage", path = o.key, size = o.size, why = why } end
    end
  end
  return out
end

--- Deletes one object by its key. Yields.
function M.drop(key)
  local s, err = store.current()
  if not s then return nil, err end
  return store.delete(s, key)
end

--- In the transaction that publishes a film: it is to be copied, if a storage is set. -> true | nil, err
function M.want(tx, id)
  if store.chosen().backend == "local" then return true end
  local n, err = tx.exec([[insert into video_copies (video_id) values ($1::uuid) on conflict (video_id)
    do update set wanted = true, attempts = 0, next_try = now()]], id)
  if not n then return nil, err end
  return tx.one "select ppv_job_add('storage.copy', '{}', null, 'storage.copy', now(), -1, 3)"
end

--- May the storage be changed to another place (false: to this machine)? -> true | nil, storage.only_copy
function M.may_move(place)
  local row, err = db.one("select count(*) as n from video_copies where trimmed and place <> $1", place or "")
  if not row then return nil, err end
  if row.n == 0 then return true end
  return errors.fail("storage.only_copy",
    ("%d films are only in the present storage. Keep copies on this machine, start a migration and wait for its end first."):format(row.n))
end

--- {total, copied, bytes, waiting, remote_only, error} for the page.
function M.figures()
  local row, err = db.read_one([[select count(*) as total, count(*) filter (where c.version = v.ready_at and c.copied_at is not null) as copied,
    coalesce(sum(c.bytes) filter (where c.version = v.ready_at), 0)::bigint as bytes, count(*) filter (where c.wanted) as waiting,
    count(*) filter (where c.trimmed) as remote_only, max(c.error) filter (where c.wanted) as error
    from videos v left join video_copies c on c.video_id = v.id where v.state = 'ready' and v.index is not null]])
  if not row then return nil, err end
  row.error = row.error or json.null
  return row
end

return M
