-- SPDX-License-Identifier: Apache-2.0
-- What this generation serves, for the routes that describe it.
local M = {}

function M.set(t) for k, v in pairs(t) do M[k] = v end end

return M
