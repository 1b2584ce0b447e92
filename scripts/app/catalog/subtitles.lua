-- SPDX-License-Identifier: Apache-2.0
-- The creator's subtitles of a title: adding a file, the list, taking one away.
local blob = require "ppv.blob"
local db = require "ppv.db"
local http = require "ppv.http"
local json = require "ppv.json"
local errors = require "lib.errors"
local language = require "lib.language"
local schema = require "lib.schema"
local subtitles = require "lib.subtitles"

local MAX_TRACKS = 40
local FIELDS = { language = { type = "string", max = 35 }, label = { type = "string", max = 60 } }

local function own(ctx, id)
  local row, err = db.read_one("select 1 as yes from videos where id = $1::uuid and owner_id = $2 and state <> 'deleted'", id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
  return true
end

-- Language and cues of what was sent.
local function read(received)
  local fields, err = schema.apply(FIELDS, received.fields)
  if not fields then return nil, err end
  local f = received.files[1]
  if not f or f.field ~= "file" then return errors.invalid("Choose a subtitle file.", { field = "file" }) end
  if fields.language then
    fields.language = language.tag(fields.language)
    if not fields.language then return errors.invalid("Write the language as a tag like en or pt-BR.", { field = "language" }) end
  end
  local text
  text, err = blob.read("tmp", f.path, subtitles.MAX_BYTES)
  if not text then return nil, err end
  local why
  fields.cues, why = subtitles.parse(text)
  if not fields.cues then return errors.invalid(why, { field = "file" }) end
  return fields
end

local function store(id, t)
  return db.tx(function(tx)
    local v, e = tx.one("select id from videos where id = $1::uuid for update", id)
    if not v then return nil, e or errors.new("video.not_yours", "not owner / not found") end
    local n
    n, e = tx.one("select count(*) as n, coalesce(max(position), 0) as last from subtitles where video_id = $1::uuid", id)
    if not n then return nil, e end
    if n.n >= MAX_TRACKS then return errors.invalid(("A video has at most %d subtitles."):format(MAX_TRACKS), { field = "file" }) end
    return tx.one([[insert into subtitles (video_id, source, position, language, label, cues, vtt)
      values ($1::uuid, 'uploaded', $2, $3, $4, $5, $6) returning id]], id, n.last + 1, t.language, t.label, #t.cues, subtitles.vtt(t.cues))
  end)
end

local function add(ctx, input)
  local ok, err = own(ctx, input.id)
  if not ok then return nil, err end
  local received
  received, err = http.receive(ctx.req, { dir = "tmp", max_file = subtitles.MAX_BYTES, max_total = subtitles.MAX_BYTES + 65536 })
  if not received then return nil, err end
  local t
  t, err = read(received)
  for _, f in ipairs(received.files) do blob.remove_tree("tmp", f.path) end
  if not t then return nil, err end
  local row
  row, err = store(input.id, t)
  if not row then return nil, err end
  return ctx:ok({ subtitle_id = row.id, cues = #t.cues }, 201)
end

local function list(ctx, input)
  local ok, err = own(ctx, input.id)
  if not ok then return nil, err end
  local rows
  rows, err = db.read("select id, source, language, label, cues from subtitles where video_id = $1::uuid order by position, id", input.id)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do row.name = row.label or language.name(row.language) or "Subtitles" end
  return ctx:ok { items = json.array(rows), max_bytes = subtitles.MAX_BYTES }
end

local function remove(ctx, input)
  local n, err = db.exec([[delete from subtitles s using videos v where s.id = $3 and s.video_id = $1::uuid and v.id = s.video_id
    and v.owner_id = $2]], input.id, ctx.user.id, input.subtitle)
  if not n then return nil, err end
  if n == 0 then return errors.not_found("subtitles") end
  return ctx:ok()
end

local ID = { id = { type = "uuid", required = true } }

return { routes = {
  { method = "POST", path = "/api/videos/:id/subtitles", auth = "user", rate = "60/h", body = "stream", input = ID,
    summary = "Add subtitles (form: file, language, label)", handler = add },
  { method = "GET", path = "/api/videos/:id/subtitles", auth = "user", summary = "The subtitles of a video of mine", input = ID,
    handler = list },
  { method = "DELETE", path = "/api/videos/:id/subtitles/:subtitle", auth = "user", rate = "60/m", summary = "Remove subtitles",
    input = { id = { type = "uuid", required = true }, subtitle = { type = "int", min = 1, required = true } }, handler = remove },
} }
