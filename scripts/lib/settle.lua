-- SPDX-License-Identifier: Apache-2.0
-- Payments of orders: asks the provider's plugin and gives its facts to the ledger. The return of the buyer, webhooks, the
-- reconciling job and the administrator's button all come through M.ask, so that they can come in any order, and twice.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local chain = require "lib.chain"
local context = require "lib.ctx"
local crash = require "lib.crash"
local desk = require "lib.desk"
local errors = require "lib.errors"
local invoice = require "lib.invoice"
local registry = require "lib.registry"
local x402pay = require "lib.x402pay"

local M = {}

M.COLUMNS = [[o.id, o.uid::text as uid, o.buyer_id, o.creator_id, o.video_id::text as video_id, o.method, o.state, o.why, o.price,
  o.currency::text as currency, o.charge, o.charge_currency::text as charge_currency, o.attempt, o.provider_ref, o.payment_ref,
  o.payment_url, o.ids::text as ids, o.meta::text as meta, o.live, o.refunded,
  o.paid_at is not null as paid, extract(epoch from o.expires_at)::bigint as expires_at,
  o.expires_at < now() as overdue, o.gift, ppv_order_title(o, v.title) as title, o.offer, coalesce(b.guest_email, b.email)::text as email]]
local FROM = " from orders o join videos v on v.id = o.video_id join users b on b.id = o.buyer_id where "

-- One order by "o.uid = $1::uuid" or the like. row, false when there is none, or nil, err. Yields.
function M.find(where, ...) return db.one("select " .. M.COLUMNS .. FROM .. where, ...) end

-- The order as plugins see it.
function M.view(o)
  local base = context.base_url()
  return { id = o.uid, attempt = o.attempt, ref = o.provider_ref, payment_ref = o.payment_ref, amount = o.charge,
    currency = o.charge_currency, title = o.title, email = o.email, expires_at = o.expires_at, ids = json.decode(o.ids or "{}"),
    return_url = base .. "/public/order.html?id=" .. o.uid, cancel_url = base .. "/public/order.html?id=" .. o.uid .. "&cancelled=1",
    notify_url = base .. "/api/pay/" .. o.method .. "/webhook" }
end

-- What a plugin of chain payments may do for one order: sign an invoice, read what is final, and how far the rest is. All yield.
local function chains_of(o)
  local api = {}
  function api.facts() return chain.facts(o.id) end
  function api.refund(refund) return require("lib.chainrefund").facts(refund) end -- it needs the watcher, which needs this file
  function api.progress() return chain.progress(o.id) end
  function api.invoice(choice, life_s)
    local i, err = invoice.of(o, choice, life_s)
    if not i then return nil, err end
    i.chain, i.amount_text = chain.find(i.chain_id).name, invoice.text(i.amount, i.decimals)
    return i
  end
  return api
end

-- Calls a function of the order's plugin. answer | nil, err; payment.unsupported when the plugin has no such function. Yields.
function M.call(o, fn, ...)
  local p = registry.by_name[o.method]
  if not p or p.kind ~= "payment" then return errors.fail("plugin.missing", "the payment plugin " .. o.method .. " is not active") end
  if type(p.handler[fn]) ~= "function" then return errors.fail("payment.unsupported", o.method .. " cannot " .. fn) end
  local c, err = registry.context(p)
  if not c then return nil, err end
  c.desk = desk.of(o)
  if (p.manifest.features or {}).chain then c.chain = chains_of(o) end
  c.x402 = x402pay.of(o)
  local fine, answer, why = pcall(registry.call, p.handler[fn], c, M.view(o), ...)
  if not fine then return errors.fail("payment.plugin", registry.text(answer)) end
  if answer == nil then return nil, errors.from(why or errors.new("payment.plugin", o.method .. " gave no answer")) end
  return answer
end

local STATES = { pending = true, paid = true, hold = true, failed = true, expired = true, cancelled = true }

local function whole(n) return type(n) == "number" and n == math.floor(n) and n >= 0 and n <= 9007199254740991 end

-- nil when facts are well formed, else why not.
local function malformed(f)
  if type(f) ~= "table" or not STATES[f.state or ""] then return "no known state" end
  if f.state == "paid" then
    if not whole(f.amount) then return "amount is not a whole number" end
    if type(f.currency) ~= "string" or not f.currency:find "^%a%a%a$" then return "no currency" end
    if type(f.live) ~= "boolean" then return "no mode" end
    if type(f.payment_ref or f.ref) ~= "string" then return "no reference" end
  end
  if f.fee ~= nil and not whole(f.fee) then return "fee is not a whole number" end
  if f.refunded ~= nil and not whole(f.refunded) then return "refunded is not a whole number" end
  if f.dispute ~= nil and (type(f.dispute) ~= "table" or type(f.dispute.ref) ~= "string") then return "a dispute without reference" end
end

local function announce(o, r)
  if not r.changed then return end
  metrics.count("orders_" .. r.state .. "_total", 1)
  log.info("order." .. r.state, { order = o.uid, provider = o.method, why = r.why })
  if r.state ~= "paid" then return end
  metrics.count("sales_total", 1)
end

-- What a provider calls a card or an account, as it is kept: only to be compared.
local function hashed(o, name)
  return type(name) == "string" and crypto.hmac_sha256("affiliate.instrument", o.method .. ":" .. name, "hex") or nil
end

-- Gives facts to the ledger. {state, why, changed} | nil, err. Yields.
function M.apply(o, facts, source, actor)
  local why = malformed(facts)
  if why then
    log.error("payment.plugin", { provider = o.method, order = o.uid, why = why })
    return errors.fail("payment.plugin", o.method .. " gave unusable facts: " .. why)
  end
  local f = { state = facts.state, amount = facts.amount, currency = facts.currency and facts.currency:upper(), live = facts.live,
    ref = facts.ref, payment_ref = facts.payment_ref or facts.ref, fee = facts.fee, ids = facts.ids, why = facts.why,
    in_time = facts.in_time == true or nil, review = type(facts.review) == "string" and facts.review or nil,
    refunded = facts.refunded, dispute = facts.dispute,
    instrument = hashed(o, facts.instrument), alike = hashed(o, facts.alike) }
  crash.at "settle.before_commit"
  local row, err = db.one("select ppv_order_facts($1, $2::jsonb, $3, $4)::text as r", o.id, json.encode(f), source, actor)
  if not row then return nil, err end
  crash.at "settle.after_commit"
  local r = json.decode(row.r)
  announce(o, r)
  return r
end

-- Asks the provider and applies what it says. fn: "fetch" (default) or "confirm" with params of the return address.
function M.ask(o, source, fn, params, actor)
  if not o.provider_ref then return errors.fail("payment.not_started", "this order has not reached the provider") end
  crash.at "settle.before_call"
  local facts, err
  if fn == "confirm" and registry.by_name[o.method] and registry.by_name[o.method].handler.confirm then
    facts, err = M.call(o, "confirm", params or {})
  else
    facts, err = M.call(o, "fetch")
    -- The buyer agreed and nobody came back: what is left to do is done now (a capture).
    if facts and facts.approved and facts.state == "pending" then facts, err = M.call(o, "confirm", {}) end
  end
  crash.at "settle.after_call"
  if not facts then
    db.exec("update orders set asked_at = now(), asks = asks + 1 where id = $1", o.id)
    return nil, err
  end
  return M.apply(o, facts, source, actor)
end

-- Refunds -----------------------------------------------------------------------------------------------------------------

-- Asks the provider for a refund that is on the books as pending, or how an unclear one ended. The key is the row's own, so that a
-- second call cannot pay twice. Returns the refund's state | nil, err.
function M.refund(refund, again)
  local o, err = M.find("o.id = $1", refund.order_id)
  if not o then return nil, err end
  -- Written before the call: after a crash the provider is asked how it ended, not to do it again.
  if not again then
    local row
    crash.at "refund.sent.before_commit"
    row, err = db.one("select ppv_refund_finish($1, 'sent', null) as state", refund.id)
    if not row then return nil, err end
    crash.at "refund.sent.after_commit"
  end
  local item = { id = tostring(refund.id), amount = refund.charge, currency = o.charge_currency, reason = refund.reason, key = refund.key,
    ref = refund.provider_ref }
  local r
  local p = registry.by_name[o.method]
  r, err = M.call(o, again and p and p.handler.refund_fetch and "refund_fetch" or "refund", item)
  crash.at "refund.after_call"
  local state = r and ({ done = "done", pending = "sent", failed = "failed" })[r.state] or "unknown"
  if not r and errors.is(err, "payment.gateway_refused") or not r and errors.is(err, "payment.unsupported") then state = "failed" end
  local row, why = db.one("select ppv_refund_finish($1, $2, $3, $4) as state", refund.id, state, r and r.ref, err and tostring(err.message) or "")
  if not row then return nil, why end
  crash.at "refund.after_commit"
  return row.state
end

return M
