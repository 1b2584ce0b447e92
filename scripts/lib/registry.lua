-- SPDX-License-Identifier: Apache-2.0
-- Plugins: checks manifests, loads handlers, and finds them by kind. Runs in the load phase; a problem is recorded with
-- file and line, so that a reload is refused as a whole and a cold start leaves the plugin out.
local host = require "ppv.host"
local context = require "lib.ctx"
local json = require "ppv.json"
local errors = require "lib.errors"
local schema = require "lib.schema"
local settings = require "lib.settings"

local M = { list = {}, by_kind = {}, by_name = {} }
local API_MAJOR, API_MINOR = 1, 0

-- What a handler of each kind must offer.
local REQUIRED = {
  affiliate = { "split" }, rate = { "quote" }, payment = { "start" }, storage = { "put", "get", "delete", "stat", "list", "link", "where", "read" },
  route = {}, tax = { "lines" },
}
local SETTING = { string = true, secret = true, int = true, bps = true, bool = true, url = true, enum = true, list = true,
  money = true }
local CAP = { db = true, fetch = true, mail = true, cache = true, evm = true, ["ledger:read"] = true }

local function manifest_problem(name, m)
  if type(m) ~= "table" then return "manifest.lua must return a table" end
  if m.name ~= name then return ("name must be '%s', as the folder"):format(name) end
  if not REQUIRED[m.kind or ""] then return "kind must be affiliate, payment, rate, route, storage or tax" end
  local major, minor = tostring(m.api or ""):match("^(%d+)%.(%d+)$")
  if not major then return "api must be a string like \"1.0\"" end
  if tonumber(major) ~= API_MAJOR or tonumber(minor) > API_MINOR then
    return ("api %s.%s is not offered, this engine offers %d.%d"):format(major, minor, API_MAJOR, API_MINOR)
  end
  if type(m.version) ~= "string" or type(m.title) ~= "string" then return "version and title must be strings" end
  if m.kind == "tax" and (type(m.codes) ~= "table" or #m.codes == 0) then return "a tax plugin declares its codes: codes = { \"vat\" }" end
  for _, cap in ipairs(m.caps or {}) do
    if not CAP[cap] and not tostring(cap):find("^fetch:[%w%-.:]+$") then return "unknown capability '" .. tostring(cap) .. "'" end
  end
  for i, s in ipairs(m.settings or {}) do
    if type(s) ~= "table" or type(s.key) ~= "string" or not s.key:find("^[a-z0-9_.]+$") or not SETTING[s.type or ""] then
      return ("setting %d needs a key (a-z, 0-9, _) and a known type"):format(i)
    end
  end
  return nil
end

local function load_one(name)
  local m = host.load_manifest(name)
  if not m then return nil end
  local why = manifest_problem(name, m)
  if why then
    host.fail(name, "plugins/" .. name .. "/manifest.lua", 1, why)
    return nil
  end
  local handler = host.load(name, "handler.lua", m.kind, m.caps or {})
  if handler == nil then return nil end
  if type(handler) ~= "table" then
    host.fail(name, "plugins/" .. name .. "/handler.lua", 1, "handler.lua must return a table")
    return nil
  end
  for _, fn in ipairs(REQUIRED[m.kind]) do
    if type(handler[fn]) ~= "function" then
      host.fail(name, "plugins/" .. name .. "/handler.lua", 1, ("a %s plugin needs the function %s"):format(m.kind, fn))
      return nil
    end
  end
  if m.kind == "route" and type(handler.routes) ~= "table" then
    host.fail(name, "plugins/" .. name .. "/handler.lua", 1, "a route plugin needs the list routes")
    return nil
  end
  return { name = name, kind = m.kind, manifest = m, handler = handler, own_caps = m.caps and #m.caps or 0 }
end

local function summary(name, m, state)
  return { name = name, kind = m and m.kind or "", version = m and m.version or "", title = m and m.title or name,
    state = state, errors = {}, settings = m and m.settings or {}, caps = m and m.caps or {} }
end

-- Loads all; returns the list for BOOT.plugins.
function M.load_all()
  for _, p in ipairs(host.plugins()) do
    local m, loaded
    if not p.disabled then
      loaded = load_one(p.name)
      m = loaded and loaded.manifest
    end
    M.list[#M.list + 1] = summary(p.name, m, loaded and "active" or (p.disabled and "disabled" or "failed"))
    if loaded then
      M.by_name[p.name] = loaded
      local kind = M.by_kind[loaded.kind] or {}
      M.by_kind[loaded.kind] = kind
      kind[#kind + 1] = loaded
    end
  end
  return M.list
end

-- A plugin that turned out to be unusable after loading (route conflict).
function M.drop(name)
  M.by_name[name] = nil
  for _, p in ipairs(M.list) do if p.name == name then p.state = "failed" end end
end

-- The plugin of that kind the operator chose (setting `<kind>.plugin`), else the default one. nil, err when there is none.
function M.chosen(kind, default)
  local name = settings.get(kind .. ".plugin", default)
  local p = M.by_name[name]
  if p and p.kind == kind then return p end
  return errors.fail("plugin.missing", ("no %s plugin named %s is active"):format(kind, tostring(name)))
end

-- Where a plugin's service is: what the operator set, else the manifest's address for the environment. nil when neither says.
function M.base_url(manifest, values)
  local set = values.base_url
  if set and set ~= "" then return (set:gsub("/+$", "")) end
  return manifest.base_urls and manifest.base_urls[values.environment]
end

-- A plugin may fetch from the hosts that the operator wrote into its url settings.
local function allow_hosts(p, values)
  local caps = p.manifest.caps
  for i = caps and #caps or 0, (p.own_caps or 0) + 1, -1 do caps[i] = nil end
  for _, s in ipairs(caps and p.manifest.settings or {}) do
    local where = s.type == "url" and tostring(values[s.key]):match("^https?://([%w%.%-]+:?%d*)")
    if where then caps[#caps + 1] = "fetch:" .. where:lower() end
  end
end

-- {settings = read-only} for a call into the plugin.
function M.context(p, ctx)
  local values, err = settings.plugin(p.manifest)
  if not values then return nil, err end
  allow_hosts(p, values)
  values.base_url = M.base_url(p.manifest, values)
  local out = { settings = host.readonly(values), now = ctx and ctx.now or os.time() }
  function out.err(_, code, message, retry) return errors.new(code, message, { retry = retry or false }) end
  if ctx then function out.url(_, path, query) return ctx:url(path, query) end end
  return out
end

-- Calls a function of a plugin; what it answers is copied, so that no metatable of a plugin reaches our own code.
function M.call(fn, ...)
  local answer, problem = fn(...)
  return host.copy(answer), host.copy(problem)
end

-- What a plugin said, as a text that may stand in logs and books: never through its metatables, without control characters.
function M.text(v, max)
  if type(v) == "table" then v = rawget(v, "message") end
  if type(v) == "number" then v = tostring(v) end
  if type(v) ~= "string" then return "" end
  v = v:sub(1, (max or 300) * 4):gsub("%c", " ")
  if not schema.utf8_length(v) then v = v:gsub("[^\32-\126]", "?") end
  if schema.utf8_length(v) > (max or 300) then v = v:gsub("[^\32-\126]", "?"):sub(1, max or 300) end
  return v
end

-- Calls a function of a rule that must not fail the sale: its answer, or nil and a sentence.
function M.try(fn, ...)
  local fine, answer, problem = pcall(M.call, fn, ...)
  if fine and answer ~= nil then return answer end
  local why = M.text(fine and problem or answer)
  return nil, why ~= "" and why or fine and "no answer" or "an error without a text"
end

local KIND = { string = { type = "string", max = 8000 }, secret = { type = "string", max = 2000 }, int = { type = "int", min = -2147483648 },
  bps = { type = "int", min = 0, max = 10000 }, bool = { type = "bool" }, url = { type = "url" }, money = { type = "int" },
  list = { type = "string", max = 2000 } }

-- The settings of a form, checked by the manifest's types; blank ones are left out. values, secrets (set of keys) | nil, err
function M.values(manifest, raw)
  local values, secrets = {}, {}
  for _, s in ipairs(manifest.settings or {}) do
    local v = raw[s.key]
    local rule = s.type == "enum" and { type = "enum", values = s.values or {} } or KIND[s.type]
    if s.type == "list" and type(v) == "table" then
      values[s.key] = v
    elseif v ~= nil and v ~= "" and v ~= json.null then
      local checked, err = schema.apply({ value = { type = rule.type, min = rule.min, max = rule.max, values = rule.values,
        label = s.title or s.key, required = true } }, { value = v })
      if not checked then return nil, err end
      values[s.key] = checked.value
      secrets[s.key] = s.type == "secret"
    end
  end
  return values, secrets
end

-- The ways to answer that need nothing of the request: made once for all.
local ANSWERS = {}
local plain = setmetatable({ encode = json.encode }, { __index = context.methods }) -- a body that may leave the plugin's box
for _, name in ipairs { "json", "ok", "empty", "text", "html", "redirect" } do
  local answer = plain[name]
  ANSWERS[name] = function(_, ...) return answer(plain, ...) end
end

-- What a route plugin's handler receives: no cookies, no headers of ours, no session.
function M.wrap_route(p, route)
  local inner = route.handler
  local function handler(ctx, input)
    local c, err = M.context(p, ctx)
    if not c then return nil, err end
    c.method, c.path, c.params, c.ip, c.id = ctx.method, ctx.path, ctx.params, ctx.ip, ctx.id
    c.user = ctx.user and { id = ctx.user.id, username = ctx.user.username } or nil
    c.query = ctx:query()
    for name, answer in pairs(ANSWERS) do c[name] = answer end
    return M.call(inner, c, input)
  end
  return { method = route.method, path = route.path, auth = route.auth, rate = route.rate, input = route.input,
    body = route.body, max_body = route.max_body, summary = route.summary, plugin = p.name,
    handler = type(inner) == "function" and handler or nil }
end

return M
