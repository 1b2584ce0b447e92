-- SPDX-License-Identifier: Apache-2.0
-- The chapters of a title, written by its creator. Until then they are what the film's own file names.
local db = require "ppv.db"
local json = require "ppv.json"
local chapters = require "lib.chapters"
local errors = require "lib.errors"

local function own(ctx, id)
  local row, err = db.one([[select coalesce(chapters, '[]')::text as text, duration_ms from videos
    where id = $1::uuid and owner_id = $2 and state <> 'deleted']], id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
  return row
end

local function show(ctx, input)
  local row, err = own(ctx, input.id)
  if not row then return nil, err end
  return ctx:ok { text = chapters.text(json.decode(row.text)) }
end

local function save(ctx, input)
  local row, err = own(ctx, input.id)
  if not row then return nil, err end
  local list, why = chapters.parse(input.text, row.duration_ms)
  if not list then return errors.invalid(why, { field = "text" }) end
  local n
  n, err = db.exec("update videos set chapters = $3::jsonb where id = $1::uuid and owner_id = $2 and state <> 'deleted'", input.id, ctx.user.id,
    json.encode(json.array(list)))
  if not n then return nil, err end
  return ctx:ok { text = chapters.text(list), count = #list }
end

local ID = { type = "uuid", required = true }

return { routes = {
  { method = "GET", path = "/api/videos/:id/chapters", auth = "user", summary = "The chapters of a video of mine, as text",
    input = { id = ID }, handler = show },
  { method = "POST", path = "/api/videos/:id/chapters", auth = "user", rate = "60/m",
    summary = "Write them: a line each, \"12:30 The island\"", handler = save,
    input = { id = ID, text = { type = "string", max = chapters.TEXT_MAX, multiline = true, default = "" } } },
} }
