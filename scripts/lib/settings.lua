-- SPDX-License-Identifier: Apache-2.0
-- Operator settings (table settings) and plugin settings (table plugin_settings), cached for all workers at most 10 s.
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"

local M = {}
local TTL = 10

-- The decoded text of the last look; the cache is asked each time, so that all workers change their minds together. Not to be changed.
local seen, decoded

local function load_all()
  local text = cache.get("settings")
  if text then
    if text ~= seen then seen, decoded = text, json.decode(text) end
    return decoded
  end
  local rows, err = db.read("select key, value::text as value from settings")
  if not rows then return nil, err end
  local out = {}
  for _, row in ipairs(rows) do out[row.key] = json.decode("[" .. row.value .. "]")[1] end
  cache.set("settings", json.encode(out), TTL)
  return out
end

function M.get(key, default)
  local all = load_all()
  local v = all and all[key]
  if v == nil then return default end
  return v
end

-- Writes several keys in the caller's transaction (or on its own connection when tx is nil).
function M.set(tx, values, by)
  for key, value in pairs(values) do
    local text = json.encode(json.array { value }):match("^%[(.*)%]$")
    local ok, err = (tx or db).exec([[insert into settings (key, value, updated_by) values ($1, $2::jsonb, $3)
      on conflict (key) do update set value = excluded.value, updated_by = excluded.updated_by]], key, text, by)
    if not ok then return nil, err end
  end
  cache.del("settings")
  return true
end

-- Call after the transaction that used set() has committed.
function M.changed() cache.del("settings") end

-- Settings of one plugin: declared defaults, then what the operator stored; secrets opened.
function M.plugin(manifest)
  local key = "plugset:" .. manifest.name
  local text = cache.get(key)
  local stored
  if text then
    stored = json.decode(text)
  else
    local rows, err = db.read("select key, value::text as value, sealed from plugin_settings where plugin = $1", manifest.name)
    if not rows then return nil, err end
    stored = {}
    for _, row in ipairs(rows) do
      stored[row.key] = { value = json.decode("[" .. row.value .. "]")[1], sealed = row.sealed }
    end
    cache.set(key, json.encode(stored), TTL)
  end
  local out = {}
  for _, spec in ipairs(manifest.settings or {}) do
    local got = stored[spec.key]
    local value = got and got.value
    if got and got.sealed and value then value = crypto.open(value) or nil end
    if value == nil then value = spec.default end
    out[spec.key] = value
  end
  return out
end

function M.set_plugin(tx, plugin, key, value, secret, by)
  local v = secret and crypto.seal(value) or value
  local text = json.encode(json.array { v }):match("^%[(.*)%]$")
  return tx.exec([[insert into plugin_settings (plugin, key, value, sealed, updated_by) values ($1, $2, $3::jsonb, $4, $5)
    on conflict (plugin, key) do update set value = excluded.value, sealed = excluded.sealed,
    updated_by = excluded.updated_by]], plugin, key, text, secret or false, by)
end

function M.plugin_changed(plugin) cache.del("plugset:" .. plugin) end

return M
