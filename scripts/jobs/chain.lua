-- SPDX-License-Identifier: Apache-2.0
-- Watches the chains that can be paid on, and payments by x402 until they are final.
local log = require "ppv.log"
local chainrefund = require "lib.chainrefund"
local relayer = require "lib.relayer"
local settle = require "lib.settle"
local sponsor = require "lib.sponsor"
local watch = require "lib.watch"
local x402watch = require "lib.x402watch"

local function refunds() return chainrefund.turn(settle.refund) end

local function run()
  for _, turn in ipairs { watch.turn, x402watch.turn, sponsor.turn, relayer.turn, refunds } do
    local ok, err = turn()
    if not ok then log.warn("chain.turn", { message = tostring(err.message) }) end
  end
end

return { ticks = { { name = "chain", every = 2, run = run } } }
