-- SPDX-License-Identifier: Apache-2.0
-- A payee's own view: what is pending, payable and paid, why something waits, where money goes, and asking for it.
local db = require "ppv.db"
local json = require "ppv.json"
local crash = require "lib.crash"
local display = require "lib.display"
local errors = require "lib.errors"
local idempotency = require "lib.idempotency"
local iso = require "lib.iso"
local mailer = require "lib.mailer"
local page = require "lib.page"
local payments = require "lib.payments"
local payout = require "lib.payout"
local settings = require "lib.settings"

local NEXT = {
  pending = "An administrator looks at it.", approved = "It is paid with the next run.", sent = "It is on its way.",
  unknown = "The provider has not said yet what became of it. It is asked again and again.", paid = "Nothing: it was sent.",
  rejected = "The money is in your wallet again.", failed = "The money is in your wallet again. Check your account for payouts.",
  reversed = "It came back; the money is in your wallet again. Check your account for payouts.",
}

local function next_step(p)
  if p.waits then return "It goes on by itself at that date." end
  if p.state == "pending" and p.approvals == 2 and p.has_first then return "A second administrator looks at it." end
  return NEXT[p.state]
end

local function destination_of(user_id)
  local row, err = db.read_one("select method, hint, " .. iso "usable_from" .. [[ as usable_from, usable_from > now() as waits
    from payout_destinations where user_id = $1 and removed_at is null]], user_id)
  if row == nil then return nil, err end
  return row or json.null
end

local function holds_of(user_id)
  local rows, err = db.read("select h.id, h.amount as amount_cents, a.currency::text as currency, h.reason, h.evidence::text as evidence, "
    .. iso "h.until" .. " as until, " .. iso "h.created_at" .. [[ as created_at, v.title as video_title, o.state as order_state
    from ledger_accounts a join holds h on h.account_id = a.id and h.state = 'open' and h.cause not like 'payout:%'
    left join orders o on o.id = coalesce(h.order_id, substring(h.cause from '^sale:([0-9]+):')::bigint) left join videos v on v.id = o.video_id
    where a.kind = 'user' and a.owner_id = $1 order by h.until nulls last, h.id limit 200]], user_id)
  if not rows then return nil, err end
  for _, h in ipairs(rows) do
    h.evidence = json.decode(h.evidence)
    if h.reason == "" then h.reason = "A sale that the buyer can still have reversed." end
    h.next_step = h.order_state == "disputed" and "The buyer's bank decides the dispute; until then the money stays on hold."
      or h["until"] and "It becomes payable at that date, unless the sale is refunded or disputed." or "An administrator decides."
    h["until"] = h["until"] or json.null
    h.amount_display = display.money(h.amount_cents, h.currency)
  end
  return json.array(rows)
end

-- In which currencies there is or was money: sales are booked in the currency of their price.
local function currencies_of(user_id, shown)
  local rows, err = db.read([[select currency::text as currency from ledger_accounts where kind = 'user' and owner_id = $1 and name = 'wallet'
    union select $2 order by 1]], user_id, shown)
  if not rows then return nil, err end
  for i, r in ipairs(rows) do rows[i] = r.currency end
  return json.array(rows)
end

local function overview(ctx, input)
  local after, err = page.read("payouts", input.cursor, 1)
  if err then return nil, err end
  local currency, earnings, currencies, destination, holds, rows, next_cursor = input.currency or payments.currency()
  currencies, err = currencies_of(ctx.user.id, currency)
  if not currencies then return nil, err end
  earnings, err = payout.call("ppv_earnings($1, $2)", ctx.user.id, currency)
  if not earnings then return nil, err end
  destination, err = destination_of(ctx.user.id)
  if destination == nil then return nil, err end
  holds, err = holds_of(ctx.user.id)
  if not holds then return nil, err end
  rows, err = db.read("select p.id, p.amount as amount_cents, p.currency::text as currency, p.state, p.reason, p.evidence::text as evidence, "
    .. iso "p.not_before" .. " as not_before, p.not_before > now() as waits, p.approvals, p.approved_by is not null as has_first, "
    .. iso "p.created_at" .. " as created_at, " .. iso "p.decided_at" .. [[ as decided_at, coalesce(d.hint, '') as destination, p.note,
    p.admin_note, p.failure, coalesce(p.provider_ref, '') as reference, p.cause like 'auto:%' as automatic
    from payouts p left join payout_destinations d on d.id = p.destination_id
    where p.user_id = $1 and ($2::bigint is null or p.id < $2::bigint) order by p.id desc limit $3]], ctx.user.id, after and after[1],
    input.limit + 1)
  if not rows then return nil, err end
  rows, next_cursor = page.cut(rows, input.limit, "payouts", function(row) return { row.id } end)
  for _, p in ipairs(rows) do
    p.evidence, p.next_step = json.decode(p.evidence), next_step(p)
    p.waits = p.waits or false
    p.not_before, p.decided_at = p.not_before or json.null, p.decided_at or json.null
    p.amount_display = display.money(p.amount_cents, p.currency)
  end
  local function limit(key) return settings.get(key .. "." .. currency:lower(), settings.get(key, 5000)) end
  return ctx:ok { earnings = earnings, destination = destination, holds = holds, payouts = json.array(rows), next_cursor = next_cursor or json.null,
    minimum_cents = limit("wallet.min_withdraw"), schedule = settings.get("payout.schedule", "off"),
    schedule_minimum_cents = limit("payout.minimum"), withdraw_enabled = payments.enabled("wallet_withdraw"),
    currency = currency, currencies = currencies }
end

local function withdraw(ctx, input)
  local key, hash = idempotency.read(ctx, { input.amount_cents, input.note, input.currency })
  if not key then return nil, hash end
  crash.at "withdraw.before_commit"
  local r, err = payout.call("ppv_payout_request($1, $2, $3, $4, $5, $6)", ctx.user.id, input.amount_cents, input.currency or payments.currency(), input.note,
    key, hash)
  if not r then return nil, err end
  crash.at "withdraw.after_commit"
  return ctx:ok { txn_id = r.payout_id, payout_id = r.payout_id, status = r.state, balance_cents = r.balance,
    balance_display = display.money(r.balance, r.currency), available_cents = r.available, held_cents = r.held, currency = r.currency,
    not_before = r.not_before or json.null,
    message = r.reason ~= "" and r.reason or "The money is set aside. An administrator looks at the withdrawal." }
end

local function cancel(ctx, input)
  local r, err = payout.call("ppv_payout_cancel($1, $2)", ctx.user.id, input.id)
  if not r then return nil, err end
  return ctx:ok { payout_id = r.payout_id, status = r.state }
end

local function destination(ctx)
  local d, err = destination_of(ctx.user.id)
  if d == nil then return nil, err end
  return ctx:ok { destination = d, hold_hours = settings.get("payout.destination_hold_hours", 72) }
end

local function set_destination(ctx, input)
  if input.method ~= "paypal" and input.account_number and not input.account_number:find "^[%w][%w %-.]*$" then
    return errors.invalid("account_number has letters, digits, spaces and dashes only", { field = "account_number" })
  end
  local r, err = payout.set_destination(ctx.user.id, input.method, input)
  if not r then return nil, err end
  if not r.unchanged then
    mailer.queue(nil, ctx.user.email, "destination", { username = ctx.user.username, hint = r.hint,
      date = r.usable_from:sub(1, 16):gsub("T", " ") .. " UTC", url = ctx:url("/public/wallet.html", { tab = "payouts" }) })
  end
  return destination(ctx)
end

local CURRENCY = { type = "string", max = 3, pattern = "^%u%u%u$" }
local PAYOUTS = page.input(50, 200)
PAYOUTS.currency = CURRENCY

return { routes = {
  { method = "GET", path = "/api/payouts", auth = "user", summary = "What is pending, payable and paid, and why something waits",
    input = PAYOUTS, handler = overview },
  { method = "POST", path = "/api/wallet/withdraw", auth = "user", rate = "20/m", step_up = true, summary = "Ask for a withdrawal",
    handler = withdraw, input = { amount_cents = { type = "int", min = 1, max = 1000000000000, required = true }, currency = CURRENCY,
      note = { type = "string", max = 500, default = "" } } },
  { method = "POST", path = "/api/payouts/:id/cancel", auth = "user", rate = "20/m", summary = "Take back a withdrawal nobody has decided",
    input = { id = { type = "int", min = 1, required = true } }, handler = cancel },
  { method = "GET", path = "/api/payout/destination", auth = "user", summary = "Where my money goes, masked", handler = destination },
  { method = "POST", path = "/api/payout/destination", auth = "user", rate = "20/h", step_up = true, summary = "Change where my money goes",
    handler = set_destination, input = { method = { type = "enum", values = { "bank", "ewallet", "paypal" }, required = true },
      channel_code = { type = "string", max = 40, pattern = "^[%w_]+$", hint = "is a code of letters, digits and _" },
      account_number = { type = "string", max = 40 }, account_holder_name = { type = "string", max = 100 },
      receiver = { type = "email" } } },
} }
