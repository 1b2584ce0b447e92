-- SPDX-License-Identifier: Apache-2.0
-- Clicks, sales and commissions in figures: for an affiliate by link, for a creator by affiliate, for administrators over all. Each also
-- as CSV. And the dry run of a changed rule.
local db = require "ppv.db"
local json = require "ppv.json"
local affiliate_trial = require "lib.affiliate_trial"
local audit = require "lib.audit"
local csv = require "lib.csv"
local display = require "lib.display"
local iso = require "lib.iso"
local registry = require "lib.registry"
local settings = require "lib.settings"

-- $1: affiliate, $2: creator (null = any), $3: days. A sale counts for whom it paid. net: less refunds and what was given back.
local CLICKS = [[k as (select k.affiliate_id, k.video_id, k.created_at as at, k.visitor_hash from affiliate_clicks k join videos v on v.id = k.video_id
  where ($1::bigint is null or k.affiliate_id = $1) and ($2::bigint is null or v.owner_id = $2) and k.created_at > now() - make_interval(days => $3::int))]]
local PAID = [[c as (select c.affiliate_id, c.video_id, c.created_at as at, c.price, c.amount, c.currency::text as currency, c.buyer_id, o.refunded,
  case when r.state = 'refused' then 0 else c.amount - div(c.amount::numeric * o.refunded, o.price)::bigint end as net,
  r.state as review from commissions c join orders o on o.id = c.order_id left join commission_reviews r on r.commission_id = c.id
  where ($1::bigint is null or c.affiliate_id = $1) and ($2::bigint is null or c.creator_id = $2) and c.created_at > now() - make_interval(days => $3::int))]]

local function by(key, names)
  return "with " .. CLICKS .. ", " .. PAID .. ", kk as (select " .. key .. [[ as key, count(*) as clicks, count(distinct visitor_hash) as visitors
    from k group by 1),
  cc as (select ]] .. key .. [[ as key, currency, count(*) as sales, sum(price)::bigint as gross, sum(amount)::bigint as commission, sum(net)::bigint as net,
    count(*) filter (where refunded > 0) as refunded, count(distinct buyer_id) as buyers, count(*) filter (where review = 'open') as waiting,
    count(*) filter (where review is not null) as suspicious from c group by 1, 2)
  select ]] .. names .. [[, coalesce(kk.clicks, 0) as clicks, coalesce(kk.visitors, 0) as visitors, cc.currency, coalesce(cc.sales, 0) as sales,
    coalesce(cc.gross, 0) as gross, coalesce(cc.commission, 0) as commission, coalesce(cc.net, 0) as net, coalesce(cc.refunded, 0) as refunded,
    coalesce(cc.buyers, 0) as buyers, coalesce(cc.waiting, 0) as waiting, coalesce(cc.suspicious, 0) as suspicious
  from kk full join cc on cc.key = kk.key ]]
end

local SQL = {
  video = by("video_id", "v.id::text as video_id, v.title as name, v.owner_id, a.pct as commission_pct, a.enabled as is_enabled")
    .. [[join videos v on v.id = coalesce(kk.key, cc.key) join affiliate_terms a on a.video_id = v.id order by net desc, clicks desc limit 1000]],
  affiliate = by("affiliate_id", [[u.id as affiliate_id, u.username::text as name,
    (select count(*) from commission_refusals f where f.affiliate_id = u.id and f.created_at > now() - make_interval(days => $3::int)) as refusals]])
    .. [[join users u on u.id = coalesce(kk.key, cc.key) order by net desc, clicks desc limit 1000]],
  day = by("extract(epoch from date_trunc('day', at))::bigint", "coalesce(kk.key, cc.key) as day") .. " order by 1",
}

local function report(kind, affiliate, creator, days)
  local rows, err = db.read(SQL[kind], affiliate, creator, days)
  if not rows then return nil, err end
  -- In hundredths of a percent: sales per visitor.
  for _, r in ipairs(rows) do
    r.conversion_bp = r.visitors > 0 and math.floor(r.sales * 10000 / r.visitors) or 0
    r.currency = r.currency or json.null
  end
  return json.array(rows)
end

-- What is marked for a look: commissions between tied accounts, many clicks of few visitors, sales that mostly come back, one buyer only.
local function suspicion(r)
  if r.suspicious > 0 or r.refusals > 0 then return "tied accounts" end
  if r.clicks >= 50 and r.visitors * 10 < r.clicks then return "many clicks of few visitors" end
  if r.sales >= 5 and r.refunded * 2 > r.sales then return "most sales were refunded" end
  if r.sales >= 5 and r.buyers == 1 then return "one buyer only" end
  if r.sales >= 5 and r.visitors > 0 and r.sales > r.visitors then return "more sales than visitors" end
end

local function people(affiliate, creator, days)
  local rows, err = report("affiliate", affiliate, creator, days)
  if not rows then return nil, err end
  for _, r in ipairs(rows) do r.suspicion = suspicion(r) or json.null end
  return rows
end

local function mine(ctx, input)
  local links, err = report("video", ctx.user.id, nil, input.days)
  if not links then return nil, err end
  local daily, money
  daily, err = report("day", ctx.user.id, nil, input.days)
  if not daily then return nil, err end
  money, err = db.read([[select c.currency::text as currency, sum(c.amount)::bigint as earned,
    sum(case when r.state = 'refused' then c.amount else div(c.amount::numeric * o.refunded, o.price)::bigint end)::bigint as back,
    coalesce(sum(h.amount), 0)::bigint as pending from commissions c join orders o on o.id = c.order_id
    left join commission_reviews r on r.commission_id = c.id
    left join holds h on h.cause = 'sale:' || o.id || ':affiliate:' || c.affiliate_id and h.state = 'open'
    where c.affiliate_id = $1 group by 1 order by 1]], ctx.user.id)
  if not money then return nil, err end
  for _, m in ipairs(money) do
    local e
    e, err = db.read_one("select ppv_earnings($1, $2)::text as e", ctx.user.id, m.currency)
    if not e then return nil, err end
    e = json.decode(e.e)
    m.payable, m.paid = e.payable, e.paid
  end
  return ctx:ok { days = input.days, links = links, daily = daily, money = json.array(money) }
end

local function creators(ctx, input)
  local rows, err = people(nil, ctx.user.id, input.days)
  if not rows then return nil, err end
  local daily
  daily, err = report("day", nil, ctx.user.id, input.days)
  if not daily then return nil, err end
  for _, r in ipairs(rows) do r.suspicion, r.suspicious, r.refusals = nil, nil, nil end
  return ctx:ok { days = input.days, affiliates = rows, daily = daily }
end

local function all(ctx, input)
  local rows, err = people(nil, nil, input.days)
  if not rows then return nil, err end
  local daily, wrong
  daily, err = report("day", nil, nil, input.days)
  if not daily then return nil, err end
  wrong, err = db.read("select " .. iso "at" .. [[ as at, case action when 'tax.refused' then 'tax' else 'affiliate' end as kind, detail ->> 'rule' as rule,
    detail ->> 'why' as why, target as video_id from audit_log where action in ('affiliate.refused', 'tax.refused') order by id desc limit 100]])
  if not wrong then return nil, err end
  return ctx:ok { days = input.days, affiliates = rows, daily = daily, refused_rules = json.array(wrong) }
end

local HEAD = { "clicks", "visitors", "sales", "conversion_percent", "currency", "sold", "commission", "left_after_refunds", "refunded_sales" }
local function file(name, first, rows, err)
  if not rows then return nil, err end
  local out = csv.new { first, unpack(HEAD) }
  for _, r in ipairs(rows) do
    local c = r.currency ~= json.null and r.currency or nil
    out:row { r.name, r.clicks, r.visitors, r.sales, ("%.0f.%02.0f"):format(math.floor(r.conversion_bp / 100), r.conversion_bp % 100), c,
      c and display.plain(r.gross, c), c and display.plain(r.commission, c), c and display.plain(r.net, c), r.refunded }
  end
  return out:answer(name)
end

local function dry_run(ctx, input)
  local rule = input.rule or settings.get("affiliate.plugin", "percent")
  local r, err = affiliate_trial.run { rule = rule, settings = input.settings, pct = input.pct, days = input.days }
  if not r then return nil, err end
  local ok
  ok, err = audit.write(nil, ctx, "affiliate.dry_run", "plugin:" .. rule, { days = input.days, pct = input.pct })
  if not ok then return nil, err end
  local rules = {}
  for _, p in ipairs(registry.by_kind.affiliate or {}) do rules[#rules + 1] = p.name end
  r.rules = json.array(rules)
  r.items, r.totals = json.array(r.items), json.array(r.totals)
  return ctx:ok(r)
end

local DAYS = { days = { type = "int", min = 1, max = 400, default = 30 } }
return { routes = {
  { method = "GET", path = "/api/affiliate/report", auth = "user", rate = "60/m", summary = "My links in figures", input = DAYS, handler = mine },
  { method = "GET", path = "/api/affiliate/report.csv", auth = "user", rate = "30/m", summary = "The same as a file, by link", input = DAYS,
    handler = function(ctx, input) return file("affiliate-links.csv", "video", report("video", ctx.user.id, nil, input.days)) end },
  { method = "GET", path = "/api/creator/affiliates", auth = "user", rate = "60/m", summary = "Who sells my videos", input = DAYS, handler = creators },
  { method = "GET", path = "/api/creator/affiliates.csv", auth = "user", rate = "30/m", summary = "The same as a file", input = DAYS,
    handler = function(ctx, input) return file("my-affiliates.csv", "affiliate", people(nil, ctx.user.id, input.days)) end },
  { method = "GET", path = "/admin/affiliate/report", auth = "admin", summary = "All affiliates in figures, suspicious ones, rules that were wrong",
    input = DAYS, handler = all },
  { method = "GET", path = "/admin/affiliate/report.csv", auth = "admin", summary = "The same as a file", input = DAYS,
    handler = function(ctx, input) return file("affiliates.csv", "affiliate", people(nil, nil, input.days)) end },
  { method = "POST", path = "/admin/affiliate/dry_run", auth = "admin", rate = "20/m", summary = "What a changed rule would have made of past sales",
    handler = dry_run, input = { rule = { type = "string", max = 60 }, settings = { type = "object" }, pct = { type = "int", min = 0, max = 90 },
      days = { type = "int", min = 1, max = 1100, default = 30 } } },
} }
