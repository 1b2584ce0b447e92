-- SPDX-License-Identifier: Apache-2.0
-- The creator lets people watch without paying, and takes that back.
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local errors = require "lib.errors"
local iso = require "lib.iso"

-- username | email | user_id | username_or_email, in this order.
local function find(input)
  local sql = "select id, username::text as username from users where disabled_at is null and "
  local row, err
  if input.username then
    row, err = db.read_one(sql .. "username = $1::citext", input.username)
  elseif input.email then
    row, err = db.read_one(sql .. "email = $1::citext", input.email)
  elseif input.user_id then
    row, err = db.read_one(sql .. "id = $1", input.user_id)
  elseif input.username_or_email then
    row, err = db.read_one(sql .. "(username = $1::citext or email = $1::citext)", input.username_or_email)
  else
    return errors.invalid("Name somebody: username, email or user_id.")
  end
  if row == nil then return nil, err end
  if not row then return errors.not_found("user") end
  return row
end

local function allow(ctx, input)
  local who, err = find(input)
  if not who then return nil, err end
  local added
  added, err = db.tx(function(tx)
    local had, e = tx.one("select 1 as yes from allowlist where user_id = $1 and video_id = $2::uuid", who.id, input.video_id)
    if had == nil then return nil, e end
    local got
    got, e = tx.one("select ppv_grant($1, $2, $3::uuid) as id", ctx.user.id, who.id, input.video_id)
    if not got then return nil, e end
    if had then return 0 end
    local ok
    ok, e = audit.write(tx, ctx, "access.grant", "video:" .. input.video_id, { user_id = who.id })
    if not ok then return nil, e end
    return 1
  end)
  if not added then return nil, err end
  return ctx:ok { video_id = input.video_id, username = who.username, rows_affected = added }
end

local function revoke(ctx, input)
  local who, err = find(input)
  if not who then return nil, err end
  local removed
  removed, err = db.tx(function(tx)
    local got, e = tx.one("select ppv_ungrant($1, $2, $3::uuid) as yes", ctx.user.id, who.id, input.video_id)
    if not got then return nil, e end
    if not got.yes then return 0 end
    local ok
    ok, e = audit.write(tx, ctx, "access.ungrant", "video:" .. input.video_id, { user_id = who.id })
    if not ok then return nil, e end
    return 1
  end)
  if not removed then return nil, err end
  return ctx:ok { video_id = input.video_id, username = who.username, rows_affected = removed }
end

local function list(ctx, input)
  local own, err = db.read_one("select 1 as yes from videos where id = $1::uuid and owner_id = $2", input.video_id, ctx.user.id)
  if own == nil then return nil, err end
  if not own then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
  local rows
  rows, err = db.read("select a.user_id, a.username::text as username, a.kind, " .. iso "a.created_at" .. [[ as created_at
    from allowlist a where a.video_id = $1::uuid order by a.id desc limit 1000]], input.video_id)
  if not rows then return nil, err end
  return ctx:ok { items = json.array(rows) }
end

local WHO = { video_id = { type = "uuid", required = true }, username = { type = "string", max = 40 },
  email = { type = "email" }, user_id = { type = "int", min = 1 }, username_or_email = { type = "string", max = 254 } }

return { routes = {
  { method = "POST", path = "/api/allow", auth = "user", rate = "60/m", summary = "Let somebody watch", input = WHO, handler = allow },
  { method = "POST", path = "/api/allow/revoke", auth = "user", rate = "60/m", summary = "Take that back", input = WHO,
    handler = revoke },
  { method = "GET", path = "/api/allow", auth = "user", summary = "Who may watch a video of mine",
    input = { video_id = { type = "uuid", required = true } }, handler = list },
} }
