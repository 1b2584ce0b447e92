-- SPDX-License-Identifier: Apache-2.0
-- Files of films deleted more than 30 days ago are removed for good; so is, at the start and each hour, what a killed upload
-- left behind: *.part that nobody wrote to for 24 hours.
local blob = require "ppv.blob"
local db = require "ppv.db"
local log = require "ppv.log"
local time = require "ppv.time"
local copies = require "lib.copies"

local PART_AGE_S = 24 * 3600

local function purge_one(v)
  if v.upload_path then
    local ok, err = blob.remove_tree("upload", v.upload_path)
    if not ok then return nil, err end
  end
  for _, root in ipairs { "media", "burst" } do
    local ok, err = blob.remove_tree(root, v.id)
    if not ok then return nil, err end
  end
  if v.poster_own then
    local ok, err = blob.remove_tree("media", (v.poster_own:gsub("/[^/]*$", "")))
    if not ok then return nil, err end
  end
  local gone, why = copies.forget(v.id)
  if not gone then return nil, why end
  return db.tx(function(tx)
    local n, e = tx.exec("delete from renditions where video_id = $1::uuid", v.id)
    if not n then return nil, e end
    return tx.exec([[update videos set upload_path = null, poster = null, poster_own = null, index = null where id = $1::uuid and state = 'deleted']], v.id)
  end)
end

local function purge()
  local rows, err = db.query([[select id::text as id, upload_path, poster_own from videos where state = 'deleted'
    and deleted_at < now() - interval '30 days' and (upload_path is not null or index is not null) limit 20]])
  if not rows then
    log.warn("purge.failed", { code = err.code, message = err.message })
    return
  end
  for _, v in ipairs(rows) do
    local ok, e = purge_one(v)
    if ok then
      log.info("video.purged", { video = v.id })
    else
      log.warn("purge.failed", { video = v.id, code = e.code, message = e.message })
    end
  end
end

-- One round: number of files removed.
local function purge_parts()
  local removed, oldest = 0, time.now() - PART_AGE_S
  for _, root in ipairs { "upload", "tmp" } do
    local found, err = blob.list(root, "", ".part")
    if not found then log.warn("purge.failed", { root = root, code = err.code, message = err.message }) end
    for _, f in ipairs(found or {}) do
      if not f.dir and #f.name == 37 and f.mtime < oldest then
        local ok, e = blob.remove_tree(root, f.name)
        if ok then
          removed = removed + 1
          log.info("upload.leftover_removed", { file = f.name, size = f.size })
        else
          log.warn("purge.failed", { file = f.name, code = e.code, message = e.message })
        end
      end
    end
  end
  return removed
end

-- Uploads nobody continued, and what finished or failed ones had to say. The file goes first: without its row none would find it.
local function purge_uploads()
  local rows, err = db.query([[select id::text as id, path, state from uploads where expires_at < now()
    and (busy_until is null or busy_until < now()) limit 100]])
  if not rows then
    log.warn("purge.failed", { code = err.code, message = err.message })
    return 0
  end
  for _, u in ipairs(rows) do
    local ok, e = true, nil
    if u.state ~= "done" then ok, e = blob.remove_tree("upload", u.path) end
    if ok then ok, e = db.exec("delete from uploads where id = $1::uuid and expires_at < now()", u.id) end
    if ok then
      log.info("upload.expired", { upload = u.id, state = u.state })
    else
      log.warn("purge.failed", { upload = u.id, code = e.code, message = e.message })
    end
  end
  return #rows
end

return { purge_parts = purge_parts, purge_uploads = purge_uploads, ticks = {
  { name = "purge_uploads", every = 300, run = purge_uploads },
  { name = "purge_parts", every = 3600, run = purge_parts }, { name = "purge", every = 3600, run = purge } } }
