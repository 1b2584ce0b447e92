-- SPDX-License-Identifier: Apache-2.0
-- Where the shared files of a title are for players: beside the playlist, on the content delivery network, or in the storage.
local time = require "ppv.time"
local config = require "lib.config"
local log = require "ppv.log"
local store = require "lib.store"

local M = {}

-- Signed addresses are made anew twice a day and good for a day more, so that all viewers have the same ones and no playback
-- session outlives its own.
local EPOCH_S, LIFE_S = 12 * 3600, 36 * 3600
local AT_ONCE = 400 -- signatures without letting others run

local function cdn(t)
  local url = config.get("cdn_base_url", "")
  return config.get("delivery") == "cdn" and url ~= "" and (url .. "/" .. t.id .. "/") or ""
end

-- The storage with a complete copy of this encode; nil when players are not to go there.
local function storage(t)
  if not t.place then return nil end
  local chosen = store.chosen()
  if chosen.backend == "local" or not chosen.deliver then return nil end
  local s, err = store.current()
  if s == nil then log.warn("storage.delivery", { error = err.message }) end
  return s and s.place == t.place and s or nil
end

--- t: the title (lib/titles), names: files that a playlist names. -> base address for all ("" = beside), or nil and {name = address}. Yields.
function M.addresses(t, names)
  local s = storage(t)
  if not s then return cdn(t) end
  if s.public then return s.public .. "/" .. t.id .. "/" end
  local out, now = {}, math.floor(time.now() / EPOCH_S) * EPOCH_S
  for from = 1, #names, AT_ONCE do
    if from > 1 then time.sleep(0) end
    local keys = {}
    for i = from, math.min(#names, from + AT_ONCE - 1) do keys[#keys + 1] = "media/" .. t.id .. "/" .. names[i] end
    local urls, err = store.links(s, keys, now, LIFE_S)
    if not urls then
      log.warn("storage.delivery", { error = err.message })
      return cdn(t)
    end
    for i, url in ipairs(urls) do out[names[from + i - 1]] = url end
  end
  return nil, out
end

return M
