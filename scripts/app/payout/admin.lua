-- SPDX-License-Identifier: Apache-2.0
-- Payouts at the administrators' desk: approving, paying by hand, files for the bank and their results, sending by a provider.
local db = require "ppv.db"
local json = require "ppv.json"
local money = require "ppv.money"
local audit = require "lib.audit"
local crash = require "lib.crash"
local csv = require "lib.csv"
local display = require "lib.display"
local errors = require "lib.errors"
local idempotency = require "lib.idempotency"
local iso = require "lib.iso"
local payments = require "lib.payments"
local payout = require "lib.payout"
local settings = require "lib.settings"

local function list(ctx, input)
  local rows, err = db.read("select p.id, p.user_id, u.username::text as username, p.amount as amount_cents, p.currency::text as currency, p.state, "
    .. iso "p.created_at" .. " as created_at, " .. iso "p.not_before"
    .. " as not_before, coalesce(p.not_before > now(), false) as waits, "
    .. iso "p.decided_at" .. [[ as decided_at, p.reason, p.note, p.admin_note, p.failure, p.approvals, f.username::text as approved_by,
    s.username::text as second_by,
    p.batch_id, p.provider, coalesce(p.provider_ref, '') as reference, d.method, coalesce(d.hint, '') as destination,
    (select count(distinct o.user_id) from payout_destinations o where o.fingerprint = d.fingerprint and o.user_id <> p.user_id
      and o.removed_at is null) as shared_with, p.cause like 'auto:%' as automatic
    from payouts p join users u on u.id = p.user_id left join users f on f.id = p.approved_by left join users s on s.id = p.second_by
    left join payout_destinations d on d.id = p.destination_id
    where ($1::text is null or p.state = $1::text or ($1::text = 'open' and p.state in ('pending', 'approved', 'sent', 'unknown')))
    order by p.id desc limit $2]], input.state, input.limit)
  if not rows then return nil, err end
  local absent = { "not_before", "decided_at", "approved_by", "second_by", "batch_id", "provider", "method" }
  for _, p in ipairs(rows) do
    p.amount_display = display.money(p.amount_cents, p.currency)
    for _, name in ipairs(absent) do if p[name] == nil then p[name] = json.null end end
  end
  local totals
  totals, err = db.read_one([[select count(*) filter (where state = 'pending') as pending, count(*) filter (where state = 'approved') as approved,
    count(*) filter (where state = 'sent') as sent, count(*) filter (where state = 'unknown') as unknown,
    (select count(*) from audit_log where action = 'payout.conflict') as conflicts from payouts]])
  if not totals then return nil, err end
  local batches
  batches, err = db.read("select b.id, u.username::text as username, " .. iso "b.created_at" .. [[ as created_at, count(p.id) as count,
    count(p.id) filter (where p.state = 'sent') as open from payout_batches b join users u on u.id = b.created_by
    left join payouts p on p.batch_id = b.id group by b.id, u.username order by b.id desc limit 20]])
  if not batches then return nil, err end
  return ctx:ok { items = json.array(rows), totals = totals, batches = json.array(batches), provider = settings.get("payout.provider", ""),
    currency = payments.currency() }
end

local function decide(what)
  return function(ctx, input)
    local key, hash = idempotency.read(ctx, { input.id, input.reference or "", input.admin_note })
    if not key then return nil, hash end
    crash.at "payout.decide.before_commit"
    local r, err = payout.by(ctx, "ppv_payout_decide($1, $2, $3, $4, $5, $6, $7)", ctx.user.id, input.id, what, input.reference, input.admin_note,
      key, hash)
    if not r then return nil, err end
    crash.at "payout.decide.after_commit"
    payout.tell(r, input.admin_note)
    return ctx:ok { payout_id = r.payout_id, status = r.state, approvals_missing = r.state == "pending" and 1 or 0 }
  end
end

-- An administrator does not wait for the next round.
local function send(ctx, input)
  local name = settings.get("payout.provider", "")
  if name == "" then return errors.fail("payment.not_configured", "No provider for payouts is chosen in the settings.", { status = 409 }) end
  local row, err = db.read_one("select state, provider from payouts where id = $1 and user_id <> $2", input.id, ctx.user.id)
  if not row then return nil, err or errors.new("payout.not_found", "This payout does not exist.") end
  local r
  if row.provider and (row.state == "sent" or row.state == "unknown" or row.state == "paid") then
    r, err = payout.check(input.id)
  else
    r, err = payout.send(input.id, name)
  end
  if r == false then return errors.fail("payout.not_ready", "Only an approved payout with a known account can be sent.") end
  if not r then return nil, err end
  local ok
  ok, err = audit.write(nil, ctx, "payout.ask_provider", "payout:" .. input.id, { state = r.state })
  if not ok then return nil, err end
  return ctx:ok { payout_id = r.payout_id, status = r.state, failure = r.failure }
end

local function make_batch(ctx, input)
  local r, err = payout.by(ctx, "ppv_payout_batch($1, $2)", ctx.user.id, input.currency or payments.currency())
  if not r then return nil, err end
  return ctx:ok(r)
end

local function batch_file(ctx, input)
  local rows, err = db.read([[select p.id, u.username::text as username, p.amount, p.currency::text as currency, d.method, d.sealed
    from payouts p join users u on u.id = p.user_id join payout_destinations d on d.id = p.destination_id
    where p.batch_id = $1 order by p.id]], input.id)
  if not rows then return nil, err end
  if #rows == 0 then return errors.not_found("batch") end
  local file = csv.new { "payout_id", "payee", "amount", "currency", "method", "channel_code", "account", "account_holder_name", "state", "reference" }
  for _, row in ipairs(rows) do
    local d, problem = payout.open(row.sealed)
    if not d then return nil, problem end
    file:row { row.id, row.username, money.format(row.amount, row.currency), row.currency, row.method, d.channel_code, d.account_number or d.receiver,
      d.account_holder_name }
  end
  local ok
  ok, err = audit.write(nil, ctx, "payout.export", "batch:" .. input.id, { count = #rows })
  if not ok then return nil, err end
  return file:answer(("payouts-%d.csv"):format(input.id))
end

-- One line of results: what was done with it, or why not.
local function import_line(ctx, line)
  local what = ({ paid = "pay", failed = "reject" })[line.state]
  local row, err = db.read_one("select state from payouts where id = $1 and batch_id is not null", line.id)
  if not row then return { id = line.id, ok = false, error = err and errors.sentence(err) or "No payout of a batch has this id." } end
  if row.state == "paid" and what == "pay" or row.state == "failed" and what == "reject" then
    return { id = line.id, ok = true, state = row.state, already = true }
  end
  local key = ("import:%.0f:%s"):format(line.id, line.state)
  local r
  r, err = payout.by(ctx, "ppv_payout_decide($1, $2, $3, $4, $5, $6, $7)", ctx.user.id, line.id, what, line.reference, "", key, key .. line.reference)
  if not r then return { id = line.id, ok = false, error = errors.sentence(errors.from(err)) } end
  payout.tell(r)
  return { id = line.id, ok = true, state = r.state }
end

-- The exported file with "state" (paid or failed) and "reference" filled in; lines without a state are left alone.
local function import(ctx, input)
  local rows, err = csv.parse(input.csv, { "payout_id", "state", "reference" }, 5000)
  if not rows then return errors.invalid(err, { field = "csv" }) end
  local out, done = {}, 0
  for i, row in ipairs(rows) do
    local state = row.state:lower()
    local id = row.payout_id:match "^%d+$" and #row.payout_id < 16 and tonumber(row.payout_id)
    if state ~= "" then
      if not id or (state ~= "paid" and state ~= "failed") then
        out[#out + 1] = { line = i + 1, ok = false, error = "A payout_id, and paid or failed as state, are needed." }
      else
        out[#out + 1] = import_line(ctx, { id = id, state = state, reference = row.reference:sub(1, 200) })
      end
      if out[#out].ok then done = done + 1 end
    end
  end
  return ctx:ok { done = done, refused = #out - done, items = json.array(out) }
end

local NOTE = { type = "string", max = 500, default = "" }
local ID = { type = "int", min = 1, required = true }
local DECIDE = { id = ID, admin_note = NOTE, reference = { type = "string", max = 200 } }

local routes = {
  { method = "GET", path = "/admin/payouts", auth = "admin", summary = "Payouts", handler = list,
    input = { state = { type = "string", max = 20 }, limit = { type = "int", min = 1, max = 1000, default = 200 } } },
  { method = "POST", path = "/admin/payouts/:id/send", auth = "admin", step_up = true, summary = "Send by the provider, or ask it",
    input = { id = ID }, handler = send },
  { method = "POST", path = "/admin/payouts/batch", auth = "admin", step_up = true, summary = "Put approved payouts into a file for the bank",
    input = { currency = { type = "string", max = 3, pattern = "^%u%u%u$" } }, handler = make_batch },
  { method = "GET", path = "/admin/payouts/batch/:id", auth = "admin", step_up = true, summary = "The file of a batch", input = { id = ID },
    handler = batch_file },
  { method = "POST", path = "/admin/payouts/import", auth = "admin", step_up = true, body = "memory", max_body = 2 * 1024 * 1024,
    summary = "Results of the bank", input = { csv = { type = "string", max = 1500000, required = true, multiline = true } }, handler = import },
}
for what, summary in pairs { approve = "Approve a payout", pay = "Note that a payout was paid", reject = "Refuse a payout, or note that it failed",
  reverse = "Note that a paid payout came back" } do
  routes[#routes + 1] = { method = "POST", path = "/admin/payouts/:id/" .. what, auth = "admin", step_up = true, summary = summary, input = DECIDE,
    handler = decide(what) }
end

return { routes = routes }
