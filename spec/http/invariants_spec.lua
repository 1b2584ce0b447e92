-- SPDX-License-Identifier: Apache-2.0
-- ppv_invariants finds what it is there to find: the books are broken by hand, one way after the other, and each breach is named.
local conf = require "ppv.conf"
local db = require "ppv.db"
local json = require "ppv.json"
local h = require "spec.support"

local OFF = "set local session_replication_role = replica;\n"

-- What the owner of the database, with psql, is answered in a transaction that is rolled back.
local function owner(sql)
  local pipe = assert(io.popen(("psql -XqAt -v ON_ERROR_STOP=1 'host=%s/pgrun user=ppv dbname=ppv' 2>&1 <<'EOF'\nbegin;\n%s;\nrollback;\nEOF")
    :format(conf.get "var_dir", sql)))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

-- Breaks the books with triggers off. -> names of the breaches, set and text
local function broken(sql)
  local text, out = owner(OFF .. sql .. ";\nselect distinct name from ppv_invariants()"), {}
  for line in text:gmatch "[^\n]+" do out[line] = true end
  return out, text
end

local one = "(select min(id) from %s)"
local function any(what) return one:format(what) end
local SALE = any "ledger_txns where kind = 'sale'"
local PAID = any "orders where method = 'stripe' and state = 'paid'"

local WAYS = {
  { "M1 balanced", "update ledger_entries set amount = amount + 1 where id = " .. any "ledger_entries" },
  { "M3 zero", "update ledger_entries set amount = amount + 1 where id = " .. any "ledger_entries" },
  { "M2 hollow", "delete from ledger_entries where txn_id = " .. SALE },
  { "M4 cached", "update ledger_accounts set balance = balance + 1 where id = " .. any "ledger_accounts where kind = 'user'" },
  { "M4 cached", "insert into ledger_checkpoints (account_id, entry_id, balance) select account_id, id, amount + 7 from ledger_entries order by id limit 1" },
  { "M4 cached", "update ledger_entries set balance_after = balance_after + 1 where id = " .. any "ledger_entries where balance_after is not null" },
  { "M1 balanced", "update ledger_entries set account_id = -1 where id = " .. any "ledger_entries" },
  { "M5 negative", "alter table ledger_accounts drop constraint ledger_accounts_not_negative; "
    .. "update ledger_accounts set held = balance + 1 where kind = 'user'" },
  { "M6 append-only", "grant update on ledger_entries to ppv_app" },
  { "M6 append-only", "alter table orders disable trigger orders_guard" },
  { "M6 append-only", "alter table videos disable trigger videos_kept" },
  { "M6 append-only", "update orders set video_id = gen_random_uuid()" },
  { "M6 append-only", "update entitlements set video_id = gen_random_uuid()" },
  { "M7 idempotent", "update idempotency set reply = null" },
  { "M8 one live", "do $$ declare r record; begin "
    .. "for r in select indexrelid::regclass::text as i from pg_index where indrelid = 'entitlements'::regclass and indisunique and not indisprimary loop "
    .. "execute 'drop index ' || r.i; end loop; end $$; insert into entitlements (user_id, video_id, kind, source, order_id) "
    .. "select user_id, video_id, kind, source, order_id from entitlements where revoked_at is null and kind <> 'rental' limit 1" },
  { "M9 funded", "update ledger_txns set kind = 'adjustment' where id = " .. SALE },
  { "M10 split", "update orders set platform = platform - 1, creator = creator + 1 where id = " .. PAID },
  { "M11 commission", "delete from commissions" },
  { "M12 matched", "update payments set amount = amount + 1 where state = 'booked'" },
  { "M12 matched", "update payments set live = not live where state = 'booked'" },
  { "M13 forward", "update orders set state = 'pending', paid_at = null where id = " .. PAID },
  { "M13 forward", "update orders set state = 'refunded' where id = " .. PAID },
  { "M13 forward", "update orders set state = 'disputed' where id = " .. PAID },
  { "M13 forward", "update orders set state = 'paid' where state = 'partially_refunded'" },
  { "M14 unique", "alter table payments drop constraint payments_provider_payment_ref_key" },
  { "M14 unique", "alter table payment_events drop constraint payment_events_provider_event_key_key" },
  { "M14 unique", "update ledger_txns set meta = meta || '{\"payment_ref\": \"same\"}' where kind = 'sale' and meta ? 'payment_ref'" },
  { "M15 clearing", "update refunds set charge = charge + 1 where state = 'done'" },
  { "M15 clearing", "update payments set state = 'returned' where state = 'credited'" },
  { "M15 clearing", "update ledger_entries e set account_id = " .. any "ledger_accounts where kind = 'platform' and name = 'bank'"
    .. " from ledger_accounts a where a.id = e.account_id and a.kind = 'clearing' and a.name = 'stripe' and e.txn_id = "
    .. any("ledger_txns t where kind = 'refund' and exists (select from ledger_entries x join ledger_accounts y on y.id = x.account_id "
      .. "where x.txn_id = t.id and y.name = 'stripe' and y.kind = 'clearing')") },
  { "M16 holds", "update ledger_accounts set held = held + 1 where kind = 'user' and held < balance" },
  { "M16 holds", "update holds set state = 'released' where cause like 'payout:%'" },
  { "M17 payouts", "update payouts set amount = amount + 1 where state = 'paid'" },
  { "M17 payouts", "alter table payouts drop constraint payouts_check; update payouts set txn_id = null where state = 'paid'" },
  { "M18 chain", "alter table chain_payments drop constraint chain_payments_chain_id_tx_hash_log_index_key" },
  { "M18 chain", "update payments set provider = 'splitter' where state = 'booked' and decided_by is null" },
  { "M19 contract", "insert into chain_payments (chain_id, tx_hash, log_index, block_number, block_hash, block_time, contract, invoice_id, payer, token, "
    .. "amount, invoice_hash, shares, state, final_at) select 1, h, 0, 1, h, now(), 'c', 'i', 'p', 't', 7, h, '[{\"amount\": \"6\"}]', 'final', now() "
    .. "from (select '0x' || repeat('0', 64)) x(h)" },
  { "M24 durable", "update idempotency set reply = reply || '{\"txn_id\": 999999999}' where reply ? 'txn_id'" },
  { "M20 integers", "alter table orders add column rate double precision" },
  { "M20 integers", "alter table payments alter column amount type numeric(12, 2)" },
  { "M21 refunds", "update refunds set platform = platform + 1 where state = 'done'" },
  { "M21 refunds", "update orders set refunded = refunded + 1 where state = 'partially_refunded'" },
  { "M22 amounts", "alter table ledger_entries drop constraint ledger_entries_amount_check; "
    .. "update ledger_entries set amount = 0 where id = " .. any "ledger_entries" },
  { "M22 amounts", "alter table ledger_entries drop constraint ledger_entries_txn_id_account_id_key; update ledger_entries set account_id = "
    .. any "ledger_accounts" .. " where txn_id = " .. SALE },
  { "M23 four eyes", "alter table deposits drop constraint deposits_four_eyes; update deposits set decided_by = user_id where state = 'approved'" },
  { "M23 four eyes", "alter table payouts drop constraint payouts_approved; update payouts set approvals = 2, second_by = null where state = 'paid'" },
}

-- What tables refuse of everybody. Triggers that come before a check are off where it is the check that is asked.
local POST = "with t as (insert into ledger_txns (kind) values ('adjustment') returning id) insert into ledger_entries (txn_id, account_id, amount) "
  .. "select t.id, x.a, x.n from t, (values (%s, 5), (%s, %d)) x(a, n)"
local function account(name, more) return ("(select min(id) from ledger_accounts where name = '%s'%s)"):format(name, more or "") end
local REFUSED = {
  { "has no entries", "insert into ledger_txns (kind) values ('adjustment')" },
  { "entries do not balance", POST:format(account "revenue", account "deposits", -4) },
  { "entries do not balance", POST:format(account "revenue", "-1", -5) },
  { "are closed once committed", "insert into ledger_entries (txn_id, account_id, amount) select " .. any "ledger_txns where kind = 'deposit'"
    .. ", x.a, x.n from (values (" .. account "revenue" .. ", 5), (" .. account "stripe" .. ", -5)) x(a, n)" },
  { "stays with its creator", "update videos set owner_id = owner_id + 1 where id = (select video_id from orders limit 1)" },
  { "was sold or given", "delete from videos where id = (select video_id from orders limit 1)" },
  { "videos is append-only", "truncate videos cascade" },
  { "no title", "update entitlements set video_id = gen_random_uuid()" },
  { "a seal that is not there", "insert into ledger_leaves select 0, 99999999, 0, sha256('x')" },
  { "ledger_txns_kind", OFF .. "insert into ledger_txns (kind) values ('gift')" },
  { "ledger_accounts_whole", "insert into ledger_accounts (kind, name, currency) values ('user', 'wallet', 'USD')" },
  { "entitlements_whole", "update entitlements set play_hours = 0" },
  { "orders_discount", OFF .. "update orders set discount = 1" },
}
for rule, set in pairs { price = "price = 0", split = "platform = platform + 1", refunded = "refunded = price + 1", charge = "charge = 0",
  currency = "charge_currency = 'usd'", fee_bp = "fee_bp = 10001", commission_pct = "commission_pct = 91", payees = "payees = '{}'", tax = "tax = '{}'",
  affiliate = "affiliate_id = buyer_id", buyer = "buyer_id = creator_id", offer = "offer_id = 1", method = "method = 'A'", state = "state = 'lost'",
  paid_at = "paid_at = null" } do
  REFUSED[#REFUSED + 1] = { "this order cannot be: " .. rule .. "\n", OFF .. "update orders set " .. set .. " where id = " .. PAID }
end

describe("an invariant", function()
  lazy_setup(function()
    local admin, maker, buyer, friend = h.make.admin(), h.make.user(), h.make.user(), h.make.user()
    local function call(sql, ...) return json.decode(assert(db.one("select " .. sql .. "::text as r", ...)).r) end
    local function film()
      local id = h.make.video(maker, { price = 1000 })
      assert(db.exec("insert into affiliate_programs (video_id, pct, enabled) values ($1::uuid, 10, true)", id))
      return id
    end
    local function order(n, more)
      local o = call("ppv_order_start($1, $2::uuid, $3::jsonb)", buyer.id, film(), json.encode { method = "stripe", price = 1000, fee_bp = 1000 })
      assert(db.exec("select ppv_order_opened($1, $2, null, '{}', '{}', null)", o.order_id, "cs_inv" .. n))
      local f = { state = "paid", amount = 1000, currency = "USD", live = true, ref = "cs_inv" .. n, payment_ref = "pi_inv" .. n }
      call("ppv_order_facts($1, $2::jsonb, 'spec')", o.order_id, json.encode(f))
      for k, v in pairs(more or {}) do f[k] = v end
      return call("ppv_order_facts($1, $2::jsonb, 'spec')", o.order_id, json.encode(f))
    end
    h.make.money(admin, buyer, 50000)
    call("ppv_sale($1, $2::uuid, 1000, 1000, $3::jsonb, 10, 'inv', '', 'spec')", buyer.id, film(),
      json.encode { { to = friend.id, amount = 100, memo = "" } })
    order(1)
    order(2)
    order(3, { refunded = 333 })
    order(4, { payment_ref = "pi_inv4b" })
    local p = db.one "select id from payments where payment_ref = 'pi_inv4b'"
    call("ppv_payment_decide($1, $2, 'credit', '')", admin.id, p.id)
    order(5, { dispute = { ref = "dp_inv", state = "lost", amount = 1000 } })
    order(6, { dispute = { ref = "dp_inv6", state = "open", amount = 1000 } })
    local w = call("ppv_payout_request($1, 5000, 'USD', '', 'inv', '')", buyer.id)
    call("ppv_payout_decide($1, $2, 'pay', 'bank', '', 'inv-pay', '')", admin.id, w.payout_id)
    call("ppv_payout_request($1, 5000, 'USD', '', 'inv2', '')", buyer.id)
  end)

  it("holds before anything is broken", function() assert.same({}, h.breaches()) end)
  for i, way in ipairs(WAYS) do
    it(("%s sees way %d to break it"):format(way[1], i), function()
      local names, text = broken(way[2])
      assert.is_true(names[way[1]], way[2] .. "\n" .. text)
    end)
  end
  it("is kept by what the tables refuse", function()
    assert.equal("1\n", owner(POST:format(account "revenue", account "deposits", -5) .. "; select 1"))
    for _, way in ipairs(REFUSED) do assert.truthy(owner(way[2]):find(way[1], 1, true), way[1] .. ": " .. owner(way[2])) end
  end)
  it("holds after all was put back", function() assert.same({}, h.breaches()) end)
end)
