-- SPDX-License-Identifier: Apache-2.0
-- luajit scripts/cli/apidoc.lua [--check]
-- Makes plugins/API.md and plugins/ppv.d.lua from the comments above the bindings in engine/bind/*.c:
--   /* ppv.module.name(arg: type, arg?: type) -> result | nil, err
--    * Text. Phases: a b. Yields. Errors: x y. Since 1.0 */
-- --check writes nothing and fails when a file is not what it would be, or a comment does not follow the grammar.
local check = (arg or {})[1] == "--check"
local root = (arg and arg[0] or ""):match("^(.*)scripts/cli/[^/]*$") or ""

local function read(path)
  local f = io.open(root .. path, "rb")
  if not f then return nil end
  local text = f:read("*a")
  f:close()
  return text
end

local function sources()
  local list = {}
  local p = assert(io.popen("ls '" .. (root == "" and "." or root) .. "/engine/bind/'", "r"))
  for name in p:lines() do if name:find("^bind[%w_]*%.c$") then list[#list + 1] = "engine/bind/" .. name end end
  p:close()
  table.sort(list)
  return list
end

-- Parsing -------------------------------------------------------------------------------------------------------------
local problems = {}
local function complain(path, text) problems[#problems + 1] = path .. ": " .. text end

local function take(text, pattern)
  local value
  text = text:gsub(pattern, function(v) value = v return "" end, 1)
  return text, value
end

local function trim(s) return (s:gsub("^%s+", ""):gsub("%s+$", ""):gsub("%s+", " ")) end

-- "a: string, b?: integer, ...: any" at depth 0 of brackets
local function split_args(s)
  local out, depth, from = {}, 0, 1
  for i = 1, #s + 1 do
    local c = s:sub(i, i)
    if c:find("[%(%{]") then depth = depth + 1 elseif c:find("[%)%}]") then depth = depth - 1 end
    if (c == "," and depth == 0) or i == #s + 1 then
      local one = trim(s:sub(from, i - 1))
      if one ~= "" then
        local name, opt, type = one:match("^([%w_]+)(%??):%s*(.+)$")
        if not name and one:find("^%.%.%.") then name, opt, type = "...", "", one:match("^%.%.%.:%s*(.+)$") or "any" end
        out[#out + 1] = { name = name or one, optional = opt == "?", type = type or "any" }
      end
      from = i + 1
    end
  end
  return out
end

local function parse(path, comment)
  local lines = {}
  for line in (comment .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = (line:gsub("^%s*%*%s?", "")) end
  local item = { path = path, signature = trim(lines[1]) }
  local rest = trim(table.concat(lines, " ", 2))
  rest, item.since = take(rest, "%s*Since ([%d%.]+)%s*$")
  rest, item.errors = take(rest, "%s*Errors: (.-)%.?%s*$")
  local yields
  rest, yields = take(rest, "%s*(Yields)%.?%s*$")
  item.yields = yields ~= nil
  rest, item.phases = take(rest, "%s*Phases: ([%a ]+)%.?%s*$")
  item.text = trim(rest)
  item.owner, item.name = item.signature:match("^(ppv%.[%w_]+)%.([%w_]+)")
  if not item.owner then
    item.method = true
    item.owner, item.name = item.signature:match("^(%w+):([%w_]+)")
  end
  local args, result = item.signature:match("^[%w_.:]+(%b())%s*%->%s*(.+)$")
  if args then
    item.args, item.result = split_args(args:sub(2, -2)), result
  else
    item.value = item.signature:match("^[%w_.]+:%s*(.+)$")
    if not item.value then complain(path, "signature is not `name(args) -> results`: " .. item.signature) end
  end
  if not item.phases then complain(path, item.signature .. ": no `Phases:`") end
  if not item.since then complain(path, item.signature .. ": no `Since`") end
  return item
end

-- Every function named in a luaL_Reg of the file must be documented there.
local function check_registered(path, text, seen)
  for name, fn in text:gmatch('{"([%w_]+)",%s*([%w_]+)}') do
    if not seen[name] and fn:find("^l_") and not fn:find("^l_tx_") then
      complain(path, name .. " is registered but has no comment")
    end
  end
end

local modules, order = {}, {}
for _, path in ipairs(sources()) do
  local text, seen = read(path), {}
  for comment in text:gmatch("/%*%s*(.-)%s*%*/") do
    if comment:find("^ppv%.[%w_]+%.[%w_]+[%(:]") or comment:find("^%l+:[%l_]+%(") then
      local item = parse(path, comment)
      seen[item.name or ""] = true
      local m = modules[item.owner]
      if not m then
        m = { name = item.owner, items = {}, path = path, method = item.method }
        modules[item.owner], order[#order + 1] = m, m
      end
      m.items[#m.items + 1] = item
    end
  end
  check_registered(path, text, seen)
end

-- A method belongs below the module of its file.
local home = { sub = "ppv.events", job = "ppv.media" }
table.sort(order, function(a, b)
  local x, y = home[a.name] or a.name, home[b.name] or b.name
  if x ~= y then return x < y end
  return not a.method and b.method
end)

-- Which plugin kinds may require a module --------------------------------------------------------------------------------
local function kinds()
  local list, base = {}, dofile(root .. "scripts/sandbox/base.lua").modules
  local p = assert(io.popen("ls '" .. (root == "" and "." or root) .. "/scripts/sandbox/'", "r"))
  for file in p:lines() do
    local kind = file:match("^([%w_]+)%.lua$")
    if kind and kind ~= "base" and kind ~= "env" then
      local all = {}
      for name, rule in pairs(base) do all[name] = rule end
      for name, rule in pairs(dofile(root .. "scripts/sandbox/" .. file).modules) do all[name] = rule end
      list[#list + 1] = { name = kind, modules = all }
    end
  end
  p:close()
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local plugin_kinds = kinds()
local function available(module)
  local out = {}
  for _, k in ipairs(plugin_kinds) do
    local rule = k.modules[module]
    if rule then
      out[#out + 1] = k.name .. (type(rule) == "table" and rule.cap and " (capability `" .. rule.cap .. "`)" or "")
    end
  end
  return #out > 0 and table.concat(out, ", ") or nil
end

local function only_list(module)
  for _, k in ipairs(plugin_kinds) do
    local rule = k.modules[module]
    if type(rule) == "table" and rule.only then return true end
  end
end

-- plugins/API.md ------------------------------------------------------------------------------------------------------
local function api_md()
  local out = {}
  local function put(s) out[#out + 1] = s end
  put "<!-- Generated by scripts/cli/apidoc.lua from engine/bind/*.c. Do not edit. -->"
  put "# The `ppv` modules"
  put ""
  put "Take a module with `local db = require \"ppv.db\"`. Code reads straight: functions marked *yields* wait without blocking"
  put "others. They cannot be called inside the callbacks of `table.sort` and `string.gsub`, nor while a file is loading."
  put ""
  put "An expected failure is `nil, err` with `err = {code, message, retry, detail}`; `tostring(err)` is readable. A wrong call raises."
  put "Phases name the places a function may be called from: `load` (while files are read), `request`, `webhook`, `tx` (money"
  put "rules), `job`, `tick`."
  put ""
  put "Plugins see only the modules of their kind, and those with a capability only when the manifest asks for it in `caps`. Modules"
  put "without a line \"Plugins\" are for `scripts/` only. In plugins `ppv.db` runs under the database role `ppv_plugin`."
  for _, m in ipairs(order) do
    put ""
    if m.method then
      put("### `" .. m.name .. ":` methods")
    else
      put("## " .. m.name)
      local who = available(m.name)
      if who then
        put ""
        put("Plugins: " .. who .. "." .. (only_list(m.name) and " Some functions are for `scripts/` only." or ""))
      end
    end
    for _, item in ipairs(m.items) do
      put ""
      put("#### `" .. item.signature .. "`")
      if item.text ~= "" then put(item.text) put "" end
      put("*Phases:* " .. (item.phases or "?") .. (item.yields and " · *yields*" or "")
        .. (item.errors and " · *errors:* " .. item.errors or "") .. " · *since* " .. (item.since or "?"))
    end
  end
  return table.concat(out, "\n") .. "\n"
end

-- plugins/ppv.d.lua ---------------------------------------------------------------------------------------------------
local PLAIN = { string = "string", number = "number", integer = "integer", boolean = "boolean", table = "table", any = "any",
  lightuserdata = "lightuserdata", ["function"] = "function" }

local function lua_type(t)
  t = trim(t)
  if PLAIN[t] then return t end
  if t:find("^function") then return "function" end
  if t:find("^{") or t == "rows" or t == "row" or t == "reply" then return "table" end
  if t == "true" or t == "false" or t == "nil" then return t == "nil" and "nil" or "boolean" end
  if t == "sub" or t == "job" then return "ppv." .. t end
  if t:find("|", 1, true) then
    local parts = {}
    for one in t:gmatch("[^|]+") do parts[#parts + 1] = lua_type(one) end
    return table.concat(parts, "|")
  end
  return "any"
end

-- "ok: boolean, needs_rehash: boolean | nil, err" -> one @return line per value
local function returns(result)
  if result == "nothing" then return {} end
  local main, fails = result:gsub("%s*|%s*nil,%s*err%s*$", "")
  local out = {}
  for i, r in ipairs(split_args(main)) do
    local t = r.type
    if t == "any" then t = r.name end
    t = lua_type(t)
    if fails > 0 and i == 1 and not t:find("nil") then t = t .. "|nil" end
    out[#out + 1] = "---@return " .. t .. (r.type ~= "any" and r.name:find("^[%w_]+$") and " " .. r.name or "")
  end
  if fails > 0 then out[#out + 1] = "---@return ppv.err? err" end
  return out
end

local function d_lua()
  local out = {}
  local function put(s) out[#out + 1] = s end
  put "---@meta"
  put "-- Generated by scripts/cli/apidoc.lua from engine/bind/*.c. Do not edit. For editors (LuaLS); nothing loads it."
  put ""
  put "---@class ppv.err"
  put "---@field code string"
  put "---@field message string"
  put "---@field retry boolean"
  put "---@field detail? string"
  for _, m in ipairs(order) do
    local var = m.name:gsub("^ppv%.", "")
    put ""
    put("---@class " .. (m.method and "ppv." .. m.name or m.name))
    put("local " .. var .. " = {}")
    for _, item in ipairs(m.items) do
      put ""
      if item.text ~= "" then put("---" .. item.text) end
      put("---Phases: " .. (item.phases or "?") .. (item.yields and ". Yields" or "") .. (item.errors and ". Errors: " .. item.errors or ""))
      if item.value then
        put("---@type " .. lua_type(item.value))
        put(var .. "." .. item.name .. " = nil")
      else
        local names = {}
        for i, a in ipairs(item.args) do
          names[i] = a.name == "function" and "fn" or a.name
          put("---@param " .. names[i] .. (a.optional and "?" or "") .. " " .. lua_type(a.type))
        end
        for _, line in ipairs(returns(item.result)) do put(line) end
        put("function " .. var .. (item.method and ":" or ".") .. item.name .. "(" .. table.concat(names, ", ") .. ") end")
      end
    end
  end
  put ""
  return table.concat(out, "\n")
end

-- -------------------------------------------------------------------------------------------------------------------
local stale = false
for path, text in pairs { ["plugins/API.md"] = api_md(), ["plugins/ppv.d.lua"] = d_lua() } do
  if check then
    if read(path) ~= text then
      stale = true
      io.stderr:write(path, ": stale, run `make docs`\n")
    end
  else
    local f = assert(io.open(root .. path, "wb"))
    f:write(text)
    f:close()
  end
end
for _, p in ipairs(problems) do io.stderr:write(p, "\n") end
os.exit((stale or #problems > 0) and 1 or 0)
