-- SPDX-License-Identifier: Apache-2.0
-- Idempotency-Key of money-moving requests. Without one the request gets a key of its own: it is then exactly one attempt.
local crypto = require "ppv.crypto"
local errors = require "lib.errors"

local M = {}

-- key, hash of what was asked; fields: list of scalars in a fixed order.
function M.read(ctx, fields)
  local key = ctx:header("idempotency-key")
  if key and (#key < 1 or #key > 200 or key:find("[^\33-\126]")) then
    return errors.invalid("Idempotency-Key must be 1 to 200 visible ASCII characters.")
  end
  local parts = { ctx.method, ctx.path }
  for _, v in ipairs(fields) do parts[#parts + 1] = tostring(v) end
  return key or ("auto:" .. ctx.id), crypto.sha256(table.concat(parts, "\n"), "hex")
end

return M
