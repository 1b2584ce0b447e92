-- SPDX-License-Identifier: Apache-2.0
-- Subtitles: SubRip, WebVTT and ASS in, WebVTT out. Of markup only b, i and u survive, balanced; the other markup of these
-- formats is dropped and everything else is escaped, so that what comes out is text wherever it is shown.
local schema = require "lib.schema"

local M = { MAX_BYTES = 2 * 1024 * 1024, MAX_CUES = 10000, MAX_TEXT = 2000, MAX_MS = 24 * 3600 * 1000 }

local function lines_of(text)
  local out = {}
  for line in (text:gsub("\r\n?", "\n") .. "\n"):gmatch("([^\n]*)\n") do out[#out + 1] = line end
  return out
end

-- "00:01:02,500", "01:02.500", "0:00:01.50" -> milliseconds; nil for anything else.
local function time_of(s)
  local h, m, sec, frac = s:match("^(%d+):(%d%d):(%d%d)[.,](%d+)$")
  if not h then
    m, sec, frac = s:match("^(%d%d):(%d%d)[.,](%d+)$")
    h = "0"
  end
  if not m or #h > 3 or #frac > 3 or tonumber(m) > 59 or tonumber(sec) > 59 then return nil end
  local ms = ((tonumber(h) * 60 + tonumber(m)) * 60 + tonumber(sec)) * 1000 + tonumber(frac) * 10 ^ (3 - #frac)
  return ms <= M.MAX_MS and ms or nil
end

local KEPT = { b = true, i = true, u = true }
local DROPPED = { c = true, v = true, lang = true, ruby = true, rt = true, font = true, s = true, strong = true, em = true, span = true }
local ENTITIES = { ["&amp;"] = "&", ["&lt;"] = "<", ["&gt;"] = ">", ["&nbsp;"] = "\194\160", ["&lrm;"] = "", ["&rlm;"] = "" }

local function escape(s) return (s:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;")) end

-- One tag: what it becomes; nil when it is none of ours and hence text. open is the stack of tags that are open.
local function tag(inside, open)
  local slash, name = inside:match("^(/?)(%a+)")
  if not name then return inside:find("^%d+:[%d:.]+$") and "" or nil end
  local rest = inside:sub(#slash + #name + 1)
  if rest ~= "" and not rest:find("^[%s.]") then return nil end
  name = name:lower()
  if DROPPED[name] then return "" end
  if not KEPT[name] then return nil end
  if slash == "" then
    open[#open + 1] = name
    return "<" .. name .. ">"
  end
  if open[#open] ~= name then return "" end
  open[#open] = nil
  return "</" .. name .. ">"
end

-- Text with <tags>, entities decoded first where the format has them. Answers what is safe in WebVTT.
local function from_markup(text, entities)
  local out, open, at = {}, {}, 1
  local function plain(s)
    if entities then s = s:gsub("&%a+;", ENTITIES) end
    out[#out + 1] = escape(s)
  end
  while true do
    local from, to, inside = text:find("<([^<>]*)>", at)
    if not from then break end
    plain(text:sub(at, from - 1))
    local kept = tag(inside, open)
    if kept then out[#out + 1] = kept else plain(text:sub(from, to)) end
    at = to + 1
  end
  plain(text:sub(at))
  for i = #open, 1, -1 do out[#out + 1] = "</" .. open[i] .. ">" end
  return table.concat(out)
end

-- Override codes of ASS: {\i1}..{\i0} and the like as tags, the rest dropped; nil for drawings.
local function from_ass(text)
  if text:find("{[^}]*\\p[1-9]") then return nil end
  text = text:gsub("\\[Nn]", "\n"):gsub("\\h", "\194\160"):gsub("<", "\1"):gsub(">", "\2")
  text = text:gsub("{([^}]*)}", function(codes)
    local tags = ""
    for name, on in codes:gmatch("\\([biu])(%d*)%f[\\%z]") do tags = tags .. (on == "0" and "</" or "<") .. name .. ">" end
    return tags
  end)
  return (from_markup(text):gsub("\1", "&lt;"):gsub("\2", "&gt;"))
end

-- Lines without control characters; blank ones would end the cue.
local function tidy(text)
  local out = {}
  for _, line in ipairs(lines_of(text)) do
    line = schema.trim((line:gsub("[%z\1-\31\127]", " ")))
    if line ~= "" then out[#out + 1] = line end
  end
  return table.concat(out, "\n")
end

-- What a cue says, as WebVTT; nil when nothing is left. kind: mov_text, text, subrip, webvtt, ass.
function M.text(raw, kind)
  local text
  raw = raw:gsub("\r\n?", "\n"):gsub("[%z\1\2]", "")
  if kind == "ass" then text = from_ass(raw)
  elseif kind == "webvtt" then text = from_markup(raw, true)
  elseif kind == "subrip" then text = from_markup((raw:gsub("{\\[^}]*}", "")))
  else text = escape(raw) end
  text = text and tidy(text)
  return text and text:gsub("</?[biu]>", ""):find("%S") and text or nil
end

local function add(cues, from, to, raw, kind, line)
  if to < from then return nil, ("Line %d: this text ends before it begins."):format(line) end
  if #raw > M.MAX_TEXT then return nil, ("Line %d: this text is longer than %d bytes."):format(line, M.MAX_TEXT) end
  local text = to > from and M.text(raw, kind)
  if not text then return true end
  if #cues == M.MAX_CUES then return nil, ("There are more than %d texts."):format(M.MAX_CUES) end
  cues[#cues + 1] = { from, to, text, n = #cues }
  return true
end

-- Blocks of SubRip and WebVTT: [a line that names it], the times, the text, a blank line.
local function parse_blocks(lines, first, kind)
  local cues, i = {}, first
  while i <= #lines do
    local from, to = lines[i]:match("^%s*([%d:.,]+)%s+%-%->%s+([%d:.,]+)")
    if from then
      local line, text = i, {}
      from, to = time_of(from), time_of(to)
      if not from or not to then return nil, ("Line %d: these times cannot be read."):format(line) end
      i = i + 1
      while i <= #lines and lines[i]:find("%S") do
        text[#text + 1] = lines[i]
        i = i + 1
      end
      local ok, why = add(cues, from, to, table.concat(text, "\n"), kind, line)
      if not ok then return nil, why end
    elseif lines[i]:find("-->", 1, true) then
      return nil, ("Line %d: these times cannot be read."):format(i)
    elseif kind == "webvtt" and (lines[i]:find("^NOTE") or lines[i]:find("^STYLE") or lines[i]:find("^REGION")) then
      while i <= #lines and lines[i]:find("%S") do i = i + 1 end
    elseif lines[i]:find("%S") and not (lines[i + 1] or ""):find("-->", 1, true) then
      return nil, ("Line %d: times are expected here."):format(i)
    end
    i = i + 1
  end
  return cues
end

-- The nth field of an ASS line and what follows it.
local function fields(s, n)
  local out, at = {}, 1
  for _ = 1, n - 1 do
    local comma = s:find(",", at, true)
    if not comma then return nil end
    out[#out + 1] = schema.trim(s:sub(at, comma - 1))
    at = comma + 1
  end
  out[n] = s:sub(at)
  return out
end

local function parse_ass(lines)
  local cues, names, events = {}, nil, false
  for i, line in ipairs(lines) do
    local section = line:match("^%[(.-)%]")
    if section then events = section == "Events" end
    local format = events and line:match("^Format:%s*(.*)$")
    if format then
      names = {}
      for name in format:gmatch("[^,]+") do names[#names + 1] = schema.trim(name) end
      if #names > 30 or names[#names] ~= "Text" then return nil, ("Line %d: Text must be the last field."):format(i) end
    end
    local dialogue = events and line:match("^Dialogue:%s*(.*)$")
    if dialogue then
      local got, values = {}, names and fields(dialogue, #names)
      for k, v in ipairs(values or {}) do got[names[k]] = v end
      local from, to = time_of(got.Start or ""), time_of(got.End or "")
      if not from or not to then return nil, ("Line %d: these times cannot be read."):format(i) end
      local ok, why = add(cues, from, to, got.Text, "ass", i)
      if not ok then return nil, why end
    end
  end
  return cues
end

-- In order of time; those that begin together stay as they were.
local function sort(cues)
  table.sort(cues, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a.n < b.n
  end)
  return cues
end

-- A file somebody sent -> list of {from ms, to ms, text as WebVTT}; or nil and a sentence.
function M.parse(file)
  if #file > M.MAX_BYTES then return nil, "The file is larger than 2 MB." end
  if file:find("^\255\254") or file:find("^\254\255") then return nil, "The file is UTF-16; please save it as UTF-8." end
  file = file:gsub("^\239\187\191", "")
  if file:find("%z") then return nil, "This is not a text file." end
  if not schema.utf8_length(file) then
    return nil, "The file is not UTF-8 (perhaps Latin-1 or Windows-1252); please save it as UTF-8."
  end
  local lines = lines_of(file)
  local cues, why
  if lines[1]:find("^WEBVTT%f[%s%z]") then
    local first = 2
    while lines[first] and lines[first]:find("%S") and not lines[first]:find("-->", 1, true) do first = first + 1 end
    cues, why = parse_blocks(lines, first, "webvtt")
  elseif file:find("%[Script Info%]") and file:find("%[Events%]") then
    cues, why = parse_ass(lines)
  else
    cues, why = parse_blocks(lines, 1, "subrip")
  end
  if not cues then return nil, why end
  if #cues == 0 then return nil, "There is no subtitle text in the file; SubRip (.srt), WebVTT (.vtt) and ASS (.ass) are read." end
  return sort(cues)
end

-- Cues as the encoder found them in a film: list of {from, to, text}. What is broken is left out.
function M.from_film(raw, codec)
  local cues = {}
  for _, c in ipairs(raw) do
    local text = c[3]
    if codec == "ass" then
      local f = fields(text, 9)
      text = f and f[9] or ""
    end
    add(cues, c[1], c[2], text, codec, 0)
  end
  return sort(cues)
end

local function stamp(ms)
  local s = math.floor(ms / 1000)
  return ("%02d:%02d:%02d.%03d"):format(math.floor(s / 3600), math.floor(s / 60) % 60, s % 60, ms % 1000)
end

-- A WebVTT file on the clock of our segments, which begins at 0.
function M.vtt(cues)
  local out = { "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n" }
  for _, c in ipairs(cues) do
    out[#out + 1] = ("%s --> %s\n%s\n"):format(stamp(c[1]), stamp(c[2]), c[3])
  end
  return table.concat(out, "\n")
end

return M
