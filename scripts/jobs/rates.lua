-- SPDX-License-Identifier: Apache-2.0
-- Fetches the exchange rate and the prices of tokens from a network source twice an hour; one that fails or jumps is told once a fetch in the log.
local db = require "ppv.db"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local payments = require "lib.payments"
local rates = require "lib.rates"

local function one(base, quote)
  local state, err = rates.fetch(base, quote)
  if not state then
    metrics.count("rate_failed_total", 1)
    log.warn("rate.failed", { base = base, quote = quote, code = err.code, message = err.message })
  elseif state == "waiting" then
    log.warn("rate.jump", { base = base, quote = quote, message = "the rate of the source waits for an administrator" })
  end
end

local function fetch()
  one(rates.BASE, rates.QUOTE)
  for _, t in ipairs(db.read("select distinct t.symbol from pay_tokens t join chains c on c.chain_id = t.chain_id where t.is_active and c.enabled") or {}) do
    one(t.symbol, payments.currency())
  end
  db.exec("delete from fx_rates where fetched_at < now() - interval '3 years'")
end

return { ticks = { { name = "rates", every = 1800, run = fetch } } }
