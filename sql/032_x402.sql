-- SPDX-License-Identifier: Apache-2.0
-- x402: payments by a signed authorization of a token (EIP-3009) in an HTTP header. A row is one authorization: claimed before anything
-- is sent, so that it is settled once however often and wherever it is shown. Addresses, nonces and hashes are lower-case text with 0x.
set local role ppv_owner;

-- The account that belongs to a paying address nobody has signed in with.
create table x402_payers (
    address text primary key check (address ~ '^0x[0-9a-f]{40}$'),
    user_id bigint not null unique references users
);

create table x402_payments (
    id bigint generated always as identity primary key,
    chain_id bigint not null references chains,
    asset text not null check (asset ~ '^0x[0-9a-f]{40}$'),
    payer text not null check (payer ~ '^0x[0-9a-f]{40}$'),
    nonce text not null check (nonce ~ '^0x[0-9a-f]{64}$'),
    order_id bigint not null references orders,
    pay_to text not null check (pay_to ~ '^0x[0-9a-f]{40}$'),
    amount numeric(78, 0) not null check (amount > 0),      -- the token's smallest units
    valid_after numeric(78, 0) not null,                    -- unix seconds, as signed
    valid_before numeric(78, 0) not null,
    signature text not null check (signature ~ '^0x[0-9a-f]{130}$'),
    version integer not null check (version in (1, 2)),
    identifier text unique check (length(identifier) between 16 and 128), -- the client's own key (payment-identifier)
    digest bytea not null check (octet_length(digest) = 32),              -- of what was asked and signed
    -- claimed: nothing was sent. sent: it may be on its way. settled: the chain has it. orphaned: its block vanished after that.
    -- failed: it never will, or not for us.
    state text not null default 'claimed' check (state in ('claimed', 'sent', 'settled', 'orphaned', 'failed')),
    reason text not null default '' check (length(reason) <= 200),
    relayer text check (relayer ~ '^0x[0-9a-f]{40}$'),
    relay_nonce bigint check (relay_nonce >= 0),
    tries integer not null default 0,
    tx_hash text check (tx_hash ~ '^0x[0-9a-f]{64}$'),
    from_block bigint not null default 0,                   -- the head when it was claimed: where a search for it begins
    busy_until timestamptz not null default now(),          -- one at a time works on it
    answered boolean not null default false,                -- the client was let in with it; a second showing is a replay
    answer jsonb,                                           -- kept for a client with an identifier of its own
    created_at timestamptz not null default now(),
    settled_at timestamptz,
    block_number bigint,                                    -- where it was seen last, looked at until that is final
    block_hash text check (block_hash ~ '^0x[0-9a-f]{64}$'),
    final_at timestamptz,
    orphans integer not null default 0,                     -- times it vanished
    ref text not null generated always as (chain_id::text || ':' || payer || ':' || nonce) stored, -- what the books call the payment
    unique (chain_id, asset, payer, nonce)
);
create unique index x402_payments_open on x402_payments (order_id) where state in ('claimed', 'sent');
create index x402_payments_order on x402_payments (order_id);
create index x402_payments_payer on x402_payments (payer, order_id) where state = 'settled';
create index x402_payments_watch on x402_payments (chain_id, id) where state = 'orphaned' or (state = 'settled' and final_at is null);
create index x402_payments_relayer on x402_payments (chain_id, relayer, relay_nonce) where relay_nonce is not null;

-- The account of a payer; the first payment of an address makes one. It has no mail address that could receive anything.
create function ppv_x402_payer(p_address text) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_user bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('x402:' || p_address, 0));
    select user_id into v_user from x402_payers where address = p_address;
    if not found then
        v_user := (ppv_guest_new((p_address || '@wallet.invalid')::citext, false)).id;
        insert into x402_payers (address, user_id) values (p_address, v_user);
    end if;
    return v_user;
end $$;

-- Gives a payment its number (033_chain_out.sql), or the one that it has while that is not used up. null: none, or it is over.
create function ppv_x402_number(p_id bigint, p_relayer text, p_latest bigint) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    x x402_payments;
    v_number bigint;
begin
    select * into x from x402_payments where id = p_id for no key update;
    if x.state in ('sent', 'orphaned') and x.relayer = p_relayer and x.relay_nonce >= p_latest then
        v_number := x.relay_nonce; -- sent again, perhaps with a higher fee
    elsif x.state in ('claimed', 'sent', 'orphaned') then
        v_number := ppv_relay_number(x.chain_id, p_relayer, p_latest);
    end if;
    update x402_payments set state = case state when 'claimed' then 'sent' else state end, relayer = p_relayer, relay_nonce = v_number, tries = tries + 1
        where id = p_id and v_number is not null;
    return v_number;
end $$;

-- The block of a settled payment is gone: access ends, what the sale earned is frozen, as with the splitter's.
create function ppv_x402_orphan(p_id bigint) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare x x402_payments;
begin
    perform id from orders where id = (select order_id from x402_payments where id = p_id) for no key update;
    update x402_payments set state = 'orphaned', orphans = orphans + 1, final_at = null where id = p_id and state = 'settled' returning * into x;
    if found then
        perform ppv_audit(null, 'chain.orphaned', 'order:' || x.order_id, jsonb_build_object('tx', x.tx_hash, 'chain_id', x.chain_id,
            'block', x.block_number));
        perform ppv_payment_gone('x402', x.ref);
    end if;
end $$;

-- It is in a final block: nothing has to be looked at any more, and what had vanished is in force again.
create function ppv_x402_final(p_id bigint, p_tx text, p_block bigint, p_hash text) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare x x402_payments;
begin
    perform id from orders where id = (select order_id from x402_payments where id = p_id) for no key update;
    select * into x from x402_payments where id = p_id for no key update;
    if x.state in ('settled', 'orphaned') then
        update x402_payments set state = 'settled', tx_hash = p_tx, block_number = p_block, block_hash = p_hash, final_at = now() where id = p_id;
        if x.state = 'orphaned' then
            perform ppv_audit(null, 'chain.restored', 'order:' || x.order_id, jsonb_build_object('tx', p_tx, 'block', p_block));
            perform ppv_payment_back('x402', x.ref);
        end if;
    end if;
end $$;

create function ppv_x402_give_up(p_admin bigint, p_id bigint) returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    x x402_payments;
    v_state text;
begin
    perform id from orders where id = (select order_id from x402_payments where id = p_id) for no key update;
    select * into x from x402_payments where id = p_id for no key update;
    if x.state is distinct from 'orphaned' then
        perform ppv_refuse('chain.not_orphaned', 'This payment has not vanished.');
    end if;
    v_state := ppv_payment_give_up(p_admin, 'x402', x.order_id, x.tx_hash);
    update x402_payments set state = 'failed', reason = 'given up' where id = p_id;
    return v_state;
end $$;

-- Excerpts (028_offers.sql): the paid orders are the access to them. ----------------------------------------------------------------

-- Seconds of the title, from its beginning, that the user has bought as excerpts (also as a guest whose goods are now the user's). What was
-- sent back or is disputed does not count; nor does anything for whom ppv_access would not let in either.
create function ppv_excerpt_s(p_user bigint, p_video uuid) returns integer
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(sum((o.terms ->> 'excerpt_s')::integer), 0)::integer from orders o
        join videos v on v.id = o.video_id join users u on u.id = p_user
    where o.buyer_id = any (ppv_buyers(p_user)) and o.video_id = p_video and o.offer = 'excerpt' and o.state in ('paid', 'partially_refunded')
        and v.state <> 'deleted' and u.disabled_at is null
        and not exists (select from creator_blocks b where b.creator_id = v.owner_id and b.user_id = p_user
            and b.ban_type = 'hard' and (b.expires_at is null or b.expires_at > now()))
$$;

-- Why a playback may go on that began with an access of p_began: as ppv_access says, or 'excerpt' for one that began with it.
create function ppv_play_access(p_user bigint, p_video uuid, p_began text) returns text
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(ppv_access(p_user, p_video), case when p_began = 'excerpt' and ppv_excerpt_s(p_user, p_video) > 0 then 'excerpt' end)
$$;

grant select, insert, update on x402_payments to ppv_app, ppv_worker;
grant select on x402_payers to ppv_app, ppv_worker;
grant execute on function ppv_x402_payer(text), ppv_x402_give_up(bigint, bigint) to ppv_app;
grant execute on function ppv_x402_orphan(bigint), ppv_x402_final(bigint, text, bigint, text) to ppv_app, ppv_worker;
grant execute on function ppv_x402_number(bigint, text, bigint) to ppv_app, ppv_worker;
grant execute on function ppv_excerpt_s(bigint, uuid), ppv_play_access(bigint, uuid, text) to ppv_app, ppv_worker;
