-- SPDX-License-Identifier: Apache-2.0
-- Builds one generation: loads plugins, collects routes of scripts/app/* and route plugins, refuses conflicts, and returns
-- the table the engine serves from. Runs in the load phase: nothing here does I/O.
local host = require "ppv.host"
local openapi = require "lib.openapi"
local pipeline = require "lib.pipeline"
local registry = require "lib.registry"

local routes, taken = {}, {}

-- "/api/videos/:id" and "/api/videos/:video" are the same place.
local function shape(route)
  local path = route.path
  if path:find(":", 1, true) or path:find("*", 1, true) then path = path:gsub("([:*])[%w_]+", "%1") end
  return route.method .. " " .. path
end

local function add(route, plugin, file)
  local ok, why = pipeline.declare(route)
  local place = ok and shape(route)
  if ok and taken[place] then
    ok, why = false, ("%s %s is already served by %s"):format(route.method, route.path, taken[place])
  end
  if ok and plugin and route.path:find("^/public/") then
    ok, why = false, route.path .. ": plugins may not serve addresses below /public/"
  end
  if not ok then
    host.fail(plugin, file, 1, why)
    return false
  end
  taken[place] = file
  routes[#routes + 1] = route
  return true
end

local function sorted_files(prefix)
  local paths = {}
  for path in pairs(host.files(prefix)) do if path:find("%.lua$") then paths[#paths + 1] = path end end
  table.sort(paths)
  return paths
end

-- "scripts/app/wallet/routes.lua" -> "app.wallet.routes"
local function module_name(path) return (path:gsub("^scripts/", ""):gsub("%.lua$", ""):gsub("/", ".")) end

local plugins = registry.load_all()

for _, path in ipairs(sorted_files("scripts/app/")) do
  local module, area = require(module_name(path)), path:match("^scripts/app/([^/]+)/")
  for _, route in ipairs(type(module) == "table" and module.routes or {}) do
    route.area = area
    add(route, nil, path)
  end
end

for _, p in ipairs(registry.by_kind.route or {}) do
  local file = "plugins/" .. p.name .. "/handler.lua"
  local first, good = #routes, true
  for _, route in ipairs(p.handler.routes) do
    good = add(type(route) == "table" and registry.wrap_route(p, route), p.name, file) and good
  end
  if not good then
    for i = #routes, first + 1, -1 do
      taken[shape(routes[i])] = nil
      routes[i] = nil
    end
    registry.drop(p.name)
  end
end

local jobs, ticks = {}, {}
for _, path in ipairs(sorted_files("scripts/jobs/")) do
  local module = require(module_name(path))
  for kind, job in pairs(module.jobs or {}) do jobs[kind] = job end
  for _, tick in ipairs(module.ticks or {}) do ticks[#ticks + 1] = tick end
end

local declared = {}
for i, route in ipairs(routes) do
  declared[i] = { method = route.method, auth = route.auth, path = route.path, body = route.body, max_body = route.max_body,
    pure = route.pure, fast = not route.plugin and route.fast or nil }
end

require("lib.live").set { routes = routes, plugins = plugins, document = openapi.document }

return {
  routes = declared,
  dispatch = function(index) return pipeline.run(routes[index]) end,
  not_found = pipeline.not_found,
  jobs = jobs,
  ticks = ticks,
  plugins = plugins,
  info = { routes = #routes, plugins = #plugins },
}
