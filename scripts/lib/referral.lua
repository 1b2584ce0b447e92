-- SPDX-License-Identifier: Apache-2.0
-- Whose link somebody followed: a signed first-party cookie, joined to the account at log-in, so that it outlives cookie and device.
-- And the browsers an account signs in from, for the check of affiliates who buy from themselves.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local settings = require "lib.settings"

local M = { COOKIE = "ppv_ref", DEVICE = "ppv_dev" }
local DAY, KEPT = 86400, 10

-- Days between the click and the sale.
function M.window() return settings.get("affiliate.window_days", 30) end

-- The cookie's clicks within the window, newest first: {{video, who (id), at (unix s)}}. At most the last link to each of 10 titles.
function M.read(ctx)
  local raw = ctx:cookies()[M.COOKIE]
  local text = raw and #raw < 2000 and crypto.verify("ref", raw)
  local out, life = {}, M.window() * DAY
  for video, who, at in (text or ""):gmatch("([%x-]+):(%d+):(%d+)") do
    if ctx.now - tonumber(at) < life then out[#out + 1] = { video = video, who = tonumber(who), at = tonumber(at) } end
  end
  return out
end

-- A click: in the cookie, and in the account of whoever is signed in. true | nil, err. Yields.
function M.remember(ctx, video, who)
  local line = "%s:%.0f:%.0f"
  local keep = { line:format(video, who, ctx.now) }
  for _, e in ipairs(M.read(ctx)) do
    if e.video ~= video and #keep < KEPT then keep[#keep + 1] = line:format(e.video, e.who, e.at) end
  end
  ctx:cookie(M.COOKIE, crypto.sign("ref", table.concat(keep, ",")), { max_age = M.window() * DAY })
  if not ctx.user then return true end
  return db.exec("select ppv_attribute($1, $2::jsonb)", ctx.user.id, json.encode(json.array { { video = video, who = who, at = math.floor(ctx.now) } }))
end

-- Whose link a purchase of the title comes from. id, false when nobody's, or nil, err. Yields.
function M.find(ctx, user_id, video)
  local row, err = db.read_one("select ppv_attribution($1, $2::uuid, $3::jsonb, $4) as id", user_id, video,
    json.encode(json.array(M.read(ctx))), M.window())
  if row == nil then return nil, err end
  return row and row.id or false
end

-- What the browser knows joins the account. Problems are logged; nobody is kept out for them. Yields.
function M.join(ctx, user_id)
  local clicks = M.read(ctx)
  if #clicks == 0 then return end
  local ok, err = db.exec("select ppv_attribute($1, $2::jsonb)", user_id, json.encode(json.array(clicks)))
  if not ok then log.warn("referral.join", { code = err.code }) end
end

-- Notes the browser of a log-in; gives it a cookie of its own at the first. Yields.
function M.device(ctx, user_id)
  local raw = ctx:cookies()[M.DEVICE]
  local token = raw and #raw < 300 and crypto.verify("device", raw)
  if not token then
    token = crypto.random_token(16)
    ctx:cookie(M.DEVICE, crypto.sign("device", token), { max_age = 400 * DAY })
  end
  local ok, err = db.exec([[insert into user_devices (user_id, device) values ($1, $2)
    on conflict (user_id, device) do update set last_at = now()]], user_id, crypto.hmac_sha256("affiliate.device", token, "hex"))
  if not ok then log.warn("referral.device", { code = err.code }) end
end

return M
