-- SPDX-License-Identifier: Apache-2.0
-- Paying through a provider: start a checkout, come back from it, receive the provider's messages, look at an order.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local metrics = require "ppv.metrics"
local coupons = require "lib.coupons"
local crash = require "lib.crash"
local display = require "lib.display"
local errors = require "lib.errors"
local gifts = require "lib.gifts"
local iso = require "lib.iso"
local offers = require "lib.offers"
local page = require "lib.page"
local payments = require "lib.payments"
local quote = require "lib.quote"
local registry = require "lib.registry"
local settings = require "lib.settings"
local settle = require "lib.settle"

local HOUR, MIN_ASK_S = 3600, 2

-- The plugin of a provider that is switched on and set up. plugin, its values | nil, err
local function provider(name)
  local list, err = payments.providers()
  if not list then return nil, err end
  for _, p in ipairs(list) do
    if p.provider == name and p.enabled then return registry.by_name[name], p end
  end
  return errors.fail("payment.unknown_provider", "This way to pay is not available: " .. name, { status = 404 })
end

local function default_provider()
  local name = settings.get("payment.default_provider")
  if name then return name end
  local list = payments.providers()
  for _, p in ipairs(list or {}) do if p.enabled then return p.provider end end
  return nil
end

-- What the order freezes: price, split, commission. table | nil, err
local function terms(ctx, v, input, p, info)
  local t, err = offers.pick(ctx, v, input, info)
  if not t then return nil, err end
  local ok
  ok, err = coupons.apply(ctx, v, input.coupon)
  if not ok then return nil, err end
  local charge
  charge, err = offers.charge(t, v.price)
  if not charge then return nil, err end
  ok, err = gifts.take(v, input)
  if not ok then return nil, err end
  local q
  q, err = quote.of(ctx, v, p.name, input.affiliate_ref)
  if not q then return nil, err end
  local life = math.max(p.manifest.min_expiry_s or 0, math.min(HOUR, p.manifest.max_expiry_s or HOUR))
  return { method = p.name, price = v.asked, what = v.what, charge = charge, charge_currency = t.charge_currency,
    fx = t.fx, fee_bp = q.fee_bp, payees = json.array(q.lines), pct = q.pct, rule = q.rule or "", tax = json.array(q.tax.lines or {}),
    live = info.environment == "live", expires_s = life, meta = { reversible = p.manifest.reversible ~= false, tax_rule = q.tax.rule } }
end

-- Sends a frozen order to the provider. The order's own number is the key: after an unclear failure the same call is repeated.
-- choice: what the buyer chose of a chain payment. The plugin's answer, with an address that may be gone to | nil, err
local function open(o, choice)
  crash.at "order.start.before_call"
  local r, err = settle.call(o, "start", choice)
  crash.at "order.start.after_call"
  if not r then
    if errors.is(err, "payment.gateway_refused") or errors.is(err, "payment.currency") then
      settle.apply(o, { state = "failed", why = "refused" }, "start")
    end
    return nil, err
  end
  if type(r.ref) ~= "string" or r.ref == "" or #r.ref > 200 then return errors.fail("payment.plugin", o.method .. " gave no reference") end
  local url = type(r.url) == "string" and (r.url:find "^https?://" or r.url:find "^/[^/\\]") and r.url or nil
  r.url = url
  if r.action == "redirect" and not url then return errors.fail("payment.plugin", o.method .. " gave no address to go to") end
  local done
  done, err = db.exec("select ppv_order_opened($1, $2, $3, $4::jsonb, $5::jsonb, $6)", o.id, r.ref, url,
    json.encode(r.ids or {}), json.encode { lines = json.array(r.lines or {}), upload = r.upload == true }, r.expires and math.floor(r.expires))
  if not done then return nil, err end
  crash.at "order.opened"
  return r
end

local function start_answer(ctx, r, name, opened)
  return ctx:ok { provider = name, order_id = r.uid, invoice = { provider = name, invoice_id = r.uid, payment_url = opened.url or json.null,
    amount_cents = r.charge, currency = r.charge_currency, status = "pending", raw = opened.invoice or {} },
    amount_display = display.money(r.charge, r.charge_currency), expires_at = r.expires_at,
    order_url = "/public/order.html?id=" .. r.uid }
end

-- A started order: r (of ppv_order_start), the plugin's answer {url?, invoice?} | nil, err. Also for routes of one provider. Yields.
local function begin(ctx, input, name)
  local p, info = provider(name)
  if not p then return nil, info end
  local v, err = offers.title(ctx, input.video_id)
  if not v then return nil, err end
  local q
  q, err = terms(ctx, v, input, p, info)
  if not q then return nil, err end
  crash.at "order.start.before_commit"
  local row
  row, err = db.one("select ppv_order_start($1, $2::uuid, $3::jsonb)::text as r", ctx.user.id, v.id, json.encode(q))
  if not row then return nil, err end
  crash.at "order.start.after_commit"
  local r = json.decode(row.r)
  metrics.count("orders_started_total", 1)
  local by_choice = (p.manifest.features or {}).chain
  if r.again and not by_choice then return r, { url = r.url } end
  local o
  o, err = settle.find("o.id = $1", r.order_id)
  if not o then return nil, err end
  local opened
  opened, err = open(o, by_choice and { chain_id = input.chain_id, symbol = input.symbol, token_address = input.token_address,
    payer_address = input.payer_address })
  if not opened then return nil, err end
  return r, opened
end

local function start(ctx, input)
  local name = input.provider or default_provider()
  if not name then return errors.fail("payment.not_configured", "No way to pay is set up on this site.") end
  local r, opened = begin(ctx, input, name)
  if not r then return nil, opened end
  return start_answer(ctx, r, name, opened)
end

-- Orders ------------------------------------------------------------------------------------------------------------------

local SAYS = {
  pending = "Waiting for the payment.", paid = "Paid. Enjoy the video.", expired = "The time to pay has run out.",
  cancelled = "The payment was cancelled.", failed = "The payment did not go through.",
  returned = "The payment was returned.", partially_refunded = "A part of the price was refunded.", refunded = "The price was refunded.",
  disputed = "The payment is disputed.", chargeback_lost = "The payment was taken back.",
}
local WAITS = {
  hold = "The provider is still checking the payment. This can take some hours.",
  underpaid = "Less than the price has arrived. We look at it and will write to you.",
  overpaid = "More than the price has arrived. We look at it and will write to you.",
  late = "The payment came after the price had changed. We look at it and will write to you.",
  owned = "You already have this video. We look at the second payment and will write to you.",
}

local function says(o) return o.state == "review" and (WAITS[o.why] or "The payment needs a look by a person. We will write to you.") or SAYS[o.state] end

local function shown(o)
  local kept = json.decode(o.meta or "{}")
  return { order_id = o.uid, state = o.state, why = o.why, message = says(o), paid = o.paid, provider = o.method, video_id = o.video_id,
    title = o.title, amount_cents = o.charge, currency = o.charge_currency, amount_display = display.money(o.charge, o.charge_currency), gift = o.gift,
    refunded_cents = o.refunded, payment_url = o.state == "pending" and o.payment_url or json.null, expires_at = o.expires_at,
    lines = json.array(kept.lines or {}), upload = kept.upload == true, ref = o.provider_ref or json.null }
end

local function own(ctx, uid)
  local o, err = settle.find("o.uid = $1::uuid and o.buyer_id = any(ppv_buyers($2))", uid, ctx.user.id)
  if o == nil then return nil, err end
  if not o then return errors.not_found("order") end
  return o
end

-- A payment that was seen but is not certain yet: {have, need, ...} of the plugin's progress, for the page to show.
local function order(ctx, input)
  local o, err = own(ctx, input.id)
  if not o then return nil, err end
  local out = shown(o)
  local p = o.state == "pending" and registry.by_name[o.method]
  if p and p.handler.progress then
    local seen = settle.call(o, "progress")
    if seen then
      out.confirming = seen
      out.message = ("Your payment was seen and is confirming: %d of %d."):format(seen.have, seen.need)
    end
  end
  return ctx:ok { order = out }
end

local function orders(ctx, input)
  local after, err = page.read("orders", input.cursor, 1)
  if err then return nil, err end
  local rows
  rows, err = db.read("select " .. settle.COLUMNS .. ", " .. iso "o.created_at" .. [[ as created_at from orders o
    join videos v on v.id = o.video_id join users b on b.id = o.buyer_id
    where o.buyer_id = any(ppv_buyers($1)) and ($2::bigint is null or o.id < $2::bigint) order by o.id desc limit $3]],
    ctx.user.id, after and after[1], input.limit + 1)
  if not rows then return nil, err end
  local next_cursor
  rows, next_cursor = page.cut(rows, input.limit, "orders", function(row) return { row.id } end)
  local out = {}
  for i, o in ipairs(rows) do
    out[i] = shown(o)
    out[i].created_at = o.created_at
  end
  return ctx:ok { items = json.array(out), next_cursor = next_cursor or json.null }
end

-- The buyer is back from the provider. It changes nothing that the provider does not say itself, so anybody may ask; at most every
-- two seconds the provider is asked in turn.
local function confirm(ctx, input)
  local o, err = settle.find("o.uid = $1::uuid and ($2::text is null or o.method = $2::text)", input.invoice_id, input.provider)
  if o == nil then return nil, err end
  if not o then return errors.not_found("order") end
  local problem
  if not o.paid and o.provider_ref then
    local due = db.one([[select asked_at is null or asked_at < now() - make_interval(secs => $2) as due from orders where id = $1]], o.id, MIN_ASK_S)
    if due and due.due then
      local r
      r, problem = settle.ask(o, "return", "confirm", input.params)
      if r then o.state, o.why, o.paid = r.state, r.why or "", o.paid or r.state == "paid" end
    end
  end
  return ctx:ok { provider = o.method, state = o.state, message = problem and errors.sentence(problem) or says(o), asked = problem == nil,
    payment = { provider = o.method, invoice_id = o.uid, transaction_id = o.payment_ref or json.null, status = o.state,
      paid_amount_cents = o.paid and o.charge or 0, currency = o.charge_currency, raw = {} } }
end

-- Gives an order up: the checkout is closed at the provider; money that was already on its way still counts.
local function cancel(ctx, input)
  local o, err = own(ctx, input.id)
  if not o then return nil, err end
  if o.state ~= "pending" then return errors.fail("order.state", "This order is not waiting for a payment.") end
  local r
  if o.provider_ref then
    local ok, why = settle.call(o, "cancel")
    if not ok and not errors.is(why, "payment.unsupported") then return nil, why end
    r, err = settle.ask(o, "cancel")
    if not r then return nil, err end
  end
  if not r or r.state == "pending" then
    r, err = settle.apply(o, { state = "cancelled", why = "buyer" }, "cancel")
    if not r then return nil, err end
  end
  return ctx:ok { state = r.state }
end

-- Messages of providers --------------------------------------------------------------------------------------------------

-- Raw bytes in, verified, kept, then 200; the job asks the provider itself what is true. 401 and 400 for forgeries, 503 when the
-- message could not be kept, so that it is sent again.
local function webhook(ctx)
  local name = ctx.params.provider
  local p = registry.by_name[name]
  if not p or p.kind ~= "payment" or type(p.handler.verify) ~= "function" then return errors.not_found("provider") end
  local c, err = registry.context(p)
  if not c then return errors.fail("db.unavailable", "settings cannot be read", { detail = err and err.message }) end
  local body = ctx.req.body or ""
  local fine, event, why = pcall(registry.call, p.handler.verify, c, { headers = ctx.req.headers, body = body, now = ctx.now })
  if not fine then return errors.fail("payment.bad_event", "This message cannot be read.", { detail = tostring(event) }) end
  if event == nil then
    metrics.count("webhooks_refused_total", 1)
    return nil, errors.from(why or errors.new("payment.bad_signature", "This message is not signed by the provider."))
  end
  if type(event.key) ~= "string" or event.key == "" then return errors.fail("payment.bad_event", "This message has no identity.") end
  local key = #event.key <= 200 and event.key or crypto.sha256(event.key, "hex")
  crash.at "webhook.before_commit"
  local row
  row, err = db.one("select ppv_payment_event_add($1, $2, $3, $4::jsonb, $5) as id", name, key, tostring(event.type or ""),
    json.encode { order = event.order, ref = event.ref, payment_ref = event.payment_ref, approved = event.approved == true,
      payout = event.payout, payout_ref = event.payout_ref, ignore = event.ignore == true }, db.bytes(body))
  if not row then return errors.fail("db.unavailable", "The message could not be kept; please send it again.", { detail = err.message }) end
  crash.at "webhook.after_commit"
  metrics.count("webhooks_total", 1)
  return ctx:ok { received = true }
end

local START = { provider = { type = "string", max = 40, pattern = "^[a-z0-9_]+$" }, video_id = { type = "uuid", required = true },
  offer = offers.INPUT.offer, currency = offers.INPUT.currency, price_cents = { type = "int", min = 1 },
  affiliate_ref = { type = "string", max = 40, alias = "ref_code" },
  chain_id = { type = "int", min = 1 }, symbol = { type = "string", max = 20 }, token_address = { type = "evm" }, payer_address = { type = "evm" },
  coupon = coupons.FIELD, gift = gifts.INPUT.gift, gift_email = gifts.INPUT.gift_email, gift_message = gifts.INPUT.gift_message }
local CONFIRM = { provider = { type = "string", max = 40 }, invoice_id = { type = "uuid", required = true }, params = { type = "object" } }
local ID = { id = { type = "uuid", required = true } }

return { begin = begin, START = START, routes = {
  { method = "POST", path = "/api/pay/start", auth = "user", guest = true, rate = "30/m", summary = "Start paying with the default provider",
    input = START, handler = start },
  { method = "POST", path = "/api/pay/:provider/start", auth = "user", guest = true, rate = "30/m", summary = "Start paying with a provider",
    input = START, handler = start },
  { method = "POST", path = "/api/pay/confirm", auth = "public", csrf = false, rate = "60/m", summary = "Ask how an order stands",
    input = CONFIRM, handler = confirm },
  { method = "POST", path = "/api/pay/:provider/confirm", auth = "public", csrf = false, rate = "60/m",
    summary = "Ask how an order stands, after the provider's page", input = CONFIRM, handler = confirm },
  { method = "POST", path = "/api/pay/:provider/webhook", auth = "none", max_body = 1048576, summary = "Messages of a provider",
    raw = true, handler = webhook },
  { method = "GET", path = "/api/pay/order", auth = "user", guest = true, summary = "An own order", input = ID, handler = order },
  { method = "POST", path = "/api/pay/order/cancel", auth = "user", guest = true, rate = "30/m", summary = "Give an own order up", input = ID,
    handler = cancel },
  { method = "GET", path = "/api/orders", auth = "user", guest = true, summary = "The own orders", input = page.input(20, 100), handler = orders },
} }
