-- SPDX-License-Identifier: Apache-2.0
-- Checkouts held by this site: the practice gateway's page, the proof of a bank transfer, the administrator's confirmation.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local audit = require "lib.audit"
local desk = require "lib.desk"
local display = require "lib.display"
local errors = require "lib.errors"
local registry = require "lib.registry"
local settle = require "lib.settle"

-- The buyer's own checkout at this desk. d, o | nil, err
local function mine(ctx, ref)
  local d, err = desk.read(ref)
  if d == nil then return nil, err end
  local o
  if d then o, err = settle.find("o.id = $1 and o.buyer_id = $2", d.order_id, ctx.user.id) end
  if o == nil and err then return nil, err end
  if not d or not o then return errors.not_found("payment") end
  return d, o
end

local function kind_of(o)
  local p = registry.by_name[o.method]
  return p and p.manifest.features and p.manifest.features.desk
end

local function show(ctx, input)
  local d, o = mine(ctx, input.ref)
  if not d then return nil, o end
  return ctx:ok { ref = d.ref, kind = kind_of(o) or json.null, order_id = o.uid, title = o.title, state = d.state, order_state = o.state,
    amount_cents = d.amount, currency = d.currency, amount_display = display.money(d.amount, d.currency), refunded_cents = d.refunded,
    dispute = d.dispute and json.decode(d.dispute) or json.null, proof = d.proof ~= "" }
end

-- What the practice gateway can do with a payment, as columns to set. Each is one message to us.
local ACTS = {
  pay = "state = 'paid', payment_ref = ref || '-1', amount = $2",
  decline = "state = 'failed'",
  hold = "state = 'hold'",
  underpay = "state = 'paid', payment_ref = ref || '-1', amount = greatest($2 - 100, 1)",
  overpay = "state = 'paid', payment_ref = ref || '-1', amount = $2 + 100",
  again = "payment_ref = ref || '-2', amount = $2", -- a second payment for the same order
  refund = "refunded = amount",
  dispute = "dispute = jsonb_build_object('ref', ref || '-d', 'state', 'open', 'amount', $2::bigint)",
  win = "dispute = dispute || '{\"state\": \"won\"}' || jsonb_build_object('amount', $2::bigint)",
  lose = "dispute = dispute || '{\"state\": \"lost\"}' || jsonb_build_object('amount', $2::bigint)",
}
local NEEDS = { pay = "state <> 'paid'", decline = "state = 'pending'", hold = "state = 'pending'", underpay = "state <> 'paid'",
  overpay = "state <> 'paid'", again = "state = 'paid'", refund = "state = 'paid'", dispute = "state = 'paid'",
  win = "dispute is not null", lose = "dispute is not null" }
local ORDER = { "pay", "decline", "hold", "underpay", "overpay", "again", "refund", "dispute", "win", "lose" }

local function practise(ctx, input)
  local d, o = mine(ctx, input.ref)
  if not d then return nil, o end
  if kind_of(o) ~= "practice" then return errors.not_found("payment") end
  local row, err = db.tx(function(tx)
    local n, e = tx.exec("update desk_payments set " .. ACTS[input.act] .. " where ref = $1 and $2::bigint > 0 and " .. NEEDS[input.act], d.ref, o.charge)
    if not n then return nil, e end
    if n == 0 then return errors.fail("payment.practice", "That cannot happen to this payment now.", { status = 409 }) end
    -- "silent": the buyer pays, the message is lost; the order is found out by the return or by the regular question.
    if input.silent then return true end
    local hint = json.encode { ref = d.ref }
    local done
    local id = crypto.random_token(16)
    for i = 1, input.times do
      done, e = tx.one("select ppv_payment_event_add($1, $2, $3, $4::jsonb, null) as id", o.method,
        ("%s/%s/%d"):format(id, input.act, i), input.act, hint)
      if not done then return nil, e end
    end
    return true
  end)
  if not row then return nil, err end
  return ctx:ok { state = "sent" }
end

-- A picture or PDF that shows the transfer; kept where only administrators reach it.
local TYPES = { ["image/png"] = "png", ["image/jpeg"] = "jpg", ["application/pdf"] = "pdf", ["image/webp"] = "webp" }

local function looks_like(bytes)
  if bytes:sub(1, 8) == "\137PNG\r\n\26\n" then return "image/png" end
  if bytes:sub(1, 3) == "\255\216\255" then return "image/jpeg" end
  if bytes:sub(1, 5) == "%PDF-" then return "application/pdf" end
  if bytes:sub(1, 4) == "RIFF" and bytes:sub(9, 12) == "WEBP" then return "image/webp" end
  return nil
end

local function proof(ctx, input)
  local d, o = mine(ctx, input.ref)
  if not d then return nil, o end
  if kind_of(o) ~= "proof" then return errors.not_found("payment") end
  if d.state ~= "pending" then return errors.fail("order.state", "This payment is decided already.") end
  local body = ctx.req.body or ""
  local kind = looks_like(body)
  if not kind then return errors.invalid("Please send a picture (PNG, JPEG, WebP) or a PDF.") end
  local name = "proofs/" .. crypto.random_token(18) .. "." .. TYPES[kind]
  local ok, err = blob.write("upload", name, body)
  if not ok then return nil, err end
  local n
  n, err = db.exec("update desk_payments set proof = $2 where ref = $1 and state = 'pending'", d.ref, name)
  if not n then return nil, err end
  if d.proof ~= "" then blob.remove_tree("upload", d.proof) end
  return ctx:ok { proof = true }
end

-- Administrators ----------------------------------------------------------------------------------------------------------

local function proof_file(ctx, input)
  local d, err = desk.read(input.ref)
  if d == nil then return nil, err end
  if not d or d.proof == "" then return errors.not_found("proof") end
  return ctx:file("upload", d.proof, { ["content-disposition"] = "attachment", ["cache-control"] = "no-store" })
end

local function decide(ctx, input)
  local d, err = desk.read(input.ref)
  if d == nil then return nil, err end
  local o = d and settle.find("o.id = $1", d.order_id)
  if not o or kind_of(o) ~= "proof" then return errors.not_found("payment") end
  if o.buyer_id == ctx.user.id then return errors.fail("approval.self", "Your own payment must be confirmed by another administrator.") end
  local done
  done, err = db.tx(function(tx)
    local n, e = tx.exec([[update desk_payments set state = $2, amount = coalesce($3, amount), payment_ref = case when $2 = 'paid' then ref end,
      decided_by = $4, note = note || $5 where ref = $1 and state = 'pending']], d.ref, input.paid and "paid" or "failed", input.amount_cents,
      ctx.user.id, input.note)
    if not n then return nil, e end
    if n == 0 then return errors.fail("order.state", "This payment is decided already.") end
    return audit.write(tx, ctx, input.paid and "transfer.confirm" or "transfer.refuse", "order:" .. o.id, { ref = d.ref, note = input.note })
  end)
  if not done then return nil, err end
  local r
  r, err = settle.ask(o, "admin")
  if not r then return nil, err end
  return ctx:ok { state = r.state, why = r.why }
end

local REF = { type = "string", max = 100, required = true, pattern = "^[%w_%-]+$" }

return { routes = {
  { method = "GET", path = "/api/pay/desk/:ref", auth = "user", guest = true, summary = "A checkout held by this site", input = { ref = REF }, handler = show },
  { method = "POST", path = "/api/pay/desk/:ref", auth = "user", guest = true, rate = "60/m", summary = "How the practice payment ends", handler = practise,
    input = { ref = REF, act = { type = "enum", values = ORDER, required = true }, silent = { type = "bool", default = false },
      times = { type = "int", min = 1, max = 5, default = 1 } } },
  { method = "POST", path = "/api/pay/desk/:ref/proof", auth = "user", guest = true, rate = "10/h", raw = true, max_body = 5242880,
    summary = "Show the proof of a transfer", input = { ref = REF }, handler = proof },
  { method = "GET", path = "/admin/desk/:ref/proof", auth = "admin", summary = "The proof of a transfer", input = { ref = REF },
    handler = proof_file },
  { method = "POST", path = "/admin/desk/:ref/decide", auth = "admin", step_up = true, summary = "Confirm or refuse a transfer",
    handler = decide, input = { ref = REF, paid = { type = "bool", required = true }, amount_cents = { type = "int", min = 1 },
      note = { type = "string", max = 200, default = "" } } },
} }
