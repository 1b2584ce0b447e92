-- SPDX-License-Identifier: Apache-2.0
-- Holds that end, payouts that fall due, and what providers know about those that are out.
local time = require "ppv.time"
local payout = require "lib.payout"

return { ticks = { { name = "payouts", every = 60, run = function() payout.round(time.now()) end } } }
