-- SPDX-License-Identifier: Apache-2.0
-- The queue worked until it is empty, and the mails it left in the outbox directory.
local conf = require "ppv.conf"
local jobloop = require "lib.jobloop"
local jobs = require "ppv.jobs"

local M = {}

function M.run_jobs()
  jobloop.start(SPEC_BOOT)
  local left = 200
  while left > 0 and jobloop.run_one(1, "other") == 0 do left = left - 1 end
  jobs.set_timeout(0) -- run_one sets the deadline of its task, which is ours here
  assert(left > 0, "the queue does not get empty")
end

local function decode(text) -- quoted-printable
  return (text:gsub("=\r?\n", ""):gsub("=(%x%x)", function(x) return string.char(tonumber(x, 16)) end))
end

-- Mails to that address, oldest first, as {raw=, text=}.
function M.to(address)
  local out, pipe = {}, io.popen("ls -tr '" .. conf.get "mail_outbox" .. "' 2>/dev/null")
  local names = pipe:read "*a"
  pipe:close()
  for name in names:gmatch "[^\n]+" do
    local f = io.open(conf.get "mail_outbox" .. "/" .. name, "rb")
    local raw = f:read "*a"
    f:close()
    if raw:find("To: " .. address, 1, true) or raw:find("To: <" .. address, 1, true) then out[#out + 1] = { raw = raw, text = decode(raw) } end
  end
  return out
end

return M
