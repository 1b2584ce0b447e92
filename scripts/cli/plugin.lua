-- SPDX-License-Identifier: Apache-2.0
-- ppv plugin new KIND NAME      a working plugin of this kind to start from
-- ppv plugin list               what is in plugins/
-- (check, test, enable and disable are commands of the engine; test runs the specs in plugins/NAME/spec)
local templates = require "cli.plugin_new"

local action, kind, name = ...

local function usage()
  print("usage: ppv plugin new KIND NAME      kinds: " .. table.concat(templates.kinds, ", "))
  print("       ppv plugin check              loads all plugins without serving")
  print("       ppv plugin test NAME          runs the plugin's specs")
  print("       ppv plugin list")
  return 2
end

local function write(path, text)
  local f, why = io.open(path, "wx")
  if not f then
    f = not io.open(path, "r") and io.open(path, "w")
    if not f then return nil, why or (path .. " exists") end
  end
  f:write(text)
  f:close()
  print("  " .. path)
  return true
end

local function create()
  local files = templates.make(kind, name)
  if not files then return usage() end
  local dir = (os.getenv "PPV_ROOT" or ".") .. "/plugins/" .. name
  if io.open(dir .. "/manifest.lua", "r") then
    print("ppv plugin: " .. dir .. " exists")
    return 1
  end
  os.execute("mkdir -p '" .. dir:gsub("'", "'\\''") .. "/spec'")
  for _, f in ipairs(files) do
    local ok, why = write(dir .. "/" .. f[1], f[2])
    if not ok then
      print("ppv plugin: " .. tostring(why))
      return 1
    end
  end
  print("Edit it; then: ppv plugin check, ppv plugin test " .. name)
  return 0
end

local function list()
  for _, p in ipairs(require("ppv.plugin").list()) do
    print(("%-16s %-10s %-8s %-9s %s"):format(p.name, p.kind, p.version, p.state, p.title))
  end
  return 0
end

if action == "new" and (name or ""):find("^[a-z][a-z0-9_]*$") then return create() end
if action == "list" then return list() end
return usage()
