-- SPDX-License-Identifier: Apache-2.0
-- The wallet: balance, history, deposits, transfers, buying. All movements are calls of the ledger; replays of an
-- Idempotency-Key answer what the first call answered.
local db = require "ppv.db"
local json = require "ppv.json"
local ledger = require "ppv.ledger"
local metrics = require "ppv.metrics"
local affiliate = require "lib.affiliate"
local coupons = require "lib.coupons"
local crash = require "lib.crash"
local display = require "lib.display"
local errors = require "lib.errors"
local gifts = require "lib.gifts"
local idempotency = require "lib.idempotency"
local iso = require "lib.iso"
local page = require "lib.page"
local offers = require "lib.offers"
local payments = require "lib.payments"
local quote = require "lib.quote"
local users = require "lib.users"

local MAX = 1000000000

local function balance(ctx)
  local row, err = db.read_one("select ppv_balance($1, $2)::text as b", ctx.user.id, payments.currency())
  if not row then return nil, err end
  local b = json.decode(row.b)
  local others
  others, err = db.read([[select currency::text as currency, balance as balance_cents, balance - held as available_cents from ledger_accounts
    where kind = 'user' and owner_id = $1 and name = 'wallet' and currency <> $2 and balance > 0 order by 1]], ctx.user.id, b.currency)
  if not others then return nil, err end
  for _, o in ipairs(others) do o.available_display = display.money(o.available_cents, o.currency) end
  return ctx:ok { others = json.array(others), balance_cents = b.balance, balance_display = display.money(b.balance, b.currency), held_cents = b.held,
    available_cents = b.available, available_display = display.money(b.available, b.currency), currency = b.currency }
end

local function transactions(ctx, input)
  local after, err = page.read("wallet", input.cursor, 1)
  if err then return nil, err end
  local rows
  rows, err = db.read([[select w.id, w.txn_type, w.amount as amount_cents, w.signed_amount as signed_cents,
    coalesce(w.balance_after, 0) as balance_after, w.status, r.username::text as ref_username, w.note, w.admin_note,
    w.currency::text as currency, ]] .. iso "w.created_at" .. [[ as created_at
    from wallet_lines w left join users r on r.id = w.ref_user_id
    where w.user_id = $1 and ($2::bigint is null or w.id < $2::bigint) order by w.id desc limit $3]],
    ctx.user.id, after and after[1], input.limit + 1)
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "wallet", function(row) return { row.id } end)
  for _, row in ipairs(rows) do
    row.ref_username = row.ref_username or json.null
    row.amount_display = display.money(row.amount_cents, row.currency)
  end
  return ctx:ok { items = json.array(rows), next_cursor = next_cursor or json.null }
end

local function deposit(ctx, input)
  local key, hash = idempotency.read(ctx, { input.amount_cents, input.note })
  if not key then return nil, hash end
  local r, err = ledger.deposit_request(key, { user = ctx.user.id, amount = input.amount_cents, currency = payments.currency(),
    note = input.note, hash = hash })
  if not r then return nil, err end
  return ctx:ok { txn_id = r.deposit_id, status = r.state, balance_cents = r.balance,
    message = "The deposit waits for approval by an administrator." }
end

local function transfer(ctx, input)
  local to, err = users.by_name(input.to_username)
  if to == nil then return nil, err end
  if not to then return errors.fail("user.unknown", "recipient not found", { status = 404 }) end
  local key, hash = idempotency.read(ctx, { to.id, input.amount_cents, input.note })
  if not key then return nil, hash end
  local r
  r, err = ledger.transfer(key, { from = ctx.user.id, to = to.id, amount = input.amount_cents, currency = payments.currency(),
    note = input.note, hash = hash })
  if not r then return nil, err end
  metrics.count("transfers_total", 1)
  return ctx:ok { balance_cents = r.balance, balance_display = display.money(r.balance, r.currency), transferred_to = to.username,
    amount_display = display.money(r.amount, r.currency), txn_id = r.txn_id }
end

-- The sale with its commission; when the ledger refuses the commission, the sale goes on without it.
local function sell(ctx, v, q, key, hash)
  local sale = { buyer = ctx.user.id, video = v.id, price = v.asked, what = json.encode(v.what), fee_bp = q.fee_bp,
    payees = json.encode(json.array(q.lines)), pct = q.pct, rule = q.rule or "", hash = hash, tax = q.tax.json, tax_rule = q.tax.rule }
  local r, err = ledger.sale(key, sale)
  if r or not q.lines[1] then return r, err end
  local code = errors.from(err).code
  if not code:find("^affiliate%.") then return nil, err end
  affiliate.refuse(q.rule or "", v, tostring(err.message))
  sale.payees = nil
  return ledger.sale(key, sale)
end

-- One attempt for a title of offers.title or offers.plain. The ledger's reply | nil, err.
local function buy(ctx, input, v, key, hash)
  local t, problem, q, r, ok, err, _
  t, err = offers.pick(ctx, v, input)
  if not t then return nil, err end
  -- A coupon that is refused is refused by the ledger, after the replay of a known request.
  _, problem = coupons.apply(ctx, v, input.coupon)
  if problem then v.price, v.what.coupon = t.price, 0 end
  ok, err = gifts.take(v, input)
  if not ok then return nil, err end
  q, err = quote.of(ctx, v, "wallet", input.ref_code)
  if not q then return nil, err end
  crash.at "purchase.before_commit"
  r, err = sell(ctx, v, q, key, hash)
  if not r then return nil, problem or err end
  crash.at "purchase.after_commit"
  return r
end

local function pay(ctx, input)
  local key, hash = idempotency.read(ctx, { input.video_id, input.offer, input.price_cents or "", input.coupon or "", input.gift, input.gift_email or "",
    input.gift_message })
  if not key then return nil, hash end
  local v, r, err = offers.plain(input), nil, nil
  if v then r, err = buy(ctx, input, v, key, hash) end
  if not v or errors.is(err, "sale.look_again") or errors.is(err, "sale.price_changed") then
    v, err = offers.title(ctx, input.video_id)
    if not v then return nil, err end
    r, err = buy(ctx, input, v, key, hash)
  end
  if not r then return nil, err end
  metrics.count("sales_total", 1)
  return ctx:ok { balance_cents = r.balance, balance_display = display.money(r.balance, r.currency),
    creator_received_display = display.money(r.creator, r.currency), paid_display = display.money(r.price, r.currency),
    order_id = r.order_uid, commission_cents = r.commission, message = "Enjoy the video." }
end

local NOTE = { type = "string", max = 500, default = "" }

return { routes = {
  { method = "GET", path = "/api/wallet/balance", auth = "user", summary = "The own balance", handler = balance },
  { method = "GET", path = "/api/wallet/transactions", auth = "user", summary = "The own wallet lines", input = page.input(50, 200),
    handler = transactions },
  { method = "POST", path = "/api/wallet/deposit", auth = "user", rate = "20/m", summary = "Ask for a deposit", handler = deposit,
    input = { amount_cents = { type = "int", min = 1, max = MAX, required = true }, note = NOTE } },
  { method = "POST", path = "/api/wallet/transfer", auth = "user", rate = "30/m", summary = "Send money to somebody",
    handler = transfer, input = { to_username = { type = "string", max = 40, required = true },
      amount_cents = { type = "int", min = 1, max = MAX, required = true }, note = NOTE } },
  { method = "POST", path = "/api/wallet/pay", auth = "user", rate = "60/m", summary = "Buy a video from the wallet", handler = pay,
    input = { video_id = { type = "uuid", required = true }, ref_code = { type = "string", max = 40 }, coupon = coupons.FIELD,
      gift = gifts.INPUT.gift, gift_email = gifts.INPUT.gift_email, gift_message = gifts.INPUT.gift_message, offer = offers.INPUT.offer,
      price_cents = { type = "int", min = 0, max = offers.MAX }, currency = offers.INPUT.currency } },
} }
