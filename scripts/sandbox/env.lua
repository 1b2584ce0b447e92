-- SPDX-License-Identifier: Apache-2.0
-- Builds the environment of a plugin from the allow-lists and completes ppv.host (see engine/lua/sandbox.h).
-- Contains mistakes, not attackers.
local base = require "sandbox.base"

local getmetatable, setmetatable, rawget, rawset, rawequal = getmetatable, setmetatable, rawget, rawset, rawequal
local next, pairs, ipairs, type, error, tostring, pcall = next, pairs, ipairs, type, error, tostring, pcall

-- Read-only proxies ---------------------------------------------------------------------------------------------------
local behind = setmetatable({}, { __mode = "k" })   -- proxy -> table
local proxies = setmetatable({}, { __mode = "v" })  -- table -> proxy
local readonly

local function see(v)
  if type(v) == "table" and getmetatable(v) == nil then return readonly(v) end
  return v
end

function readonly(t)
  if behind[t] then return t end
  local p = proxies[t]
  if p then return p end
  p = setmetatable({}, {
    __index = function(_, k) return see(t[k]) end,
    __newindex = function() error("this table is read-only", 2) end,
    __metatable = false,
  })
  behind[p], proxies[t] = t, p
  return p
end

local function box_next(t, k)
  local real = behind[t]
  if not real then return next(t, k) end
  local nk, v = next(real, k)
  return nk, see(v)
end

local function box_pairs(t)
  if behind[t] then return box_next, t, nil end
  return pairs(t)
end

local function box_inext(t, i)
  local v = t[i + 1]
  if v ~= nil then return i + 1, v end
end

local function box_ipairs(t)
  if behind[t] then return box_inext, t, 0 end
  return ipairs(t)
end

local function box_rawset(t, k, v)
  if behind[t] then error("this table is read-only", 2) end
  return rawset(t, k, v)
end

local function box_getmetatable(t)
  if type(t) == "table" then return getmetatable(t) end
  return nil
end

-- Plain data: no functions, no metatables, bounded in depth and number of values.
local MAX_VALUES = 200000
local function copy(v, depth, seen)
  local t = type(v)
  if t == "string" or t == "number" or t == "boolean" or t == "nil" then return v end
  if t ~= "table" then error("plain data expected, got " .. t, 0) end
  if depth > 16 or seen[v] then error("table is nested too deeply", 0) end
  seen[v] = true
  local out = {}
  for k, x in next, behind[v] or v do
    seen.n = (seen.n or 0) + 1
    if seen.n > MAX_VALUES then error("more than 200000 values", 0) end
    out[copy(k, depth + 1, seen)] = copy(x, depth + 1, seen)
  end
  seen[v] = nil
  return out
end

local function pick(from, names)
  local out = {}
  for i = 1, #names do out[names[i]] = from[names[i]] end
  return out
end

-- Capabilities --------------------------------------------------------------------------------------------------------
-- The list is read at every call, so the host may add the hosts of url settings to it later.
local function has_cap(caps, want)
  for i = 1, #caps do
    local c = caps[i]
    if c == want or c:sub(1, #want + 1) == want .. ":" then return true end
  end
  return false
end

local function host_allowed(caps, host)
  for i = 1, #caps do
    local pat = caps[i]:match("^fetch:(.+)$")
    if pat == "*" or pat == host then return true end
    if pat and pat:sub(1, 2) == "*." and #host > #pat - 1 and host:sub(-(#pat - 1)) == pat:sub(2) then return true end
  end
  return false
end

-- Stricter than any URL parser: what it lets through has one reading only.
local function url_host(url)
  if type(url) ~= "string" then return nil end
  local host, rest = url:match("^https?://([%w%.%-]+)(.*)$")
  if not host then return nil end
  local port, tail = rest:match("^:(%d+)(.*)$")
  tail = tail or rest
  if tail ~= "" and not tail:find("^[/?#]") then return nil end
  return host:lower(), port
end

local adapt = {}

adapt["ppv.fetch"] = function(mod, ctx)
  local function checked(fn)
    return function(req)
      if type(req) == "string" then req = { url = req } end
      if type(req) ~= "table" then error("table expected", 2) end
      local mine = {}
      for k, v in box_pairs(req) do mine[k] = v end
      local host, port = url_host(mine.url)
      if not host or not (host_allowed(ctx.caps, host) or (port and host_allowed(ctx.caps, host .. ":" .. port))) then
        return nil, { code = "net.refused", message = "host " .. tostring(host) .. " is not in caps of plugin " .. ctx.name,
          retry = false }
      end
      mine.allow_private = nil
      for i = 1, #ctx.caps do
        if ctx.caps[i] == "fetch:private" then mine.allow_private = true end
      end
      mine.upload, mine.download = nil, nil -- files are the engine's
      mine.follow, mine.redirects = nil, nil
      return fn(mine)
    end
  end
  local out = {}
  for k, v in pairs(mod) do
    if type(v) == "function" then out[k] = checked(v) end
  end
  return out
end

adapt["ppv.cache"] = function(mod, ctx)
  local out, prefix = {}, "plugin:" .. ctx.name .. ":"
  for _, k in ipairs { "get", "set", "del", "incr" } do
    local fn = mod[k]
    if fn then out[k] = function(key, ...) return fn(prefix .. tostring(key), ...) end end
  end
  return out
end

adapt["ppv.log"] = function(mod, ctx)
  local out = {}
  for _, k in ipairs { "debug", "info", "warn", "error" } do
    local fn = mod[k]
    if fn then
      out[k] = function(event, fields)
        local f = {}
        if type(fields) == "table" then
          for n, v in box_pairs(fields) do f[tostring(n)] = type(v) == "table" and "(table)" or v end
        end
        f.plugin = ctx.name
        return fn("plugin." .. tostring(event), f)
      end
    end
  end
  return out
end

-- Environments --------------------------------------------------------------------------------------------------------
local rules_of = {}

local function rules(kind)
  local r = rules_of[kind]
  if r then return r end
  r = {}
  for k, v in pairs(base.modules) do r[k] = v end
  for k, v in pairs(require("sandbox." .. kind).modules) do r[k] = v end
  rules_of[kind] = r
  return r
end

return function(host, prim)
  local own = { [""] = pick(_G, base.globals) } -- what every plugin gets a copy of
  for name, lib in pairs { string = string, table = table, math = math, bit = bit } do own[name] = pick(lib, base[name]) end
  local kinds = {}
  for path in pairs(host.files("scripts/sandbox/")) do
    local k = path:match("^scripts/sandbox/([%w_]+)%.lua$")
    if k and k ~= "base" and k ~= "env" then kinds[k] = true end
  end

  local function engine_module(ctx, name)
    local rule = rules(ctx.kind)[name]
    if not rule then error("module '" .. name .. "' does not exist for plugins of kind " .. ctx.kind, 0) end
    if rule ~= true and rule.cap and not has_cap(ctx.caps, rule.cap) then
      error("module '" .. name .. "' needs the capability '" .. rule.cap .. "' in caps of the manifest", 0)
    end
    -- the plugins' database module works under their own role
    local mod = prim.module(name == "ppv.db" and "ppv.plugin_db" or name)
    if adapt[name] then return adapt[name](mod, ctx) end
    local out = {}
    for k, v in pairs(mod) do out[k] = v end
    if rule ~= true and rule.only then out = pick(out, rule.only) end
    return out
  end

  local function lib_module(name)
    local mod = prim.module(name)
    if type(mod) ~= "table" then return mod end
    local out = {}
    for k, v in pairs(mod) do out[k] = v end
    return out
  end

  local function make_env(ctx)
    local env = prim.clone(own[""])
    for name, lib in next, own do if name ~= "" then env[name] = prim.clone(lib) end end
    env.next, env.pairs, env.ipairs = box_next, box_pairs, box_ipairs
    env.rawset, env.getmetatable = box_rawset, box_getmetatable
    env._G, env._VERSION = env, _VERSION
    local loaded, LOADING = {}, {}
    function env.require(name)
      if type(name) ~= "string" or #name > 100 or not name:find("^[%w_%.%-]+$") then error("bad module name", 2) end
      local got = loaded[name]
      if rawequal(got, LOADING) then error("loop in require '" .. name .. "'", 2) end
      if got ~= nil then return got end
      loaded[name] = LOADING
      local value
      if name:sub(1, 4) == "ppv." then
        local ok, res = pcall(engine_module, ctx, name)
        if not ok then loaded[name] = nil error(tostring(res), 2) end
        value = res
      elseif name:sub(1, 4) == "lib." then
        if require("sandbox." .. ctx.kind).pure then loaded[name] = nil error("module '" .. name .. "' does not exist for plugins of kind " .. ctx.kind, 2) end
        value = lib_module(name)
      else
        local path = "plugins/" .. ctx.name .. "/" .. name:gsub("%.", "/") .. ".lua"
        if not prim.exists(path) then loaded[name] = nil error("module '" .. name .. "' not found", 2) end
        local chunk, err = prim.compile(path)
        if not chunk then loaded[name] = nil error(err, 0) end
        value = prim.setfenv(chunk, env)(name)
      end
      if value == nil then value = true end
      loaded[name] = value
      return value
    end
    return env
  end

  local function describe(e)
    if type(e) == "table" then return tostring(rawget(e, "message") or "error object") end
    return tostring(e)
  end

  -- `return nil, err`: the problem is recorded with file and line
  local function run(name, rel, env)
    local path = "plugins/" .. name .. "/" .. rel
    local chunk, err = prim.compile(path)
    if not chunk then return host.fail_message(name, path, err) end
    prim.setfenv(chunk, env)
    local ok, value = pcall(prim.guard(name, chunk), name)
    if not ok then return host.fail_message(name, path, describe(value)) end
    if value == nil then return host.fail_message(name, path, path .. ":1: the file must return a value") end
    return value
  end

  host.fail_message = prim.fail_message

  function host.load(name, path, kind, caps)
    if not kinds[kind] then
      return host.fail_message(name, "plugins/" .. name .. "/manifest.lua", "unknown kind '" .. tostring(kind) .. "'")
    end
    local ctx = { name = name, kind = kind, caps = caps or {} }
    local value, err = run(name, path, make_env(ctx))
    if value == nil then return nil, err end
    return prim.wrap(name, value)
  end

  function host.load_manifest(name)
    local value, err = run(name, "manifest.lua", {})
    if value == nil then return nil, err end
    local ok, data = pcall(copy, value, 0, {})
    if not ok or type(data) ~= "table" then
      return host.fail_message(name, "plugins/" .. name .. "/manifest.lua",
        "the manifest must return a table of plain data: " .. describe(data))
    end
    return data
  end

  function host.check(name, path)
    local full = "plugins/" .. name .. "/" .. path
    local chunk, err = prim.compile(full)
    if not chunk then return host.fail_message(name, full, err) end
    return true
  end

  host.kinds = kinds
  host.readonly = readonly
  function host.copy(t) return copy(t, 0, {}) end
end
