-- SPDX-License-Identifier: Apache-2.0
-- The creator lets people watch without paying, and takes that back.
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local errors = require "lib.errors"
local iso = require "lib.iso"

-- The address when somebody is named by one. Who has it, if anybody, is not told.
local function address(input)
  if input.username or input.user_id and not input.email then return nil end
  return input.email or input.username_or_email and input.username_or_email:match "^[^@%s]+@[^@%s]+$"
end

-- username | user_id | username_or_email, in this order.
local function find(input)
  local sql = "select id, username::text as username from users where disabled_at is null and "
  local row, err
  if input.username then
    row, err = db.read_one(sql .. "username = $1::citext", input.username)
  elseif input.user_id then
    row, err = db.read_one(sql .. "id = $1", input.user_id)
  elseif input.username_or_email then
    row, err = db.read_one(sql .. "username = $1::citext", input.username_or_email)
  else
    return errors.invalid("Name somebody: username, email or user_id.")
  end
  if row == nil then return nil, err end
  if not row then return errors.not_found("user") end
  return row
end

-- Gives it in a transaction: true when it is new, or nil, err.
local function give(tx, ctx, input, mail, who)
  if mail then
    local got, e = tx.one("select ppv_grant_mail($1, $2::citext, $3::uuid, to_timestamp($4)) as fresh", ctx.user.id, mail, input.video_id, input.ends_at)
    if not got then return nil, e end
    return got.fresh
  end
  local had, e = tx.one("select 1 as yes from allowlist where user_id = $1 and video_id = $2::uuid", who.id, input.video_id)
  if had == nil then return nil, e end
  local got
  got, e = tx.one("select ppv_grant($1, $2, $3::uuid, to_timestamp($4)) as id", ctx.user.id, who.id, input.video_id, input.ends_at)
  if not got then return nil, e end
  return not had
end

local function allow(ctx, input)
  if input.ends_at and input.ends_at <= ctx.now then return errors.invalid("The end must be later than now.", { field = "ends_at" }) end
  local mail = address(input)
  local who, err, added
  if mail then who = { username = mail } else who, err = find(input) end
  if not who then return nil, err end
  added, err = db.tx(function(tx)
    local fresh, e = give(tx, ctx, input, mail, who)
    if fresh == nil then return nil, e end
    if not fresh then return 0 end
    local ok
    ok, e = audit.write(tx, ctx, "access.grant", "video:" .. input.video_id, { user_id = who.id, email = mail, ends_at = input.ends_at })
    if not ok then return nil, e end
    return 1
  end)
  if not added then return nil, err end
  return ctx:ok { video_id = input.video_id, username = who.username, rows_affected = added }
end

local function revoke(ctx, input)
  local mail = address(input)
  local who, err, removed
  if mail then who = { username = mail } else who, err = find(input) end
  if not who then return nil, err end
  removed, err = db.tx(function(tx)
    local got, e
    if mail then
      got, e = tx.one("select ppv_ungrant_mail($1, $2::citext, $3::uuid) as yes", ctx.user.id, mail, input.video_id)
    else
      got, e = tx.one("select ppv_ungrant($1, $2, $3::uuid) as yes", ctx.user.id, who.id, input.video_id)
    end
    if not got then return nil, e end
    if not got.yes then return 0 end
    local ok
    ok, e = audit.write(tx, ctx, "access.ungrant", "video:" .. input.video_id, { user_id = who.id, email = mail })
    if not ok then return nil, e end
    return 1
  end)
  if not removed then return nil, err end
  return ctx:ok { video_id = input.video_id, username = who.username, rows_affected = removed }
end

local function list(ctx, input)
  local own, err = db.read_one("select 1 as yes from videos where id = $1::uuid and (owner_id = $2 or $3)", input.video_id, ctx.user.id, ctx:is_admin())
  if own == nil then return nil, err end
  if not own then return errors.fail("video.not_yours", "not owner / not found", { status = 404 }) end
  local rows
  rows, err = db.read("select distinct on (a.username) a.user_id, a.username, a.kind, " .. iso "a.expires_at" .. " as expires_at, "
    .. iso "a.created_at" .. [[ as created_at from (select case when e.source ~ '^mail:' then null else l.user_id end as user_id,
      ppv_grant_name(e.source, l.username::text) as username, l.kind, e.expires_at, l.created_at, l.id
      from allowlist l join entitlements e on e.id = l.id where l.video_id = $1::uuid) a
    order by a.username, a.id desc limit 1000]], input.video_id)
  if not rows then return nil, err end
  return ctx:ok { items = json.array(rows) }
end

local WHO = { video_id = { type = "uuid", required = true }, username = { type = "string", max = 40 },
  email = { type = "email" }, user_id = { type = "int", min = 1 }, username_or_email = { type = "string", max = 254 } }
local GIVE = { ends_at = { type = "int", min = 1, max = 4102444800 } }
for name, rule in pairs(WHO) do GIVE[name] = rule end

return { routes = {
  { method = "POST", path = "/api/allow", auth = "user", rate = "60/m", summary = "Let somebody watch", input = GIVE, handler = allow },
  { method = "POST", path = "/api/allow/revoke", auth = "user", rate = "60/m", summary = "Take that back", input = WHO,
    handler = revoke },
  { method = "GET", path = "/api/allow", auth = "user", summary = "Who may watch a video of mine",
    input = { video_id = { type = "uuid", required = true } }, handler = list },
} }
