-- SPDX-License-Identifier: Apache-2.0
-- Offers: what an order buys. A title for good (videos.price), a rental of it, an excerpt (its first minutes, for programs; every further
-- one adds as much), or a bundle of several titles of one creator; each with a
-- price list. An order freezes its offer: kind, terms and the part of every title. Prices of other currencies are the creator's own
-- numbers, not conversions; a charge in a currency that is on no list is converted when the order starts (orders.fx).
set local role ppv_owner;

create table offers (
    id bigint generated always as identity primary key,
    uid uuid not null unique default ppv_uuid7(),
    creator_id bigint not null references users,
    kind text not null check (kind in ('rental', 'bundle', 'excerpt')),
    video_id uuid references videos,       -- of a rental or an excerpt
    title text not null default '' check (length(title) <= 200),
    price bigint not null check (price between 1 and 1000000000000), -- minor units
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    window_h integer check (window_h between 1 and 8760), -- hours in which a rental must be started
    play_h integer check (play_h between 1 and 720),      -- hours it lasts from then on
    excerpt_s integer check (excerpt_s between 5 and 86400), -- seconds of film that an excerpt adds
    active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (case kind when 'rental' then num_nulls(video_id, window_h, play_h) = 0 when 'excerpt' then num_nulls(video_id, excerpt_s) = 0
        else title <> '' end)
);
create unique index offers_rental on offers (video_id) where kind = 'rental';
create unique index offers_excerpt on offers (video_id) where kind = 'excerpt';
create index offers_creator on offers (creator_id, id);
create trigger offers_touch before update on offers for each row execute function ppv_touch();

create table offer_videos (
    offer_id bigint not null references offers on delete cascade,
    video_id uuid not null references videos,
    pos integer not null,
    primary key (offer_id, video_id)
);
create index offer_videos_video on offer_videos (video_id);

-- Price lists: of a title for good (video_id) or of an offer, in currencies other than its own.
create table prices (
    video_id uuid references videos,
    offer_id bigint references offers on delete cascade,
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    amount bigint not null check (amount between 1 and 1000000000000),
    unique nulls not distinct (video_id, offer_id, currency),
    check (num_nonnulls(video_id, offer_id) = 1)
);
create index prices_offer on prices (offer_id) where offer_id is not null;

alter table videos add column alone boolean not null default true; -- false: sold only for rent or in bundles; its price is its weight in those
alter table users add column currency char(3) check (currency ~ '^[A-Z]{3}$'); -- prices are shown in it; null = by country

alter table orders add foreign key (offer_id) references offers;

-- What each title of a bundle earned: parts of price and creator's share by largest remainder, weighed by the titles' own prices.
create table order_items (
    order_id bigint not null references orders,
    pos integer not null,
    video_id uuid not null references videos,
    weight bigint not null,
    price bigint not null check (price >= 0),
    primary key (order_id, pos),
    unique (order_id, video_id)
);
create index order_items_video on order_items (video_id);

-- What comes back when the row that took its place is refunded.
create index entitlements_superseded on entitlements (user_id, video_id) where revoke_reason = 'superseded';

-- Parts of p_total (>= 0) by weight that add up to it: each gets the whole part of its quota, the remainder goes to the largest fractions,
-- among equals to the first. Weights that are all zero count as equal.
create function ppv_parts(p_total bigint, p_weights bigint[]) returns bigint[]
    language sql immutable set search_path = public, pg_temp as $$
    with w as (select o, case when s = 0 then 1 else x end::numeric as x, case when s = 0 then n else s end as s
            from unnest(p_weights) with ordinality u(x, o),
                (select sum(y)::numeric as s, count(*)::numeric as n from unnest(p_weights) y) t),
        q as (select o, div(p_total * x, s) as whole, mod(p_total * x, s) as rest from w),
        r as (select o, whole, row_number() over (order by rest desc, o) as place, p_total - sum(whole) over () as missing from q)
    select array_agg((whole + case when place <= missing then 1 else 0 end)::bigint order by o) from r
$$;

-- Everything people can buy a title as now (excerpts are for programs): offer ('purchase', 'rental' or a bundle's uid), its own price, the list of the others, the
-- titles of a bundle, and whether p_user would gain nothing by it.
create function ppv_offers(p_video uuid, p_user bigint) returns table (offer text, kind text, title text, price bigint, currency text,
        window_h integer, play_h integer, prices jsonb, videos jsonb, owned boolean)
    language sql stable security definer set search_path = public, pg_temp as $$
    with have as (select e.video_id, e.kind from entitlements e where e.user_id = p_user and e.revoked_at is null
            and (e.expires_at is null or e.expires_at > now()))
    select 'purchase', 'purchase', v.title, v.price, v.currency::text, null::integer, null::integer,
        coalesce((select jsonb_object_agg(p.currency, p.amount) from prices p where p.video_id = v.id), '{}'), '[]'::jsonb,
        exists (select from have h where h.video_id = v.id and h.kind <> 'rental')
    from videos v where v.id = p_video and v.price > 0 and v.alone
    union all
    select * from (select case f.kind when 'rental' then 'rental' else f.uid::text end, f.kind, coalesce(nullif(f.title, ''), v.title), f.price,
        f.currency::text, f.window_h, f.play_h, coalesce((select jsonb_object_agg(p.currency, p.amount) from prices p where p.offer_id = f.id), '{}'),
        coalesce(i.videos, '[]'), case f.kind when 'bundle' then i.owned else exists (select from have h where h.video_id = v.id) end
    from offers f join videos v on v.id = p_video and v.price > 0
    left join lateral (select jsonb_agg(jsonb_build_object('id', x.id, 'title', x.title, 'have', h.kind in ('purchase', 'bundle')) order by m.pos)
            as videos, bool_and(coalesce(h.kind in ('purchase', 'bundle'), false)) as owned,
            bool_and(x.state = 'ready' and x.visibility = 'published' and x.owner_id = f.creator_id) as whole
        from offer_videos m join videos x on x.id = m.video_id left join have h on h.video_id = x.id where m.offer_id = f.id) i on true
    where f.active and f.kind <> 'excerpt' and f.creator_id = v.owner_id and (f.video_id = v.id or f.id in (select m.offer_id from offer_videos m where m.video_id = v.id))
        and i.whole is not false
    order by f.kind desc, f.id) o
$$;

-- A price in another currency at a decimal rate (units of the other for one of the own; p_inverse: the other way round), in minor units,
-- rounded up to a multiple of p_step, so that nobody receives less than the price. Exact.
create function ppv_fx_charge(p_amount bigint, p_from_exp integer, p_to_exp integer, p_rate numeric, p_inverse boolean, p_step integer)
    returns bigint language sql immutable set search_path = public, pg_temp as $$
    select ((div(n, d) + case when mod(n, d) > 0 then 1 else 0 end) * p_step)::bigint
    from (select p_amount * power(10::numeric, p_to_exp)::numeric(60, 0) * case when p_inverse then 1 else p_rate end as n,
        power(10::numeric, p_from_exp)::numeric(60, 0) * p_step * case when p_inverse then p_rate else 1 end as d) x
$$;

-- Internal: the offer that was asked for: kind, id (null = the title for good), the price in the asked currency, what an order keeps of
-- it. p_what: {offer, currency}; nothing = the title for good in its own currency.
create function ppv_offer_pick(v videos, p_what jsonb) returns ppv_picked
    language plpgsql stable as $$
declare
    f offers;
    v_offer text := coalesce(p_what ->> 'offer', 'purchase');
    v_currency text := coalesce(p_what ->> 'currency', '');
    v_terms jsonb := '{}';
begin
    if v_offer = 'purchase' and v.alone then
        f.kind := 'purchase';
        f.price := v.price;
        f.currency := v.currency;
    elsif v_offer in ('rental', 'excerpt') then
        select * into f from offers where video_id = v.id and kind = v_offer and active;
    elsif v_offer ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        select * into f from offers where uid = v_offer::uuid and kind = 'bundle' and active and creator_id = v.owner_id
            and id in (select offer_id from offer_videos where video_id = v.id);
        if exists (select from offer_videos i join videos x on x.id = i.video_id where i.offer_id = f.id
                   and (x.state <> 'ready' or x.visibility <> 'published' or x.owner_id <> v.owner_id)) then
            f := null;
        end if;
    end if;
    if f.kind is null then
        perform ppv_refuse('offer.gone', 'This offer is not available any more.');
    end if;
    if v_currency <> '' and v_currency <> f.currency then
        select amount into f.price from prices where currency = v_currency
            and (offer_id = f.id or (f.id is null and video_id = v.id));
        if not found then
            perform ppv_refuse('sale.price_changed', 'The price has changed. Please look at it again.');
        end if;
        f.currency := v_currency;
    end if;
    if f.kind = 'rental' then
        v_terms := jsonb_build_object('window_h', f.window_h, 'play_h', f.play_h);
    elsif f.kind = 'excerpt' then
        v_terms := jsonb_build_object('excerpt_s', f.excerpt_s);
    elsif f.kind = 'bundle' then
        v_terms := jsonb_build_object('title', f.title, 'videos',
            (select jsonb_agg(video_id order by pos) from offer_videos where offer_id = f.id));
    end if;
    return row(f.kind, f.id, f.price, f.currency::text, v_terms)::ppv_picked;
end $$;

-- Internal: whether buying it would give nothing. Who rents may still buy; who owns some titles of a bundle may still buy it.
create function ppv_offer_owned(p_buyer bigint, p_video uuid, p_kind text, p_terms jsonb) returns boolean
    language plpgsql stable as $$
begin
    if p_kind = 'bundle' then
        return not exists (select from jsonb_array_elements_text(p_terms -> 'videos') i where not exists (select from entitlements
            where user_id = p_buyer and video_id = i::uuid and revoked_at is null and kind in ('purchase', 'bundle') and expires_at is null));
    elsif p_kind = 'excerpt' then
        if ppv_excerpt_s(p_buyer, p_video) * 1000::bigint >= (select duration_ms from videos where id = p_video) then
            return true;
        end if;
    end if;
    return exists (select from entitlements where user_id = p_buyer and video_id = p_video and revoked_at is null
        and (p_kind in ('rental', 'excerpt') or kind <> 'rental') and (expires_at is null or expires_at > now()));
end $$;

-- Internal: the titles of a bundle and their parts, frozen with the order.
create function ppv_order_items(o orders) returns void
    language sql as $$
    insert into order_items (order_id, pos, video_id, weight, price)
    select o.id, i.n, v.id, v.price, (ppv_parts(o.price, array_agg(v.price) over (order by i.n rows between unbounded preceding and unbounded following)))[i.n]
    from jsonb_array_elements_text(o.terms -> 'videos') with ordinality i(id, n) join videos v on v.id = i.id::uuid
    where o.offer = 'bundle'
$$;

-- Internal: whether what a late payment is for is still sold on the same terms, at the same price.
create function ppv_offer_stands(o orders) returns boolean
    language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    v videos;
    f ppv_picked;
begin
    select * into v from videos where id = o.video_id;
    f := ppv_offer_pick(v, jsonb_build_object('currency', o.currency, 'offer', case o.offer when 'bundle'
        then (select uid::text from offers where id = o.offer_id) else o.offer end));
    return f.price = o.price + o.discount and f.terms = o.terms;
exception when raise_exception then
    return false;
end $$;

-- Internal: the live entitlements of a paid order, one per title; waits for a parallel purchase of the same title. What is worth less
-- steps back (a rental for a purchase) and comes back if this order is refunded; a title of a bundle that is owned already gets its row
-- stepped back at once. Refuses when nothing would be gained. Returns the id of the first.
create function ppv_entitle(o orders) returns bigint
    language plpgsql as $$
declare
    e entitlements;
    v_video uuid;
    v_videos uuid[] := array[o.video_id];
    v_lock bigint;
    v_id bigint;
    v_first bigint;
begin
    if o.gift then
        return null; -- whoever redeems it gets it
    elsif o.offer = 'excerpt' then
        perform pg_advisory_xact_lock(hashtextextended(o.buyer_id || ':' || o.video_id, 0));
        if ppv_offer_owned(o.buyer_id, o.video_id, o.offer, o.terms) then
            perform ppv_refuse('sale.already_owned', 'You already have access to this video.');
        end if;
        return null; -- the paid order is the access
    end if;
    if o.offer = 'bundle' then
        v_videos := (select array_agg(i::uuid order by i) from jsonb_array_elements_text(o.terms -> 'videos') i);
    end if;
    foreach v_video in array v_videos loop
        v_lock := hashtextextended(o.buyer_id || ':' || v_video, 0);
        if not pg_try_advisory_xact_lock(v_lock) then
            perform pg_advisory_xact_lock(v_lock);
        end if;
        loop
            insert into entitlements (user_id, video_id, kind, source, order_id, expires_at, play_hours)
                values (o.buyer_id, v_video, o.offer, 'order:' || o.id, o.id,
                    now() + make_interval(hours => (o.terms ->> 'window_h')::integer), (o.terms ->> 'play_h')::integer)
                on conflict (user_id, video_id) where revoked_at is null do nothing returning id into v_id;
            v_first := coalesce(v_first, v_id);
            exit when v_id is not null;
            select * into e from entitlements where user_id = o.buyer_id and video_id = v_video and revoked_at is null for update;
            if found and (e.expires_at <= now() or (o.offer <> 'rental' and e.kind = 'rental') or (o.offer = 'bundle' and e.kind = 'grant')) then
                update entitlements set revoked_at = now(), revoke_reason = case when expires_at <= now() then 'expired' else 'superseded' end
                    where id = e.id;
            elsif found and o.offer <> 'bundle' then
                perform ppv_refuse('sale.already_owned', 'You already have access to this video.');
            elsif found then
                insert into entitlements (user_id, video_id, kind, source, order_id, revoked_at, revoke_reason)
                    values (o.buyer_id, v_video, o.offer, 'order:' || o.id, o.id, now(), 'superseded');
                exit;
            end if;
        end loop;
    end loop;
    if v_first is null then
        perform ppv_refuse('sale.already_owned', 'You already have access to this video.');
    end if;
    return v_first;
end $$;

-- Internal: the money of an order went back, all of it: so does the access. What stepped back for it counts again while it is paid.
create function ppv_order_unentitle(o orders, p_reason text) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_video uuid;
    v_had boolean;
begin
    for v_video in select distinct video_id from entitlements where order_id = o.id order by 1 loop
        perform pg_advisory_xact_lock(hashtextextended(o.buyer_id || ':' || v_video, 0));
        update entitlements set revoked_at = now(), revoke_reason = p_reason
            where order_id = o.id and video_id = v_video and revoked_at is null;
        v_had := found;
        update entitlements set revoke_reason = p_reason where order_id = o.id and video_id = v_video and revoke_reason = 'superseded';
        continue when not v_had;
        update entitlements set revoked_at = null, revoke_reason = null where id = (
            select e.id from entitlements e left join orders x on x.id = e.order_id
            where e.user_id = o.buyer_id and e.video_id = v_video and e.revoke_reason = 'superseded'
                and (e.expires_at is null or e.expires_at > now())
                and (x.id is null or x.state not in ('refunded', 'chargeback_lost'))
            order by e.kind = 'rental', e.id desc limit 1)
            and not exists (select from entitlements where user_id = o.buyer_id and video_id = v_video and revoked_at is null);
    end loop;
end $$;

-- The first play of a rental starts its clock, once. False when the time in which it must be started has run out.
create function ppv_rental_start(p_user bigint, p_video uuid) returns boolean
    language plpgsql security definer set search_path = public, pg_temp as $$
declare e entitlements;
begin
    select * into e from entitlements where user_id = p_user and video_id = p_video and revoked_at is null for update;
    if e.kind is distinct from 'rental' then
        return e.id is not null;
    elsif e.expires_at <= clock_timestamp() then
        return false;
    end if;
    update entitlements set first_play_at = now(), expires_at = now() + make_interval(hours => play_hours)
        where id = e.id and first_play_at is null;
    return true;
end $$;

-- What every title brought: a row per order and title; `back` is what was refunded of its part of the price. net = after fee, taxes and
-- commission. Parts of a bundle add up to the order by largest remainder.
create view title_sales as
    select o.id as order_id, o.uid, o.creator_id, o.buyer_id, coalesce(i.video_id, o.video_id) as video_id, o.offer, o.offer_id,
        o.state, o.paid_at, o.currency::text as currency,
        coalesce(i.price, o.price) as price,
        coalesce((ppv_parts(o.platform, w.all_of))[i.pos], o.platform) as platform,
        coalesce((ppv_parts(o.commission, w.all_of))[i.pos], o.commission) as commission,
        coalesce((ppv_parts(o.creator, w.all_of))[i.pos], o.creator) as net,
        coalesce((ppv_parts(o.refunded, w.all_of))[i.pos], o.refunded) as back
    from orders o left join order_items i on i.order_id = o.id
    left join lateral (select array_agg(x.price order by x.pos) as all_of from order_items x where x.order_id = o.id) w on i.order_id is not null
    where o.paid_at is not null;

grant select, insert, update on offers to ppv_app;
grant select, insert, delete on offer_videos, prices to ppv_app;
grant update (amount) on prices to ppv_app;
grant select on order_items, title_sales to ppv_app, ppv_ro;
grant select on offers, offer_videos, prices to ppv_worker, ppv_ro;
grant execute on function ppv_offers(uuid, bigint), ppv_parts(bigint, bigint[]),
    ppv_fx_charge(bigint, integer, integer, numeric, boolean, integer) to ppv_app, ppv_worker, ppv_ro;
