-- SPDX-License-Identifier: Apache-2.0
-- Values of ppv.conf with the defaults of the scripts for keys this build does not know.
local conf = require "ppv.conf"

local M = {}

function M.get(key, default)
  local fine, v = pcall(conf.get, key)
  if not fine or v == nil or v == "" then return default end
  return v
end

function M.int(key, default)
  local v = M.get(key, default)
  return tonumber(v) or default
end

return M
