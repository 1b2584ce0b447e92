-- SPDX-License-Identifier: Apache-2.0
-- What surrounds a sale, at little cost to it: telling creators what was sold.
set local role ppv_owner;

-- Sales whose creators have not been told, oldest first; they count as told when the caller's transaction commits. Receipts are written
-- by one at a time, so that no lower number can appear later: nothing has to be noted at the sale itself.
alter table receipt_state add column told bigint not null default 0; -- creators know of the receipts up to here
create function ppv_sales_tell(p_limit integer)
    returns table (email text, title text, price bigint, share bigint, currency text)
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform from receipt_state for update;
    return query with r as (select id, order_id from receipts where id > (select told from receipt_state) order by id limit p_limit),
        m as (select max(id) as id from r), s as (update receipt_state set told = m.id from m where m.id is not null)
        select u.email::text, ppv_order_title(o, v.title), o.price, o.creator, o.currency::text
        from r join receipts x on x.id = r.id and x.series = 'R' join orders o on o.id = r.order_id
        join users u on u.id = o.creator_id join videos v on v.id = o.video_id order by r.id;
end $$;

grant execute on function ppv_sales_tell(integer) to ppv_app, ppv_worker;

-- Functions keep their plans. One made while a table was a page long would read it from end to end for as long as the connection lives,
-- with every dead row in it (ledger_accounts has many), so where money moves tables are never read that way.
do $$
declare f regprocedure;
begin
    for f in select p.oid from pg_proc p join pg_language l on l.oid = p.prolang
            where p.pronamespace = 'public'::regnamespace and p.prosecdef and l.lanname = 'plpgsql'
            and p.proname ~ '^ppv_(sale|transfer|deposit|order|refund|payout|dispute|payment|hold|unhold|txn|entry|balance|commission|coupon|gift|job)' loop
        execute format('alter function %s set enable_seqscan = off', f);
    end loop;
end $$;
