-- SPDX-License-Identifier: Apache-2.0
-- From the key log to a creator's figures: sums, the retention curve, concurrent viewers, and who may see them.
local db = require "ppv.db"
local h = require "spec.support"
local roll = require("jobs.analytics").roll
local json = require "ppv.json"

-- A film of 10 segments of 2 s in two renditions.
local function film(owner)
  local id = h.make.video(owner, { duration_ms = 20000 })
  for _, name in ipairs { "240", "480" } do
    assert(db.exec([[insert into renditions (video_id, name, kind, bandwidth, codecs, init_path, segments, nsegments, bytes)
      values ($1::uuid, $2, 'video', 1000, 'avc1.64001e', 'init', '{}', 10, 10)]], id, name))
  end
  assert(db.exec([[insert into renditions (video_id, name, kind, bandwidth, codecs, init_path, segments, nsegments, bytes)
    values ($1::uuid, 'audio', 'audio', 1000, 'mp4a.40.2', 'init', '{}', 10, 10)]], id))
  return id
end

-- One playback: who got the keys from..to of a rendition, at minutes before now.
local function keys(playback, user, id, rendition, from, to, minutes)
  assert(db.exec([[insert into key_log (playback_id, user_id, video_id, rendition, variant, seq, at)
    select $1::uuid, $2, $3::uuid, $4, 'a', n, now() - make_interval(mins => $7::int) + n * interval '2 seconds' from generate_series($5::int, $6::int) n]],
    playback, user.id, id, rendition, from, to, minutes))
end
local function new() return db.one("select gen_random_uuid()::text as id").id end

describe("analytics", function()
  local maker, ann, bob, id, p1, p2
  lazy_setup(function()
    maker, ann, bob = h.make.user(), h.make.user(), h.make.user()
    id, p1, p2 = film(maker), new(), new()
    keys(p1, ann, id, "240", 0, 1, 300)
    keys(p1, ann, id, "480", 2, 9, 300)
    keys(p1, ann, id, "audio", 0, 9, 300)
    keys(p1, ann, id, "480", 4, 5, 299) -- looked at again: not watched twice
    keys(p2, bob, id, "480", 0, 4, 300)
    keys(new(), maker, id, "480", 0, 9, 300) -- the owner's own look
    assert.is_true(roll() >= 3)
  end)

  it("sums up each playback once, however often it is rolled", function()
    for _ = 1, 2 do
      roll()
      local r = maker:get("/api/analytics?video_id=" .. id)
      assert.equal(200, r.status, r.body)
      local t = r.json.totals
      assert.same({ 2, 2, 30, 1, 0 }, { t.plays, t.viewers, t.watch_seconds, t.completions, t.now })
    end
  end)

  it("draws the curve of who is still there", function()
    local seen = {}
    for i, p in ipairs(maker:get("/api/analytics?video_id=" .. id).json.retention) do
      assert.equal((i - 1) * 2, p.second)
      seen[i] = p.percent
    end
    assert.same({ 100, 100, 100, 100, 100, 50, 50, 50, 50, 50 }, seen)
  end)

  it("counts renditions, days and viewers at once", function()
    local r = maker:get("/api/analytics?video_id=" .. id).json
    assert.same({ { name = "480", segments = 13 }, { name = "240", segments = 2 } }, r.renditions)
    assert.equal(2, r.daily[1].plays)
    local most = 0
    for _, c in ipairs(r.concurrent) do most = math.max(most, c.viewers) end
    assert.equal(2, most)
    assert.equal(id, maker:get("/api/analytics").json.titles[1].video_id)
  end)

  it("follows a playback that goes on", function()
    keys(p2, bob, id, "480", 5, 9, 0)
    assert.equal(1, roll())
    local r = maker:get("/api/analytics?video_id=" .. id).json
    assert.equal(40, r.totals.watch_seconds)
    assert.equal(2, r.totals.completions)
    assert.equal(1, r.totals.now)
    assert.equal(100, r.retention[10].percent)
  end)

  it("is the owner's and the administrator's alone, and names nobody", function()
    assert.equal(404, ann:get("/api/analytics?video_id=" .. id).status)
    assert.equal(0, ann:get("/api/analytics").json.totals.plays)
    assert.equal(401, h.client():get("/api/analytics").status)
    assert.equal(403, maker:get("/admin/analytics").status)
    local r = h.make.admin():get("/admin/analytics?video_id=" .. id)
    assert.equal(2, r.json.totals.plays)
    assert.is_nil(json.encode(r.json):find(ann.username, 1, true))
    assert.equal(422, maker:get("/api/analytics?days=0").status)
  end)

  it("outlives the key log", function()
    assert.is_nil((db.exec("update playback_stats set first_at = first_at where video_id = $1::uuid", id)))
    assert.is_nil((db.exec("delete from key_log where video_id = $1::uuid", id)), "the application cannot remove evidence")
    assert.equal(2, maker:get("/api/analytics?video_id=" .. id).json.totals.plays)
  end)
end)
