-- SPDX-License-Identifier: Apache-2.0
-- Statements with proofs for everybody; the books for administrators.
local db = require "ppv.db"
local json = require "ppv.json"
local csv = require "lib.csv"
local display = require "lib.display"
local errors = require "lib.errors"
local iso = require "lib.iso"
local money = require "ppv.money"
local page = require "lib.page"
local sealer = require "lib.sealer"

local CSV_MAX = 50000

-- "2026-03" -> first day of it and of the next month, as text.
local function month_range(month)
  if not month then return nil, nil end
  local y, m = month:match("^(%d%d%d%d)%-(%d%d)$")
  y, m = tonumber(y), tonumber(m)
  if not y or m < 1 or m > 12 then return errors.invalid("month is written like 2026-03") end
  return month .. "-01", m == 12 and ("%04d-01-01"):format(y + 1) or ("%04d-%02d-01"):format(y, m + 1)
end

local LINES = [[select s.id, s.txn_id, s.type, s.amount, s.balance_after, s.currency, s.note, s.title, s.order_uid::text as order_uid, s.sealed, ]]
  .. iso "s.created_at" .. [[ as created_at from statement_lines s where s.user_id = $1
  and ($2::text is null or s.currency = $2) and ($3::date is null or (s.created_at >= $3::date::timestamp at time zone 'utc'
  and s.created_at < $4::date::timestamp at time zone 'utc')) and ($5::bigint is null or s.id < $5) order by s.id desc limit $6]]

local function lines(ctx, input, after, limit)
  local from, to = month_range(input.month)
  if input.month and not from then return nil, to end
  return db.read(LINES, ctx.user.id, input.currency, from, to, after, limit)
end

local function statement(ctx, input)
  local after, err = page.read("statement", input.cursor, 1)
  if err then return nil, err end
  local rows, next_cursor
  rows, err = lines(ctx, input, after and after[1], input.limit + 1)
  if not rows then return nil, err end
  rows, next_cursor = page.cut(rows, input.limit, "statement", function(row) return { row.id } end)
  local sums
  sums, err = db.read([[select currency, to_char(created_at at time zone 'utc', 'YYYY-MM') as month,
    sum(amount) filter (where amount > 0)::bigint as credit, sum(amount) filter (where amount < 0)::bigint as debit,
    (array_agg(balance_after order by id desc))[1] as balance from statement_lines where user_id = $1 group by 1, 2 order by 2 desc, 1]],
    ctx.user.id)
  if not sums then return nil, err end
  for _, s in ipairs(sums) do s.credit, s.debit = s.credit or 0, s.debit or 0 end
  return ctx:ok { items = json.array(rows), months = json.array(sums), next_cursor = next_cursor or json.null }
end

local function statement_csv(ctx, input)
  local rows, err = lines(ctx, input, nil, CSV_MAX + 1)
  if not rows then return nil, err end
  if #rows > CSV_MAX then
    return errors.fail("statement.too_long", "More than 50,000 lines: choose a month.", { status = 413 })
  end
  local out = csv.new { "line", "transaction", "date", "type", "currency", "amount", "balance", "video", "note", "order" }
  for i = #rows, 1, -1 do
    local r = rows[i]
    out:row { r.id, r.txn_id, r.created_at, r.type, r.currency, display.plain(r.amount, r.currency),
      display.plain(r.balance_after, r.currency), r.title, r.note, r.order_uid }
  end
  return out:answer(("statement%s.csv"):format(input.month and ("-" .. input.month) or ""))
end

local function proof(ctx, input)
  local p, err = sealer.proof(ctx.user.id, input.line)
  if not p then return nil, err end
  return ctx:json(200, p, { ["content-disposition"] = ('attachment; filename="proof-%.0f.json"'):format(input.line) })
end

local function key(ctx)
  local h, err = sealer.head()
  if not h then return nil, err end
  return ctx:ok(h)
end

-- What a creator sold, by day and by title, from the orders the ledger posted.
local function revenue(ctx, input)
  local daily, err = db.read([[select extract(epoch from date_trunc('day', paid_at))::bigint as day, currency::text as currency, count(*) as sales,
    sum(price)::bigint as gross, sum(platform)::bigint as platform, sum(commission)::bigint as commission, sum(creator)::bigint as net
    from orders where creator_id = $1 and paid_at > now() - make_interval(days => $2::int) group by 1, 2 order by 1]], ctx.user.id, input.days)
  if not daily then return nil, err end
  local titles
  titles, err = db.read([[select o.video_id::text as video_id, max(v.title) as title, o.currency, count(*) as sales,
    count(*) filter (where o.offer = 'rental') as rentals, count(*) filter (where o.offer = 'bundle') as bundles,
    count(*) filter (where o.offer = 'excerpt') as excerpts,
    count(*) filter (where o.state = 'refunded') as refunded, sum(o.price)::bigint as gross, sum(o.platform)::bigint as platform,
    sum(o.commission)::bigint as commission, sum(o.net)::bigint as net from title_sales o join videos v on v.id = o.video_id
    where o.creator_id = $1 and o.paid_at > now() - make_interval(days => $2::int) group by 1, 3 order by net desc limit 200]],
    ctx.user.id, input.days)
  if not titles then return nil, err end
  return ctx:ok { days = input.days, daily = json.array(daily), titles = json.array(titles) }
end

-- ---- administrators

local function trial(ctx)
  local rows, err = db.read([[select kind, case when kind in ('user', 'receivable') then 'all people' else name end as name, currency,
    count(*) as accounts, sum(balance)::bigint as balance, sum(held)::bigint as held from ledger_trial group by 1, 2, 3 order by 3, 1, 2]])
  if not rows then return nil, err end
  local head
  head, err = sealer.head()
  if not head then return nil, err end
  local s
  s, err = db.read_one([[select (select count(*) from ledger_txns) as txns, (select count(*) from ledger_unsealed) as waiting,
    (select at from ledger_seals order by batch desc limit 1) / 1000000 as sealed_at]])
  if not s then return nil, err end
  local totals = {}
  for _, r in ipairs(rows) do totals[r.currency] = money.add(totals[r.currency] or 0, r.balance) end
  return ctx:ok { accounts = json.array(rows), totals = totals, txns = s.txns, waiting = s.waiting, sealed_at = s.sealed_at or json.null,
    key = head.key, head = head.head, batch = head.batch }
end

local function breaches(ctx)
  local rows, err = db.read("select name, detail from ppv_invariants() limit 200")
  if not rows then return nil, err end
  return ctx:ok { breaches = json.array(rows) }
end

local function all_revenue(ctx, input)
  local rows, err = db.read([[select extract(epoch from date_trunc($1, day::timestamp))::bigint as at, currency,
    coalesce(sum(amount) filter (where name = 'revenue'), 0)::bigint as revenue, coalesce(sum(amount) filter (where name = 'fees'), 0)::bigint as fees
    from ledger_revenue where day > current_date - $2::int group by 1, 2 order by 1]], input.period, input.days)
  if not rows then return nil, err end
  return ctx:ok { period = input.period, items = json.array(rows) }
end

-- Clearing per payment: what a provider still owes, by age.
local function clearing(ctx, input)
  local sums, err = db.read([[select provider, currency, sum(open)::bigint as open, count(*) filter (where open <> 0) as payments,
    count(*) as all, coalesce(sum(open) filter (where since > now() - interval '2 days'), 0)::bigint as fresh,
    coalesce(sum(open) filter (where since <= now() - interval '2 days' and since > now() - interval '7 days'), 0)::bigint as week,
    coalesce(sum(open) filter (where since <= now() - interval '7 days'), 0)::bigint as old from ledger_clearing group by 1, 2 order by 1, 2]])
  if not sums then return nil, err end
  local rows
  rows, err = db.read([[select c.provider, c.payment_ref, c.currency, c.open, o.uid::text as order_uid, ]] .. iso "c.since" .. [[ as since, ]]
    .. iso "c.last" .. [[ as last, extract(day from now() - c.since)::int as days from ledger_clearing c left join orders o on o.id = c.order_id
    where ($1::text is null or c.provider = $1) and (c.open <> 0 or not $2::bool) order by c.since limit $3]],
    input.provider, input.open, input.limit)
  if not rows then return nil, err end
  return ctx:ok { providers = json.array(sums), items = json.array(rows) }
end

local CURRENCY = { type = "string", max = 3 }
local DAYS = { type = "int", min = 1, max = 1100, default = 90 }
local FILTER = { month = { type = "string", max = 7 }, currency = CURRENCY }
local function with(t, more)
  local out = {}
  for k, v in pairs(t) do out[k] = v end
  for k, v in pairs(more) do out[k] = v end
  return out
end

return { routes = {
  { method = "GET", path = "/api/statement", auth = "user", summary = "Booked lines of the own wallet, months in sum",
    input = with(FILTER, page.input(50, 200)), handler = statement },
  { method = "GET", path = "/api/statement.csv", auth = "user", rate = "30/m", summary = "The same as a file", input = FILTER,
    handler = statement_csv },
  { method = "GET", path = "/api/statement/proof", auth = "user", rate = "120/m", summary = "Signed proof that a line is in the books",
    input = { line = { type = "int", min = 1, required = true } }, handler = proof },
  { method = "GET", path = "/api/ledger/key", auth = "public", rate = "60/m", summary = "The key of the ledger's seals and the newest seal",
    handler = key },
  { method = "GET", path = "/api/creator/revenue", auth = "user", summary = "What my videos sold", input = { days = DAYS }, handler = revenue },
  { method = "GET", path = "/admin/ledger/trial", auth = "admin", summary = "Trial balance and seals", handler = trial },
  { method = "GET", path = "/admin/ledger/breaches", auth = "admin", rate = "20/m", summary = "Broken invariants of the books", handler = breaches },
  { method = "GET", path = "/admin/ledger/revenue", auth = "admin", summary = "Revenue and fees by period", handler = all_revenue,
    input = { days = DAYS, period = { type = "enum", values = { "day", "week", "month" }, default = "day" } } },
  { method = "GET", path = "/admin/ledger/clearing", auth = "admin", summary = "What providers owe, by payment and age", handler = clearing,
    input = { provider = { type = "string", max = 40 }, open = { type = "bool", default = true },
      limit = { type = "int", min = 1, max = 500, default = 200 } } },
} }
