-- SPDX-License-Identifier: Apache-2.0
-- What surrounds a sale, at little cost to it: one look at everything a purchase needs to know, and telling creators what was sold.
set local role ppv_owner;

-- A title as it is about to be bought, or null when there is none: {id, owner_id, title, price, currency, offers (as ppv_offers has them;
-- empty when only the title itself is sold, for its one price), program {pct, enabled, inherited, owner_id}, agreed ({country} of the
-- buyer's consent of the last day, or false)}.
create function ppv_title_sale(p_video uuid, p_user bigint) returns jsonb
    language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    v record;
    v_offers jsonb := '[]';
    v_country text;
begin
    select x.id, x.owner_id, x.title, x.price, x.currency, t.pct, t.enabled, t.inherited into v
        from videos x join affiliate_terms t on t.video_id = x.id where x.id = p_video and x.state <> 'deleted';
    if not found then
        return null;
    end if;
    if exists (select from offers where creator_id = v.owner_id and active) or exists (select from prices where video_id = v.id) then
        v_offers := (select coalesce(jsonb_agg(to_jsonb(f)), '[]') from ppv_offers(v.id, null) f);
    end if;
    select country into v_country from consents where user_id = p_user and video_id = v.id and created_at > now() - interval '1 day'
        order by id desc limit 1;
    return jsonb_build_object('id', v.id, 'owner_id', v.owner_id, 'title', v.title, 'price', v.price, 'currency', v.currency,
        'offers', v_offers, 'agreed', case when found then jsonb_build_object('country', v_country) else 'false' end,
        'program', jsonb_build_object('pct', v.pct, 'enabled', v.enabled, 'inherited', v.inherited, 'owner_id', v.owner_id));
end $$;

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

grant execute on function ppv_title_sale(uuid, bigint), ppv_sales_tell(integer) to ppv_app, ppv_worker;

-- Functions keep their plans. One made while a table was a page long would read it from end to end for as long as the connection lives,
-- with every dead row in it (ledger_accounts has many), so where money moves tables are never read that way.
do $$
declare f regprocedure;
begin
    for f in select p.oid from pg_proc p join pg_language l on l.oid = p.prolang
            where p.pronamespace = 'public'::regnamespace and p.prosecdef and l.lanname = 'plpgsql'
            and p.proname ~ '^ppv_(sale|title_sale|transfer|deposit|order|refund|payout|dispute|payment|hold|unhold|txn|entry|balance|commission|coupon|gift|job)' loop
        execute format('alter function %s set enable_seqscan = off', f);
    end loop;
end $$;
