-- SPDX-License-Identifier: Apache-2.0
-- Receipts, consent at checkout, withdrawal without signing in, taxes collected.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local consent = require "lib.consent"
local errors = require "lib.errors"
local iso = require "lib.iso"
local mailer = require "lib.mailer"
local page = require "lib.page"
local receipts = require "lib.receipts"
local settings = require "lib.settings"

local function list(ctx, input)
  local after, err = page.read("receipts", input.cursor, 1)
  if err then return nil, err end
  receipts.issue()
  local rows, next_cursor
  rows, err = db.read([[select id, label as number, case series when 'R' then 'receipt' else 'credit_note' end as kind, title, amount,
    currency::text as currency, ]] .. iso "created_at" .. [[ as created_at from receipts where user_id = any(ppv_buyers($1))
    and ($2::bigint is null or id < $2) order by id desc limit $3]], ctx.user.id, after and after[1], input.limit + 1)
  if not rows then return nil, err end
  rows, next_cursor = page.cut(rows, input.limit, "receipts", function(r) return { r.id } end)
  return ctx:ok { items = json.array(rows), next_cursor = next_cursor or json.null }
end

local function show(ctx, input)
  local r, err = db.read_one([[select r.label, r.series, r.title, r.buyer, r.seller, r.method, r.reference, r.amount,
    r.currency::text as currency, r.tax::text as tax, r.user_id = any(ppv_buyers($2)) as own,
    to_char(r.created_at at time zone 'utc', 'YYYY-MM-DD') as day, o.uid::text as order_uid
    from receipts r join orders o on o.id = r.order_id where r.label = $1]], input.number, ctx.user.id)
  if r == nil then return nil, err end
  if not r or (not r.own and not ctx:is_admin()) then return errors.not_found("receipt") end
  return ctx:html(200, receipts.page(r))
end

local function for_order(ctx, input)
  local n, err = receipts.issue()
  if not n then return nil, err end
  local row
  row, err = db.read_one([[select r.label from receipts r join orders o on o.id = r.order_id where o.uid = $1::uuid and r.user_id = any(ppv_buyers($2))
    and r.series = 'R']], input.order, ctx.user.id)
  if row == nil then return nil, err end
  if not row then return errors.not_found("receipt") end
  return ctx:redirect("/receipts/" .. row.label)
end

-- ---- consent

local function consent_text(ctx) return ctx:ok { version = consent.VERSION, text = consent.TEXT, required = consent.required() } end

local function agree(ctx, input)
  if input.version ~= consent.VERSION then
    return errors.fail("consent.changed", "The text has changed. Please read it again.", { status = 409 })
  end
  local ok, err = consent.record(ctx, input.video_id, input.country)
  if not ok then return nil, err end
  return ctx:ok()
end

-- ---- withdrawal: a form, the summary to confirm, a mail as proof

-- The mail goes to an address that nobody has confirmed.
local defang = mailer.defang

local function prepare(ctx, input)
  local form = { email = input.email, name = defang(input.name), reference = defang(input.reference), reason = defang(input.reason), at = math.floor(ctx.now),
    n = crypto.random_token(12) }
  return ctx:ok { email = form.email, name = form.name, reference = form.reference, reason = form.reason,
    token = crypto.sign("withdrawal", json.encode(form)) }
end

local FIND = [[select o.id from orders o join users u on u.id = o.buyer_id left join receipts r on r.order_id = o.id
  where coalesce(u.guest_email, u.email) = $1::citext and (o.uid::text = lower($2) or r.label = upper($2)) order by r.id limit 1]]

local function confirm(ctx, input)
  local raw = crypto.verify("withdrawal", input.token)
  local form = raw and json.decode(raw)
  if not form or ctx.now - form.at > 3600 then
    return errors.fail("withdrawal.expired", "This form is older than an hour. Please fill it in again.", { status = 409 })
  end
  local id, err = db.tx(function(tx)
    local found, e = tx.one(FIND, form.email, form.reference)
    if found == nil then return nil, e end
    local row
    row, e = tx.one([[insert into withdrawals (token, email, name, reference, reason, order_id, ip) values ($1, $2, $3, $4, $5, $6, $7::inet)
      on conflict (token) do nothing returning id, ]] .. iso "confirmed_at" .. " as at", crypto.sha256(input.token, "hex"), form.email, form.name,
      form.reference, form.reason, found and found.id or nil, ctx.ip)
    if row == nil then return nil, e end
    if not row then return 0 end
    local ok
    ok, e = mailer.queue(tx, form.email, "withdrawal", { name = form.name, reference = form.reference, reason = form.reason, at = row.at,
      number = ("W%06.0f"):format(row.id) })
    if not ok then return nil, e end
    return row.id
  end)
  if not id then return nil, err end
  return ctx:ok { message = "Your statement arrived. A copy was sent to " .. form.email .. "." }
end

local function queue(ctx, input)
  local rows, err = db.read("select w.id, w.email, w.name, w.reference, w.reason, w.state, w.note, " .. iso "w.confirmed_at" .. [[ as confirmed_at,
    o.uid::text as order_uid, o.price, o.currency::text as currency, v.title, ]] .. iso "o.paid_at" .. [[ as paid_at, c.version as consent_version, ]]
    .. iso "c.created_at" .. [[ as consent_at from withdrawals w left join orders o on o.id = w.order_id left join videos v on v.id = o.video_id
    left join lateral (select version, created_at from consents c where c.user_id = o.buyer_id and c.video_id = o.video_id
      and c.created_at <= o.created_at + interval '1 minute' order by c.id desc limit 1) c on true
    where ($1::text is null or w.state = $1) order by w.id desc limit 200]], input.state)
  if not rows then return nil, err end
  return ctx:ok { items = json.array(rows) }
end

local function decide(ctx, input)
  local state = input.accept and "accepted" or "refused"
  local ok, err = db.tx(function(tx)
    local row, e = tx.one([[update withdrawals set state = $2, note = $3, decided_by = $4, decided_at = now() where id = $1 and state = 'open'
      returning email, name, reference]], input.id, state, input.note, ctx.user.id)
    if row == nil then return nil, e end
    if not row then return nil, errors.new("withdrawal.decided", "This request was already decided.", { status = 409 }) end
    local done
    done, e = audit.write(tx, ctx, "withdrawal." .. state, "withdrawal:" .. ("%.0f"):format(input.id), { note = input.note })
    if not done then return nil, e end
    return mailer.queue(tx, row.email, "withdrawal_" .. state, { name = row.name, reference = row.reference, note = input.note })
  end)
  if not ok then return nil, err end
  return ctx:ok { state = state }
end

-- ---- taxes

local function tax_report(ctx)
  local months, err = db.read([[select to_char(e.created_at at time zone 'utc', 'YYYY-MM') as month, a.name as code, a.currency::text as currency,
    count(*) filter (where e.amount > 0) as lines, sum(e.amount)::bigint as amount from ledger_entries e join ledger_accounts a on a.id = e.account_id
    where a.kind = 'tax' group by 1, 2, 3 order by 1 desc, 2, 3 limit 500]])
  if not months then return nil, err end
  local refused
  refused, err = db.read("select " .. iso "at" .. [[ as at, (detail ->> 'rule') || ': ' || (detail ->> 'why') as why from audit_log
    where action = 'tax.refused' and at > now() - interval '7 days' order by id desc limit 20]])
  if not refused then return nil, err end
  return ctx:ok { rule = settings.get("tax.plugin", ""), months = json.array(months), refused = json.array(refused) }
end

local NOTE = { type = "string", max = 500, default = "" }

return { routes = {
  { method = "GET", path = "/api/receipts", auth = "user", guest = true, summary = "The own receipts and credit notes",
    input = page.input(50, 200), handler = list },
  { method = "GET", path = "/receipts/:number", auth = "user", guest = true, summary = "A receipt to print", handler = show,
    input = { number = { type = "string", max = 30, required = true } } },
  { method = "GET", path = "/api/receipts/order", auth = "user", guest = true, summary = "To the receipt of an order", handler = for_order,
    input = { order = { type = "uuid", required = true } } },
  { method = "GET", path = "/api/consent", auth = "public", rate = "300/m", summary = "What a buyer is asked to agree to", handler = consent_text },
  { method = "POST", path = "/api/consent", auth = "user", guest = true, rate = "60/m", summary = "Agree to immediate delivery", handler = agree,
    input = { video_id = { type = "uuid", required = true }, version = { type = "string", max = 20, required = true },
      country = { type = "string", max = 2, pattern = "^%a%a$", hint = "is two letters" } } },
  { method = "POST", path = "/api/withdrawal", auth = "public", rate = "20/h", summary = "Step 1 of withdrawing: the summary to confirm", handler = prepare,
    input = { email = { type = "email", required = true }, name = { type = "string", max = 200, required = true },
      reference = { type = "string", max = 200, required = true }, reason = { type = "string", max = 2000, default = "", multiline = true } } },
  { method = "POST", path = "/api/withdrawal/confirm", auth = "public", rate = "20/h", summary = "Step 2: confirm; a mail is the proof", handler = confirm,
    input = { token = { type = "string", max = 8000, required = true } } },
  { method = "GET", path = "/admin/withdrawals", auth = "admin", summary = "Withdrawal and refund requests", handler = queue,
    input = { state = { type = "enum", values = { "open", "accepted", "refused" } } } },
  { method = "POST", path = "/admin/withdrawals/:id/decide", auth = "admin", step_up = true, summary = "Decide a request", handler = decide,
    input = { id = { type = "int", min = 1, required = true }, accept = { type = "bool", required = true }, note = NOTE } },
  { method = "GET", path = "/admin/tax", auth = "admin", summary = "Taxes by month; answers of the rule that were refused", handler = tax_report },
} }
