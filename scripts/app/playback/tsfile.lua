-- SPDX-License-Identifier: Apache-2.0
-- Segments as transport streams: the stored bytes are opened, put into other packets by the engine and sealed again under the
-- same key and IV, for one answer.
local crypto = require "ppv.crypto"
local playback = require "ppv.playback"
local errors = require "lib.errors"
local titles = require "lib.titles"

local M = {}

--- segment: {iv (hex), init} as the encoder wrote it down; dir: where init is; o: {segment (path), key, root, clear}.
-- -> a file below "tmp" for ctx:file_once | nil, err. Yields.
function M.remux(segment, dir, o)
  local iv = crypto.hex_decode((segment.iv:gsub("^0[xX]", "")))
  if not iv or #iv ~= 16 then return errors.fail("engine.internal", "segment list is broken") end
  o.iv, o.init = iv, dir .. "/" .. segment.init
  return playback.ts(o)
end

--- The same of a file of title t (lib/titles), which is known to be one of rendition name.
function M.make(t, name, file, o)
  local list, err = titles.segments(t, name)
  if not list then return nil, err end
  return M.remux(list.find[file], t.id, o)
end

return M
