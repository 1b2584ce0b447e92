-- SPDX-License-Identifier: Apache-2.0
-- The raw tables on one page, for support. Secrets are left out, ids of sessions cut.
local db = require "ppv.db"
local html = require "lib.html"

local TABLES = {
  { "Users", { "id", "username", "email", "is_admin", "suspended", "created_at" },
    [[select id, username::text as username, email::text as email, is_admin, disabled_at is not null as suspended, created_at
      from users order by id desc limit $1]] },
  { "Sessions", { "id", "user_id", "kind", "created_at", "expires_at" },
    "select left(encode(token_hash, 'hex'), 8) as id, user_id, kind, created_at, expires_at from sessions order by created_at desc limit $1" },
  { "Videos", { "id", "owner_id", "title", "price", "currency", "state", "created_at" },
    "select id, owner_id, title, price, currency, state, created_at from videos order by id desc limit $1" },
  { "Allowlist", { "video_id", "username", "kind", "created_at" },
    "select video_id, username::text as username, kind, created_at from allowlist order by id desc limit $1" },
  { "Purchases", { "id", "user_id", "video_id", "price", "currency", "method", "created_at" },
    "select id, user_id, video_id, price, currency, method, created_at from purchases order by id desc limit $1" },
  { "Password resets", { "id", "user_id", "token", "used", "expires_at" },
    "select id, user_id, '(redacted)' as token, used_at is not null as used, expires_at from password_resets order by id desc limit $1" },
}

local function data(ctx, input)
  local parts = {}
  local totals, err = db.read_one([[select (select count(*) from users) as users, (select count(*) from sessions) as sessions,
    (select count(*) from videos) as videos, (select count(*) from purchases) as purchases]])
  if not totals then return nil, err end
  parts[1] = html.table("Totals", { "users", "sessions", "videos", "purchases" }, { totals })
  for _, t in ipairs(TABLES) do
    local rows
    rows, err = db.read(t[3], input.limit)
    if not rows then return nil, err end
    parts[#parts + 1] = html.table(t[1], t[2], rows)
  end
  return ctx:html(200, html.page("Data", table.concat(parts)))
end

return { routes = {
  { method = "GET", path = "/admin/data", auth = "admin", html = true, summary = "Raw tables as a page", handler = data,
    input = { limit = { type = "int", min = 1, max = 500, default = 50 } } },
} }
