-- SPDX-License-Identifier: Apache-2.0
-- Stripe Checkout: a payment page at Stripe, its state read back, refunds, evidence in disputes, signed events.
local crypto = require "ppv.crypto"
local fetch = require "ppv.fetch"
local json = require "ppv.json"
local money = require "ppv.money"
local gateway = require "lib.gateway"

local M = {}
local VERSION = "2026-10-28.endive"
local TOLERANCE_S = 300
local EVIDENCE_MAX = 20000 -- bytes of one evidence field
local at, str = gateway.at, gateway.str
local stripe = gateway.service("Stripe", fetch.request, { "secret_key", "webhook_secret" })

local ZERO, THREE = {}, {}
for code in ("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"):gmatch "%u+" do ZERO[code] = true end
for code in ("BHD JOD KWD OMR TND"):gmatch "%u+" do THREE[code] = true end

-- Decimals that Stripe counts in: two unless listed, also where ISO has none (ISK, UGX).
local function decimals(currency) return ZERO[currency] and 0 or THREE[currency] and 3 or 2 end

local function to_wire(ctx, amount, currency)
  local n = gateway.scale(amount, money.exponent(currency), decimals(currency))
  if n and not (THREE[currency] and n % 10 ~= 0) then return n end
  return nil, ctx:err("payment.currency", "Stripe cannot charge this amount in " .. currency)
end

local function from_wire(n, currency) return gateway.scale(n, decimals(currency), money.exponent(currency)) end

local function words(answer) return at(answer.json, "error", "message") or at(answer.json, "error", "code") end

-- form: list of {name, value} for POST, nil for GET. -> decoded answer | nil, err, answer
local function request(ctx, path, form, key)
  local secret, err = gateway.need(ctx, "secret_key")
  if not secret then return nil, err end
  if secret:find("_test_", 1, true) and gateway.live(ctx) or secret:find("_live_", 1, true) and not gateway.live(ctx) then
    return nil, ctx:err("payment.not_configured", "the secret key is of another environment than the setting says")
  end
  local r
  r, err = stripe:call(ctx, { method = form and "POST" or "GET", url = ctx.settings.base_url .. path,
    body = form and gateway.form(form) or nil,
    headers = { authorization = "Bearer " .. secret, ["stripe-version"] = VERSION, ["idempotency-key"] = key,
      ["content-type"] = "application/x-www-form-urlencoded" } })
  if not r then return nil, err end
  if r.status == 409 then return stripe:down(ctx, "the same request is being worked on") end
  if r.status >= 300 then
    local none
    none, err = stripe:refused(ctx, r, words(r))
    return none, err, r
  end
  return r.json
end

function M.start(ctx, order)
  local amount, err = to_wire(ctx, order.amount, order.currency)
  if not amount then return nil, err end
  local form = {
    { "mode", "payment" }, { "line_items[0][quantity]", 1 },
    { "line_items[0][price_data][currency]", order.currency:lower() }, { "line_items[0][price_data][unit_amount]", amount },
    { "line_items[0][price_data][product_data][name]", gateway.cut(order.title, 250) },
    { "success_url", order.return_url }, { "cancel_url", order.cancel_url },
    { "client_reference_id", order.id }, { "metadata[invoice_uid]", order.id }, { "expires_at", order.expires_at },
    { "payment_intent_data[metadata][invoice_uid]", order.id }, -- sessions do not pass theirs on, refunds and disputes need it
  }
  if order.email then form[#form + 1] = { "customer_email", order.email } end
  local s
  s, err = request(ctx, "/v1/checkout/sessions", form, gateway.reference(order))
  if not s then return nil, err end
  if not gateway.id(s.id) or type(s.url) ~= "string" then return stripe:unreadable(ctx, "payment page") end
  return { action = "redirect", url = s.url, ref = s.id, expires = s.expires_at }
end

local DISPUTE = { won = "won", warning_closed = "won", prevented = "won", lost = "lost" }

local function dispute_of(ctx, intent)
  local list, err = request(ctx, "/v1/disputes?payment_intent=" .. intent .. "&limit=1")
  if not list then return nil, err end
  local d = at(list, "data", 1)
  if not d then return nil end
  return { ref = d.id, state = DISPUTE[d.status] or "open", amount = from_wire(d.amount, tostring(d.currency):upper()),
    due = at(d, "evidence_details", "due_by") }
end

local function state_of(s, intent)
  if s.payment_status == "paid" or s.payment_status == "no_payment_required" then return "paid" end
  if s.status == "expired" then return "expired" end
  -- a delayed method has the last word after the page was left
  if s.status == "complete" and (intent.status == "requires_payment_method" or intent.status == "canceled") then return "failed" end
  return "pending"
end

function M.fetch(ctx, order)
  local s, err = request(ctx, "/v1/checkout/sessions/" .. order.ref
    .. "?expand[0]=payment_intent.latest_charge&expand[1]=payment_intent.latest_charge.balance_transaction")
  if not s then return nil, err end
  local currency = tostring(s.currency or ""):upper()
  local amount = from_wire(s.amount_total, currency)
  if not amount then return stripe:unreadable(ctx, "amount") end
  local intent = type(s.payment_intent) == "table" and s.payment_intent or { id = s.payment_intent }
  local charge, entry = at(intent, "latest_charge") or {}, at(intent, "latest_charge", "balance_transaction")
  local facts = { state = state_of(s, intent), amount = amount, currency = currency, live = s.livemode == true, ref = s.id,
    payment_ref = gateway.id(intent.id) or s.id, instrument = str(at(charge, "payment_method_details", "card", "fingerprint")),
    refunded = from_wire(at(charge, "amount_refunded"), currency) }
  if at(entry, "currency") == s.currency then facts.fee = from_wire(at(entry, "fee"), currency) end
  if at(charge, "disputed") == true then
    facts.dispute, err = dispute_of(ctx, intent.id)
    if err then return nil, err end
  end
  return facts
end

M.confirm = M.fetch

function M.cancel(ctx, order)
  local s, err, answer = request(ctx, "/v1/checkout/sessions/" .. order.ref .. "/expire", {}, "expire-" .. order.ref)
  if s then return true end
  if not answer then return nil, err end
  local facts = M.fetch(ctx, order)
  if facts and facts.state == "expired" then return true end
  return nil, err
end

-- Refunds -------------------------------------------------------------------------------------------------------------
local REFUND = { succeeded = "done", pending = "pending", requires_action = "pending", failed = "failed", canceled = "failed" }
local REASON = { duplicate = "duplicate", fraudulent = "fraudulent" }

local function refund_of(ctx, r)
  if not gateway.id(r.id) then return stripe:down(ctx, "no readable refund") end -- it may have been made
  return { ref = r.id, state = REFUND[r.status] or "pending" }
end

function M.refund(ctx, order, refund)
  local amount, err = to_wire(ctx, refund.amount, refund.currency)
  if not amount then return nil, err end
  local r
  r, err = request(ctx, "/v1/refunds", { { "payment_intent", order.payment_ref }, { "amount", amount },
    { "reason", REASON[refund.reason] or "requested_by_customer" }, { "metadata[refund_id]", refund.id } }, refund.key)
  if not r then return nil, err end
  return refund_of(ctx, r)
end

-- After an unknown outcome. Keys live for a day, so what is there already is looked for first.
function M.refund_fetch(ctx, order, refund)
  if refund.ref then
    local r, err = request(ctx, "/v1/refunds/" .. refund.ref)
    if not r then return nil, err end
    return refund_of(ctx, r)
  end
  local list, err = request(ctx, "/v1/refunds?payment_intent=" .. order.payment_ref .. "&limit=100")
  if not list then return nil, err end
  for _, r in ipairs(type(list.data) == "table" and list.data or {}) do
    if at(r, "metadata", "refund_id") == tostring(refund.id) then return refund_of(ctx, r) end
  end
  return M.refund(ctx, order, refund)
end

function M.evidence(ctx, _, dispute, text)
  local d, err = request(ctx, "/v1/disputes/" .. dispute.ref,
    { { "evidence[access_activity_log]", text:sub(1, EVIDENCE_MAX) }, { "submit", "true" } },
    "evidence-" .. dispute.ref .. "-" .. crypto.sha256(text, "hex"):sub(1, 16))
  if not d then return nil, err end
  return true
end

-- Events --------------------------------------------------------------------------------------------------------------

-- "t=...,v1=...": of several t the last counts, any v1 may fit (two while a secret is being replaced).
local function signed(header, secret, body, now)
  local t, sigs = nil, {}
  if type(header) ~= "string" or #header > 2048 then return false end
  for part in header:gmatch "[^,]+" do
    local k, v = part:match "^(%w+)=(.*)$"
    if k == "t" then t = v elseif k == "v1" then sigs[#sigs + 1] = v end
  end
  if not t or not t:find "^%d+$" or #t > 12 or math.abs(now - tonumber(t)) > TOLERANCE_S then return false end
  local want, good = crypto.hmac_sha256(secret, t .. "." .. body, "hex"), false
  for _, sig in ipairs(sigs) do if crypto.equal(sig, want) then good = true end end
  return good
end

local function concerns_us(type)
  return type:find "^checkout%.session%." or type:find "^charge%.refund" or type:find "^refund%." or type:find "^charge%.dispute%."
end

function M.verify(ctx, req)
  local secret, err = gateway.need(ctx, "webhook_secret")
  if not secret then return nil, err end
  if not signed(req.headers["stripe-signature"], secret, req.body, math.floor(req.now)) then
    return nil, ctx:err("payment.bad_signature", "the signature does not fit the message, or its time is off")
  end
  local e = json.decode(req.body)
  if type(e) ~= "table" or e.object ~= "event" or type(e.id) ~= "string" or type(e.type) ~= "string" then
    return nil, ctx:err("payment.bad_event", "this is no event of the kind asked for (snapshot events, not thin ones)")
  end
  if (e.livemode == true) ~= gateway.live(ctx) then
    return nil, ctx:err("payment.bad_event", "the event is of another environment than the setting says")
  end
  local o = at(e, "data", "object")
  return { key = e.id, type = e.type, ignore = not concerns_us(e.type) or nil,
    order = str(at(o, "client_reference_id") or at(o, "metadata", "invoice_uid")),
    ref = at(o, "object") == "checkout.session" and str(at(o, "id")) or nil, payment_ref = str(at(o, "payment_intent")) }
end

return M
