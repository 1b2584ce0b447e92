-- SPDX-License-Identifier: Apache-2.0
-- Receipts and credit notes, the buyer's consent to immediate delivery, withdrawals from a purchase.
set local role ppv_owner;

-- Numbers have no gap and are never given twice: the counter moves in the transaction that writes the receipt, and receipts are
-- written by one at a time in the order of the seals, which is an order of commits.
create table receipt_counters (
    series text not null check (series in ('R', 'C')),
    year integer not null,
    last bigint not null default 0,
    primary key (series, year)
);
create table receipt_state (
    one boolean primary key default true check (one),
    batch bigint not null                  -- all seals up to here have their receipts
);
insert into receipt_state (batch) values (0);

-- Everything on it is frozen: names and addresses change, a receipt does not.
create table receipts (
    id bigint generated always as identity primary key,
    series text not null,
    year integer not null,
    number bigint not null,
    label text not null unique,            -- 'R2026-000001'
    txn_id bigint not null unique references ledger_txns,
    order_id bigint not null references orders,
    user_id bigint not null references users,
    amount bigint not null check (amount > 0),
    currency char(3) not null,
    tax jsonb not null default '[]',       -- [{code, amount, title}] in the amount
    title text not null,
    buyer text not null,
    seller text not null,
    method text not null,
    reference text not null default '',    -- on a credit note: the receipt it corrects
    created_at timestamptz not null,       -- of the payment
    unique (series, year, number)
);
create index receipts_user on receipts (user_id, id desc);
create trigger receipts_frozen before update or delete or truncate on receipts for each statement execute function ppv_append_only();

-- Receipts of the sales in seals p_from + 1 .. p_to, all at once. Returns how many.
create function ppv_receipts_sales(p_from bigint, p_to bigint, p_seller text) returns integer
    language plpgsql as $$
declare n integer;
begin
    with s as (select t.id, t.order_id, t.created_at, y.year, l.batch, l.pos, row_number() over (partition by y.year order by l.batch, l.pos) as n,
            count(*) over (partition by y.year) as of_year
            from ledger_leaves l join ledger_txns t on t.id = l.txn_id,
                lateral (select extract(year from t.created_at at time zone 'utc')::integer as year) y
            where l.batch > p_from and l.batch <= p_to and t.kind = 'sale' and t.order_id is not null),
        c as (insert into receipt_counters (series, year, last) select 'R', s.year, count(*) from s group by s.year
            on conflict (series, year) do update set last = receipt_counters.last + excluded.last returning year, last)
    insert into receipts (series, year, number, label, txn_id, order_id, user_id, amount, currency, tax, title, buyer, seller, method, created_at)
    select 'R', s.year, x.number, format('R%s-%s', s.year, lpad(x.number::text, 6, '0')), s.id, o.id, o.buyer_id, o.price, o.currency,
        case when o.taxes = 0 then '[]' else ppv_receipt_tax(s.id, o.tax) end, ppv_order_title(o, v.title),
        coalesce(u.guest_email::text, u.username::text), p_seller, o.method, s.created_at
    from s join c on c.year = s.year cross join lateral (select c.last - s.of_year + s.n as number) x
    join orders o on o.id = s.order_id join videos v on v.id = o.video_id join users u on u.id = o.buyer_id order by s.batch, s.pos;
    get diagnostics n = row_count;
    return n;
end $$;

-- A refund or lost dispute: its amount is what went back; nothing, when nothing did.
create function ppv_receipt_credit(t ledger_txns, p_seller text) returns void
    language plpgsql as $$
declare
    o orders;
    v_year integer := extract(year from t.created_at at time zone 'utc');
    v_amount bigint;
    v_number bigint;
begin
    select * into o from orders where id = t.order_id;
    select coalesce(sum(e.amount), 0) into v_amount from ledger_entries e join ledger_accounts a on a.id = e.account_id
        where e.txn_id = t.id and e.amount > 0 and a.currency = o.currency
        and (a.owner_id = o.buyer_id or a.kind = 'clearing' or a.name = 'exchange');
    if v_amount = 0 then
        return;
    end if;
    insert into receipt_counters (series, year, last) values ('C', v_year, 1)
        on conflict (series, year) do update set last = receipt_counters.last + 1 returning last into v_number;
    insert into receipts (series, year, number, label, txn_id, order_id, user_id, amount, currency, tax, title, buyer, seller, method,
        reference, created_at)
    select 'C', v_year, v_number, format('C%s-%s', v_year, lpad(v_number::text, 6, '0')), t.id, o.id, o.buyer_id, v_amount,
        o.currency, ppv_receipt_tax(t.id, o.tax), ppv_order_title(o, v.title), coalesce(u.guest_email::text, u.username::text), p_seller, o.method,
        coalesce((select label from receipts r where r.order_id = o.id and r.series = 'R' order by id limit 1), ''), t.created_at
    from videos v, users u where v.id = o.video_id and u.id = o.buyer_id;
end $$;

-- The taxes that a transaction moved, with the titles of the order's lines.
create function ppv_receipt_tax(p_txn bigint, p_tax jsonb) returns jsonb language plpgsql stable as $$
begin
    return (select coalesce(jsonb_agg(jsonb_build_object('code', a.name, 'amount', abs(e.amount), 'title',
        coalesce((select l ->> 'title' from jsonb_array_elements(p_tax) l where l ->> 'code' = a.name), a.name)) order by a.name), '[]')
        from ledger_entries e join ledger_accounts a on a.id = e.account_id and a.kind = 'tax' where e.txn_id = p_txn);
end $$;

-- Receipts for what was sealed since. Returns how many.
create function ppv_receipts_issue(p_seller text) returns integer
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_from bigint;
    v_to bigint;
    t ledger_txns;
    n integer;
begin
    perform pg_advisory_xact_lock(823746);
    select batch into v_from from receipt_state;
    select max(batch) into v_to from ledger_seals where batch <= v_from + 20;
    if v_to is null or v_to <= v_from then
        return 0;
    end if;
    n := ppv_receipts_sales(v_from, v_to, p_seller);
    for t in select x.* from ledger_leaves l join ledger_txns x on x.id = l.txn_id where l.batch > v_from and l.batch <= v_to
             and x.kind in ('refund', 'dispute') and x.order_id is not null order by l.batch, l.pos loop
        perform ppv_receipt_credit(t, p_seller);
        n := n + 1;
    end loop;
    update receipt_state set batch = v_to;
    return n;
end $$;

-- What the buyer agreed to before an immediate start: which text, when, from where.
create table consents (
    id bigint generated always as identity primary key,
    user_id bigint not null references users,
    video_id uuid not null references videos,
    version text not null check (length(version) <= 20),
    text text not null check (length(text) <= 2000),
    country text not null default '' check (country ~ '^([A-Z]{2})?$'),
    ip inet,
    created_at timestamptz not null default now()
);
create index consents_user on consents (user_id, video_id, id desc);
create trigger consents_frozen before update or delete or truncate on consents for each statement execute function ppv_append_only();

-- Statements of withdrawal (and requests of a refund) as the buyer confirmed them; made without signing in.
create table withdrawals (
    id bigint generated always as identity primary key,
    token text not null unique,            -- of the confirmed form: confirming twice is one request
    email text not null check (length(email) <= 320),
    name text not null check (length(name) <= 200),
    reference text not null check (length(reference) <= 200),
    reason text not null default '' check (length(reason) <= 2000),
    order_id bigint references orders,     -- when the address and the number fit an order
    ip inet,
    confirmed_at timestamptz not null default now(),
    state text not null default 'open' check (state in ('open', 'accepted', 'refused')),
    note text not null default '' check (length(note) <= 500),
    decided_by bigint references users,
    decided_at timestamptz
);
create index withdrawals_state on withdrawals (state, id desc);

grant select on receipts, consents, withdrawals to ppv_app, ppv_ro;
grant insert on consents, withdrawals to ppv_app;
grant update (state, note, decided_by, decided_at) on withdrawals to ppv_app;
grant execute on function ppv_receipts_issue(text) to ppv_app;
