-- SPDX-License-Identifier: Apache-2.0
-- The still picture of a title: one of those that its preparation took from the film, or one that its creator sends.
local blob = require "ppv.blob"
local db = require "ppv.db"
local http = require "ppv.http"
local json = require "ppv.json"
local media = require "ppv.media"
local time = require "ppv.time"
local errors = require "lib.errors"

local NAMES = [[(select jsonb_agg(id::text || '/' || (n #>> '{}')) from jsonb_array_elements(jsonb_build_array(index->'poster')
  || coalesce(index->'posters', '[]')) n) || case when poster_own is null then '[]' else jsonb_build_array(poster_own) end]]
local SENT_MAX = 16 * 1024 * 1024

local function not_yours() return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end

-- The pictures on offer (paths below the media root), the chosen one and the creator's own, for the title's creator.
local function offer(ctx, id)
  local row, err = db.one("select (" .. NAMES .. [[)::text as names, poster, poster_own from videos
    where id = $1::uuid and owner_id = $2 and state = 'ready' and index ? 'poster']], id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return not_yours() end
  return json.decode(row.names), row.poster, row.poster_own
end

local function list(ctx, input)
  local names, now, own = offer(ctx, input.id)
  if not names then return nil, now end
  local items = {}
  for i, name in ipairs(names) do
    items[i] = { choice = i, url = ("/api/videos/%s/posters/%d"):format(input.id, i), chosen = now == name, own = name == own }
  end
  return ctx:ok { items = json.array(items), max_bytes = SENT_MAX }
end

local function picture(ctx, input)
  local names, err = offer(ctx, input.id)
  if not names then return nil, err end
  if not names[input.n] then return errors.not_found("picture") end
  return ctx:file("media", names[input.n], { ["cache-control"] = "private, no-store" }, "image/jpeg")
end

local function choose(ctx, input)
  local names, err = offer(ctx, input.id)
  if not names then return nil, err end
  local name = names[input.choice]
  if not name then return errors.invalid("There is no such picture.", { field = "choice" }) end
  local n
  n, err = db.exec("update videos set poster = $3 where id = $1::uuid and owner_id = $2 and state = 'ready'", input.id, ctx.user.id, name)
  if not n then return nil, err end
  if n == 0 then return not_yours() end
  return ctx:ok()
end

-- The directory of a picture that was made of what a creator sent; another picture has another name.
local function place(id) return ("posters/%s_%d"):format(id, time.now() * 1000) end

-- What was sent is only ever read by the sandboxed child; what is kept is a JPEG that the child wrote.
local function convert(id, received)
  local f = received.files[1]
  if not f or f.field ~= "file" then return errors.invalid("Choose a picture.", { field = "file" }) end
  local dir = place(id)
  local made, err = media.run("still", { id = id, input_root = "tmp", input = f.path, output = dir })
  if not made then
    if err.code == "media.bad_picture" then return errors.fail(err.code, err.message, { field = "file" }) end
    return nil, err
  end
  return dir
end

-- Makes it the title's own picture and the chosen one; the one before goes.
local function adopt(ctx, id, dir)
  local row, err = db.one([[with old as (select id, poster_own from videos where id = $1::uuid and owner_id = $2 and state = 'ready' for update)
    update videos v set poster_own = $3, poster = $3 from old where v.id = old.id returning old.poster_own as was]], id, ctx.user.id, dir .. "/poster.jpg")
  if row then
    if row.was then blob.remove_tree("media", (row.was:gsub("/[^/]*$", ""))) end
    return true
  end
  blob.remove_tree("media", dir)
  if row == nil then return nil, err end
  return not_yours()
end

local function send(ctx, input)
  local ok, err = offer(ctx, input.id)
  if not ok then return nil, err end
  local received
  received, err = http.receive(ctx.req, { dir = "tmp", max_file = SENT_MAX, max_total = SENT_MAX + 65536 })
  if not received then return nil, err end
  local dir
  dir, err = convert(input.id, received)
  for _, f in ipairs(received.files) do blob.remove_tree("tmp", f.path) end
  if not dir then return nil, err end
  ok, err = adopt(ctx, input.id, dir)
  if not ok then return nil, err end
  return ctx:ok({}, 201)
end

local ID = { type = "uuid", required = true }
local N = { type = "int", min = 1, max = 100, required = true }

return { routes = {
  { method = "GET", path = "/api/videos/:id/posters", auth = "user", summary = "Still pictures to choose from", input = { id = ID }, handler = list },
  { method = "GET", path = "/api/videos/:id/posters/:n", auth = "user", summary = "One of them", input = { id = ID, n = N }, handler = picture },
  { method = "POST", path = "/api/videos/:id/posters", auth = "user", rate = "30/h", body = "stream", input = { id = ID },
    summary = "Send a still picture of one's own (form: file)", handler = send },
  { method = "POST", path = "/api/videos/:id/poster", auth = "user", rate = "60/m", summary = "Choose the still picture",
    input = { id = ID, choice = N }, handler = choose },
} }
