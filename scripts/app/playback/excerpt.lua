-- SPDX-License-Identifier: Apache-2.0
-- Playing what was bought as an excerpt: the film from its beginning, as far as is paid. The order is looked at for every playlist and key,
-- so that a refund counts at once and a further excerpt does too.
local db = require "ppv.db"

local M = {}

-- The ask map of such a session's lease: no key is answered by the engine itself.
M.ALL = ("\255"):rep(8192)
local SLACK_S = 0.05 -- what rounding adds to the length of a segment

--- How many segments (in the order of the film) end within so many seconds.
function M.within(segments, seconds)
  local at = 0
  for i, s in ipairs(segments) do
    at = at + s.dur
    if at > seconds + SLACK_S then return i - 1 end
  end
  return #segments
end

--- How many of a rendition's segments the session of lease s may have: all, unless its access is an excerpt. Yields.
function M.count(s, segments)
  if s.access ~= "excerpt" then return #segments end
  local row, err = db.one("select ppv_excerpt_s($1, $2::uuid) as n", s.user_id, s.video_id)
  if not row then return nil, err end
  return M.within(segments, row.n)
end

return M
