-- SPDX-License-Identifier: Apache-2.0
-- ppv media verify [ID ...] | rebuild ID ... | rebuild --damaged | gc [--yes]
local db = require "ppv.db"
local files = require "lib.mediafiles"

local args = { ... }
local action = table.remove(args, 1)

local function fail(err)
  print("ppv media: " .. tostring(err.message))
  return 1
end

local function films()
  if args[1] and args[1] ~= "--damaged" then return args end
  local rows, err = db.read("select id::text as id from videos where state = 'ready' order by id")
  if not rows then return nil, err end
  local out = {}
  for i, r in ipairs(rows) do out[i] = r.id end
  return out
end

-- Calls each(id, problems) for every film asked for; prints what is wrong. -> how many are damaged
local function verify(each)
  local list, err = films()
  if not list then return nil, err end
  local bad, sum = 0, 0
  for _, id in ipairs(list) do
    local problems, n, late = files.verify(id)
    if not problems then return nil, n end
    sum = sum + n
    for _, line in ipairs(problems) do print(id .. "  " .. line) end
    if late and #late > 0 then print(("%s  %d files from before the last encode"):format(id, #late)) end
    if #problems > 0 then
      bad = bad + 1
      if each then each(id) end
    end
  end
  print(("%d films, %d files are right, %d films are damaged"):format(#list, sum, bad))
  return bad
end

local function rebuild(id)
  local job, err = files.rebuild(id)
  print(job and ("%s  will be encoded anew (job %d)"):format(id, job) or ("%s  %s"):format(id, err.message))
  return job ~= nil
end

if action == "verify" then
  local bad, err = verify()
  if not bad then return fail(err) end
  return bad == 0 and 0 or 1
elseif action == "rebuild" and args[1] == "--damaged" then
  local bad, err = verify(rebuild)
  return bad and 0 or fail(err)
elseif action == "rebuild" and args[1] then
  local fine = true
  for _, id in ipairs(args) do fine = rebuild(id) and fine end
  return fine and 0 or 1
elseif action == "gc" then
  local list, err = files.orphans()
  if not list then return fail(err) end
  local bytes, removed = 0, 0
  for _, o in ipairs(list) do
    print(("%s/%s  %d bytes  %s"):format(o.root, o.path, o.size, o.why))
    bytes = bytes + o.size
    if args[1] == "--yes" and files.remove(o) then removed = removed + 1 end
  end
  print(args[1] == "--yes" and ("%d removed, %d bytes"):format(removed, bytes)
    or ("%d to remove, %d bytes; `ppv media gc --yes` does it"):format(#list, bytes))
  return 0
end
print "usage: ppv media verify [ID ...]      compare the films' files with their checksums\n"
print "       ppv media rebuild ID ...       encode again from the original; viewers go on watching"
print "       ppv media rebuild --damaged    the same for every film whose files are not right"
print "       ppv media gc [--yes]           name (and remove) files no film needs"
return action == "help" and 0 or 2
