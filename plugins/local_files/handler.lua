-- SPDX-License-Identifier: Apache-2.0
-- Storage plugins plan, the engine moves the bytes: each function answers where an object is. This one answers paths
-- beneath the engine's own roots.
local M = {}

-- A key is root/path of plain names: no empty, hidden or dotted part leaves the root.
local function locate(ctx, obj)
  local root, path = tostring(obj.key):match("^(%l+)/(.+)$")
  if root ~= "upload" and root ~= "media" then return nil, ctx:err("storage.key", "the key names no storage root") end
  for part in (path .. "/"):gmatch("([^/]*)/") do
    if not part:find("^[%w_-][%w_.-]*$") then return nil, ctx:err("storage.key", "the key is not a plain path") end
  end
  return { transport = "file", root = root, path = path }
end

local function plan(action)
  return function(ctx, obj)
    local place, err = locate(ctx, obj)
    if not place then return nil, err end
    place.action, place.size, place.range = action, obj.size, obj.range
    return place
  end
end

M.put, M.get, M.delete, M.stat = plan "put", plan "get", plan "delete", plan "stat"

function M.list(ctx, obj)
  local place, err = locate(ctx, { key = tostring(obj.prefix) .. "x" })
  if not place then return nil, err end
  return { transport = "file", action = "list", root = place.root, path = (place.path:gsub("/?x$", "")) }
end

function M.link(ctx) return nil, ctx:err("storage.no_link", "served through the engine") end

function M.where() return { place = "local" } end

function M.read(ctx) return nil, ctx:err("storage.no_answer", "nobody answers for a file of ours") end

return M
