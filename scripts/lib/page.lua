-- SPDX-License-Identifier: Apache-2.0
-- Keyset pagination. A cursor is the sort keys of the last row, signed so that it cannot be used to probe columns.
local crypto = require "ppv.crypto"
local json = require "ppv.json"
local errors = require "lib.errors"

local M = {}

function M.input(default, max)
  return { limit = { type = "int", min = 1, max = max or 100, default = default or 50 },
    cursor = { type = "string", max = 600 } }
end

-- keys: list of scalars -> text
function M.cursor(purpose, keys) return crypto.sign("page." .. purpose, json.encode(json.array(keys))) end

-- nil (no cursor), list, or nil, err
function M.read(purpose, text, count)
  if not text then return nil end
  local raw = crypto.verify("page." .. purpose, text)
  local keys = raw and json.decode(raw)
  if type(keys) ~= "table" or #keys ~= count then
    return nil, errors.new("input.invalid", "This cursor is not one of ours.")
  end
  return keys
end

-- Cuts the extra row asked for with limit + 1 and makes the next cursor from the last one kept.
function M.cut(rows, limit, purpose, keys_of)
  if #rows <= limit then return rows, nil end
  rows[#rows] = nil
  return rows, M.cursor(purpose, keys_of(rows[#rows]))
end

return M
