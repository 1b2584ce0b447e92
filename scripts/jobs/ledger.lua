-- SPDX-License-Identifier: Apache-2.0
-- Regular work on the books: sealing what was posted, receipts, checkpoints of the accounts that have no balance of their own.
local db = require "ppv.db"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local mailer = require "lib.mailer"
local receipts = require "lib.receipts"
local sealer = require "lib.sealer"

local function seal()
  local n, err = sealer.run()
  if not n then
    log.warn("ledger.seal", { code = err.code, message = err.message })
  elseif n > 0 then
    metrics.count("ledger_sealed_total", n)
  end
end

local function issue()
  local n, err = receipts.issue()
  if n then n, err = mailer.sold() end
  if not n then log.warn("receipts.issue", { code = err.code, message = err.message }) end
end

local function checkpoint()
  local n, err = db.one("select ppv_checkpoint() as n")
  if not n then log.warn("ledger.checkpoint", { code = err.code, message = err.message }) end
end

return { ticks = {
  { name = "ledger_seal", every = 30, run = seal },
  { name = "receipts", every = 60, run = issue },
  { name = "ledger_checkpoint", every = 600, run = checkpoint },
} }
