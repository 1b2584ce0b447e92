-- SPDX-License-Identifier: Apache-2.0
-- Tracing an uploaded clip. Only people may look into titles that are theirs; an administrator into all.
local blob = require "ppv.blob"
local db = require "ppv.db"
local log = require "ppv.log"
local trace = require "lib.trace"

local function run(job)
  local p = job.payload
  local r, err = trace.run({ root = "upload", path = p.path, ext = p.ext, name = p.name, sha256 = p.sha256 },
    { owner = p.owner, by = job.created_by, progress = function(stage, part)
      local ok, e = job:progress(part, { stage = stage })
      return ok or not (e and e.code == "job.lost")
    end })
  if not r and err.code == "job.lost" then return nil, err end
  local final = r or err.retry == false or tostring(err.code):find("^media%.") or job.attempt >= job.max_attempts
  if final then blob.remove_tree("upload", p.path) end
  if not r then return nil, { code = err.code, message = tostring(err.message), retry = not final } end
  log.info("leak.traced", { leak = r.id, verdict = r.verdict })
  db.notify("leaks", tostring(r.id or ""))
  return { leak_id = r.id, verdict = r.verdict, reason = r.report.reason }
end

return { jobs = { ["media.trace"] = { run = run, timeout = 4 * 3600 } } }
