-- SPDX-License-Identifier: Apache-2.0
-- What a playback session gets beside picture and sound: subtitles.
local db = require "ppv.db"
local errors = require "lib.errors"
local hls = require "lib.hls"

local M = {}

-- The master playlist of a title with the subtitles it has now.
function M.master(video_id, text)
  local rows, err = db.read("select id, language, label from subtitles where video_id = $1::uuid order by position, id", video_id)
  if not rows then return nil, err end
  return hls.with_subtitles(text, rows)
end

-- Whether a file of a session is ours.
function M.is_mine(file) return file:find("^sub%-%d+%.") ~= nil end

-- Its text.
function M.file(video_id, file)
  local id, ext = file:match("^sub%-(%d+)%.(%w+)$")
  if not id or #id > 15 or (ext ~= "m3u8" and ext ~= "vtt") then return errors.not_found("subtitles") end
  local row, err = db.read_one("select v.duration_ms" .. (ext == "vtt" and ", s.vtt" or "")
    .. " from subtitles s join videos v on v.id = s.video_id where s.id = $1 and s.video_id = $2::uuid", tonumber(id), video_id)
  if row == nil then return nil, err end
  if not row then return errors.not_found("subtitles") end
  return row.vtt or hls.subtitles(tonumber(id), row.duration_ms / 1000)
end

return M
