-- SPDX-License-Identifier: Apache-2.0
-- Values of ppv.conf with the defaults of the scripts for keys this build does not know. The configuration is read once, when
-- the engine starts, so each key is asked once.
local conf = require "ppv.conf"

local M = {}
local NONE = {}
local known = {}

function M.get(key, default)
  local v = known[key]
  if v == nil then
    local fine
    fine, v = pcall(conf.get, key)
    if not fine or v == nil or v == "" then v = NONE end
    known[key] = v
  end
  if v == NONE then return default end
  return v
end

function M.int(key, default)
  local v = M.get(key, default)
  return tonumber(v) or default
end

return M
