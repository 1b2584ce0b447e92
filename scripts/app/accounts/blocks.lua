-- SPDX-License-Identifier: Apache-2.0
-- A creator blocks people: soft = no purchase, hard = no playback either.
local db = require "ppv.db"
local json = require "ppv.json"
local errors = require "lib.errors"
local iso = require "lib.iso"
local users = require "lib.users"

local function list(ctx)
  local rows, err = db.read("select b.user_id as blocked_user_id, u.username::text as username, '' as email, b.ban_type, b.reason, "
    .. iso "b.expires_at" .. " as expires_at, " .. iso "b.created_at" .. [[ as created_at
    from creator_blocks b join users u on u.id = b.user_id
    where b.creator_id = $1 and (b.expires_at is null or b.expires_at > now()) order by b.created_at desc limit 500]], ctx.user.id)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do row.expires_at = row.expires_at or json.null end
  return ctx:ok { items = json.array(rows) }
end

local function block(ctx, input)
  if input.user_id == ctx.user.id then return errors.invalid("You cannot block yourself.") end
  local target, err = users.by_id(input.user_id)
  if target == nil then return nil, err end
  if not target then return errors.not_found("user") end
  local n
  n, err = db.exec([[insert into creator_blocks (creator_id, user_id, ban_type, reason, expires_at)
    values ($1, $2, $3, $4, case when $5::bigint is null then null else now() + make_interval(hours => $5::int) end)
    on conflict (creator_id, user_id) do update set ban_type = excluded.ban_type, reason = excluded.reason,
    expires_at = excluded.expires_at]], ctx.user.id, input.user_id, input.ban_type, input.reason, input.hours)
  if not n then return nil, err end
  return ctx:ok { blocked_user_id = input.user_id, ban_type = input.ban_type }
end

local function unblock(ctx, input)
  local n, err = db.exec("delete from creator_blocks where creator_id = $1 and user_id = $2", ctx.user.id, input.user_id)
  if not n then return nil, err end
  return ctx:ok { removed = n }
end

return { routes = {
  { method = "GET", path = "/api/creator/blocked_users", auth = "user", summary = "People I blocked", handler = list },
  { method = "POST", path = "/api/creator/block_user", auth = "user", rate = "60/m", summary = "Block somebody",
    input = { user_id = { type = "int", min = 1, required = true },
      ban_type = { type = "enum", values = { "soft", "hard" }, default = "soft" },
      reason = { type = "string", max = 1000, multiline = true, default = "" },
      hours = { type = "int", min = 1, max = 87600 } }, handler = block },
  { method = "POST", path = "/api/creator/unblock_user", auth = "user", rate = "60/m", summary = "Lift a block",
    input = { user_id = { type = "int", min = 1, required = true } }, handler = unblock },
} }
