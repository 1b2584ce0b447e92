-- SPDX-License-Identifier: Apache-2.0
-- Midtrans Snap: a payment page for rupiah, the status read back, refunds, notifications. A notification's signature leaves
-- out the status, so only what is read back counts; a card under challenge is not paid.
local crypto = require "ppv.crypto"
local fetch = require "ppv.fetch"
local json = require "ppv.json"
local money = require "ppv.money"
local gateway = require "lib.gateway"

local M = {}
local at, str = gateway.at, gateway.str
local midtrans = gateway.service("Midtrans", fetch.request, { "server_key", "notification_key" })

-- The service counts whole rupiah.
local function to_wire(ctx, amount, currency)
  local n = currency == "IDR" and gateway.scale(amount, money.exponent "IDR", 0)
  if n and n > 0 then return n end
  return nil, ctx:err("payment.currency", "Midtrans charges whole rupiah only")
end

local function from_wire(v) return gateway.parse(v, money.exponent "IDR") end

local function words(j)
  if type(j.error_messages) == "table" then return tostring(j.error_messages[1]) end
  return str(j.status_message)
end

-- Two hosts at Midtrans, one for everything when the operator names another. -> decoded answer, its code | nil, err
local function request(ctx, method, path, body, headers)
  local key, err = gateway.need(ctx, "server_key")
  if not key then return nil, err end
  if key:find "^SB%-" and gateway.live(ctx) then
    return nil, ctx:err("payment.not_configured", "the server key is of another environment than the setting says")
  end
  local base = ctx.settings.base_url
  if path:find "^/snap/" then base = base:gsub("^https://api%.([%l.]*midtrans%.com)$", "https://app.%1") end
  headers = headers or {}
  headers["content-type"] = "application/json"
  local r
  r, err = midtrans:call(ctx, { method = method, url = base .. path, user = key, password = "", headers = headers,
    body = body and gateway.json(body) or nil })
  if not r then return nil, err end
  local code = tonumber(r.json.status_code) or r.status
  if code == 429 or code >= 500 then return midtrans:down(ctx, "status " .. code) end
  if code == 401 then return midtrans:refused(ctx, { status = 401 }, words(r.json)) end
  return r.json, code
end

local function refused(ctx, j, code) return midtrans:refused(ctx, { status = code }, words(j)) end

function M.start(ctx, order)
  local amount, err = to_wire(ctx, order.amount, order.currency)
  if not amount then return nil, err end
  local life = { unit = "minutes", duration = math.max(5, math.ceil((order.expires_at - ctx.now) / 60)) }
  local ref = gateway.reference(order)
  for try = 1, 2 do
    local j, code = request(ctx, "POST", "/snap/v1/transactions", {
      transaction_details = { order_id = ref, gross_amount = amount },
      item_details = { { id = order.id, price = amount, quantity = 1, name = gateway.cut(order.title, 50) } },
      callbacks = { finish = order.return_url }, expiry = life, page_expiry = life,
    }, { ["x-override-notification"] = order.notify_url })
    if not j then return nil, code end
    if type(j.redirect_url) == "string" then
      return { action = "redirect", url = j.redirect_url, ref = ref, expires = order.expires_at }
    end
    -- Taken: an answer of ours was lost. Ids are for once, so the next one needs another.
    if code ~= 406 or try == 2 then return refused(ctx, j, code) end
    ref = gateway.reference(order) .. "~" .. crypto.random_token(8):gsub("[^%w]", "0"):sub(1, 8)
  end
end

local PLAIN = { settlement = "paid", authorize = "hold", pending = "pending", expire = "expired", failure = "failed",
  cancel = "cancelled", refund = "paid", partial_refund = "paid", chargeback = "paid", partial_chargeback = "paid" }
local CARD = { accept = "paid", challenge = "hold", deny = "failed" }

local function state_of(ctx, order, j)
  local status = j.transaction_status
  if status == "capture" then return CARD[j.fraud_status] or "hold" end
  -- one try was turned down; on the same page the buyer may make another until it expires
  if status == "deny" then return order.expires_at > ctx.now and "pending" or "failed" end
  return PLAIN[status] or "hold"
end

local function reversed(facts, j)
  facts.refunds, facts.refunded = {}, 0
  for _, r in ipairs(type(j.refunds) == "table" and j.refunds or {}) do
    local sum = from_wire(at(r, "refund_amount"))
    if sum then
      facts.refunded = facts.refunded + sum
      facts.refunds[#facts.refunds + 1] = { ref = str(r.refund_key), amount = sum, state = "done" }
    end
  end
  if j.transaction_status == "refund" or j.transaction_status == "partial_refund" then
    facts.refunded = from_wire(j.refund_amount) or facts.refunded
  elseif tostring(j.transaction_status):find "chargeback$" then
    facts.dispute = { ref = j.transaction_id, state = "lost", amount = from_wire(j.refund_amount) or facts.amount }
  end
end

function M.fetch(ctx, order)
  local j, code = request(ctx, "GET", "/v2/" .. order.ref .. "/status")
  if not j then return nil, code end
  local facts = { amount = order.amount, currency = order.currency, live = gateway.live(ctx), ref = order.ref }
  if code == 404 or code == 407 then -- no way to pay was chosen yet, or not in time
    facts.state = (code == 407 or order.expires_at < ctx.now) and "expired" or "pending"
    return facts
  end
  if code >= 300 or not str(j.transaction_id) then return refused(ctx, j, code) end
  facts.amount, facts.currency = from_wire(j.gross_amount), str(j.currency) or "IDR"
  if not facts.amount then return midtrans:unreadable(ctx, "amount") end
  facts.ref, facts.payment_ref, facts.state = str(j.order_id), str(j.transaction_id), state_of(ctx, order, j)
  -- the first and last digits of a card: others may have the same
  if str(j.masked_card) then facts.alike = j.masked_card .. " " .. (str(j.bank) or "") end
  reversed(facts, j)
  -- cancelled after it was paid (a card before settlement): the buyer has everything back
  if facts.state == "cancelled" and order.payment_ref then facts.state, facts.refunded = "paid", facts.amount end
  return facts
end

M.confirm = M.fetch

function M.cancel(ctx, order)
  local j, code = request(ctx, "POST", "/v2/" .. order.ref .. "/expire", nil)
  if not j then return nil, code end
  if code < 300 or code == 404 or code == 407 then return true end
  return refused(ctx, j, code)
end

-- Done already under this key: what counts is what the status lists.
local function listed(ctx, order, refund)
  local facts, err = M.fetch(ctx, order)
  if not facts then return nil, err end
  for _, r in ipairs(facts.refunds or {}) do if r.ref == refund.key then return { ref = refund.key, state = "done" } end end
  return false
end

function M.refund(ctx, order, refund)
  local amount, err = to_wire(ctx, refund.amount, refund.currency)
  if not amount then return nil, err end
  local j, code = request(ctx, "POST", "/v2/" .. order.ref .. "/refund",
    { refund_key = refund.key, amount = amount, reason = gateway.cut(refund.reason, 250) })
  if not j then return nil, code end
  if code < 300 then return { ref = refund.key, state = "done" } end
  local done
  done, err = listed(ctx, order, refund)
  if done or err then return done or nil, err end
  return refused(ctx, j, code)
end

function M.refund_fetch(ctx, order, refund)
  local done, err = listed(ctx, order, refund)
  if done or err then return done or nil, err end
  return M.refund(ctx, order, refund)
end

function M.verify(ctx, req)
  local key, err = gateway.need(ctx, "server_key")
  if not key then return nil, err end
  if ctx.settings.notification_key ~= "" then key = ctx.settings.notification_key end
  local n = json.decode(req.body)
  local id, code, sum, sig = str(at(n, "order_id")), str(at(n, "status_code")), str(at(n, "gross_amount")), str(at(n, "signature_key"))
  -- the parts are signed without anything between them: each must have one reading
  if not id or not id:find "^[%w%-_~.]+$" or not code or not code:find "^%d%d%d$" or not sum or not sum:find "^%d+%.%d%d$" or not sig
    or not crypto.equal(sig, crypto.sha512(id .. code .. sum .. key, "hex")) then
    return nil, ctx:err("payment.bad_signature", "the signature does not fit the message")
  end
  local parts = { id, code }
  for _, name in ipairs { "transaction_id", "transaction_status", "fraud_status", "refund_amount" } do
    parts[#parts + 1] = str(n[name]) or ""
  end
  return { key = crypto.sha256(table.concat(parts, "|"), "hex"), type = str(n.transaction_status) or "", ref = id,
    payment_ref = str(n.transaction_id) }
end

return M
