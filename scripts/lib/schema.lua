-- SPDX-License-Identifier: Apache-2.0
-- Input schemas: { name = {type=, required=, default=, min=, max=, ...} } -> checked values or a sentence for people.
-- Types: string int bool uuid email username enum evm url object. Unknown fields are ignored; blank optional fields are absent
-- (`keep_blank` keeps ""). Numbers are exact: no floats, signs only where min < 0, ASCII digits only.
local errors = require "lib.errors"

local M = {}
local MAX_EXACT = 9007199254740991

-- Length in characters, or nil when the text is not UTF-8.
local function utf8_length(s)
  local i, n, len = 1, 0, #s
  while i <= len do
    local c, size = s:byte(i), 1
    if c >= 0xf5 or (c >= 0x80 and c < 0xc2) then return nil end
    if c >= 0xf0 then size = 4 elseif c >= 0xe0 then size = 3 elseif c >= 0xc2 then size = 2 end
    if i + size - 1 > len then return nil end
    for k = i + 1, i + size - 1 do
      local b = s:byte(k)
      if b < 0x80 or b > 0xbf then return nil end
    end
    local second = size > 1 and s:byte(i + 1) or 0
    if (c == 0xe0 and second < 0xa0) or (c == 0xed and second > 0x9f) or (c == 0xf0 and second < 0x90)
      or (c == 0xf4 and second > 0x8f) then return nil end
    i, n = i + size, n + 1
  end
  return n
end
M.utf8_length = utf8_length

local function trim(s) return (s:match("^%s*(.-)%s*$")) end
M.trim = trim

local function label(name, rule) return rule.label or name end

local check = {}

function check.string(v, name, rule)
  if type(v) == "number" then v = ("%.14g"):format(v) end
  if type(v) ~= "string" then return nil, label(name, rule) .. " must be text" end
  if rule.trim ~= false and not rule.raw then v = trim(v) end
  local n = utf8_length(v)
  if not n then return nil, label(name, rule) .. " is not valid UTF-8 text" end
  if not rule.raw and v:find(rule.multiline and "[%z\1-\8\11\12\14-\31\127]" or "[%z\1-\31\127]") then
    return nil, label(name, rule) .. " contains control characters"
  end
  if rule.bytes then n = #v end
  local unit = rule.bytes and "bytes" or "characters"
  if rule.min and n < rule.min then
    return nil, ("%s must have at least %d %s"):format(label(name, rule), rule.min, unit)
  end
  if n > (rule.max or 1000) then
    return nil, ("%s must have at most %d %s"):format(label(name, rule), rule.max or 1000, unit)
  end
  if rule.pattern and not v:find(rule.pattern) then
    return nil, label(name, rule) .. " " .. (rule.hint or "has a form we do not accept")
  end
  return v
end

function check.int(v, name, rule)
  local n
  if type(v) == "number" then
    n = v
  elseif type(v) == "string" and #v <= 17 and trim(v):find("^%-?%d+$") then
    n = tonumber(trim(v))
  end
  local lo, hi = rule.min or 0, rule.max or MAX_EXACT
  if not n or n ~= n or n ~= math.floor(n) or n < lo or n > hi then
    return nil, ("%s must be a whole number from %.0f to %.0f"):format(label(name, rule), lo, hi)
  end
  return n
end

local BOOLS = { ["true"] = true, ["1"] = true, on = true, yes = true,
  ["false"] = false, ["0"] = false, off = false, no = false }

function check.bool(v, name, rule)
  if type(v) == "boolean" then return v end
  if v == 1 then return true elseif v == 0 then return false end
  if type(v) == "string" and BOOLS[v:lower()] ~= nil then return BOOLS[v:lower()] end
  return nil, label(name, rule) .. " must be true or false"
end

local UUID = "^" .. ("%x"):rep(8) .. "%-" .. ("%x"):rep(4) .. "%-" .. ("%x"):rep(4) .. "%-" .. ("%x"):rep(4) .. "%-"
  .. ("%x"):rep(12) .. "$"

function M.is_uuid(v) return type(v) == "string" and #v == 36 and v:find(UUID) ~= nil end

function check.uuid(v, name, rule)
  if type(v) == "string" then v = trim(v):lower() end
  if not M.is_uuid(v) then return nil, label(name, rule) .. " is not a valid id" end
  return v
end

function M.is_email(v)
  return type(v) == "string" and #v <= 254 and v:find("^[^%s@%z\1-\31\127<>\"(),:;]+@[^%s@%z\1-\31\127<>\"(),:;]+%.[^%s@.]+$")
    ~= nil and utf8_length(v) ~= nil
end

function check.email(v, name, rule)
  if type(v) == "string" then v = trim(v):lower() end
  if not M.is_email(v) then return nil, label(name, rule) .. " is not a valid e-mail address" end
  return v
end

-- Names appear in links and on the marked picture, so they are plain ASCII.
function check.username(v, name, rule)
  local s, why = check.string(v, name, { min = 2, max = 40, label = label(name, rule) })
  if not s then return nil, why end
  if not s:find("^%w[%w._-]*$") then
    return nil, label(name, rule) .. " must begin with a letter or digit and may contain letters, digits, dots, dashes and underscores"
  end
  return s
end

function check.enum(v, name, rule)
  if type(v) == "string" then
    for _, one in ipairs(rule.values) do if v == one then return v end end
  end
  return nil, ("%s must be one of: %s"):format(label(name, rule), table.concat(rule.values, ", "))
end

function check.evm(v, name, rule)
  if type(v) == "string" then v = trim(v):lower() end
  if type(v) ~= "string" or #v ~= 42 or not v:find("^0x%x+$") then
    return nil, label(name, rule) .. " must be 0x and 40 hexadecimal digits"
  end
  return v
end

function check.url(v, name, rule)
  if type(v) == "string" then v = trim(v) end
  if type(v) ~= "string" or #v > 2000 or not v:find("^https?://[%w%-._%[%]:]+[^%s%c]*$") then
    return nil, label(name, rule) .. " must be a full http(s) address"
  end
  return v
end

-- A JSON object, looked into by the handler itself.
function check.object(v, name, rule)
  if type(v) == "table" then return v end
  return nil, label(name, rule) .. " must be an object"
end

M.types = check

local REASON = { email = "invalid_email" }

local sorted = setmetatable({}, { __mode = "k" })

-- Names in a fixed order, so that the same request always gets the same sentence.
local function names_of(rules)
  local names = sorted[rules]
  if names then return names end
  names = {}
  for name in pairs(rules) do names[#names + 1] = name end
  table.sort(names)
  sorted[rules] = names
  return names
end

local function is_blank(v, rule) return v == nil or v == "" or (type(v) == "string" and not rule.raw and trim(v) == "") end

-- source: raw values by name. Returns the checked table, or nil, err (err.reason is the word of the form pages).
function M.apply(rules, source, extra)
  local out = {}
  for _, name in ipairs(names_of(rules)) do
    local rule = rules[name]
    if rule.required and is_blank(source[name], rule) then
      return errors.invalid(label(name, rule) .. " is required", { reason = "missing_field", field = name,
        where = extra and extra.where })
    end
  end
  for _, name in ipairs(names_of(rules)) do
    local rule, v = rules[name], source[name]
    if not is_blank(v, rule) then
      local value, why = check[rule.type](v, name, rule)
      if value == nil then
        return errors.invalid(why, { reason = rule.reason or REASON[rule.type] or "invalid_" .. name, field = name,
          where = extra and extra.where })
      end
      out[name] = value
    elseif v ~= nil and rule.keep_blank then
      out[name] = ""
    else
      out[name] = rule.default
    end
  end
  return out
end

-- Programmer's mistakes in a declaration, found at load time.
function M.verify(rules)
  for name, rule in pairs(rules) do
    if type(rule) ~= "table" or not check[rule.type or ""] then
      return nil, ("input field '%s' has no known type"):format(tostring(name))
    end
    if rule.type == "enum" and type(rule.values) ~= "table" then
      return nil, ("input field '%s' lists no values"):format(name)
    end
  end
  return true
end

return M
