-- SPDX-License-Identifier: Apache-2.0
-- What a film that is being encoded has finished so far, read from the encoder's journal (engine/media/journal.h).
local blob = require "ppv.blob"
local hls = require "lib.hls"

local M = {}
local JOURNAL_MAX = 32 * 1024 * 1024

-- Where the encoder writes until it has reached the end.
function M.directory(id) return id .. ".new.part" end

local function rendition(list, by, name)
  local r = by[name]
  if not r then
    r = { name = name, a = {}, b = {} }
    by[name], list[#list + 1] = r, r
  end
  return r
end

-- Segments without a gap from the first one, of both variants where there are two: no crash takes these back.
local function settle(r)
  local n = 0
  while r.a[n + 1] and (r.kind == "audio" or not r.b[1] or r.b[n + 1]) do n = n + 1 end
  r.segments = {}
  local bits = 0
  for i = 1, n do
    local s = r.a[i]
    s.dur = s.ticks / r.timescale
    r.segments[i] = s
    if s.dur >= 0.5 or i == 1 then bits = math.max(bits, 8 * s.size / s.dur) end
  end
  r.bandwidth = math.ceil(bits)
end

-- The journal's text -> {renditions like hls.master wants them, each with init and segments {name, dur, iv}; by = {name = rendition}}.
function M.parse(text)
  local all, by = {}, {}
  for line in text:gmatch "([^\n]+)\n" do
    local name, variant, n, file, iv, size, ticks = line:match "^seg (%S+) ([ab]) (%d+) (%x+%.m4s) (%x+) (%d+) (%d+) %x+$"
    if name then
      rendition(all, by, name)[variant][tonumber(n) + 1] = { name = file, iv = iv, size = tonumber(size), ticks = tonumber(ticks) }
    else
      local timescale, w, h, codecs
      name, file, timescale, w, h, codecs = line:match "^init (%S+) (%S+%.mp4) (%d+) (%d+) (%d+) (%S+) %x+$"
      if name then
        local r = rendition(all, by, name)
        r.init, r.timescale, r.codecs, r.width, r.height = file, tonumber(timescale), codecs, tonumber(w), tonumber(h)
        r.kind = codecs:find("^mp4a") and "audio" or "video"
      end
    end
  end
  local list = {}
  for _, r in ipairs(all) do
    if r.init and r.name ~= "ref" then -- the tracer's alone
      settle(r)
      list[#list + 1] = r
    end
  end
  table.sort(list, function(x, y) return (x.height or 0) > (y.height or 0) end)
  return list, by
end

-- The same of a film; nil without an error: nothing is there yet.
function M.read(id)
  local text, err = blob.read("media", M.directory(id) .. "/journal", JOURNAL_MAX)
  if not text then
    if err.code == "request.not_found" then return nil end
    return nil, err
  end
  return M.parse(text)
end

-- Whether every rendition can begin. A player reads the master playlist once, so none may be missing in it.
function M.begun(list)
  for _, r in ipairs(list) do if #r.segments == 0 then return false end end
  return #list > 0
end

-- A playlist that grows from the film's beginning; ended: nothing more comes; as_ts: of transport streams.
function M.media(name, init, segments, segment_s, ended, as_ts)
  return hls.media(name, init, segments, { kind = "EVENT", target = segment_s + 1, open = not ended, ts = as_ts })
end

return M
