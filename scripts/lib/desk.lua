-- SPDX-License-Identifier: Apache-2.0
-- Checkouts this site holds itself: what a provider would know of a payment, in the table desk_payments. A plugin of such a
-- provider reaches the payment of its order, and no other, by ctx.desk.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local errors = require "lib.errors"

local M = {}

local COLUMNS = [[d.ref, d.order_id, d.state, d.payment_ref, d.amount, d.currency::text as currency, d.live, d.refunded,
  d.dispute::text as dispute, d.proof, d.note]]

-- row, false or nil, err. Yields.
function M.read(ref) return db.one("select " .. COLUMNS .. " from desk_payments d where d.ref = $1", ref) end

-- The payment as facts of the plugin contract.
function M.facts(d)
  return { state = d.state, amount = d.amount, currency = d.currency, live = d.live, ref = d.ref, payment_ref = d.payment_ref,
    refunded = d.refunded, dispute = d.dispute and json.decode(d.dispute) }
end

-- Functions for one order: open() -> ref, read() -> facts, refund(item) -> {ref, state}, cancel(). All yield.
function M.of(o)
  local api = {}
  function api.open()
    local ref = o.method .. "-" .. crypto.random_token(12)
    local n, err = db.exec([[insert into desk_payments (ref, order_id, amount, currency, live) values ($1, $2, $3, $4, $5)
      on conflict (order_id) do nothing]], ref, o.id, o.charge, o.charge_currency, o.live)
    if not n then return nil, err end
    local row
    row, err = db.one("select ref from desk_payments where order_id = $1", o.id)
    return row and row.ref, err
  end
  function api.read()
    local d, err = M.read(o.provider_ref)
    if not d then return nil, err or errors.new("payment.gateway_refused", "there is no such payment") end
    return M.facts(d)
  end
  function api.cancel()
    local n, err = db.exec("update desk_payments set state = 'cancelled' where ref = $1 and state = 'pending'", o.provider_ref)
    return n and true, err
  end
  -- The key makes a repeated request one refund.
  function api.refund(item)
    local n, err = db.exec([[update desk_payments set refunded = refunded + $2, note = note || $3
      where ref = $1 and refunded + $2 <= amount and position($3 in note) = 0]], o.provider_ref, item.amount, " [" .. item.key .. "]")
    if not n then return nil, err end
    local row
    row, err = db.one("select position($2 in note) > 0 as there from desk_payments where ref = $1", o.provider_ref, " [" .. item.key .. "]")
    if not row then return nil, err end
    if not row.there then return errors.fail("payment.gateway_refused", "more than was paid cannot go back") end
    return { ref = item.key, state = "done" }
  end
  return api
end

return M
