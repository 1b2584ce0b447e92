-- SPDX-License-Identifier: Apache-2.0
-- CSV files (RFC 4180). A spreadsheet runs what begins with = + - @ or a control character as a formula; such texts get an
-- apostrophe in front. Numbers written here stay numbers.
local M = {}
local Csv = {}
Csv.__index = Csv

local function cell(v)
  local s = v == nil and "" or type(v) == "number" and ("%.0f"):format(v) or tostring(v)
  if s:find("^[=+%-@%c]") and not s:find("^%-?%d+%.?%d*$") then s = "'" .. s end
  if s:find('[",\r\n]') then s = '"' .. s:gsub('"', '""') .. '"' end
  return s
end

-- head: list of column names.
function M.new(head)
  local c = setmetatable({ out = {}, width = #head }, Csv)
  c:row(head)
  return c
end

-- Values in the order of the head; nil = empty. Numbers must be whole.
function Csv:row(values)
  local cells = {}
  for i = 1, self.width do cells[i] = cell(values[i]) end
  self.out[#self.out + 1] = table.concat(cells, ",") .. "\r\n"
end

-- An answer that browsers save under that name.
function Csv:answer(name)
  return { status = 200, body = table.concat(self.out), headers = { ["content-type"] = "text/csv; charset=utf-8",
    ["content-disposition"] = ('attachment; filename="%s"'):format(name) } }
end

-- Fields of one record from byte `at` on; the position after it. nil, nil when a quote stays open.
local function record(text, at)
  local fields = {}
  while true do
    local value
    if text:sub(at, at) == '"' then
      local parts, from = {}, at + 1
      while true do
        local quote = text:find('"', from, true)
        if not quote then return nil end
        parts[#parts + 1] = text:sub(from, quote - 1)
        from = quote + 1
        if text:sub(from, from) ~= '"' then break end
        parts[#parts] = parts[#parts] .. '"'
        from = from + 1
      end
      value, at = table.concat(parts), from
    else
      local stop = text:find("[,\r\n]", at) or #text + 1
      value, at = text:sub(at, stop - 1), stop
    end
    fields[#fields + 1] = value
    if text:sub(at, at) ~= "," then break end
    at = at + 1
  end
  local _, stop = text:find("^\r?\n", at)
  if not stop and at <= #text then return nil end
  return fields, stop and stop + 1 or at
end

-- Rows of a file as tables keyed by its head, cells trimmed; an apostrophe that protects a formula is taken off. need: columns it must
-- have; max: rows. nil, sentence when it is no such file.
function M.parse(text, need, max)
  text = text:gsub("^\239\187\191", "")
  local head, at = record(text, 1)
  if not head then return nil, "This is not a CSV file." end
  local known, rows = {}, {}
  for i, name in ipairs(head) do
    head[i] = name:match "^%s*(.-)%s*$":lower()
    known[head[i]] = true
  end
  for _, name in ipairs(need) do if not known[name] then return nil, "The file has no column " .. name .. "." end end
  while at <= #text do
    local fields, after = record(text, at)
    if not fields then return nil, ("Line %d of the file cannot be read."):format(#rows + 2) end
    if #rows == max then return nil, ("The file has more than %d lines."):format(max) end
    local row = {}
    for i, name in ipairs(head) do row[name] = (fields[i] or ""):match "^%s*(.-)%s*$":gsub("^'([=+%-@])", "%1") end
    if #fields > 1 or fields[1] ~= "" then rows[#rows + 1] = row end
    at = after
  end
  return rows
end

return M
