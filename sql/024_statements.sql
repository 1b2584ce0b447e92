-- SPDX-License-Identifier: Apache-2.0
-- Reading the books: checkpoints of hot accounts, trial balance, revenue, what providers owe, statements.
set local role ppv_owner;

-- A system account has no balance of its own: many sales would queue for its row. Its balance is the last checkpoint and what
-- came after. entry_id: everything up to there is in; a checkpoint is made only over entries that no open transaction can precede.
create table ledger_checkpoints (
    account_id bigint not null references ledger_accounts,
    entry_id bigint not null,
    balance bigint not null,
    created_at timestamptz not null default now(),
    primary key (account_id, entry_id)
);

-- The next checkpoint, waiting until every transaction that could still add an entry at or below `upto` has ended.
create table ledger_checkpoint_next (
    one boolean primary key default true check (one),
    upto bigint not null,
    horizon xid8 not null
);

-- Entries get numbers before they commit, so a lower number may still appear. A transaction has its own number before its entries
-- have theirs: all that hold entries up to `upto` are below the horizon, and have ended once the oldest open one is not. Call it from a
-- tick. Returns how many accounts got a checkpoint.
create function ppv_checkpoint() returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
    c ledger_checkpoint_next;
    v_upto bigint;
    n integer := 0;
begin
    if not pg_try_advisory_xact_lock(823744) then
        return 0;
    end if;
    select * into c from ledger_checkpoint_next;
    if found and pg_snapshot_xmin(pg_current_snapshot()) < c.horizon and pg_snapshot_xmax(pg_current_snapshot()) >= c.horizon then
        return 0; -- a database restored elsewhere counts from a lower number: then the mark is of no use and made again
    end if;
    if found and pg_snapshot_xmin(pg_current_snapshot()) >= c.horizon then
        insert into ledger_checkpoints (account_id, entry_id, balance)
            select a.id, c.upto, coalesce(k.balance, 0) + s.sum
            from ledger_accounts a
            left join lateral (select * from ledger_checkpoints k where k.account_id = a.id order by entry_id desc limit 1) k on true
            cross join lateral (select sum(e.amount) as sum from ledger_entries e
                where e.account_id = a.id and e.id > coalesce(k.entry_id, 0) and e.id <= c.upto) s
            where a.kind <> 'user' and s.sum is not null;
        get diagnostics n = row_count;
    end if;
    select last_value into v_upto from wallet_line_seq; -- before the snapshot below is taken
    insert into ledger_checkpoint_next (upto, horizon) select v_upto, pg_snapshot_xmax(pg_current_snapshot())
        on conflict (one) do update set upto = excluded.upto, horizon = excluded.horizon;
    return n;
end $$;

-- Every account with its balance now.
create view ledger_trial as
    select a.id, a.kind, a.owner_id, a.name, a.currency::text as currency, a.held,
        coalesce(a.balance, coalesce(k.balance, 0) + coalesce((select sum(e.amount) from ledger_entries e
            where e.account_id = a.id and e.id > coalesce(k.entry_id, 0)), 0))::bigint as balance
    from ledger_accounts a
    left join lateral (select * from ledger_checkpoints k where a.balance is null and k.account_id = a.id
        order by entry_id desc limit 1) k on true;

-- What the platform earned (revenue) and paid to providers (fees, negative), by day.
create view ledger_revenue as
    select (e.created_at at time zone 'utc')::date as day, to_char(e.created_at at time zone 'utc', 'YYYY-MM') as month,
        a.name, a.currency::text as currency, sum(e.amount)::bigint as amount
    from ledger_entries e join ledger_accounts a on a.id = e.account_id
    where a.kind = 'platform' and a.name in ('revenue', 'fees') group by 1, 2, 3, 4;

-- What providers owe (negative) by payment; zero = settled to the bank or refunded.
create view ledger_clearing as
    select a.name as provider, coalesce(t.meta ->> 'payment_ref', t.meta ->> 'deposit_id', '') as payment_ref, a.currency::text as currency,
        sum(e.amount)::bigint as open, min(e.created_at) as since, max(e.created_at) as last, max(t.order_id) as order_id
    from ledger_entries e join ledger_accounts a on a.id = e.account_id and a.kind = 'clearing'
    join ledger_txns t on t.id = e.txn_id group by 1, 2, 3;

-- Lines of a person's wallet that are booked, with the balance after each. type as in wallet_lines.
create view statement_lines as
    select e.id, a.owner_id as user_id, a.currency::text as currency, e.created_at, e.txn_id, t.kind,
        case t.kind
            when 'transfer' then case when e.amount < 0 then 'transfer_out' else 'transfer_in' end
            when 'sale' then case when e.amount < 0 then 'payment' when o.creator_id = a.owner_id then 'sale' else 'commission' end
            when 'payout' then 'withdrawal' else t.kind end as type,
        e.amount, e.balance_after, e.note, o.uid as order_uid, ppv_order_title(o, v.title) as title,
        exists (select from ledger_leaves l where l.txn_id = e.txn_id) as sealed
    from ledger_entries e join ledger_accounts a on a.id = e.account_id and a.kind = 'user'
    join ledger_txns t on t.id = e.txn_id
    left join orders o on o.id = t.order_id left join videos v on v.id = o.video_id;

grant select on ledger_checkpoints, ledger_trial, ledger_revenue, ledger_clearing, statement_lines to ppv_app, ppv_ro;
grant execute on function ppv_checkpoint() to ppv_app;
