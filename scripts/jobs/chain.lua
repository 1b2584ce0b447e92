-- SPDX-License-Identifier: Apache-2.0
-- Watches the chains that can be paid on.
local log = require "ppv.log"
local watch = require "lib.watch"

local function run()
  local ok, err = watch.turn()
  if not ok then log.warn("chain.turn", { message = tostring(err.message) }) end
end

return { ticks = { { name = "chain", every = 2, run = run } } }
