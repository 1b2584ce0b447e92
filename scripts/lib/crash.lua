-- SPDX-License-Identifier: Apache-2.0
-- Named points at which the engine may be told to die, so that a test sees what a crash there leaves behind: PPV_CRASH_AT holds
-- one name. Without the variable a point costs one comparison.
local M = {}
local wanted = os.getenv and os.getenv "PPV_CRASH_AT" -- Lua of a running site has no environment

--- Ends the process at once when the point is the wanted one.
function M.at(point)
  if point == wanted then os.exit(137) end
end

return M
