-- SPDX-License-Identifier: Apache-2.0
-- Proof by query: every row is a breach, no row = whole. Names follow the list of money invariants.
set local role ppv_owner;

create function ppv_invariants() returns table (name text, detail text)
    language sql stable security definer set search_path = public, pg_temp as $$
    with e as (select e.*, a.currency, a.kind as akind from ledger_entries e join ledger_accounts a on a.id = e.account_id)
    select 'M1 balanced', format('txn %s %s off by %s', e.txn_id, e.currency, sum(e.amount))
        from e group by e.txn_id, e.currency having sum(e.amount) <> 0
    union all
    select 'M2 hollow', format('txn %s has %s entries', t.id, count(e.id))
        from ledger_txns t left join ledger_entries e on e.txn_id = t.id group by t.id having count(e.id) < 2
    union all
    select 'M3 zero', format('%s off by %s', e.currency, sum(e.amount)) from e group by e.currency having sum(e.amount) <> 0
    union all
    select 'M4 cached', format('account %s caches %s, entries say %s', a.id, a.balance, coalesce(sum(e.amount), 0))
        from ledger_accounts a left join ledger_entries e on e.account_id = a.id where a.kind = 'user'
        group by a.id having a.balance <> coalesce(sum(e.amount), 0)
    union all
    select 'M4 cached', format('entry %s of account %s says %s, entries say %s', r.id, r.account_id, r.balance_after, r.sum)
        from (select e.id, e.account_id, e.balance_after, sum(e.amount) over (partition by e.account_id order by e.id) as sum
            from e where e.akind = 'user') r where r.balance_after is distinct from r.sum
    union all
    select 'M4 cached', format('checkpoint of account %s at entry %s says %s, entries say %s', k.account_id, k.entry_id, k.balance, s.sum)
        from ledger_checkpoints k, lateral (select coalesce(sum(e.amount), 0) as sum from ledger_entries e
            where e.account_id = k.account_id and e.id <= k.entry_id) s where k.balance <> s.sum
    union all
    select 'M5 negative', format('account %s: balance %s, held %s', id, balance, held)
        from ledger_accounts where kind = 'user' and (balance < 0 or held < 0 or held > balance)
    union all
    select 'M6 append-only', format('%s has %s on %s', r.r, p.p, t.t)
        from unnest(array['ppv_app', 'ppv_worker', 'ppv_ro', 'ppv_plugin']) r(r),
            unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p(p),
            unnest(array['ledger_txns', 'ledger_entries', 'ledger_accounts', 'commissions', 'audit_log', 'audit_chain', 'ledger_seals',
                'ledger_leaves', 'ledger_checkpoints', 'receipts']) t(t)
        where has_table_privilege(r.r, 'public.' || t.t, p.p)
    union all
    select 'M6 append-only', format('trigger %s is missing or off', w.w)
        from unnest(array['ledger_txns_frozen', 'ledger_entries_frozen', 'ledger_accounts_kept', 'ledger_entries_balanced',
            'audit_log_frozen', 'audit_chain_frozen', 'commissions_frozen', 'payment_events_frozen', 'ledger_seals_frozen',
            'ledger_leaves_frozen', 'ledger_leaves_sealed', 'ledger_txns_queued', 'orders_guard', 'receipts_frozen', 'consents_frozen',
            'videos_kept', 'videos_never_empty', 'entitlements_title']) w(w)
        where not exists (select from pg_trigger g where g.tgname = w.w and g.tgenabled in ('O', 'A'))
    union all
    select 'M6 append-only', format('order %s is not for a title of its creator', o.id) from orders o
        where not exists (select from videos v where v.id = o.video_id and v.owner_id = o.creator_id)
    union all
    select 'M6 append-only', format('entitlement %s is for no title', e.id) from entitlements e where not exists (select from videos v where v.id = e.video_id)
    union all
    select 'M7 idempotent', format('%s %s has no reply', scope, key) from idempotency where reply is null
    union all
    select 'M8 one live', format('user %s video %s has %s', user_id, video_id, count(*))
        from entitlements where revoked_at is null group by user_id, video_id having count(*) > 1
    union all
    select 'M9 funded', format('entitlement %s order %s: %s sale postings', n.id, n.order_id, count(t.id))
        from entitlements n left join ledger_txns t on t.order_id = n.order_id and t.kind = 'sale'
        where n.order_id is not null group by n.id, n.order_id having count(t.id) <> 1
    union all
    select 'M9 funded', format('order %s: price %s, debited %s', o.id, o.price, coalesce(-sum(e.amount), 0))
        from orders o left join ledger_txns t on t.order_id = o.id and t.kind = 'sale'
        left join e on e.txn_id = t.id and e.amount < 0 and e.currency = o.currency
        where o.paid_at is not null group by o.id, o.price having coalesce(-sum(e.amount), 0) <> o.price
    union all
    select 'M10 split', format('order %s: %s + %s + %s + %s <> %s', id, taxes, platform, creator, commission, price)
        from orders where taxes + platform + creator + commission <> price or platform < 0 or creator < 0 or commission < 0
    union all
    select 'M10 split', format('order %s: rounding', id)
        from orders where creator + commission <> div((price - taxes)::numeric * (10000 - fee_bp), 10000)
    union all
    select 'M10 split', format('order %s: tax lines say %s, not %s', id, tax, taxes) from orders
        where taxes <> (select coalesce(sum((l ->> 'amount')::bigint), 0) from jsonb_array_elements(tax) l)
    union all
    select 'M10 split', format('order %s: tax %s is not posted', o.id, l ->> 'code')
        from orders o join ledger_txns t on t.order_id = o.id and t.kind = 'sale', jsonb_array_elements(o.tax) l
        where not exists (select from ledger_entries x join ledger_accounts a on a.id = x.account_id where x.txn_id = t.id
            and a.kind = 'tax' and a.name = l ->> 'code' and x.amount = (l ->> 'amount')::bigint)
    union all
    select 'M10 split', format('order %s: posted %s to %s, expected %s', o.id, coalesce(sum(e.amount), 0), w.who, w.amount)
        from orders o join ledger_txns t on t.order_id = o.id and t.kind = 'sale',
            lateral (select 'platform', o.platform, null::bigint union all select 'creator', o.creator, o.creator_id
                union all select 'affiliate', (l ->> 'amount')::bigint, (l ->> 'to')::bigint
                    from jsonb_array_elements(o.payees) l where (l ->> 'amount')::bigint > 0) w(who, amount, owner)
        left join lateral (select x.amount from ledger_entries x join ledger_accounts a on a.id = x.account_id
            where x.txn_id = t.id and x.amount > 0 and a.currency = o.currency and (case w.who
                when 'platform' then a.kind = 'platform' and a.name = 'revenue'
                else a.kind in ('user', 'receivable') and a.owner_id = w.owner end)) e on true
        group by o.id, w.who, w.owner, w.amount having coalesce(sum(e.amount), 0) <> w.amount
    union all
    select 'M10 split', format('order %s: its titles say %s of %s', o.id, coalesce(sum(i.price), 0), o.price)
        from orders o left join order_items i on i.order_id = o.id where o.offer = 'bundle'
        group by o.id having coalesce(sum(i.price), 0) <> o.price or count(i.pos) <> jsonb_array_length(o.terms -> 'videos')
    union all
    select 'M11 commission', format('commission %s is not in txn %s', c.id, c.txn_id)
        from commissions c left join ledger_txns t on t.id = c.txn_id and t.kind = 'sale' and t.order_id = c.order_id
        where t.id is null or c.amount <> (select coalesce(sum(e.amount), 0) from ledger_entries e
            join ledger_accounts a on a.id = e.account_id where e.txn_id = c.txn_id and a.owner_id = c.affiliate_id)
    union all
    select 'M11 commission', format('order %s owes %s, rows say %s', o.id, o.commission, coalesce(sum(c.amount), 0))
        from orders o left join commissions c on c.order_id = o.id where o.paid_at is not null
        group by o.id, o.commission having coalesce(sum(c.amount), 0) <> o.commission
    union all
    select 'M11 commission', format('order %s: its lines %s are not its commission %s', id, payees, commission) from orders
        where commission <> ppv_payees_total(payees) or affiliate_id is distinct from (ppv_payee_ids(payees))[1]
    union all
    select 'M11 commission', format('order %s: line %s has no row', o.id, l) from orders o, jsonb_array_elements(o.payees) l
        where o.paid_at is not null and (l ->> 'amount')::bigint > 0 and not exists (select from commissions c where c.order_id = o.id
            and c.affiliate_id = (l ->> 'to')::bigint and c.amount = (l ->> 'amount')::bigint)
    union all
    select 'M12 matched', format('order %s: asked %s %s, paid %s %s', o.id, o.charge, o.charge_currency, p.amount, p.currency)
        from orders o join payments p on p.order_id = o.id and p.state = 'booked'
        where p.decided_by is null and ((p.amount, upper(p.currency), p.live, p.provider)
            is distinct from (o.charge, o.charge_currency::text, o.live, o.method))
    union all
    select 'M12 matched', format('order %s is paid by %s payments', o.id, count(p.id))
        from orders o left join payments p on p.order_id = o.id and p.state = 'booked'
        where o.paid_at is not null and o.method <> 'wallet' group by o.id having count(p.id) <> 1
    union all
    select 'M13 forward', format('order %s is %s and has a sale', o.id, o.state)
        from orders o join ledger_txns t on t.order_id = o.id and t.kind = 'sale' where o.paid_at is null
    union all
    select 'M13 forward', format('order %s is %s, %s of %s refunded', id, state, refunded, price) from orders
        where case state when 'partially_refunded' then refunded not between 1 and price - 1 when 'refunded' then refunded <> price
            when 'chargeback_lost' then refunded <> price when 'disputed' then refunded >= price else refunded <> 0 end
    union all
    select 'M13 forward', format('order %s is %s without such a dispute', o.id, o.state) from orders o
        where o.state in ('disputed', 'chargeback_lost') and not exists (select from disputes d where d.order_id = o.id
            and d.state = case o.state when 'disputed' then 'open' else 'lost' end)
    union all
    select 'M14 unique', format('%s (%s) is not kept unique', w.t, w.c)
        from (values ('payment_events', 'event_key, provider'), ('payments', 'payment_ref, provider'), ('orders', 'method, provider_ref'),
            ('ledger_txns', 'order_id'), ('ledger_txns', 'reverses_id'), ('entitlements', 'user_id, video_id'), ('payouts', 'cause'),
            ('holds', 'cause'), ('refunds', 'key'), ('disputes', 'provider, provider_ref'), ('idempotency', 'key, scope')) w(t, c)
        where not exists (select from pg_index i where i.indrelid = ('public.' || w.t)::regclass and i.indisunique and i.indisvalid
            and w.c = (select string_agg(a.attname::text, ', ' order by a.attname) from pg_attribute a
                where a.attrelid = i.indrelid and a.attnum = any (i.indkey)))
    union all
    select 'M14 unique', format('payment %s of %s paid for %s orders', t.meta ->> 'payment_ref', o.method, count(*))
        from ledger_txns t join orders o on o.id = t.order_id where t.kind = 'sale' and t.meta ? 'payment_ref'
        group by t.meta ->> 'payment_ref', o.method having count(*) > 1
    union all
    -- What a provider owes for an order is what it took less what it gave back; settlements of the provider as a whole end it.
    select 'M15 clearing', format('order %s: %s of %s open, payments and refunds say %s', o.id, coalesce(c.sum, 0), o.method, w.sum)
        from orders o
        left join (select t.order_id, a.name, a.currency, sum(x.amount) as sum from ledger_entries x join ledger_txns t on t.id = x.txn_id
            join ledger_accounts a on a.id = x.account_id and a.kind = 'clearing' where t.order_id is not null
                and not t.meta ?| array['chain_id', 'reverses'] group by 1, 2, 3) c -- shares that the contract itself paid are apart
            on c.order_id = o.id and c.name = o.method and c.currency = o.charge_currency,
        lateral (select coalesce((select sum(r.charge) from refunds r where r.order_id = o.id and r.state = 'done'), 0)
            - coalesce((select sum(p.amount) from payments p where p.order_id = o.id and p.state in ('booked', 'credited')), 0) as sum) w
        where o.method <> 'wallet' and coalesce(c.sum, 0) <> w.sum
    union all
    select 'M18 chain', 'chain_payments (chain_id, tx_hash, log_index) is not kept unique'
        where not exists (select from pg_index i where i.indrelid = 'public.chain_payments'::regclass and i.indisunique and i.indisvalid
            and 'chain_id, log_index, tx_hash' = (select string_agg(a.attname::text, ', ' order by a.attname) from pg_attribute a
                where a.attrelid = i.indrelid and a.attnum = any (i.indkey)))
    union all
    -- Access by a payment on a chain: its block is final, and it is what the invoice asked for. An administrator may have decided otherwise.
    select 'M18 chain', format('order %s gives access, but no final block holds the payment that was asked for', p.order_id)
        from payments p where p.provider = 'splitter' and p.state = 'booked' and p.decided_by is null
            and exists (select from entitlements n where n.order_id = p.order_id and n.revoked_at is null)
            and not exists (select from chain_payments c join chain_invoices i on i.id = c.invoice_id where c.ref = p.payment_ref and c.state = 'final'
                and (i.order_id, i.chain_id, i.contract, i.token, i.payer, i.amount) = (p.order_id, c.chain_id, c.contract, c.token, c.payer, c.amount))
    union all
    -- The contract keeps nothing: what it took is what it paid or credited (its own side of this is proved by forge).
    select 'M19 contract', format('chain payment %s: %s came in, %s went out', c.id, c.amount, s.sum) from chain_payments c,
            lateral (select sum((e ->> 'amount')::numeric) as sum from jsonb_array_elements(c.shares) e) s
        where c.state = 'final' and jsonb_array_length(c.shares) > 0 and s.sum <> c.amount
            and not exists (select from payments p where p.provider = 'splitter' and p.payment_ref = c.ref -- a person looks at it
                and (p.state <> 'booked' or p.decided_by is not null))
    union all
    select 'M20 integers', format('%s.%s is %s', c.table_name, c.column_name, c.data_type) from information_schema.columns c
        where c.table_schema = 'public' and (c.data_type in ('real', 'double precision', 'money')
            or c.data_type = 'numeric' and coalesce(c.numeric_scale, 1) > 0)
          and (c.table_name ~ '^ledger_(accounts|entries|checkpoints)' or c.table_name in ('orders', 'payments', 'payment_events', 'refunds',
            'payouts', 'deposits', 'holds', 'disputes', 'commissions') or c.table_name = 'videos' and c.column_name = 'price')
    union all
    select 'M21 refunds', format('order %s: refunded %s, rows say %s', o.id, o.refunded, coalesce(sum(r.amount), 0))
        from orders o left join refunds r on r.order_id = o.id and r.state = 'done' group by o.id, o.refunded having o.refunded <> coalesce(sum(r.amount), 0)
    union all
    select 'M21 refunds', format('refund %s: %s + %s + %s + %s <> %s', id, platform, creator, commission, taxes, amount)
        from refunds where state = 'done' and platform + creator + commission + taxes <> amount
    union all
    select 'M21 refunds', format('account %s: a debt below zero, %s', a.id, sum(e.amount))
        from ledger_accounts a join ledger_entries e on e.account_id = a.id where a.kind = 'receivable'
        group by a.id having sum(e.amount) > 0
    union all
    select 'M16 holds', format('account %s holds %s, open holds say %s', a.id, a.held, coalesce(sum(h.amount), 0))
        from ledger_accounts a left join holds h on h.account_id = a.id and h.state = 'open'
        group by a.id having a.held <> coalesce(sum(h.amount), 0)
    union all
    select 'M16 holds', format('payout %s is %s, its hold %s', p.id, p.state, h.state)
        from payouts p join holds h on h.id = p.hold_id
        where h.state <> case when p.state in ('paid', 'reversed') then 'captured' when p.state in ('rejected', 'failed') then 'released'
            else 'open' end or h.amount <> p.amount
    union all
    select 'M17 payouts', format('payout %s: %s left the wallet, %s were to', p.id, coalesce(-sum(e.amount), 0), p.amount)
        from payouts p left join e on e.txn_id = p.txn_id and e.akind = 'user'
        where p.txn_id is not null group by p.id, p.amount having coalesce(-sum(e.amount), 0) <> p.amount
    union all
    select 'M17 payouts', format('posting %s belongs to no payout', t.id)
        from ledger_txns t where t.kind = 'payout' and not exists (select from payouts p where p.txn_id = t.id)
    union all
    select 'M23 four eyes', format('deposit %s of %s was decided by %s', id, user_id, coalesce(decided_by::text, 'nobody')) from deposits
        where state = 'approved' and (decided_by is null or decided_by = user_id)
    union all
    select 'M23 four eyes', format('payout %s of %s, %s approvals: by %s and %s', id, user_id, approvals, approved_by, second_by) from payouts
        where user_id in (approved_by, second_by) or state in ('approved', 'sent', 'unknown', 'paid', 'reversed')
            and (approvals > 0 and approved_by is null or approvals > 1 and (second_by is null or second_by = approved_by))
    union all
    -- Whoever was told of a posting finds it; that every answer outlives a crash is seen from outside (spec/live/crashpoints.mjs).
    select 'M24 durable', format('%s %s was answered with txn %s, which is not there', i.scope, i.key, i.reply ->> 'txn_id')
        from idempotency i where i.reply ->> 'txn_id' is not null
            and not exists (select from ledger_txns t where t.id = (i.reply ->> 'txn_id')::bigint)
    union all
    select 'M25 receipts', format('series %s of %s: %s receipts, the last number is %s', c.series, c.year, count(r.id), c.last)
        from receipt_counters c left join receipts r on r.series = c.series and r.year = c.year
        group by c.series, c.year, c.last having count(r.id) <> c.last or max(r.number) <> c.last
    union all
    select 'M25 receipts', format('order %s has %s receipts', o.id, count(r.id)) from orders o
        join ledger_txns t on t.order_id = o.id and t.kind = 'sale' join ledger_leaves l on l.txn_id = t.id
        left join receipts r on r.txn_id = t.id where l.batch <= (select batch from receipt_state) group by o.id having count(r.id) <> 1
    union all
    select 'M26 codes', format('order %s: %s off by coupon %s, uses say %s', o.id, o.discount, o.coupon_id, coalesce(sum(x.discount), 0))
        from orders o left join coupon_uses x on x.order_id = o.id and x.coupon_id = o.coupon_id and (x.state = 'redeemed' or o.paid_at is null)
        where o.coupon_id is not null group by o.id having coalesce(sum(x.discount), 0) <> o.discount
    union all
    select 'M26 codes', format('gift %s is %s, its order %s', g.id, g.state, o.state) from gifts g join orders o on o.id = g.order_id
        where (g.state in ('open', 'redeemed') and o.paid_at is null) or (g.state = 'open' and o.state in ('refunded', 'chargeback_lost'))
    union all
    select 'M26 codes', format('gift %s was redeemed by %s accounts', g.id, count(e.id)) from gifts g
        left join entitlements e on e.source = 'gift:' || g.id group by g.id having count(distinct e.id) > 0 and g.state <> 'redeemed'
    union all
    select 'M22 amounts', format('entry %s is zero', id) from ledger_entries where amount = 0
    union all
    select 'M22 amounts', format('txn %s goes from an account to itself', txn_id)
        from ledger_entries group by txn_id having count(distinct account_id) < 2
$$;
grant execute on function ppv_invariants() to ppv_app, ppv_ro;
