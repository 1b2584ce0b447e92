-- SPDX-License-Identifier: Apache-2.0
-- Chapters of a title: as its creator writes them (a line each: "1:02:03 Title"), as they are stored ({{ms, title}, ...} in
-- order of time), and as WebVTT.
local M = { MAX = 200, TITLE_MAX = 100, TEXT_MAX = 30000 }

local function seconds(text)
  local h, m, s = text:match "^(%d%d?):(%d%d):(%d%d%.?%d*)$"
  if not h then
    h, m, s = "0", text:match "^(%d%d?%d?):(%d%d%.?%d*)$"
  end
  if not m or tonumber(s) >= 60 or (h ~= "0" and tonumber(m) >= 60) then return nil end
  return tonumber(h) * 3600 + tonumber(m) * 60 + tonumber(s)
end

local function clock(ms)
  local s = math.floor(ms / 1000)
  local text = s >= 3600 and ("%d:%02d:%02d"):format(s / 3600, s / 60 % 60, s % 60) or ("%d:%02d"):format(s / 60, s % 60)
  return ms % 1000 == 0 and text or ("%s.%03d"):format(text, ms % 1000)
end

-- What a creator wrote -> list | nil, sentence. duration_ms nil: not known yet.
function M.parse(text, duration_ms)
  local list, n = {}, 0
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    n = n + 1
    line = line:gsub("^%s+", ""):gsub("%s+$", "")
    if line ~= "" then
      local time, title = line:match "^(%S+)%s+(.+)$"
      local at = time and seconds(time)
      if not at then return nil, ("Line %d: write a time and a title, like 12:30 The island."):format(n) end
      if #title:gsub("[\128-\191]", "") > M.TITLE_MAX then return nil, ("Line %d: a title has at most %d characters."):format(n, M.TITLE_MAX) end
      local ms = math.floor(at * 1000 + 0.5)
      if duration_ms and ms >= duration_ms then return nil, ("Line %d: the film is over by then."):format(n) end
      if #list > 0 and ms <= list[#list][1] then return nil, ("Line %d: chapters come in order of time."):format(n) end
      if #list == M.MAX then return nil, ("There are at most %d chapters."):format(M.MAX) end
      list[#list + 1] = { ms, title }
    end
  end
  return list
end

-- The way back.
function M.text(list)
  local out = {}
  for i, c in ipairs(list) do out[i] = clock(c[1]) .. " " .. c[2] end
  return table.concat(out, "\n")
end

-- What the container named, with titles for those that have none.
function M.from_film(list)
  local out = {}
  for i, c in ipairs(list or {}) do
    local title = c[2]:gsub("^%s+", ""):gsub("%s+$", "")
    out[i] = { c[1], title ~= "" and title or ("Chapter %d"):format(i) }
  end
  return out
end

local function stamp(ms)
  return ("%02d:%02d:%02d.%03d"):format(math.floor(ms / 3600000), math.floor(ms / 60000) % 60, math.floor(ms / 1000) % 60, ms % 1000)
end

-- A WebVTT file for <track kind="chapters">.
function M.vtt(list, duration_ms)
  local out = { "WEBVTT\n" }
  for i, c in ipairs(list) do
    local title = c[2]:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;")
    out[#out + 1] = ("%s --> %s\n%s\n"):format(stamp(c[1]), stamp(list[i + 1] and list[i + 1][1] or math.max(c[1] + 1, duration_ms)), title)
  end
  return table.concat(out, "\n")
end

return M
