-- SPDX-License-Identifier: Apache-2.0
-- Affiliate programs of videos and creators, links, clicks and earnings.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local affiliate = require "lib.affiliate"
local display = require "lib.display"
local errors = require "lib.errors"
local form = require "lib.form"
local iso = require "lib.iso"
local page = require "lib.page"
local rate = require "lib.rate"
local referral = require "lib.referral"

local function own(ctx, video)
  local row, err = db.read_one("select 1 as yes from videos where id = $1::uuid and owner_id = $2 and state <> 'deleted'", video,
    ctx.user.id)
  if row == nil then return nil, err end
  if not row then return errors.fail("video.not_yours", "not your video", { status = 404 }) end
  return true
end

local function get_settings(ctx, input)
  local ok, err = own(ctx, input.video_id)
  if not ok then return nil, err end
  local p
  p, err = affiliate.terms(input.video_id)
  if not p then return nil, err end
  return ctx:ok { video_id = input.video_id, commission_pct = p.pct, is_enabled = p.enabled, inherited = p.inherited }
end

local function set_settings(ctx, input)
  local ok, err = own(ctx, input.video_id)
  if not ok then return nil, err end
  if input.inherit then
    ok, err = db.exec("delete from affiliate_programs where video_id = $1::uuid", input.video_id)
  else
    ok, err = db.exec([[insert into affiliate_programs (video_id, pct, enabled) values ($1::uuid, $2, $3)
      on conflict (video_id) do update set pct = excluded.pct, enabled = excluded.enabled]], input.video_id, input.commission_pct,
      input.is_enabled)
  end
  if not ok then return nil, err end
  return ctx:ok { message = "saved" }
end

local function get_general(ctx)
  local p, err = db.read_one("select pct, enabled from creator_programs where creator_id = $1", ctx.user.id)
  if p == nil then return nil, err end
  return ctx:ok { commission_pct = p and p.pct or 0, is_enabled = p and p.enabled or false }
end

local function set_general(ctx, input)
  local ok, err = db.exec([[insert into creator_programs (creator_id, pct, enabled) values ($1, $2, $3)
    on conflict (creator_id) do update set pct = excluded.pct, enabled = excluded.enabled]], ctx.user.id, input.commission_pct,
    input.is_enabled)
  if not ok then return nil, err end
  return ctx:ok { message = "saved" }
end

local function link(ctx, input)
  local p, err = affiliate.terms(input.video_id)
  if p == nil then return nil, err end
  return ctx:ok { link = "/public/watch.html?" .. form.encode { video_id = input.video_id, ref = ctx.user.username },
    username = ctx.user.username, video_id = input.video_id, is_enabled = p and p.enabled or false }
end

local function program(ctx, input)
  local p, err = affiliate.terms(input.video_id)
  if p == nil then return nil, err end
  local on = p and p.enabled and p.pct > 0 or false
  return ctx:ok { has_affiliate = on, commission_pct = on and p.pct or 0 }
end

-- Somebody arrived through a link: remember who sent them. Unknown names are answered alike.
local function click(ctx, input)
  local p, err = affiliate.terms(input.video_id)
  if p == nil then return nil, err end
  local who = affiliate.find_user(input.ref)
  if not p or not p.enabled or not who or (ctx.user and ctx.user.id == who.id) then return ctx:ok { remembered = false } end
  local kept
  kept, err = referral.remember(ctx, input.video_id, who.id)
  if not kept then return nil, err end
  local visitor = crypto.hmac_sha256("affiliate.visitor", rate.address(ctx.ip) .. "|" .. (ctx:header("user-agent") or ""), "hex")
  if rate.hit("click", visitor .. input.video_id, { count = 1, seconds = 3600 }) then
    local ok
    ok, err = db.exec("insert into affiliate_clicks (video_id, affiliate_id, visitor_hash, landed) values ($1::uuid, $2, $3, $4)",
      input.video_id, who.id, visitor, input.landed)
    if not ok then return nil, err end
  end
  return ctx:ok { remembered = true, username = who.username, commission_pct = p.pct }
end

local COMMISSION = [[c.id, c.video_id::text as video_id, v.title as video_title, b.username::text as buyer_username,
  c.amount as commission_cents, c.price as purchase_price_cents, c.currency::text as currency, c.method as payment_method, ]]
  .. iso "c.created_at" .. " as created_at"

local function finish_rows(rows)
  local total = 0
  for _, row in ipairs(rows) do
    row.commission_display = display.money(row.commission_cents, row.currency)
    total = total + row.commission_cents
  end
  return total
end

local function earnings(ctx, input)
  local after, err = page.read("earnings", input.cursor, 1)
  if err then return nil, err end
  local rows
  rows, err = db.read("select " .. COMMISSION .. [[ from commissions c join videos v on v.id = c.video_id
    join users b on b.id = c.buyer_id where c.affiliate_id = $1 and ($2::bigint is null or c.id < $2::bigint)
    order by c.id desc limit $3]], ctx.user.id, after and after[1], input.limit + 1)
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "earnings", function(row) return { row.id } end)
  local total = finish_rows(rows)
  rows = json.array(rows)
  return ctx:ok { total_commission_cents = total, total_display = display.money(total), earnings = rows, items = rows,
    next_cursor = next_cursor or json.null }
end

local function summary(ctx)
  local s, err = db.read_one([[select coalesce(sum(amount), 0)::bigint as total_earnings_cents,
    coalesce(sum(amount) filter (where created_at >= date_trunc('month', now())), 0)::bigint as month_earnings_cents,
    count(*) as total_referrals,
    (select count(*) from affiliate_clicks k where k.affiliate_id = $1) as total_clicks
    from commissions where affiliate_id = $1]], ctx.user.id)
  if not s then return nil, err end
  s.total_display, s.month_display = display.money(s.total_earnings_cents), display.money(s.month_earnings_cents)
  return ctx:ok(s)
end

local function all_commissions(ctx, input)
  local rows, err = db.read("select " .. COMMISSION .. [[, a.username::text as affiliate_username, o.username::text as owner_username,
    c.rule from commissions c join videos v on v.id = c.video_id join users b on b.id = c.buyer_id
    join users a on a.id = c.affiliate_id join users o on o.id = c.creator_id order by c.id desc limit $1]], input.limit)
  if not rows then return nil, err end
  local refused
  refused, err = db.read_one("select count(*) as n from audit_log where action = 'affiliate.refused'")
  if not refused then return nil, err end
  local total = finish_rows(rows)
  return ctx:ok { total_commission_cents = total, total_display = display.money(total), count = #rows, items = json.array(rows),
    refused_count = refused.n }
end

local PCT = { type = "int", min = 0, max = 90, required = true }
local VIDEO = { video_id = { type = "uuid", required = true } }

return { routes = {
  { method = "GET", path = "/api/affiliate/settings", auth = "user", summary = "The program of a video of mine", input = VIDEO,
    handler = get_settings },
  { method = "POST", path = "/api/affiliate/settings", auth = "user", rate = "60/m", summary = "Set the program of a video",
    handler = set_settings, input = { video_id = { type = "uuid", required = true },
      inherit = { type = "bool", default = false }, commission_pct = PCT, is_enabled = { type = "bool", required = true } } },
  { method = "GET", path = "/api/affiliate/creator_settings", auth = "user", summary = "My terms for all my videos", handler = get_general },
  { method = "POST", path = "/api/affiliate/creator_settings", auth = "user", rate = "60/m", summary = "Set my terms for all my videos",
    handler = set_general, input = { commission_pct = PCT, is_enabled = { type = "bool", required = true } } },
  { method = "GET", path = "/api/affiliate/link", auth = "user", summary = "My link to a video", input = VIDEO, handler = link },
  { method = "GET", path = "/api/affiliate/earnings", auth = "user", summary = "My commissions", input = page.input(50, 200),
    handler = earnings },
  { method = "GET", path = "/api/affiliate/summary", auth = "user", summary = "My commissions in sum", handler = summary },
  { method = "GET", path = "/api/affiliate/program", auth = "public", rate = "600/m", summary = "Does a video have a program",
    input = VIDEO, handler = program },
  { method = "POST", path = "/api/affiliate/click", auth = "public", rate = "60/m", summary = "Arrived through a link",
    handler = click, input = { video_id = { type = "uuid", required = true }, ref = { type = "string", max = 40, required = true },
      landed = { type = "string", max = 300, default = "" } } },
  { method = "GET", path = "/admin/affiliate/commissions", auth = "admin", summary = "All commissions",
    input = { limit = { type = "int", min = 1, max = 500, default = 100 } }, handler = all_commissions },
} }
