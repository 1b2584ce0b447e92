-- SPDX-License-Identifier: Apache-2.0
-- Guests: who buys with an e-mail address and no password.
--
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
    if exists (select from users where id = new.buyer_id and guest) then
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
