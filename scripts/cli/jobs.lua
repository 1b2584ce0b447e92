-- SPDX-License-Identifier: Apache-2.0
-- ppv jobs [list|retry ID|cancel ID]
local db = require "ppv.db"

local action, id = ...
action = action or "list"

if action == "list" then
  local rows, err = db.read("select id, kind, state, attempts, coalesce(error, '') as error from jobs order by id desc limit 50")
  if not rows then
    print("ppv jobs: " .. tostring(err.message))
    return 1
  end
  for _, r in ipairs(rows) do print(("%8d  %-16s %-10s %d  %s"):format(r.id, r.kind, r.state, r.attempts, r.error:sub(1, 80))) end
  return 0
end

local fn = action == "retry" and "ppv_job_retry" or action == "cancel" and "ppv_job_cancel"
if not fn or not tonumber(id) then
  print("usage: ppv jobs [list|retry ID|cancel ID]")
  return 2
end
local row, err = db.one("select " .. fn .. "($1) as yes", tonumber(id))
if not row then
  print("ppv jobs: " .. tostring(err.message))
  return 1
end
print(row.yes and "done" or "the job is not in a state for this")
return row.yes and 0 or 1
