-- SPDX-License-Identifier: Apache-2.0
-- Playlists and keys. Segments of a title are stored once, each encrypted under its own key; a playback session gets
-- playlists whose key addresses answer 16 bytes while its access holds.
local crypto = require "ppv.crypto"
local language = require "lib.language"
local ts = require "lib.tsnames"

local M = {}

local TS_VERSION = 4 -- no EXT-X-MAP

local TYPES = { m3u8 = "application/vnd.apple.mpegurl", m4s = "video/iso.segment", mp4 = "video/mp4",
  ts = "video/mp2t", key = "application/octet-stream", vtt = "text/vtt; charset=utf-8", jpg = "image/jpeg" }

-- The kind of a file name inside a session: extension, or nil for what we never serve.
function M.extension(file)
  if #file > 160 or not file:find("^[%w_-]+%.%w+$") then return nil end
  local ext = file:match("%.(%w+)$")
  if ext == "jpg" and not file:find("^%x+%.jpg$") then return nil end
  return TYPES[ext] and ext or nil
end

function M.type_of(ext) return TYPES[ext] end

-- A quoted string of a playlist holds neither quotation marks nor line ends.
local function quoted(s) return '"' .. s:gsub('["%c]', "") .. '"' end

-- Names of a group's members differ: "English", "English 2".
local function unique(used, name)
  local n, got = 1, name
  while used[got] do
    n = n + 1
    got = name .. " " .. n
  end
  used[got] = true
  return got
end

-- Appends a line for each sound track to out. The one with the highest bit rate speaks for the group; nil when there is none.
function M.sounds(renditions, out)
  local used, top, default = {}, nil, nil
  for _, r in ipairs(renditions) do
    if r.kind == "audio" then
      if not default or r.is_default then default = r end
      if not top or r.bandwidth > top.bandwidth then top = r end
    end
  end
  for _, r in ipairs(renditions) do
    if r.kind == "audio" then
      local name = unique(used, r.label or language.name(r.language) or "Audio")
      out[#out + 1] = ('#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME=%s%s,DEFAULT=%s,AUTOSELECT=YES,CHANNELS="2",URI="%s.m3u8"')
        :format(quoted(name), r.language and ",LANGUAGE=" .. quoted(r.language) or "", r == default and "YES" or "NO", r.name)
    end
  end
  return top
end

-- renditions: rows {name, kind, width, height, bandwidth, codecs; of sound also language, label, is_default}.
-- version: of the playlists it leads to (7).
function M.master(renditions, version)
  local out = { "#EXTM3U", "#EXT-X-VERSION:" .. (version or 7), "#EXT-X-INDEPENDENT-SEGMENTS" }
  local audio = M.sounds(renditions, out)
  for _, r in ipairs(renditions) do
    if r.kind == "video" then
      local codecs = r.codecs
      if audio then codecs = codecs .. "," .. audio.codecs end
      out[#out + 1] = ("#EXT-X-STREAM-INF:BANDWIDTH=%d,RESOLUTION=%dx%d,CODECS=\"%s\"%s"):format(
        r.bandwidth + (audio and audio.bandwidth or 0), r.width or 0, r.height or 0, codecs, audio and ',AUDIO="audio"' or "")
      out[#out + 1] = r.name .. ".m3u8"
    end
  end
  return table.concat(out, "\n") .. "\n"
end

-- The master playlist of the same film as transport streams (lib/tsnames). fps: pictures in a second, more is fine: bit rates grow by the
-- headers of packets that begin with every picture, and at most so much.
function M.ts_master(renditions, fps)
  local rows = {}
  for i, r in ipairs(renditions) do
    rows[i] = setmetatable({ name = ts.playlist(r.name), bandwidth = math.ceil(r.bandwidth * 1.03 + (r.kind == "audio" and 36000 or 15000 + 1800 * fps)) },
      { __index = r })
  end
  return M.master(rows, TS_VERSION)
end

-- A master playlist with subtitles. rows: {id, language, label} in the order of the menu.
function M.with_subtitles(master, rows)
  if #rows == 0 then return master end
  local used, lines = {}, {}
  for i, r in ipairs(rows) do
    local name = unique(used, r.label or language.name(r.language) or "Subtitles")
    lines[i] = ('#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME=%s%s,DEFAULT=NO,AUTOSELECT=%s,FORCED=NO,URI="sub-%d.m3u8"\n')
      :format(quoted(name), r.language and ",LANGUAGE=" .. quoted(r.language) or "", r.language and "YES" or "NO", r.id)
  end
  master = master:gsub("(#EXT%-X%-STREAM%-INF:[^\n]*)", '%1,SUBTITLES="subs"')
  local head = master:find("#EXT-X-STREAM-INF:", 1, true)
  return master:sub(1, head - 1) .. table.concat(lines) .. master:sub(head)
end

-- The playlist of subtitles: one segment as long as the film.
function M.subtitles(id, seconds)
  return ("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:%.6f,\nsub-%d.vtt\n#EXT-X-ENDLIST\n")
    :format(math.ceil(seconds), seconds, id)
end

-- Where the small pictures of a film are, as WebVTT. b: the storyboard of index.json.
function M.storyboard(b, seconds)
  local out = { "WEBVTT\n" }
  local function stamp(s)
    local ms = math.floor(s * 1000 + 0.5)
    return ("%02d:%02d:%02d.%03d"):format(math.floor(ms / 3600000), math.floor(ms / 60000) % 60, math.floor(ms / 1000) % 60, ms % 1000)
  end
  for i = 0, b.count - 1 do
    local from, to, at = i * b.interval, math.min((i + 1) * b.interval, seconds), i % (b.columns * b.rows)
    local sheet = b.sheets[math.floor(i / (b.columns * b.rows)) + 1]
    if to > from and sheet then
      out[#out + 1] = ("%s --> %s\n%s#xywh=%d,%d,%d,%d\n"):format(stamp(from), stamp(to), sheet, at % b.columns * b.w,
        math.floor(at / b.columns) * b.h, b.w, b.h)
    end
  end
  return table.concat(out, "\n")
end

-- One rendition. init: file name of its clear header. segments: list {name, dur (seconds), iv (hex)}.
-- o.base: where the shared files are, "" = beside the playlist; o.urls: {name = address} of each instead;
-- o.near: numbers of segments that stay beside it all the same;
-- o.ts: as transport streams, all of them beside the playlist; o.clear: segments without keys;
-- o.kind: EVENT for one that grows (VOD); o.target: its target duration, which must not change;
-- o.open: it is still growing.
function M.media(name, init, segments, o)
  local base, urls, near = o and o.base or "", o and o.urls or {}, o and o.near or {}
  local as_ts = o and o.ts
  local longest = 1
  for _, s in ipairs(segments) do longest = math.max(longest, s.dur) end
  local out = { "#EXTM3U", "#EXT-X-VERSION:" .. (as_ts and TS_VERSION or 7), ("#EXT-X-TARGETDURATION:%d"):format(o and o.target or math.ceil(longest)),
    "#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:" .. (o and o.kind or "VOD"), "#EXT-X-INDEPENDENT-SEGMENTS" }
  if not as_ts then out[#out + 1] = ('#EXT-X-MAP:URI="%s"'):format(urls[init] or base .. init) end
  if o and o.kind == "EVENT" then out[#out + 1] = "#EXT-X-START:TIME-OFFSET=0" end
  for i, s in ipairs(segments) do
    if not (o and o.clear) then
      out[#out + 1] = ('#EXT-X-KEY:METHOD=AES-128,URI="k-%s-%d.key",IV=0x%s'):format(name, i - 1, (s.iv:gsub("^0[xX]", "")))
    end
    out[#out + 1] = ("#EXTINF:%.6f,"):format(s.dur)
    out[#out + 1] = as_ts and ts.segment(s.name) or near[i - 1] and s.name or urls[s.name] or base .. s.name
  end
  if not (o and o.open) then out[#out + 1] = "#EXT-X-ENDLIST" end
  return table.concat(out, "\n") .. "\n"
end

-- Rendition and segment number of a key's file name.
function M.key_name(file)
  local name, n = file:match("^k%-([a-z0-9_]+)%-(%d+)%.key$")
  if not name or #n > 6 then return nil end
  return name, tonumber(n)
end

-- The 16 bytes of a segment's key. secret: the title's secret, raw. The info text is the one the encoder used.
function M.key(secret, rendition, variant, n)
  return crypto.hkdf(secret, ("v1|%s|%s|%d"):format(rendition, variant, n), 16)
end

return M
