-- SPDX-License-Identifier: Apache-2.0
-- The buyer's consent to immediate delivery: digital content that starts at once loses the right of withdrawal only when the buyer
-- agreed to both before paying.
local db = require "ppv.db"
local errors = require "lib.errors"
local settings = require "lib.settings"

local M = { VERSION = "2026-06",
  TEXT = "I ask for the video to be made available at once, before the withdrawal period ends, and I know that I lose my right of "
    .. "withdrawal when it is." }

function M.required() return settings.get("consent.required", false) == true end

-- ctx.user agrees for this video. Yields.
function M.record(ctx, video, country)
  return db.exec("insert into consents (user_id, video_id, version, text, country, ip) values ($1, $2::uuid, $3, $4, $5, $6::inet)",
    ctx.user.id, video, M.VERSION, M.TEXT, (country or ""):upper(), ctx.ip)
end

-- Before money moves. -> {country (declared, may be "")}, or nil, err (consent.required) when the site asks for consent and this user
-- gave none for this video within a day. row: that consent, false = none, nil = to be looked up. Yields.
function M.check(user, video, row)
  local err
  if row == nil then
    row, err = db.read_one([[select country from consents where user_id = $1 and video_id = $2::uuid
      and created_at > now() - interval '1 day' order by id desc limit 1]], user, video)
  end
  if row == nil then return nil, err end
  if not row and M.required() then
    return errors.fail("consent.required", "Please agree that the video starts at once.", { status = 409 })
  end
  return row or { country = "" }
end

return M
