-- SPDX-License-Identifier: Apache-2.0
-- ppv secret list | reseal          (rotate is the engine's: it writes the file)
local sealed = require "lib.sealed"

local action = ...

local function fail(err)
  print("ppv secret: " .. tostring(err.message))
  return 1
end

if action == "list" then
  local list, err = sealed.count()
  if not list then return fail(err) end
  local newest = sealed.newest()
  print(newest .. "  seals now")
  for _, r in ipairs(list) do print(("%-8s %6d %s"):format(r.key, r.n, r.name)) end
  return 0
elseif action == "reseal" then
  local list, err = sealed.reseal()
  if not list then return fail(err) end
  local bad = 0
  for _, r in ipairs(list) do
    bad = bad + r.unreadable
    print(("%6d %s sealed anew%s"):format(r.done, r.name, r.unreadable > 0 and (", %d cannot be opened by any key of the file"):format(r.unreadable) or ""))
  end
  return bad == 0 and 0 or 1
end
print "usage: ppv secret list      which key has sealed how much\n"
print "       ppv secret rotate    a new key; it seals after the next start, old ones go on opening"
print "       ppv secret reseal    seal everything with the newest key"
return action == "help" and 0 or 2
