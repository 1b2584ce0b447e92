-- SPDX-License-Identifier: Apache-2.0
-- Fetches the exchange rate from a network source twice an hour; one that fails or jumps is told once a fetch in the log.
local db = require "ppv.db"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local rates = require "lib.rates"

local function fetch()
  local state, err = rates.fetch()
  if not state then
    metrics.count("rate_failed_total", 1)
    log.warn("rate.failed", { code = err.code, message = err.message })
  elseif state == "waiting" then
    log.warn("rate.jump", { message = "the rate of the source waits for an administrator" })
  end
  db.exec("delete from fx_rates where fetched_at < now() - interval '3 years'")
end

return { ticks = { { name = "rates", every = 1800, run = fetch } } }
