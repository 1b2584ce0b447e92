-- SPDX-License-Identifier: Apache-2.0
-- ppv ledger verify: adds up the books and the chain of the audit log; prints what is wrong.
local db = require "ppv.db"

local action = ...
if action ~= "verify" then
  print("usage: ppv ledger verify")
  return 2
end

local CHECKS = {
  { "transactions that do not balance", [[select e.txn_id as id from ledger_entries e join ledger_accounts a on a.id = e.account_id
    group by e.txn_id, a.currency having sum(e.amount) <> 0]] },
  { "transactions with fewer than two entries", [[select t.id from ledger_txns t left join ledger_entries e on e.txn_id = t.id
    group by t.id having count(e.id) < 2]] },
  { "wallets whose balance is not the sum of their entries", [[select a.id from ledger_accounts a
    left join ledger_entries e on e.account_id = a.id where a.kind = 'user' group by a.id
    having a.balance <> coalesce(sum(e.amount), 0)]] },
  { "wallets below zero", "select id from ledger_accounts where kind = 'user' and (balance < 0 or held > balance)" },
  { "holds that do not add up", [[select a.id from ledger_accounts a left join holds h on h.account_id = a.id and h.state = 'open'
    where a.kind = 'user' group by a.id having a.held <> coalesce(sum(h.amount), 0)]] },
  { "paid orders without a sale", [[select o.id from orders o left join ledger_txns t on t.order_id = o.id and t.kind = 'sale'
    where o.state = 'paid' group by o.id having count(t.id) <> 1]] },
  { "purchases without an order that pays for them", [[select e.id from entitlements e left join orders o on o.id = e.order_id
    where e.kind = 'purchase' and e.revoked_at is null and (o.id is null or o.state <> 'paid')]] },
}

local bad = 0
for _, c in ipairs(CHECKS) do
  local rows, err = db.query(c[2])
  if not rows then
    print("ppv ledger: " .. tostring(err.message))
    return 1
  end
  if #rows > 0 then
    bad = bad + 1
    local ids = {}
    for i = 1, math.min(#rows, 10) do ids[i] = tostring(rows[i].id) end
    print(("WRONG  %d %s: %s"):format(#rows, c[1], table.concat(ids, ", ")))
  else
    print("fine   no " .. c[1])
  end
end
local chain, err = db.one("select ok, broken_seq, head from ppv_audit_verify()")
if not chain then
  print("ppv ledger: " .. tostring(err.message))
  return 1
end
if chain.ok then
  print("fine   the audit log is whole, head " .. tostring(chain.head))
else
  bad = bad + 1
  print("WRONG  the audit log is broken at " .. tostring(chain.broken_seq))
end
return bad == 0 and 0 or 1
