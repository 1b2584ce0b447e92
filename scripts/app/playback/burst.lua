-- SPDX-License-Identifier: Apache-2.0
-- Visible bursts in the stream of one viewer: which segments may be one, and the key and bytes of those that are. Whoever
-- makes bursts fills this in; as it stands no title has any, and every segment is the clean one.
--   t: the title (lib/titles), s: the lease {id, user_id, video_id, ...}, name: the rendition, n: the segment
local M = {}

-- The segments that may be bursts as a bit map (byte n / 8, value 2 ^ (n % 8)), or nil for none. Their keys are asked of
-- key() below instead of being answered by the engine; with delivery = cdn their bytes come from the engine too.
function M.map(t, s) return nil end -- luacheck: ignore 212

-- When the KEY of a mapped segment is asked (players ask it before the bytes): the 16 bytes of the burst's key, and the
-- decision is pinned for this session; or nil: clean.
function M.key(t, s, name, n) return nil end -- luacheck: ignore 212

-- When the BYTES of a mapped segment are asked: the burst's path below the root "media", or nil: clean.
function M.segment(t, s, name, n) return nil end -- luacheck: ignore 212

return M
