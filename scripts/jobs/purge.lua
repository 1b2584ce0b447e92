-- SPDX-License-Identifier: Apache-2.0
-- Files of films deleted more than 30 days ago are removed for good.
local blob = require "ppv.blob"
local db = require "ppv.db"
local log = require "ppv.log"

local function purge_one(v)
  if v.upload_path then
    local ok, err = blob.remove_tree("upload", v.upload_path)
    if not ok then return nil, err end
  end
  local ok, err = blob.remove_tree("media", v.id)
  if not ok then return nil, err end
  return db.tx(function(tx)
    local n, e = tx.exec("delete from renditions where video_id = $1::uuid", v.id)
    if not n then return nil, e end
    return tx.exec([[update videos set upload_path = null, poster = null, index = null where id = $1::uuid and state = 'deleted']], v.id)
  end)
end

local function purge()
  local rows, err = db.query([[select id::text as id, upload_path from videos where state = 'deleted'
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

return { ticks = { { name = "purge", every = 3600, run = purge } } }
