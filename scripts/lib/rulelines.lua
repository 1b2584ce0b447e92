-- SPDX-License-Identifier: Apache-2.0
-- What an operator's rule returns: a list of at most ten lines, each with an amount in minor units.
local MOST, EXACT = 10, 9007199254740991 -- lines; the largest whole number that a double holds

local function is_list(t)
  local n = 0
  for k in pairs(t) do
    if type(k) ~= "number" then return false end
    n = n + 1
  end
  return true, n
end

-- The sum of the amounts, or nil and why the lines cannot be used. check(line): nil, or what is wrong with this one. Does not yield.
return function(lines, check)
  local list, n
  if type(lines) == "table" then list, n = is_list(lines) end
  if not list then return nil, "the rule returned no list" end
  if n ~= #lines or n > MOST then return nil, "the list has holes or more than 10 lines" end
  local sum = 0
  for i, line in ipairs(lines) do
    local a = type(line) == "table" and line.amount
    local whole = type(a) == "number" and a == a and a == math.floor(a) and a >= 0 and a <= EXACT
    local why = not whole and "amount is not a whole number >= 0" or whole and check(line)
    if why then return nil, ("line %d: %s"):format(i, why) end
    sum = sum + a
  end
  return sum
end
