-- SPDX-License-Identifier: Apache-2.0
-- Guests, coupons, gifts, grants: what is bought without an account or with a code.
--
-- Guests buy with an e-mail address and no password.
-- A browser that buys as a guest gets an account of its own, for which the address is only where the receipt goes: nobody has shown
-- yet that it is theirs, so it never sees more than what was bought in it. The link in the mail proves the address; it leads to the
-- one proven account of that address, which gets what all its browsers bought. That account becomes a full one with a password.
-- A full account that has the address is never opened by a link: its owner, signed in, may take the goods over.
set local role ppv_owner;

alter table users
    add column guest boolean not null default false,
    add column guest_email citext check (length(guest_email) between 3 and 254 and guest_email::text ~ '^[^@\s]+@[^@\s]+$'),
    add column claimed_by bigint references users, -- a guest's goods went to this account
    add check (not guest or guest_email is not null);
create index users_guest on users (guest_email) where guest_email is not null;
create unique index users_guest_proven on users (guest_email) where guest and email_verified_at is not null;
create index users_claimed on users (claimed_by) where claimed_by is not null;

-- Links of mails: single use, short life. token_hash = sha256 of what is behind the #.
create table guest_links (
    id bigint generated always as identity primary key,
    token_hash bytea not null unique check (octet_length(token_hash) = 32),
    email citext not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    ip inet,
    created_at timestamptz not null default now()
);
create index guest_links_expiry on guest_links (expires_at);

-- A new guest account. The address in `email` cannot receive mail and cannot sign in; guest_email is the buyer's.
create function ppv_guest_new(p_email citext, p_proven boolean) returns users
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    u users;
    v_name text := 'guest_' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 16);
begin
    insert into users (username, email, password_hash, guest, guest_email, email_verified_at)
        values (v_name, v_name || '@guest.invalid', '!', true, p_email, case when p_proven then now() end)
        on conflict (guest_email) where guest and email_verified_at is not null do nothing returning * into u;
    if u.id is null then
        select * into u from users where guest_email = p_email and guest and email_verified_at is not null;
    end if;
    return u;
end $$;

-- The accounts whose orders and receipts this account may look at: its own, and those whose goods it took over.
create function ppv_buyers(p_user bigint) returns bigint[]
    language sql stable security definer set search_path = public, pg_temp as $$
    with recursive r(id) as (select p_user union select u.id from users u join r on u.claimed_by = r.id)
    select array_agg(id) from r
$$;

-- Internal: what is free in one wallet goes to another, as a transfer.
create function ppv_guest_money(p_from bigint, p_to bigint) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare a record;
begin
    for a in select id, currency, balance - held as free from ledger_accounts
             where kind = 'user' and owner_id = p_from and name = 'wallet' and balance > held order by id loop
        perform ppv_post('transfer', null, p_from, 'Purchases of a guest', '{}', jsonb_build_array(
            jsonb_build_array(a.id, -a.free, 'To the proven account'),
            jsonb_build_array(ppv_account('user', p_to, 'wallet', a.currency), a.free, 'From a purchase as a guest')));
    end loop;
end $$;

-- Uses up a link. p_user null: opens the proven account of the address; else a full account takes its goods over. What a browser
-- bought stays playable there too, until its session ends. Reply: {id, username, email, account (the address has a full account)}.
create function ppv_guest_open(p_hash bytea, p_user bigint) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    l guest_links;
    p users;
    t users;
    g record;
begin
    select * into l from guest_links where token_hash = p_hash for update;
    if l.id is null then
        perform ppv_refuse('auth.token', 'This link is not valid.');
    elsif l.used_at is not null then
        perform ppv_refuse('auth.token', 'This link was used already. Ask for a new one.');
    elsif l.expires_at <= now() then
        perform ppv_refuse('auth.token', 'This link is too old. Ask for a new one.');
    end if;
    update guest_links set used_at = now() where id = l.id;
    p := ppv_guest_new(l.email, true);
    select * into p from users where id = p.id for no key update;
    if p.disabled_at is not null then
        perform ppv_refuse('auth.suspended', 'this account is suspended');
    end if;
    t := p;
    if p_user is not null then
        t := ppv_active_user(p_user);
        if t.guest or (p.claimed_by is not null and p.claimed_by <> t.id) then
            perform ppv_refuse('auth.claimed', 'These purchases belong to another account already.');
        end if;
    end if;
    for g in select id from users where guest and guest_email = l.email and email_verified_at is null and disabled_at is null
             and coalesce(claimed_by, p.id) = p.id order by id loop
        perform ppv_guest_copy(g.id, p);
        perform ppv_guest_money(g.id, p.id);
        update users set claimed_by = p.id where id = g.id and claimed_by is null;
    end loop;
    if t.id <> p.id then
        update entitlements e set user_id = t.id where user_id = p.id and revoked_at is null
            and not exists (select from entitlements o where o.user_id = t.id and o.video_id = e.video_id and o.revoked_at is null);
        perform ppv_guest_money(p.id, t.id);
        update users set claimed_by = t.id where id = p.id;
    end if;
    perform ppv_audit(t.id, 'guest.open', 'user:' || p.id, jsonb_build_object('to', t.id));
    return jsonb_build_object('id', t.id, 'username', t.username, 'email', l.email,
        'account', exists (select from users where email = l.email and not guest));
end $$;

-- Internal: the live goods of a browser's account for the proven one as well, once each.
create function ppv_guest_copy(p_from bigint, p users) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare e entitlements;
begin
    for e in select * from entitlements x where user_id = p_from and revoked_at is null and (expires_at is null or expires_at > now())
             and not exists (select from entitlements c where c.video_id = x.video_id and c.source = x.source
                 and c.user_id in (p.id, p.claimed_by)) order by id loop
        e.id := nextval(pg_get_serial_sequence('entitlements', 'id'));
        e.user_id := p.id;
        insert into entitlements select e.* on conflict (user_id, video_id) where revoked_at is null do nothing;
    end loop;
end $$;

-- The mail with receipt and link is asked for in the transaction that makes the sale.
create function ppv_guest_paid() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if not new.gift and exists (select from users where id = new.buyer_id and guest) then
        perform ppv_job_add('guest_receipt', jsonb_build_object('order', new.id), null, 'guest_receipt:' || new.id);
    end if;
    return null;
end $$;
create trigger orders_guest_paid after update of state on orders for each row
    when (new.state = 'paid' and old.paid_at is null) execute function ppv_guest_paid();

-- Guests who never bought anything, after two days. Returns how many.
create function ppv_guests_prune() returns integer
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_id bigint;
    n integer := 0;
begin
    for v_id in select id from users u where guest and created_at < now() - interval '2 days'
                and not exists (select from orders where buyer_id = u.id) and not exists (select from entitlements where user_id = u.id)
                and not exists (select from consents where user_id = u.id) and not exists (select from users c where c.claimed_by = u.id)
                and not exists (select from ledger_accounts where owner_id = u.id) limit 1000 loop
        begin
            delete from users where id = v_id;
            n := n + 1;
        exception when foreign_key_violation then
            null; -- something else remembers it
        end;
    end loop;
    return n;
end $$;

grant select, insert on guest_links to ppv_app, ppv_worker;
grant delete on guest_links to ppv_worker, ppv_app;
grant select (guest, guest_email, email_verified_at) on users to ppv_worker;
revoke all on guest_links from ppv_ro;
grant execute on function ppv_guest_new(citext, boolean), ppv_guest_open(bytea, bigint) to ppv_app;
grant execute on function ppv_buyers(bigint), ppv_guests_prune() to ppv_app, ppv_worker;

-- ---- What is bought with a code ---------------------------------------------------------------------------------------------
--
-- A coupon lowers the price before anything is split: orders.price is what is paid, price + discount was the list price. It is taken
-- (counted against its limits, under a lock) when an order starts, and given back when the order ends unpaid. A late payment keeps it:
-- its price was promised. A coupon's terms never change; it can only be switched off.

create table coupons (
    id bigint generated always as identity primary key,
    owner_id bigint references users,      -- whose titles; null = every title of the site
    code citext not null check (code::text ~ '^[A-Z0-9][A-Z0-9_-]{2,39}$'),
    percent_bp integer check (percent_bp between 1 and 10000),
    amount bigint check (amount between 1 and 1000000000000),
    currency char(3) check (currency ~ '^[A-Z]{3}$'), -- of amount and min_price
    max_uses integer check (max_uses > 0),
    max_per_buyer integer check (max_per_buyer > 0),
    min_price bigint check (min_price > 0),
    starts_at timestamptz not null default now(),
    ends_at timestamptz check (ends_at > starts_at),
    note text not null default '' check (length(note) <= 200),
    disabled_at timestamptz,
    created_by bigint not null references users,
    created_at timestamptz not null default now(),
    unique nulls not distinct (owner_id, code),
    check (num_nonnulls(percent_bp, amount) = 1),
    check ((currency is null) = (amount is null and min_price is null))
);
create table coupon_videos (               -- none = all of the owner's
    coupon_id bigint not null references coupons,
    video_id uuid not null references videos,
    primary key (coupon_id, video_id)
);
create table coupon_uses (
    id bigint generated always as identity primary key,
    coupon_id bigint not null references coupons,
    order_id bigint unique references orders, -- null: nothing was left to pay
    buyer_id bigint not null references users,
    person text not null,                  -- who counts as one buyer: an account, or a guest's address
    video_id uuid not null references videos,
    discount bigint not null check (discount > 0),
    currency char(3) not null,
    state text not null check (state in ('reserved', 'redeemed', 'released')),
    created_at timestamptz not null default now(),
    closed_at timestamptz
);
create index coupon_uses_live on coupon_uses (coupon_id, person) where state <> 'released';
create index coupon_uses_coupon on coupon_uses (coupon_id, id desc);

alter table orders
    add column discount bigint not null default 0,
    add column coupon_id bigint references coupons,
    add constraint orders_discount check (discount >= 0 and (discount > 0) = (coupon_id is not null));

create function ppv_person(p_user bigint) returns text language sql stable security definer set search_path = public, pg_temp as $$
    select case when guest then 'mail:' || lower(guest_email::text) else 'user:' || id end from users where id = p_user
$$;

-- What the coupon takes off the price of v, or a refusal that says why not. p_buyer null: nobody yet, limits per buyer are not looked
-- at. A reservation that the buyer has for the same title does not count: it moves to the new order.
create function ppv_coupon_discount(c coupons, p_buyer bigint, v videos) returns bigint
    language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    v_person text := ppv_person(p_buyer);
    v_all bigint;
    v_mine bigint;
begin
    if c.id is null or c.disabled_at is not null or c.owner_id <> v.owner_id then
        perform ppv_refuse('coupon.unknown', 'This code is not known.');
    elsif c.starts_at > now() then
        perform ppv_refuse('coupon.early', 'This code is not valid yet.');
    elsif c.ends_at <= now() then
        perform ppv_refuse('coupon.expired', 'This code is not valid any more.');
    elsif exists (select from coupon_videos where coupon_id = c.id)
          and not exists (select from coupon_videos where coupon_id = c.id and video_id = v.id) then
        perform ppv_refuse('coupon.other_title', 'This code is for another video.');
    elsif c.currency is not null and c.currency <> v.currency then
        perform ppv_refuse('coupon.currency', format('This code is for prices in %s.', c.currency));
    elsif v.price < c.min_price then
        perform ppv_refuse('coupon.minimum', format('This code is for prices from %s %s on.', ppv_money_text(c.min_price, c.currency), c.currency));
    end if;
    -- What was bought as a guest with the account's address counts, too.
    select count(*), count(*) filter (where person in (v_person, 'mail:' || (select lower(email::text) from users where id = p_buyer)))
        into v_all, v_mine from coupon_uses
        where coupon_id = c.id and state <> 'released'
        and not (state = 'reserved' and person is not distinct from v_person and video_id = v.id);
    if v_all >= c.max_uses then
        perform ppv_refuse('coupon.used_up', 'This code has been used up.');
    elsif v_mine >= c.max_per_buyer then
        perform ppv_refuse('coupon.used', 'You have used this code already.');
    end if;
    return least(v.price, coalesce(c.amount, div(v.price::numeric * c.percent_bp, 10000)::bigint));
end $$;

-- The coupon that a code means on a title: its creator's, else the site's; else a row of nulls.
create function ppv_coupon_find(p_video uuid, p_code text) returns coupons
    language sql stable security definer set search_path = public, pg_temp as $$
    select c.* from videos v join coupons c on c.code = p_code::citext and (c.owner_id = v.owner_id or c.owner_id is null)
    where v.id = p_video order by c.owner_id is null, c.id limit 1
$$;

-- Internal: refuses a code for chosen titles where a bundle is bought.
create function ppv_coupon_offer(c coupons, p_offer text) returns void
    language plpgsql stable security definer set search_path = public, pg_temp as $$
begin
    if coalesce(p_offer, 'purchase') not in ('purchase', 'rental') and exists (select from coupon_videos where coupon_id = c.id) then
        perform ppv_refuse('coupon.other_title', 'This code is for single videos.');
    end if;
end $$;

-- For a page: {coupon, discount, price, currency}. p_price, p_currency: of the offer that is looked at.
create function ppv_coupon_quote(p_buyer bigint, p_video uuid, p_code text, p_price bigint, p_currency text, p_offer text default 'purchase')
    returns jsonb
    language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    v videos;
    c coupons := ppv_coupon_find(p_video, p_code);
    v_off bigint;
begin
    select * into v from videos where id = p_video;
    v.price := p_price;
    v.currency := p_currency;
    perform ppv_coupon_offer(c, p_offer);
    v_off := ppv_coupon_discount(c, p_buyer, v);
    return jsonb_build_object('coupon', c.id, 'discount', v_off, 'price', v.price - v_off, 'currency', v.currency);
end $$;

-- Internal: the discount for an order that is being made, with the coupon locked, so that parallel orders count each other. 0 without
-- one. Refuses a price that the quote did not have, and one of nothing. p_what: {coupon, discount}.
create function ppv_coupon_take(v videos, p_buyer bigint, p_what jsonb) returns bigint
    language plpgsql as $$
declare
    c coupons;
    v_off bigint;
begin
    if p_what ->> 'coupon' is null then
        return 0;
    end if;
    perform pg_advisory_xact_lock(hashtextextended(p_buyer || ':' || v.id, 0));
    select * into c from coupons where id = (p_what ->> 'coupon')::bigint for no key update;
    perform ppv_coupon_offer(c, p_what ->> 'offer');
    v_off := ppv_coupon_discount(c, p_buyer, v);
    if v_off is distinct from (p_what ->> 'discount')::bigint then
        perform ppv_refuse('sale.price_changed', 'The price has changed. Please look at it again.');
    elsif v_off >= v.price then
        perform ppv_refuse('coupon.free', 'With this code nothing is left to pay.');
    end if;
    return v_off;
end $$;

-- Internal: notes on a new order what it was bought with.
create function ppv_order_codes(o orders, p_what jsonb) returns orders
    language plpgsql as $$
begin
    if p_what ->> 'coupon' is not null then
        update orders set discount = (p_what ->> 'discount')::bigint, coupon_id = (p_what ->> 'coupon')::bigint where id = o.id returning * into o;
        update coupon_uses set state = 'released', closed_at = now() where coupon_id = o.coupon_id and person = ppv_person(o.buyer_id)
            and video_id = o.video_id and state = 'reserved';
        insert into coupon_uses (coupon_id, order_id, buyer_id, person, video_id, discount, currency, state, closed_at)
            values (o.coupon_id, o.id, o.buyer_id, ppv_person(o.buyer_id), o.video_id, o.discount, o.currency,
                case when o.paid_at is null then 'reserved' else 'redeemed' end, o.paid_at);
    end if;
    if p_what -> 'gift' is not null then
        if coalesce(p_what ->> 'offer', 'purchase') <> 'purchase' then
            perform ppv_refuse('gift.offer', 'Only a title for good can be given to somebody.');
        end if;
        update orders set gift = true where id = o.id returning * into o;
        perform ppv_gift_add(o, p_what -> 'gift');
    end if;
    return o;
end $$;

-- Internal: an order with a coupon was paid, or ended unpaid.
create function ppv_coupon_settle() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if new.paid_at is not null then
        update coupon_uses set state = 'redeemed', closed_at = now() where order_id = new.id and state <> 'redeemed';
    elsif new.state in ('expired', 'cancelled', 'failed', 'returned') then
        update coupon_uses set state = 'released', closed_at = now() where order_id = new.id and state = 'reserved';
    end if;
    return null;
end $$;
create trigger orders_coupon after update of state on orders for each row when (new.coupon_id is not null) execute function ppv_coupon_settle();

-- A title for nothing: the coupon takes all of the price, no money moves, no provider is asked. Reply: {video_id, entitlement_id}.
create function ppv_coupon_free(p_buyer bigint, p_video uuid, p_code text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    c coupons := ppv_coupon_find(p_video, p_code);
    v videos;
    v_off bigint;
    v_use bigint;
    v_ent bigint;
begin
    select * into v from videos where id = p_video;
    v := (ppv_sale_check(p_buyer, p_video, v.price)).v;
    perform pg_advisory_xact_lock(hashtextextended(p_buyer || ':' || v.id, 0));
    select * into c from coupons where id = c.id for no key update;
    v_off := ppv_coupon_discount(c, p_buyer, v);
    if v_off < v.price then
        perform ppv_refuse('coupon.not_free', 'Something is left to pay.');
    end if;
    update coupon_uses set state = 'released', closed_at = now() where coupon_id = c.id and person = ppv_person(p_buyer) and video_id = v.id
        and state = 'reserved';
    insert into coupon_uses (coupon_id, buyer_id, person, video_id, discount, currency, state, closed_at)
        values (c.id, p_buyer, ppv_person(p_buyer), v.id, v_off, v.currency, 'redeemed', now()) returning id into v_use;
    update entitlements set revoked_at = now(), revoke_reason = 'expired'
        where user_id = p_buyer and video_id = p_video and revoked_at is null and expires_at <= now();
    insert into entitlements (user_id, video_id, kind, source, granted_by) values (p_buyer, v.id, 'grant', 'coupon:' || v_use, c.created_by)
        on conflict (user_id, video_id) where revoked_at is null do nothing returning id into v_ent;
    if v_ent is null then
        perform ppv_refuse('sale.already_owned', 'You already have access to this video.');
    end if;
    if exists (select from users where id = p_buyer and guest) then
        perform ppv_job_add('guest_link', jsonb_build_object('email', (select guest_email from users where id = p_buyer)), null, 'guest_free:' || v_use);
    end if;
    return jsonb_build_object('video_id', v.id, 'entitlement_id', v_ent);
end $$;

grant select on coupons, coupon_videos, coupon_uses to ppv_app, ppv_ro;
grant insert, update (disabled_at) on coupons to ppv_app;
grant insert on coupon_videos to ppv_app;
grant execute on function ppv_coupon_quote(bigint, uuid, text, bigint, text, text), ppv_coupon_free(bigint, uuid, text) to ppv_app;

-- ---- Gifts ------------------------------------------------------------------------------------------------------------------
--
-- Somebody pays, somebody else watches: the order of a gift gives its buyer no access but a code. Codes are 100 random bits; the table
-- has their hash to find them by and, sealed with the instance's key, the code for its buyer to read again.
create table gifts (
    id bigint generated always as identity primary key,
    order_id bigint not null unique references orders,
    video_id uuid not null references videos,
    code_hash bytea not null unique check (octet_length(code_hash) = 32),
    code_sealed text not null,
    email citext check (length(email) between 3 and 254), -- who gets it by mail
    message text not null default '' check (length(message) <= 500),
    state text not null check (state in ('ordered', 'open', 'redeemed', 'void')),
    redeemed_by bigint references users,
    redeemed_at timestamptz,
    created_at timestamptz not null default now(),
    check ((state = 'redeemed') = (redeemed_by is not null))
);
create index gifts_video on gifts (video_id, id desc);
alter table orders add column gift boolean not null default false;

-- Internal: the gift of a new order. p_gift: {hash (hex), sealed, email, message}.
create function ppv_gift_add(o orders, p_gift jsonb) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_id bigint;
begin
    insert into gifts (order_id, video_id, code_hash, code_sealed, email, message, state)
        values (o.id, o.video_id, decode(p_gift ->> 'hash', 'hex'), p_gift ->> 'sealed', p_gift ->> 'email', coalesce(p_gift ->> 'message', ''),
            case when o.paid_at is null then 'ordered' else 'open' end) returning id into v_id;
    if o.paid_at is not null then
        perform ppv_job_add('gift_mail', jsonb_build_object('gift', v_id), null, 'gift_mail:' || v_id);
    end if;
end $$;

-- Internal: paid, the code opens; money gone back, it is dead.
create function ppv_gift_settle() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare v_id bigint;
begin
    if new.state in ('refunded', 'chargeback_lost') then
        update gifts set state = 'void' where order_id = new.id and state in ('ordered', 'open');
    elsif new.paid_at is not null and old.paid_at is null then
        update gifts set state = 'open' where order_id = new.id and state = 'ordered' returning id into v_id;
        if v_id is not null then
            perform ppv_job_add('gift_mail', jsonb_build_object('gift', v_id), null, 'gift_mail:' || v_id);
        end if;
    end if;
    return null;
end $$;
create trigger orders_gift after update of state on orders for each row when (new.gift) execute function ppv_gift_settle();

-- Internal: a gift that can be redeemed, its order and itself locked (in this order, as refunds do); refuses any other.
create function ppv_gift_open(p_hash bytea) returns gifts
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    g gifts;
    v_state text;
begin
    select state into v_state from orders where id = (select order_id from gifts where code_hash = p_hash) for no key update;
    select * into g from gifts where code_hash = p_hash for no key update;
    if g.id is null or g.state = 'ordered' then
        perform ppv_refuse('gift.unknown', 'This code is not known.');
    elsif g.state = 'redeemed' then
        perform ppv_refuse('gift.redeemed', 'This code was redeemed already.');
    elsif g.state = 'void' then
        perform ppv_refuse('gift.void', 'This gift was taken back.');
    elsif v_state not in ('paid', 'partially_refunded') then
        perform ppv_refuse('gift.waits', 'The payment of this gift is disputed. Please try again later.');
    end if;
    return g;
end $$;

-- What a code is for, to somebody who has it: {video_id, title, message, giver}.
create function ppv_gift_look(p_hash bytea) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare g gifts := ppv_gift_open(p_hash);
begin
    return (select jsonb_build_object('video_id', g.video_id, 'title', v.title, 'message', g.message, 'giver',
        case when u.guest then '' else u.username::text end)
        from videos v, orders o join users u on u.id = o.buyer_id where v.id = g.video_id and o.id = g.order_id);
end $$;

-- Redeems a code, once. Reply: {video_id, title, entitlement_id}.
create function ppv_gift_redeem(p_user bigint, p_hash bytea) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    g gifts := ppv_gift_open(p_hash);
    v videos;
    v_id bigint;
begin
    perform ppv_active_user(p_user);
    select * into v from videos where id = g.video_id;
    if v.state = 'deleted' then
        perform ppv_refuse('gift.gone', 'This video was removed by its creator. Your code stays valid should it come back.');
    elsif v.owner_id = p_user then
        perform ppv_refuse('sale.own_video', 'This is your own video.');
    end if;
    update entitlements set revoked_at = now(), revoke_reason = 'expired'
        where user_id = p_user and video_id = v.id and revoked_at is null and expires_at <= now();
    insert into entitlements (user_id, video_id, kind, source, order_id) values (p_user, v.id, 'purchase', 'gift:' || g.id, g.order_id)
        on conflict (user_id, video_id) where revoked_at is null do nothing returning id into v_id;
    if v_id is null then
        perform ppv_refuse('sale.already_owned', 'You already have access to this video. Your code stays valid for somebody else.');
    end if;
    update gifts set state = 'redeemed', redeemed_by = p_user, redeemed_at = now() where id = g.id;
    perform ppv_audit(p_user, 'gift.redeem', 'video:' || v.id, jsonb_build_object('gift', g.id));
    if exists (select from users where id = p_user and guest) then
        perform ppv_job_add('guest_link', jsonb_build_object('email', (select guest_email from users where id = p_user)), null, 'guest_gift:' || g.id);
    end if;
    return jsonb_build_object('video_id', v.id, 'title', v.title, 'entitlement_id', v_id);
end $$;

-- ---- Grants -----------------------------------------------------------------------------------------------------------------

create function ppv_grant_check(p_by bigint, p_video uuid) returns void
    language plpgsql stable security definer set search_path = public, pg_temp as $$
begin
    if not exists (select from videos v join users u on u.id = p_by where v.id = p_video and v.state <> 'deleted'
                   and (v.owner_id = p_by or u.is_admin)) then
        perform ppv_refuse('video.not_yours', 'This video does not exist or is not yours.');
    end if;
end $$;

-- As ppv_grant, to an address: the account that has it gets access at once; an address without one gets a guest's, which the link of the
-- mail opens. The answer does not tell which. True when it is new.
create function ppv_grant_mail(p_by bigint, p_email citext, p_video uuid, p_expires timestamptz) returns boolean
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_user bigint;
    v_id bigint;
begin
    perform ppv_grant_check(p_by, p_video);
    select id into v_user from users where not guest and email = p_email and disabled_at is null;
    if v_user is null then
        select id into v_user from users where guest and guest_email = p_email and email_verified_at is not null;
    end if;
    if v_user is null then
        -- An account no browser has a session of: whoever typed this address somewhere gains nothing.
        v_user := (ppv_guest_new(p_email, false)).id;
    end if;
    if exists (select from entitlements where video_id = p_video and revoked_at is null and (expires_at is null or expires_at > now())
               and (user_id = v_user or source ~ '^mail:' and regexp_replace(source, '^mail:[0-9]+:', '')::citext = p_email)) then
        return false;
    end if;
    v_id := ppv_grant(p_by, v_user, p_video, p_expires);
    update entitlements set source = 'mail:' || id || ':' || p_email where id = v_id;
    perform ppv_job_add('grant_mail', jsonb_build_object('grant', v_id), null, 'grant_mail:' || v_id);
    return true;
end $$;

-- Takes back what was granted to an address, wherever its link has brought it. True when there was something.
create function ppv_ungrant_mail(p_by bigint, p_email citext, p_video uuid) returns boolean
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform ppv_grant_check(p_by, p_video);
    update entitlements set revoked_at = now(), revoke_reason = 'removed by creator'
        where video_id = p_video and kind = 'grant' and revoked_at is null and source ~ '^mail:'
        and regexp_replace(source, '^mail:[0-9]+:', '')::citext = p_email;
    return found;
end $$;

-- Under which name the maker of a grant knows who has it.
create function ppv_grant_name(p_source text, p_username text) returns text
    language sql immutable set search_path = public, pg_temp as $$
    select case when p_source ~ '^mail:[0-9]+:' then regexp_replace(p_source, '^mail:[0-9]+:', '') else p_username end
$$;

grant select (id, order_id, video_id, code_sealed, email, message, state, redeemed_by, redeemed_at, created_at) on gifts to ppv_app, ppv_worker;
grant update (code_sealed) on gifts to ppv_app; -- the same code under a new master key
revoke all on gifts from ppv_ro;
grant execute on function ppv_gift_look(bytea), ppv_gift_redeem(bigint, bytea), ppv_grant_mail(bigint, citext, uuid, timestamptz),
    ppv_ungrant_mail(bigint, citext, uuid), ppv_grant_name(text, text) to ppv_app;
