-- SPDX-License-Identifier: Apache-2.0
-- Payments in the background: messages of providers, orders nobody came back for, refunds without a clear answer.
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local crash = require "lib.crash"
local defence = require "lib.defence"
local errors = require "lib.errors"
local payout = require "lib.payout"
local settle = require "lib.settle"

-- An order by what the message names: our id, the checkout or the payment.
local function order_of(provider, hint)
  local function find(where, value)
    if type(value) ~= "string" or value == "" then return false end
    return settle.find("o.method = $1 and " .. where, provider, value)
  end
  local o, err
  if type(hint.order) == "string" and hint.order:find "^%x+%-%x+%-%x+%-%x+%-%x+$" then o, err = find("o.uid = $2::uuid", hint.order) end
  if not o and not err then o, err = find("o.provider_ref = $2", hint.ref) end
  if not o and not err then o, err = find("o.payment_ref = $2", hint.payment_ref) end
  return o, err
end

local function done(id, order_id, problem)
  return db.exec([[update payment_events set processed_at = case when $3::text is null then now() end, attempts = attempts + 1,
    order_id = coalesce($2, order_id), error = $3 where id = $1 and processed_at is null]], id, order_id, problem)
end

local function event(job)
  crash.at "event.claimed"
  local e, err = db.one("select id, provider, raw::text as hint, processed_at is not null as processed from payment_events where id = $1",
    job.payload.id)
  if e == nil then return nil, err end
  if not e or e.processed then return { skipped = true } end
  local hint = json.decode(e.hint)
  if hint.ignore then
    done(e.id)
    return { ignored = true }
  elseif hint.payout or hint.payout_ref then
    local state, why = payout.on_event(e.provider, hint)
    done(e.id, nil, not state and tostring(why.message) or nil)
    if not state then return nil, why end
    return { payout = true }
  end
  local o
  o, err = order_of(e.provider, hint)
  if o == nil and err then return nil, err end
  if not o then
    done(e.id, nil, "no order of ours")
    return nil, errors.new("order.not_found", "no order of ours", { retry = job.attempts < 5 })
  end
  local r
  r, err = settle.ask(o, "webhook", hint.approved and "confirm" or "fetch")
  if not r then
    done(e.id, o.id, tostring(err.message))
    return nil, err
  end
  crash.at "event.before_done"
  done(e.id, o.id)
  return { order = o.uid, state = r.state }
end

-- Orders that wait: asked again after 1, 2, 4 ... minutes, at most every 12 hours, for three days; also those we gave up, as money may
-- come late. What is over time is closed at the provider first.
local function reconcile()
  local rows, err = db.query("select " .. settle.COLUMNS .. [[ from orders o join videos v on v.id = o.video_id join users b on b.id = o.buyer_id
    where o.method <> 'wallet' and o.state in ('pending', 'expired', 'cancelled', 'failed', 'review') and o.created_at > now() - interval '21 days'
      and (o.state = 'pending' or o.expires_at > now() - interval '3 days') and (o.state <> 'review' or o.why = 'hold')
      and (coalesce(o.asked_at, o.created_at) < now() - make_interval(mins => least(power(2, least(o.asks, 10))::int, 720))
        or (o.state = 'pending' and o.expires_at < now() and coalesce(o.asked_at, o.created_at) < now() - interval '1 minute'))
    order by o.asked_at nulls first limit 50]])
  if not rows then
    log.warn("reconcile.failed", { code = err.code, message = err.message })
    return
  end
  for _, o in ipairs(rows) do
    local r, why
    if not o.provider_ref then
      -- Never reached the provider: nothing to ask for.
      if o.overdue then settle.apply(o, { state = "expired" }, "poll") end
    else
      r, why = settle.ask(o, "poll")
      if r and r.state == "pending" and o.overdue then
        settle.call(o, "cancel")
        r, why = settle.ask(o, "poll")
        if r and r.state == "pending" then settle.apply(o, { state = "expired" }, "poll") end
      end
      if not r then log.warn("reconcile.order", { order = o.uid, provider = o.method, code = why and why.code, message = why and tostring(why.message) }) end
    end
  end
  if #rows > 0 then metrics.count("orders_reconciled_total", #rows) end
end

local function refunds()
  local rows = db.query([[select id, order_id, charge, reason, key, provider_ref, state from refunds where state in ('pending', 'sent', 'unknown')
    and coalesce(asked_at, created_at) < now() - interval '1 minute' order by id limit 20]])
  for _, r in ipairs(rows or {}) do
    local state, err = settle.refund(r, r.state ~= "pending")
    if not state then log.warn("refund.failed", { refund = r.id, message = tostring(err.message) }) end
  end
end

local function evidence()
  local n, err = defence.due()
  if not n then log.warn("evidence.failed", { message = tostring(err.message) }) end
end

return {
  jobs = { payment_event = { run = event, timeout = 120 } },
  ticks = { { name = "reconcile", every = 60, run = reconcile }, { name = "refunds", every = 60, run = refunds },
    { name = "evidence", every = 600, run = evidence } },
}
