-- SPDX-License-Identifier: Apache-2.0
-- An example of a route plugin: every user's list of films to watch later, kept in the shared cache for a month.
local cache = require "ppv.cache"
local json = require "ppv.json"

local M = { routes = {} }
local MONTH = 30 * 86400

local function key(ctx) return "list:" .. ctx.user.id end

local function read(ctx)
  local text = cache.get(key(ctx))
  return text and json.decode(text) or json.array {}
end

local function write(ctx, list) cache.set(key(ctx), json.encode(json.array(list)), MONTH) end

local function without(list, video)
  local out = {}
  for _, id in ipairs(list) do if id ~= video then out[#out + 1] = id end end
  return out
end

M.routes[1] = { method = "GET", path = "/api/watchlist", auth = "user", rate = "120/m", summary = "My watch list",
  handler = function(ctx) return ctx:ok { items = json.array(read(ctx)) } end }

M.routes[2] = { method = "PUT", path = "/api/watchlist/:video", auth = "user", rate = "60/m", summary = "Put a film on it",
  input = { video = { type = "uuid", required = true } },
  handler = function(ctx, input)
    local list = without(read(ctx), input.video)
    table.insert(list, 1, input.video)
    while #list > ctx.settings.max_items do table.remove(list) end
    write(ctx, list)
    return ctx:empty(204)
  end }

M.routes[3] = { method = "DELETE", path = "/api/watchlist/:video", auth = "user", rate = "60/m", summary = "Take a film off",
  input = { video = { type = "uuid", required = true } },
  handler = function(ctx, input)
    write(ctx, without(read(ctx), input.video))
    return ctx:empty(204)
  end }

return M
