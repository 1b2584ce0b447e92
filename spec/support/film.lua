-- SPDX-License-Identifier: Apache-2.0
-- A short film that really went through the media child.
local blob = require "ppv.blob"
local conf = require "ppv.conf"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local media = require "ppv.media"
local h = require "spec.support"

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

local function rendition(id, kind, r)
  assert(db.exec([[insert into renditions (video_id, name, kind, width, height, bandwidth, codecs, init_path, segments, nsegments, bytes)
    values ($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, 1)]], id, r.name, kind, r.w, r.h, r.bandwidth, r.codecs, r.init,
    json.encode { a = json.array(r.segments), b = r.segments_b and json.array(r.segments_b) }, #r.segments))
end

--- The same as a title that can be played. over: columns of videos.
function M.title(owner, over, o)
  local id = h.make.video(owner, over)
  o = o or {}
  o.id = id
  local f = M.make(o)
  for _, r in ipairs(f.index.renditions) do rendition(id, "video", r) end
  for _, r in ipairs(f.index.audio) do rendition(id, "audio", r) end
  assert(db.exec("update videos set title_secret = $2, ready_at = now(), index = jsonb_build_object('code', $3::text) where id = $1::uuid",
    id, crypto.seal(f.secret), f.index.code))
  return f
end

return M
