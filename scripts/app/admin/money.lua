-- SPDX-License-Identifier: Apache-2.0
-- Deposits to decide, orders, totals.
local db = require "ppv.db"
local json = require "ppv.json"
local ledger = require "ppv.ledger"
local display = require "lib.display"
local errors = require "lib.errors"
local idempotency = require "lib.idempotency"
local iso = require "lib.iso"
local mailer = require "lib.mailer"
local payout = require "lib.payout"

local function transactions(ctx, input)
  local rows, err = db.read([[select w.id, w.user_id, u.username::text as username, w.txn_type, w.amount as amount_cents,
    coalesce(w.balance_after, 0) as balance_after, w.status, r.username::text as ref_username, w.note, w.admin_note,
    w.currency::text as currency, ]] .. iso "w.created_at" .. [[ as created_at
    from wallet_lines w join users u on u.id = w.user_id left join users r on r.id = w.ref_user_id
    where ($1::text is null or w.txn_type = $1::text) and ($2::text is null or w.status = $2::text)
    order by w.id desc limit $3]], input.txn_type, input.status, input.limit)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do
    row.ref_username = row.ref_username or json.null
    row.amount_display = display.money(row.amount_cents, row.currency)
  end
  local totals
  totals, err = db.read_one([[select (select count(*) from wallet_lines) as all,
    (select count(*) from deposits where state = 'pending') + (select count(*) from payouts where state = 'pending') as pending]])
  if not totals then return nil, err end
  return ctx:ok { totals = { all = totals.all, pending = totals.pending }, items = json.array(rows) }
end

local function mail_user(user_id, template, values)
  local row = db.read_one("select email::text as email from users where id = $1", user_id)
  if row then mailer.queue(nil, row.email, template, values) end
end

-- Deposits and withdrawals share one id space.
local function is_payout(id)
  local row, err = db.read_one("select id from payouts where id = $1", id)
  if row == nil then return nil, err end
  return row ~= false
end

-- Answers for a withdrawal by the rules of payouts, else does what is for deposits.
local function either(what, deposit)
  return function(ctx, input)
    local out, err = is_payout(input.id)
    if out == nil then return nil, err end
    local key, hash = idempotency.read(ctx, { input.id, input.admin_note })
    if not key then return nil, hash end
    if not out then return deposit(ctx, input, key, hash) end
    local r
    r, err = payout.by(ctx, "ppv_payout_decide($1, $2, $3, null, $4, $5, $6)", ctx.user.id, input.id, what, input.admin_note, key, hash)
    if not r then return nil, err end
    payout.tell(r, input.admin_note)
    return ctx:ok { status = r.state, refunded = r.state == "rejected" or r.state == "failed" }
  end
end

local function approve(ctx, input, key, hash)
  local r, err = ledger.deposit_approve(key, { admin = ctx.user.id, id = input.id, note = input.admin_note, hash = hash, ip = ctx.ip })
  if not r then return nil, err end
  if r.state == "pending" then
    return ctx:ok { new_balance_cents = r.balance, status = "pending", message = "A second administrator has to approve this amount." }
  end
  mail_user(r.user_id, "deposit", { amount = display.money(r.amount, r.currency) })
  return ctx:ok { new_balance_cents = r.balance, txn_id = r.txn_id, status = r.state }
end

local function reject(ctx, input, key, hash)
  local r, err = ledger.deposit_reject(key, { admin = ctx.user.id, id = input.id, note = input.admin_note, hash = hash, ip = ctx.ip })
  if not r then return nil, err end
  mail_user(r.user_id, "deposit_rejected", { amount = display.money(r.amount, r.currency), note = input.admin_note })
  return ctx:ok { refunded = false }
end

local function complete() return errors.fail("payout.not_found", "This withdrawal does not exist.") end

local function payments(ctx, input)
  local rows, err = db.read([[select o.uid::text as invoice_uid, o.method as provider, o.state as status, o.price as amount,
    o.currency::text as currency, o.payment_url, o.platform, o.creator, o.commission, b.username::text as buyer_username,
    v.title as video_title, c.username::text as creator_username, coalesce(c.bank_account, '') as creator_bank, ]]
    .. iso "o.created_at" .. " as created_at, " .. iso "o.paid_at" .. [[ as paid_at
    from orders o join users b on b.id = o.buyer_id join users c on c.id = o.creator_id join videos v on v.id = o.video_id
    where ($1::text is null or o.method = $1::text) and ($2::text is null or o.state = $2::text) order by o.id desc limit $3]],
    input.provider, input.status, input.limit)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do row.amount_display = display.money(row.amount, row.currency) end
  local totals
  totals, err = db.read_one([[select count(*) as all, count(*) filter (where state = 'paid') as paid,
    count(*) filter (where state in ('pending', 'review')) as pending,
    count(*) filter (where state in ('failed', 'expired', 'cancelled')) as failed from orders]])
  if not totals then return nil, err end
  return ctx:ok { totals = totals, items = json.array(rows) }
end

local function stats(ctx)
  local s, err = db.read_one([[select (select count(*) from users) as users,
    (select count(*) from videos where state <> 'deleted') as videos,
    (select count(*) from videos where state = 'ready') as videos_ready,
    (select count(*) from orders where state = 'paid') as sales,
    (select coalesce(sum(price), 0)::bigint from orders where state = 'paid') as gross_cents,
    (select coalesce(sum(platform), 0)::bigint from orders where state = 'paid') as revenue_cents,
    (select coalesce(sum(balance), 0)::bigint from ledger_accounts where kind = 'user') as wallets_cents,
    (select count(*) from deposits where state = 'pending') as pending_deposits,
    (select count(*) from payouts where state = 'pending') as pending_payouts,
    (select count(*) from payouts where state = 'unknown') as unknown_payouts,
    (select count(*) from jobs where state = 'dead') as dead_jobs,
    (select count(*) from jobs where state in ('ready', 'running')) as live_jobs,
    (select count(*) from audit_log where action = 'affiliate.refused') as affiliate_refused,
    (select count(*) from audit_log where action = 'tax.refused') as tax_refused,
    (select count(*) from commission_reviews where state = 'open') as waiting_commissions,
    (select count(*) from playback_sessions where state = 'ready' and last_seen_at > now() - interval '1 minute') as watching]])
  if not s then return nil, err end
  if s.affiliate_refused > 0 then
    local last = db.read_one("select detail->>'rule' as rule, detail->>'why' as why, target as video, " .. iso "at"
      .. " as at from audit_log where action = 'affiliate.refused' order by id desc limit 1")
    s.affiliate_problem = last or nil
  end
  for _, k in ipairs { "gross", "revenue", "wallets" } do s[k .. "_display"] = display.money(s[k .. "_cents"]) end
  return ctx:ok { stats = s }
end

local NOTE = { type = "string", max = 500, default = "" }
local DECIDE = { id = { type = "int", min = 1, required = true }, admin_note = NOTE }

return { routes = {
  { method = "GET", path = "/admin/wallet/transactions", auth = "admin", summary = "Wallet lines of everybody",
    input = { txn_type = { type = "string", max = 40 }, status = { type = "string", max = 40 },
      limit = { type = "int", min = 1, max = 1000, default = 100 } }, handler = transactions },
  { method = "POST", path = "/admin/wallet/transactions/:id/approve", auth = "admin", step_up = true, summary = "Approve a deposit or withdrawal",
    input = DECIDE, handler = either("approve", approve) },
  { method = "POST", path = "/admin/wallet/transactions/:id/complete", auth = "admin", step_up = true, summary = "Note that a withdrawal was paid",
    input = DECIDE, handler = either("pay", complete) },
  { method = "POST", path = "/admin/wallet/transactions/:id/reject", auth = "admin", step_up = true, summary = "Reject a deposit or withdrawal",
    input = DECIDE, handler = either("reject", reject) },
  { method = "GET", path = "/admin/payments", auth = "admin", summary = "Orders", handler = payments,
    input = { provider = { type = "string", max = 40 }, status = { type = "string", max = 40 },
      limit = { type = "int", min = 1, max = 1000, default = 100 } } },
  { method = "GET", path = "/admin/stats", auth = "admin", summary = "Totals", handler = stats },
} }
