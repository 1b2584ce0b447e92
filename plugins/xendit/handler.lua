-- SPDX-License-Identifier: Apache-2.0
-- Xendit invoices v2 and payouts v2. A webhook is told from others by a fixed token only: what it says is read back.
local crypto = require "ppv.crypto"
local fetch = require "ppv.fetch"
local json = require "ppv.json"
local money = require "ppv.money"
local gateway = require "lib.gateway"

local M = {}
local at, str = gateway.at, gateway.str
local xendit = gateway.service("Xendit", fetch.request, { "secret_key", "payout_key", "callback_token" })

local DECIMALS = { IDR = 0, VND = 0, PHP = 2, THB = 2, MYR = 2 }

-- Text of a JSON number.
local function to_wire(ctx, amount, currency)
  local text = gateway.text(amount, money.exponent(currency), DECIMALS[currency])
  if text then return text end
  return nil, ctx:err("payment.currency", "Xendit cannot take this amount in " .. tostring(currency))
end

local function from_wire(v, currency) return gateway.parse(v, type(currency) == "string" and money.exponent(currency) or nil) end

-- JSON of an object, with members that are JSON text already.
local function object(members, t)
  local text = gateway.json(t)
  return "{" .. members .. (text == "{}" and "" or ",") .. text:sub(2)
end

-- -> answer {status, json} also when Xendit says no | nil, err
local function send(ctx, method, path, body, idempotency, which)
  local name = which == "payout" and ctx.settings.payout_key ~= "" and "payout_key" or "secret_key"
  local key, err = gateway.need(ctx, name)
  if not key then return nil, err end
  if key:find "^xnd_development_" and gateway.live(ctx) or key:find "^xnd_production_" and not gateway.live(ctx) then
    return nil, ctx:err("payment.not_configured", "the key is of another environment than the setting says")
  end
  return xendit:call(ctx, { method = method, url = ctx.settings.base_url .. path, user = key, password = "", body = body,
    headers = { ["content-type"] = body and "application/json" or nil, ["idempotency-key"] = idempotency, accept = "*/*" } })
end

local function refused(ctx, r) return xendit:refused(ctx, r, str(r.json.error_code) and (r.json.error_code .. " " .. tostring(r.json.message))) end

-- As send, but a no is an error. -> decoded answer | nil, err
local function request(ctx, ...)
  local r, err = send(ctx, ...)
  if not r then return nil, err end
  if r.status >= 300 then return refused(ctx, r) end
  return r.json
end

-- Lists come bare or in {data = list}.
local function items(j) return type(j.data) == "table" and j.data or j end

-- Invoices ------------------------------------------------------------------------------------------------------------

local function page(ctx, i)
  if not gateway.id(i.id) or type(i.invoice_url) ~= "string" then return xendit:unreadable(ctx, "invoice") end
  return { action = "redirect", url = i.invoice_url, ref = i.id }
end

-- Creating knows no idempotency: after a lost answer the invoice of this attempt may be there already, so it is looked for first.
function M.start(ctx, order)
  local amount, err = to_wire(ctx, order.amount, order.currency)
  if not amount then return nil, err end
  local id, title = gateway.reference(order), gateway.cut(order.title, 200)
  local list
  list, err = request(ctx, "GET", "/v2/invoices?external_id=" .. id)
  if not list then return nil, err end
  for _, i in ipairs(items(list)) do
    if i.external_id == id and i.status == "PENDING" and i.currency == order.currency
      and from_wire(i.amount, i.currency) == order.amount then return page(ctx, i) end
  end
  local i
  i, err = request(ctx, "POST", "/v2/invoices/", object('"amount":' .. amount .. ',"items":[' .. object('"price":' .. amount,
    { name = title, quantity = 1 }) .. "]", { external_id = id, currency = order.currency, description = title, payer_email = order.email,
    invoice_duration = math.max(60, math.floor(order.expires_at - ctx.now)), success_redirect_url = order.return_url,
    failure_redirect_url = order.cancel_url, metadata = { invoice_uid = order.id } }))
  if not i then return nil, err end
  return page(ctx, i)
end

local INVOICE = { PENDING = "pending", PAID = "paid", SETTLED = "paid", EXPIRED = "expired" }
local REFUND = { SUCCEEDED = "done", PENDING = "pending", FAILED = "failed", CANCELLED = "failed" }

local function add_refunds(ctx, facts, invoice)
  local list, err = request(ctx, "GET", "/refunds?invoice_id=" .. invoice)
  if not list then return nil, err end
  facts.refunds, facts.refunded = {}, 0
  for _, r in ipairs(items(list)) do
    local sum = from_wire(at(r, "amount"), facts.currency)
    if not sum then return xendit:unreadable(ctx, "refund") end
    if r.status == "SUCCEEDED" then facts.refunded = facts.refunded + sum end
    facts.refunds[#facts.refunds + 1] = { ref = str(r.id), amount = sum, state = REFUND[r.status] or "pending" }
  end
  return facts
end

-- The first and last digits of the card that paid, which others may share too; nil for other ways to pay, and when it cannot be read.
local function card_of(ctx, i)
  local id = gateway.id(i.credit_card_charge_id)
  local r = id and send(ctx, "GET", "/credit_card_charges/" .. id)
  return r and r.status < 300 and str(r.json.masked_card_number) or nil
end

function M.fetch(ctx, order)
  local i, err = request(ctx, "GET", "/v2/invoices/" .. order.ref)
  if not i then return nil, err end
  local state = INVOICE[i.status]
  -- what was paid counts, not what was asked for: some ways to pay leave the sum open
  local amount = from_wire(state == "paid" and i.paid_amount or i.amount, i.currency)
  if not state or not amount then return xendit:unreadable(ctx, "invoice") end
  local facts = { state = state, amount = amount, currency = i.currency, live = gateway.live(ctx), ref = i.id,
    payment_ref = state == "paid" and (str(i.payment_id) or i.id) or nil, fee = from_wire(i.fees_paid_amount, i.currency) }
  if state == "paid" and not order.payment_ref then facts.alike = card_of(ctx, i) end
  if state == "paid" and order.payment_ref then return add_refunds(ctx, facts, i.id) end -- known as paid: what happened since
  return facts
end

M.confirm = M.fetch

function M.cancel(ctx, order)
  local r, err = send(ctx, "POST", "/invoices/" .. order.ref .. "/expire!")
  if not r then return nil, err end
  if r.status < 300 then return true end
  local facts = M.fetch(ctx, order)
  if facts and facts.state == "expired" then return true end
  return refused(ctx, r)
end

-- Refunds -------------------------------------------------------------------------------------------------------------

local function refund_of(ctx, r)
  if not gateway.id(r.id) then return xendit:down(ctx, "no readable refund") end -- it may have been made
  return { ref = r.id, state = REFUND[r.status] or "pending" }
end

function M.refund(ctx, order, refund)
  local amount, err = to_wire(ctx, refund.amount, refund.currency)
  if not amount then return nil, err end
  local r
  r, err = request(ctx, "POST", "/refunds", object('"amount":' .. amount, { invoice_id = order.ref, reference_id = refund.key,
    reason = "REQUESTED_BY_CUSTOMER" }), refund.key)
  if not r then return nil, err end
  return refund_of(ctx, r)
end

-- After an unknown outcome: what carries our key is looked for, before it is sent again under the same key.
function M.refund_fetch(ctx, order, refund)
  if refund.ref then
    local r, err = request(ctx, "GET", "/refunds/" .. refund.ref)
    if not r then return nil, err end
    return refund_of(ctx, r)
  end
  local list, err = request(ctx, "GET", "/refunds?invoice_id=" .. order.ref)
  if not list then return nil, err end
  for _, r in ipairs(items(list)) do if r.reference_id == refund.key then return refund_of(ctx, r) end end
  return M.refund(ctx, order, refund)
end

-- Payouts -------------------------------------------------------------------------------------------------------------
local PAYOUT = { SUCCEEDED = "paid", FAILED = "failed", CANCELLED = "failed", COMPLIANCE_REJECTED = "failed", EXPIRED = "failed",
  REVERSED = "reversed" }

local function payout_of(ctx, p)
  if not gateway.id(p.id) then return xendit:down(ctx, "no readable payout") end -- it may have been made
  return { ref = p.id, state = PAYOUT[p.status] or "sent", failure = str(p.failure_code) }
end

function M.payout(ctx, item)
  local amount, err = to_wire(ctx, item.amount, item.currency)
  if not amount then return nil, err end
  local d = item.destination or {}
  if not str(d.channel_code) or not str(d.account_number) or not str(d.account_holder_name) then
    return nil, ctx:err("payment.gateway_refused", "a payout needs channel_code, account_number and account_holder_name")
  end
  local p
  p, err = request(ctx, "POST", "/v2/payouts", object('"amount":' .. amount, { reference_id = tostring(item.id), currency = item.currency,
    channel_code = d.channel_code, description = "payout", channel_properties = { account_holder_name = d.account_holder_name,
    account_number = d.account_number } }), item.key, "payout")
  if not p then return nil, err end
  return payout_of(ctx, p)
end

function M.payout_fetch(ctx, item)
  if item.ref then
    local p, err = request(ctx, "GET", "/v2/payouts/" .. item.ref, nil, nil, "payout")
    if not p then return nil, err end
    return payout_of(ctx, p)
  end
  local list, err = request(ctx, "GET", "/v2/payouts?reference_id=" .. tostring(item.id), nil, nil, "payout")
  if not list then return nil, err end
  local p = items(list)[1]
  if p then return payout_of(ctx, p) end
  return M.payout(ctx, item)
end

-- Webhooks ------------------------------------------------------------------------------------------------------------

function M.verify(ctx, req)
  local token, err = gateway.need(ctx, "callback_token")
  if not token then return nil, err end
  local given = req.headers["x-callback-token"]
  if type(given) ~= "string" or not crypto.equal(given, token) then
    return nil, ctx:err("payment.bad_signature", "the token of the webhook is wrong")
  end
  local b = json.decode(req.body)
  if type(b) ~= "table" then return nil, ctx:err("payment.bad_event", "the body is no JSON object") end
  local id = str(req.headers["webhook-id"])
  local event = { key = id and id ~= "" and id or crypto.sha256(req.body, "hex"), type = str(b.event) or ("invoice." .. tostring(str(b.status))) }
  local d = b.data
  if event.type:find "^payout%." then
    event.payout, event.payout_ref = str(at(d, "reference_id")), str(at(d, "id"))
  elseif event.type:find "^refund%." then
    event.ref, event.payment_ref = str(at(d, "invoice_id")), str(at(d, "payment_id"))
  elseif not b.event and str(b.external_id) and str(b.id) then
    event.ref, event.order, event.payment_ref = b.id, b.external_id, str(b.payment_id)
  else
    event.ignore = true
  end
  return event
end

return M
