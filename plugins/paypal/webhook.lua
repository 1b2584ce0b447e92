-- SPDX-License-Identifier: Apache-2.0
-- PayPal's events. The signature covers only the CRC-32 of the body, which is no protection: a body says where to look,
-- never what happened.
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local fetch = require "ppv.fetch"
local json = require "ppv.json"
local gateway = require "lib.gateway"

local M = {}
local at, str = gateway.at, gateway.str
local FUTURE_S, PAST_S = 300, 3 * 86400 + 3600 -- PayPal tries for three days

local HOSTS = { sandbox = { "https://api.sandbox.paypal.com", "https://api-m.sandbox.paypal.com" },
  live = { "https://api.paypal.com", "https://api-m.paypal.com" } }

-- Seconds since 1970 of "2026-01-02T03:04:05Z", nil for anything else.
local function seconds(text)
  local y, m, d, h, min, s = tostring(text):match "^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d)%.?%d*Z$"
  if not y then return nil end
  y, m = tonumber(y), tonumber(m)
  if m <= 2 then y, m = y - 1, m + 12 end -- the year begins in March, so that the leap day is its last
  local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400) + math.floor((153 * m - 457) / 5) + d - 719469
  return ((days * 24 + h) * 60 + min) * 60 + s
end

--- May this address be asked for a certificate? It comes from a header that nobody vouches for.
function M.trusted_address(ctx, url)
  if type(url) ~= "string" or #url > 300 then return false end
  local base, name = url:match "^(.*)/v1/notifications/certs/CERT%-([%w%-]+)$"
  if not name then return false end
  for _, host in ipairs(HOSTS[ctx.settings.environment] or {}) do if base == host then return true end end
  return base == ctx.settings.base_url
end

-- PEM of the signer, kept for a day.
local function certificate(ctx, url, service)
  local key = "cert:" .. crypto.sha256(url, "hex")
  local pem = cache.get(key)
  if pem then return pem end
  local r, err = fetch.request { url = url, max_body = 65536, headers = { accept = "*/*" } }
  if not r then return service:down(ctx, err.message) end
  if r.status ~= 200 then return service:down(ctx, "status " .. r.status .. " for the certificate") end
  cache.set(key, r.body, 86400)
  return r.body
end

-- The operator's certificates; a page's text field may have taken the line ends out of them.
local function with_lines(text)
  return (text:gsub("(%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-)(.-)(%-%-%-%-%-END CERTIFICATE%-%-%-%-%-)", function(first, body, last)
    return first .. "\n" .. body:gsub("%s", ""):gsub(("."):rep(64), "%0\n") .. "\n" .. last .. "\n"
  end))
end

local function forged(ctx, why) return nil, ctx:err("payment.bad_signature", why) end

local function signed(ctx, req, service)
  local id, err = gateway.need(ctx, "webhook_id")
  if not id then return nil, err end
  local h = req.headers
  local tid, time, url = h["paypal-transmission-id"], h["paypal-transmission-time"], h["paypal-cert-url"]
  if h["paypal-auth-algo"] ~= "SHA256withRSA" or not str(tid) or not tid:find "^[%w%-]+$" then
    return forged(ctx, "the event is not signed in a known way")
  end
  local sent = seconds(time)
  if not sent or sent > req.now + FUTURE_S or sent < req.now - PAST_S then return forged(ctx, "the time of the event is off") end
  if not M.trusted_address(ctx, url) then return forged(ctx, "the certificate is not at PayPal's address") end
  local sig = type(h["paypal-transmission-sig"]) == "string" and crypto.base64_decode(h["paypal-transmission-sig"])
  if not sig then return forged(ctx, "the signature is not base64") end
  local pem
  pem, err = certificate(ctx, url, service)
  if not pem then return nil, err end
  local good
  good, err = crypto.verify_certificate { cert = pem, roots = with_lines(ctx.settings.webhook_ca), name = ".paypal.com", at = math.floor(req.now),
    signature = sig, message = ("%s|%s|%s|%.0f"):format(tid, time, id, crypto.crc32(req.body)) }
  if not good then
    if err.code == "input.invalid" then cache.del("cert:" .. crypto.sha256(url, "hex")) end
    return forged(ctx, err.message)
  end
  return tid
end

-- The capture that a refund belongs to is only in its links.
local function capture_of(resource)
  for _, link in ipairs(type(at(resource, "links")) == "table" and resource.links or {}) do
    local id = tostring(at(link, "href")):match "/v2/payments/captures/([%w%-]+)$"
    if id and at(link, "rel") == "up" then return id end
  end
end

local READ = {}

READ["^CHECKOUT%."] = function(e, r)
  e.ref, e.order = str(at(r, "id")), str(at(r, "purchase_units", 1, "custom_id"))
  e.approved = e.type == "CHECKOUT.ORDER.APPROVED" or nil
end

READ["^PAYMENT%.CAPTURE%."] = function(e, r)
  e.ref, e.order = str(at(r, "supplementary_data", "related_ids", "order_id")), str(at(r, "custom_id"))
  e.payment_ref = capture_of(r) or str(at(r, "id"))
end

READ["^PAYMENT%.REFUND%."] = function(e, r) e.order, e.payment_ref = str(at(r, "custom_id")), capture_of(r) end

READ["^CUSTOMER%.DISPUTE%."] = function(e, r)
  e.order = str(at(r, "disputed_transactions", 1, "custom"))
  e.payment_ref = str(at(r, "disputed_transactions", 1, "seller_transaction_id"))
end

READ["^PAYMENT%.PAYOUTS%-ITEM%."] = function(e, r)
  e.payout, e.payout_ref = str(at(r, "payout_item", "sender_item_id")), str(at(r, "payout_batch_id"))
end

--- As the payment kind's verify. The key is the delivery's id, not the event's: who forges a body can write a new event id into it,
--- the delivery's id is signed. Yields when the certificate is not at hand.
function M.verify(ctx, req, service)
  local tid, err = signed(ctx, req, service)
  if not tid then return nil, err end
  local body = json.decode(req.body)
  if type(body) ~= "table" or not str(body.id) or not str(body.event_type) then
    return nil, ctx:err("payment.bad_event", "this is no event of PayPal's")
  end
  local event = { key = tid, type = body.event_type, ignore = true }
  for pattern, read in pairs(READ) do
    if event.type:find(pattern) then
      event.ignore = nil
      read(event, body.resource)
    end
  end
  return event
end

return M
