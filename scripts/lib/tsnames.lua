-- SPDX-License-Identifier: Apache-2.0
-- Names of transport streams, for clients that decrypt no fMP4: beside "master.m3u8", "480.m3u8" and "f00d.m4s" of a playback
-- session are "master-ts.m3u8", "480-ts.m3u8" and "f00d.ts", under the same keys.
local M = {}

--- A rendition's (or "master"'s) playlist, without extension.
function M.playlist(name) return name .. "-ts" end

--- The rendition of a playlist's name, and whether it is of transport streams.
function M.rendition(name)
  local of = name:match "^([%w_]+)%-ts$"
  return of or name, of ~= nil
end

--- The stream's name of a stored segment.
function M.segment(file) return (file:gsub("%.m4s$", ".ts")) end

--- The stored segment of a stream's name.
function M.stored(file) return (file:gsub("%.ts$", ".m4s")) end

return M
