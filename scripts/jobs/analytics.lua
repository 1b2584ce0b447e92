-- SPDX-License-Identifier: Apache-2.0
-- Sums up playback sessions from the key log before it is pruned.
local db = require "ppv.db"
local log = require "ppv.log"

local function roll()
  local row, err = db.one("select ppv_analytics_roll() as n")
  if not row then log.warn("analytics.roll", { code = err.code, message = err.message }) end
  return row and row.n
end

return { roll = roll, ticks = { { name = "analytics", every = 60, run = roll } } }
