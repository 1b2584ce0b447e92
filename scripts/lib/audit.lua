-- SPDX-License-Identifier: Apache-2.0
-- One row per decision that matters, in the transaction that makes it.
local db = require "ppv.db"
local json = require "ppv.json"

local M = {}

function M.write(tx, ctx, action, target, detail)
  return (tx or db).exec("select ppv_audit($1, $2, $3, $4::jsonb, $5::inet)", ctx.user and ctx.user.id, action,
    tostring(target), json.encode(detail or { via = "web" }), ctx.ip)
end

return M
