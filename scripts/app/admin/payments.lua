-- SPDX-License-Identifier: Apache-2.0
-- The administrator's payments desk: what waits for a person, refunds, disputes, messages that failed, paid without access.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local crash = require "lib.crash"
local defence = require "lib.defence"
local display = require "lib.display"
local errors = require "lib.errors"
local idempotency = require "lib.idempotency"
local iso = require "lib.iso"
local registry = require "lib.registry"
local settle = require "lib.settle"

local QUEUES = {
  { "review", [[select p.id, o.uid::text as order_id, p.provider, p.payment_ref, p.amount as amount_cents, p.currency, p.live, p.why, p.source,
      o.charge as asked_cents, o.charge_currency::text as asked_currency, o.state as order_state, b.username::text as buyer, v.title, ]]
      .. iso "p.created_at" .. [[ as created_at from payments p join orders o on o.id = p.order_id join users b on b.id = o.buyer_id
      join videos v on v.id = o.video_id where p.state = 'review' order by p.id limit 100]] },
  { "checking", [[select o.uid::text as order_id, o.method as provider, o.why, o.charge as amount_cents, o.charge_currency::text as currency,
      b.username::text as buyer, v.title, ]] .. iso "o.created_at" .. [[ as created_at from orders o join users b on b.id = o.buyer_id
      join videos v on v.id = o.video_id where o.state = 'review' and o.why = 'hold' order by o.id limit 100]] },
  { "transfers", [[select d.ref, o.uid::text as order_id, d.amount as amount_cents, d.currency::text as currency, d.proof <> '' as proof,
      b.username::text as buyer, v.title, ]] .. iso "d.created_at" .. [[ as created_at from desk_payments d join orders o on o.id = d.order_id
      join users b on b.id = o.buyer_id join videos v on v.id = o.video_id where d.state = 'pending' and o.method = 'manual'
      and o.state = 'pending' order by d.proof = '', d.created_at limit 100]] },
  { "refunds", [[select r.id, o.uid::text as order_id, o.method as provider, r.amount as amount_cents, r.currency::text as currency, r.state,
      r.reason, r.error, b.username::text as buyer, v.title, ]] .. iso "r.created_at" .. [[ as created_at from refunds r
      join orders o on o.id = r.order_id join users b on b.id = o.buyer_id join videos v on v.id = o.video_id
      where r.state in ('pending', 'sent', 'unknown')
      or (r.state in ('failed', 'covered') and r.created_at > now() - interval '14 days') order by r.id desc limit 100]] },
  { "disputes", [[select d.id, o.uid::text as order_id, d.provider, d.provider_ref, d.amount as amount_cents, o.charge_currency::text as currency,
      d.state, d.evidence ->> 'sent_at' as sent_at, coalesce(d.evidence ->> 'failed', '') as failed, b.username::text as buyer, v.title, ]]
      .. iso "d.due" .. " as due, " .. iso "d.created_at" .. [[ as created_at from disputes d
      join orders o on o.id = d.order_id join users b on b.id = o.buyer_id join videos v on v.id = o.video_id
      where d.state = 'open' or d.closed_at > now() - interval '30 days' order by d.state <> 'open', d.id desc limit 100]] },
  { "events", [[select e.id, e.provider, e.kind, e.attempts, e.error, o.uid::text as order_id, ]] .. iso "e.created_at" .. [[ as created_at
      from payment_events e left join orders o on o.id = e.order_id
      where e.processed_at is null and e.created_at < now() - interval '1 minute' order by e.id desc limit 100]] },
  { "unanswered", [[select o.uid::text as order_id, o.method as provider, o.asks, o.charge as amount_cents, o.charge_currency::text as currency,
      b.username::text as buyer, v.title, ]] .. iso "o.created_at" .. [[ as created_at from orders o join users b on b.id = o.buyer_id
      join videos v on v.id = o.video_id where o.state = 'pending' and o.method <> 'wallet' and o.expires_at < now() - interval '10 minutes'
      order by o.id limit 100]] },
  -- Empty, or each row says why.
  { "no_access", [[select o.uid::text as order_id, o.method as provider, o.state as order_state, b.username::text as buyer, v.title,
      coalesce((select e.revoke_reason from entitlements e where e.order_id = o.id order by e.id desc limit 1), 'no entitlement was made') as why, ]]
      .. iso "o.paid_at" .. [[ as created_at from orders o join users b on b.id = o.buyer_id join videos v on v.id = o.video_id
      where o.state in ('paid', 'partially_refunded', 'disputed') and not o.gift and o.offer <> 'excerpt' and not exists (select from entitlements e
      where (e.order_id = o.id or (e.user_id, e.video_id) = (o.buyer_id, o.video_id)) and e.revoked_at is null
      and (e.expires_at is null or e.expires_at > now())) order by o.id desc limit 100]] },
}

local function queue(ctx)
  local out = {}
  for _, q in ipairs(QUEUES) do
    local rows, err = db.read(q[2])
    if not rows then return nil, err end
    for _, r in ipairs(rows) do if r.amount_cents then r.amount_display = display.money(r.amount_cents, r.currency) end end
    out[q[1]] = json.array(rows)
  end
  for _, d in ipairs(out.disputes) do
    local p = registry.by_name[d.provider]
    d.sendable = d.state == "open" and p ~= nil and p.handler.evidence ~= nil
  end
  return ctx:ok(out)
end

local function decide(ctx, input)
  local row, err = db.one("select ppv_payment_decide($1, $2, $3, $4)::text as r", ctx.user.id, input.id, input.what, input.note)
  if not row then return nil, err end
  return ctx:ok(json.decode(row.r))
end

local function find(uid)
  local o, err = settle.find("o.uid = $1::uuid", uid)
  if o == nil then return nil, err end
  if not o then return errors.not_found("order") end
  return o
end

local function refund(ctx, input)
  local o, err = find(input.uid)
  if not o then return nil, err end
  local key, hash = idempotency.read(ctx, { input.uid, input.amount_cents, input.reason })
  if not key then return nil, hash end
  crash.at "refund.begin.before_commit"
  local row
  row, err = db.one("select ppv_refund_begin($1, $2, $3, $4, $5, $6)::text as r", ctx.user.id, o.id, input.amount_cents, input.reason, key, hash)
  if not row then return nil, err end
  crash.at "refund.begin.after_commit"
  local r = json.decode(row.r)
  if r.state == "pending" then
    -- The call may have been made by an earlier request with this key.
    local now = db.one("select id, order_id, charge, reason, key, provider_ref, state from refunds where id = $1", r.refund_id)
    if now and now.state == "pending" then r.state, err = settle.refund(now) end
    if not r.state then return nil, err end
    if now and now.state ~= "pending" then r.state = now.state end
  end
  return ctx:ok { refund_id = r.refund_id, state = r.state, amount_cents = r.amount, amount_display = display.money(r.amount, r.currency) }
end

local function evidence(ctx, input)
  local o, err = find(input.uid)
  if not o then return nil, err end
  local text
  text, err = defence.text(o)
  if not text then return nil, err end
  local ok
  ok, err = audit.write(nil, ctx, "order.evidence", "order:" .. o.id, { sha256 = crypto.sha256(text, "hex") })
  if not ok then return nil, err end
  return { status = 200, body = text, headers = { ["content-type"] = "text/plain; charset=utf-8", ["cache-control"] = "private, no-store",
    ["content-disposition"] = ('attachment; filename="evidence-%s.txt"'):format(o.uid) } }
end

local function send_evidence(ctx, input)
  local d, err = db.one("select id, order_id, provider_ref from disputes where id = $1 and state = 'open'", input.id)
  if d == nil then return nil, err end
  if not d then return errors.not_found("dispute") end
  local ok
  ok, err = defence.send(d, ctx.user.id)
  if not ok then return nil, err end
  ok, err = audit.write(nil, ctx, "dispute.evidence", "dispute:" .. d.id)
  if not ok then return nil, err end
  return ctx:ok { sent = true }
end

local function ask(ctx, input)
  local o, err = find(input.uid)
  if not o then return nil, err end
  local r
  r, err = settle.ask(o, "admin")
  if not r then return nil, err end
  audit.write(nil, ctx, "order.ask", "order:" .. o.id, { state = r.state })
  return ctx:ok { state = r.state, why = r.why }
end

local function replay(ctx, input)
  local row, err = db.tx(function(tx)
    local done, e = tx.one([[select ppv_job_add('payment_event', jsonb_build_object('id', id), 'payment_event:' || id) as job
      from payment_events where id = $1 and processed_at is null]], input.id)
    if not done then return nil, e or errors.new("request.not_found", "There is no such waiting message.") end
    local ok
    ok, e = audit.write(tx, ctx, "payment_event.replay", "payment_event:" .. input.id)
    return ok and true, e
  end)
  if not row then return nil, err end
  return ctx:ok { queued = true }
end

local NOTE = { type = "string", max = 500, default = "" }
local UID = { type = "uuid", required = true }

return { routes = {
  { method = "GET", path = "/admin/payments/queue", auth = "admin", summary = "Payments that wait for a person", handler = queue },
  { method = "POST", path = "/admin/payments/:id/decide", auth = "admin", step_up = true, summary = "Decide a payment in review",
    handler = decide, input = { id = { type = "int", min = 1, required = true }, note = NOTE,
      what = { type = "enum", values = { "grant", "credit", "returned" }, required = true } } },
  { method = "POST", path = "/admin/orders/:uid/refund", auth = "admin", step_up = true, summary = "Refund an order, whole or in part",
    handler = refund, input = { uid = UID, amount_cents = { type = "int", min = 1 }, reason = NOTE } },
  { method = "GET", path = "/admin/orders/:uid/evidence", auth = "admin", summary = "What speaks for a sale: consent, receipt, what was played",
    handler = evidence, input = { uid = UID } },
  { method = "POST", path = "/admin/disputes/:id/evidence", auth = "admin", step_up = true, summary = "Hand the evidence to the provider",
    handler = send_evidence, input = { id = { type = "int", min = 1, required = true } } },
  { method = "POST", path = "/admin/orders/:uid/ask", auth = "admin", summary = "Ask the provider about an order", handler = ask,
    input = { uid = UID } },
  { method = "POST", path = "/admin/payment_events/:id/replay", auth = "admin", summary = "Work a waiting message again", handler = replay,
    input = { id = { type = "int", min = 1, required = true } } },
} }
