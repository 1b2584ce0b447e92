-- SPDX-License-Identifier: Apache-2.0
-- The still picture of a title: one of those that its preparation took from the film.
local db = require "ppv.db"
local json = require "ppv.json"
local errors = require "lib.errors"

local NAMES = [[jsonb_build_array(index->'poster') || coalesce(index->'posters', '[]')]]

-- The names on offer and the chosen one, for the title's creator.
local function offer(ctx, id)
  local row, err = db.one("select (" .. NAMES .. [[)::text as names, poster from videos
    where id = $1::uuid and owner_id = $2 and state = 'ready' and index ? 'poster']], id, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
  return json.decode(row.names), row.poster
end

local function list(ctx, input)
  local names, now = offer(ctx, input.id)
  if not names then return nil, now end
  local items = {}
  for i, name in ipairs(names) do
    items[i] = { choice = i, url = ("/api/videos/%s/posters/%d"):format(input.id, i), chosen = now == input.id .. "/" .. name }
  end
  return ctx:ok { items = json.array(items) }
end

local function picture(ctx, input)
  local names, err = offer(ctx, input.id)
  if not names then return nil, err end
  if not names[input.n] then return errors.not_found("picture") end
  return ctx:file("media", input.id .. "/" .. names[input.n], { ["cache-control"] = "private, no-store" }, "image/jpeg")
end

local function choose(ctx, input)
  local names, err = offer(ctx, input.id)
  if not names then return nil, err end
  local name = names[input.choice]
  if not name then return errors.invalid("There is no such picture.", { field = "choice" }) end
  local n
  n, err = db.exec("update videos set poster = $3 where id = $1::uuid and owner_id = $2 and state = 'ready'", input.id, ctx.user.id,
    input.id .. "/" .. name)
  if not n then return nil, err end
  if n == 0 then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
  return ctx:ok()
end

local ID = { type = "uuid", required = true }
local N = { type = "int", min = 1, max = 100, required = true }

return { routes = {
  { method = "GET", path = "/api/videos/:id/posters", auth = "user", summary = "Still pictures to choose from", input = { id = ID }, handler = list },
  { method = "GET", path = "/api/videos/:id/posters/:n", auth = "user", summary = "One of them", input = { id = ID, n = N }, handler = picture },
  { method = "POST", path = "/api/videos/:id/poster", auth = "user", rate = "60/m", summary = "Choose the still picture",
    input = { id = ID, choice = N }, handler = choose },
} }
