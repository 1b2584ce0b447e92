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

return M
