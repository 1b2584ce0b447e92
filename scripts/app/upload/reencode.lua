-- SPDX-License-Identifier: Apache-2.0
-- A film is encoded again, for a new ladder or new settings; who watches goes on with the old files.
local db = require "ppv.db"
local audit = require "lib.audit"
local errors = require "lib.errors"
local files = require "lib.mediafiles"

local function reencode(ctx, input)
  local row, err = db.read_one("select 1 as yes from videos where id = $1::uuid and state <> 'deleted' and (owner_id = $2 or $3)",
    input.id, ctx.user.id, ctx:is_admin())
  if row == nil then return nil, err end
  if not row then return errors.not_found("video") end
  local job
  job, err = files.rebuild(input.id, ctx.user.id)
  if not job then return nil, err end
  audit.write(nil, ctx, "video.reencode", input.id)
  return ctx:ok { video_id = input.id, job_id = job }
end

return { routes = {
  { method = "POST", path = "/api/videos/:id/reencode", auth = "user", rate = "20/h", summary = "Encode a film again", handler = reencode,
    input = { id = { type = "uuid", required = true } } },
} }
