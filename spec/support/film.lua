-- SPDX-License-Identifier: Apache-2.0
-- A short film that really went through the media child.
local blob = require "ppv.blob"
local conf = require "ppv.conf"
local crypto = require "ppv.crypto"
local json = require "ppv.json"
local media = require "ppv.media"

local M = {}

--- o.seconds (default 8), o.size (320x240), o.id. -> {id, secret (hex), index (what index.json says)}
function M.make(o)
  local seconds, size = o.seconds or 8, o.size or "320x240"
  local id = o.id
  local secret = crypto.sha256(crypto.random(32), "hex")
  local file = conf.get "upload_dir" .. "/" .. id .. ".mp4"
  local code = os.execute(("ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=size=%s:rate=25:duration=%d -f lavfi -i sine=duration=%d "
    .. "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac '%s'"):format(size, seconds, seconds, file))
  assert(code == 0 or code == true, "ffmpeg made no clip")
  assert(media.run("ingest", { id = id, input = id .. ".mp4", output = id, title_secret = secret, ext = "mp4", duration = seconds }))
  blob.remove_tree("upload", id .. ".mp4")
  return { id = id, secret = secret, index = json.decode(assert(blob.read("media", id .. "/index.json", 2 ^ 20))) }
end

return M
