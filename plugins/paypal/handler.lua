-- SPDX-License-Identifier: Apache-2.0
-- PayPal Orders v2: approval at PayPal, capture by us, only a COMPLETED capture is paid. Refunds, payouts, signed events.
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local fetch = require "ppv.fetch"
local money = require "ppv.money"
local gateway = require "lib.gateway"
local webhook = require "webhook"

local M = {}
local at, str = gateway.at, gateway.str
local paypal = gateway.service("PayPal", fetch.request, { "client_secret" })

local SUPPORTED, WHOLE = {}, { HUF = true, JPY = true, TWD = true }
for _, code in ipairs(require "manifest".currencies) do SUPPORTED[code] = true end

-- Decimals that PayPal writes; nil for what it does not take.
local function decimals(currency) return SUPPORTED[currency] and (WHOLE[currency] and 0 or 2) or nil end

local function to_wire(ctx, amount, currency)
  local text = gateway.text(amount, money.exponent(currency), decimals(currency))
  if text then return { currency_code = currency, value = text } end
  return nil, ctx:err("payment.currency", "PayPal cannot charge this amount in " .. tostring(currency))
end

local function from_wire(m)
  local currency = at(m, "currency_code")
  if type(currency) ~= "string" then return nil end
  return gateway.parse(m.value, money.exponent(currency)), currency
end

-- Calls ---------------------------------------------------------------------------------------------------------------

-- Good for some hours, kept for 80 % of them.
local function token(ctx, fresh)
  local id, err = gateway.need(ctx, "client_id")
  if not id then return nil, err end
  local secret
  secret, err = gateway.need(ctx, "client_secret")
  if not secret then return nil, err end
  local key = "token:" .. crypto.sha256(ctx.settings.base_url .. "\n" .. id .. "\n" .. secret, "hex")
  local kept = not fresh and cache.get(key)
  if kept then return kept end
  local r
  r, err = paypal:call(ctx, { method = "POST", url = ctx.settings.base_url .. "/v1/oauth2/token", user = id, password = secret,
    body = "grant_type=client_credentials", headers = { ["content-type"] = "application/x-www-form-urlencoded" } })
  if not r then return nil, err end
  local t, life = r.json.access_token, tonumber(r.json.expires_in)
  if r.status ~= 200 or type(t) ~= "string" then return paypal:refused(ctx, r, r.json.error_description) end
  if life and life > 10 then cache.set(key, t, math.floor(life * 0.8)) end
  return t
end

local function words(answer)
  local j = answer.json
  return ("%s %s (debug id %s)"):format(tostring(at(j, "details", 1, "issue") or j.name), tostring(j.message), tostring(j.debug_id))
end

-- body: table, text of the given type or "" for POST, nil for GET. -> {status, json} also when PayPal says no | nil, err
local function send(ctx, path, body, key, kind)
  for try = 1, 2 do
    local t, err = token(ctx, try == 2)
    if not t then return nil, err end
    local r
    r, err = paypal:call(ctx, { method = body and "POST" or "GET", url = ctx.settings.base_url .. path,
      body = type(body) == "table" and gateway.json(body) or body ~= "" and body or nil, headers = { authorization = "Bearer " .. t,
        ["paypal-request-id"] = key, prefer = body and "return=representation" or nil,
        ["content-type"] = body and (kind or "application/json") or nil } })
    if not r or r.status ~= 401 or try == 2 then return r, err end
  end
end

-- As send, but a no is an error. -> decoded answer | nil, err
local function request(ctx, path, body, key)
  local r, err = send(ctx, path, body, key)
  if not r then return nil, err end
  if r.status >= 300 then return paypal:refused(ctx, r, words(r)) end
  return r.json
end

-- Orders --------------------------------------------------------------------------------------------------------------

function M.start(ctx, order)
  local amount, err = to_wire(ctx, order.amount, order.currency)
  if not amount then return nil, err end
  local ref, title = gateway.reference(order), gateway.cut(order.title, 120)
  local brand = ctx.settings.brand_name ~= "" and gateway.cut(ctx.settings.brand_name, 120) or nil
  local o
  o, err = request(ctx, "/v2/checkout/orders", {
    intent = "CAPTURE",
    purchase_units = { { reference_id = "default", description = title, custom_id = order.id, invoice_id = ref,
      amount = { currency_code = amount.currency_code, value = amount.value, breakdown = { item_total = amount } },
      items = { { name = title, quantity = "1", unit_amount = amount, category = "DIGITAL_GOODS" } } } },
    payment_source = { paypal = { experience_context = { brand_name = brand, shipping_preference = "NO_SHIPPING",
      return_url = order.return_url, cancel_url = order.cancel_url, user_action = "PAY_NOW",
      payment_method_preference = "IMMEDIATE_PAYMENT_REQUIRED" } } },
  }, ref)
  if not o then return nil, err end
  for _, link in ipairs(type(o.links) == "table" and o.links or {}) do
    local rel, href = at(link, "rel"), at(link, "href")
    if (rel == "payer-action" or rel == "approve") and type(href) == "string" and gateway.id(o.id) then
      return { action = "redirect", url = href, ref = o.id }
    end
  end
  return paypal:unreadable(ctx, "link for the buyer")
end

local CAPTURE = { COMPLETED = "paid", PARTIALLY_REFUNDED = "paid", REFUNDED = "paid", PENDING = "hold", DECLINED = "failed",
  FAILED = "failed" }
local RESOLVED = { RESOLVED_SELLER_FAVOUR = "won", RESOLVED_WITH_PAYOUT = "won", CANCELED_BY_BUYER = "won",
  RESOLVED_BUYER_FAVOUR = "lost", ACCEPTED = "lost" }

-- The newest dispute about a capture, nil when there is none or PayPal does not show them to this account.
local function dispute_of(ctx, capture)
  local r, err = send(ctx, "/v1/customer/disputes?disputed_transaction_id=" .. capture)
  if not r then return nil, err end
  local id = r.status == 200 and at(r.json, "items", 1, "dispute_id")
  if type(id) ~= "string" then return nil end
  local d
  d, err = request(ctx, "/v1/customer/disputes/" .. id)
  if not d then return nil, err end
  local state = d.status == "RESOLVED" and RESOLVED[tostring(at(d, "dispute_outcome", "outcome_code"))] or "open"
  return { ref = id, state = state, amount = from_wire(d.dispute_amount), due = str(d.seller_response_due_date) }
end

local function facts_of(ctx, order, o)
  local unit = at(o, "purchase_units", 1)
  local c = at(unit, "payments", "captures", 1)
  local amount, currency = from_wire(c and c.amount or at(unit, "amount"))
  if not amount then return paypal:unreadable(ctx, "amount") end
  local facts = { amount = amount, currency = currency, live = gateway.live(ctx), ref = o.id,
    state = (o.status == "VOIDED" and "cancelled") or "pending", approved = o.status == "APPROVED" or nil }
  if not c then return facts end
  facts.state, facts.payment_ref = CAPTURE[c.status] or "pending", gateway.id(c.id)
  facts.fee = from_wire(at(c, "seller_receivable_breakdown", "paypal_fee"))
  facts.instrument = str(at(o, "payer", "payer_id"))
  local list = {}
  facts.refunded = 0
  for _, r in ipairs(at(unit, "payments", "refunds") or {}) do
    local sum = from_wire(r.amount)
    if not sum then return paypal:unreadable(ctx, "refund") end
    if r.status == "COMPLETED" then facts.refunded = facts.refunded + sum end
    list[#list + 1] = { ref = str(r.id), amount = sum, state = r.status == "COMPLETED" and "done" or r.status == "PENDING" and "pending"
      or "failed" }
  end
  facts.refunds = list
  if c.status == "REFUNDED" then facts.refunded = amount end
  if facts.state == "paid" and order.payment_ref then -- known as paid: something may have happened since
    local err
    facts.dispute, err = dispute_of(ctx, facts.payment_ref)
    if err then return nil, err end
  end
  return facts
end

function M.fetch(ctx, order)
  local o, err = request(ctx, "/v2/checkout/orders/" .. order.ref)
  if not o then return nil, err end
  return facts_of(ctx, order, o)
end

-- Takes the approved money, then reads back. Taken already, not approved yet and declined are told by what is read.
function M.confirm(ctx, order)
  local r, err = send(ctx, "/v2/checkout/orders/" .. order.ref .. "/capture", "", "cap-" .. gateway.reference(order))
  if not r then return nil, err end
  if r.status >= 300 and r.status ~= 422 then return paypal:refused(ctx, r, words(r)) end
  return M.fetch(ctx, order)
end

-- An order for immediate capture cannot be closed; without a capture it lapses by itself.
function M.cancel() return true end

-- Refunds -------------------------------------------------------------------------------------------------------------
local REFUND = { COMPLETED = "done", PENDING = "pending", FAILED = "failed", CANCELLED = "failed" }

local function refund_of(ctx, r)
  if not gateway.id(r.id) then return paypal:down(ctx, "no readable refund") end -- it may have been made
  return { ref = r.id, state = REFUND[r.status] or "pending" }
end

function M.refund(ctx, order, refund)
  local amount, err = to_wire(ctx, refund.amount, refund.currency)
  if not amount then return nil, err end
  local r
  r, err = request(ctx, "/v2/payments/captures/" .. order.payment_ref .. "/refund",
    { amount = amount, custom_id = order.id, note_to_payer = gateway.cut(refund.reason, 250) }, refund.key)
  if not r then return nil, err end
  return refund_of(ctx, r)
end

-- After an unknown outcome: the same key gives the same refund for 45 days.
function M.refund_fetch(ctx, order, refund)
  if not refund.ref then return M.refund(ctx, order, refund) end
  local r, err = request(ctx, "/v2/payments/refunds/" .. refund.ref)
  if not r then return nil, err end
  return refund_of(ctx, r)
end

-- Disputes take notes of at most 2,000 characters in a form of several parts.
function M.evidence(ctx, _, dispute, text)
  local hash = crypto.sha256(text, "hex"):sub(1, 32)
  local input = gateway.json { evidences = { { evidence_type = "PROOF_OF_FULFILLMENT", notes = gateway.cut((text:gsub("\n", " | ")), 2000) } } }
  local body = ("--%s\r\ncontent-disposition: form-data; name=\"input\"\r\ncontent-type: application/json\r\n\r\n%s\r\n--%s--\r\n"):format(hash, input, hash)
  local r, err = send(ctx, "/v1/customer/disputes/" .. dispute.ref .. "/provide-evidence", body, "ev-" .. dispute.ref .. "-" .. hash:sub(1, 16),
    "multipart/form-data; boundary=" .. hash)
  if not r then return nil, err end
  if r.status >= 300 then return paypal:refused(ctx, r, words(r)) end
  return true
end

-- Payouts: a batch of one ---------------------------------------------------------------------------------------------
local ITEM = { SUCCESS = "paid", FAILED = "failed", BLOCKED = "failed", DENIED = "failed", CANCELED = "failed", RETURNED = "reversed",
  REFUNDED = "reversed", REVERSED = "reversed" }

local function payout_state(ctx, batch)
  local b, err = request(ctx, "/v1/payments/payouts/" .. batch)
  if not b then return nil, err end
  local item = at(b, "items", 1)
  local state = ITEM[tostring(at(item, "transaction_status"))] or "sent"
  local denied = at(b, "batch_header", "batch_status")
  if not item and (denied == "DENIED" or denied == "CANCELED") then state = "failed" end
  return { ref = batch, state = state, failure = str(at(item, "errors", "name")) or (state == "failed" and str(denied) or nil) }
end

function M.payout(ctx, item)
  local amount, err = to_wire(ctx, item.amount, item.currency)
  if not amount then return nil, err end
  local receiver = str(at(item.destination, "email"))
  if not receiver then return nil, ctx:err("payment.gateway_refused", "the payout names no e-mail address") end
  local r
  r, err = send(ctx, "/v1/payments/payouts", { sender_batch_header = { sender_batch_id = item.key },
    items = { { recipient_type = "EMAIL", receiver = receiver, sender_item_id = tostring(item.id),
      amount = { currency = amount.currency_code, value = amount.value } } } }, item.key)
  if not r then return nil, err end
  if r.status < 300 then
    local batch = str(at(r.json, "batch_header", "payout_batch_id"))
    if not batch then return paypal:down(ctx, "no readable payout") end
    return { ref = batch, state = "sent" }
  end
  -- The batch is there already: PayPal links to the first one.
  for _, link in ipairs(type(r.json.links) == "table" and r.json.links or {}) do
    local batch = tostring(at(link, "href")):match "/v1/payments/payouts/([%w%-]+)$"
    if batch then return payout_state(ctx, batch) end
  end
  return paypal:refused(ctx, r, words(r))
end

function M.payout_fetch(ctx, item)
  if not item.ref then return M.payout(ctx, item) end
  return payout_state(ctx, item.ref)
end

function M.verify(ctx, req) return webhook.verify(ctx, req, paypal) end

return M
