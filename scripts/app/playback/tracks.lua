-- SPDX-License-Identifier: Apache-2.0
-- What a playback session gets beside picture and sound: subtitles, chapters, and small pictures of every moment.
local db = require "ppv.db"
local json = require "ppv.json"
local chapters = require "lib.chapters"
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
function M.is_mine(file) return file == "tiles.vtt" or file == "chapters.vtt" or file:find("^sub%-%d+%.") ~= nil end

local function storyboard(video_id)
  local row, err = db.read_one("select duration_ms, (index->'storyboard')::text as text from videos where id = $1::uuid", video_id)
  if row == nil then return nil, err end
  local b = row and row.text and json.decode(row.text)
  if not b then return errors.not_found("storyboard") end
  return hls.storyboard(b, row.duration_ms / 1000)
end

local function chapter_marks(video_id)
  local row, err = db.read_one("select duration_ms, chapters::text as text from videos where id = $1::uuid", video_id)
  if row == nil then return nil, err end
  local list = row and row.text and json.decode(row.text) or {}
  if #list == 0 then return errors.not_found("chapters") end
  return chapters.vtt(list, row.duration_ms)
end

-- Whether a picture is a sheet of the title's storyboard.
function M.is_sheet(video_id, file)
  local row, err = db.read_one("select index->'storyboard'->'sheets' @> to_jsonb($2::text) as yes from videos where id = $1::uuid", video_id, file)
  if row == nil then return nil, err end
  if not row or not row.yes then return errors.not_found("picture") end
  return true
end

-- Its text.
function M.file(video_id, file)
  if file == "tiles.vtt" then return storyboard(video_id) end
  if file == "chapters.vtt" then return chapter_marks(video_id) end
  local id, ext = file:match("^sub%-(%d+)%.(%w+)$")
  if not id or #id > 15 or (ext ~= "m3u8" and ext ~= "vtt") then return errors.not_found("subtitles") end
  local row, err = db.read_one("select v.duration_ms" .. (ext == "vtt" and ", s.vtt" or "")
    .. " from subtitles s join videos v on v.id = s.video_id where s.id = $1 and s.video_id = $2::uuid", tonumber(id), video_id)
  if row == nil then return nil, err end
  if not row then return errors.not_found("subtitles") end
  return row.vtt or hls.subtitles(tonumber(id), row.duration_ms / 1000)
end

return M
