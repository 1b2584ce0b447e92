-- SPDX-License-Identifier: Apache-2.0
-- What goes out on chains: payments that the site sends for buyers, and refunds.
set local role ppv_owner;

-- Signed invoices whose payment the site sends for the buyer (PPVSplitter.payWithAuthorization): the buyer signs a token's authorization,
-- the key `relayer` pays the network's fee. What settles the order is the contract's event, as with every payment of an invoice.
create table chain_relays (
    invoice_id text primary key references chain_invoices,
    chain_id bigint not null references chains,
    buyer_id bigint not null references users,
    signature text not null check (signature ~ '^0x[0-9a-f]{130}$'), -- ReceiveWithAuthorization of the token; its nonce is the invoice's digest
    -- claimed: nothing was sent. sent: it may be on its way. done: the payment is final. failed: it never will be.
    state text not null default 'claimed' check (state in ('claimed', 'sent', 'done', 'failed')),
    reason text not null default '' check (length(reason) <= 200),
    relayer text check (relayer ~ '^0x[0-9a-f]{40}$'),
    relay_nonce bigint check (relay_nonce >= 0),
    tries integer not null default 0,
    tx_hash text check (tx_hash ~ '^0x[0-9a-f]{64}$'),
    busy_until timestamptz not null default now(), -- one at a time sends it
    created_at timestamptz not null default now()
);
create index chain_relays_buyer on chain_relays (buyer_id, created_at);
create index chain_relays_created on chain_relays (created_at);
create index chain_relays_open on chain_relays (invoice_id) where state in ('claimed', 'sent');
create index chain_relays_relayer on chain_relays (chain_id, relayer, relay_nonce) where relay_nonce is not null;

-- What the relayer has left, as the watcher saw it last.
alter table chains add column relayer text, add column relayer_wei numeric(78, 0), add column treasury_wei numeric(78, 0),
    add column gas_wei numeric(78, 0); -- what a unit of gas costs at most now

-- The one allocator of a relayer's transaction numbers: the least one that nothing on its way has. p_latest: the account's count in
-- the newest block. What had a number and never got into a block leaves it to the next, so that no gap holds others up.
create function ppv_relay_number(p_chain bigint, p_relayer text, p_latest bigint) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_number bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('relayer:' || p_chain || p_relayer, 0));
    select min(n) into v_number from generate_series(p_latest, p_latest + 10000) n where not exists (select from x402_payments o
            where o.chain_id = p_chain and o.relayer = p_relayer and o.relay_nonce = n and o.state in ('sent', 'settled', 'orphaned'))
        and not exists (select from chain_relays o
            where o.chain_id = p_chain and o.relayer = p_relayer and o.relay_nonce = n and o.state in ('sent', 'done'));
    return v_number;
end $$;

-- The buyer's authorization for an invoice is taken up: false when it is already. At most p_buyer in 24 hours for one buyer and p_all in
-- all; what failed before anything was sent may be tried again.
create function ppv_chain_relay_claim(p_invoice text, p_buyer_id bigint, p_signature text, p_buyer integer, p_all integer) returns boolean
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('chain_relays', 0));
    if exists (select from chain_relays where invoice_id = p_invoice and (state <> 'failed' or tx_hash is not null)) then
        return false;
    elsif (select count(*) from chain_relays where buyer_id = p_buyer_id and created_at > now() - interval '24 hours') >= p_buyer
        or (select count(*) from chain_relays where created_at > now() - interval '24 hours') >= p_all then
        perform ppv_refuse('chain.sponsor', 'The network fee cannot be paid for you any more today. Please pay it from your wallet.');
    end if;
    insert into chain_relays (invoice_id, chain_id, buyer_id, signature, busy_until)
        select id, chain_id, p_buyer_id, p_signature, now() + interval '1 minute' from chain_invoices where id = p_invoice
        on conflict (invoice_id) do update set state = 'claimed', reason = '', signature = excluded.signature, busy_until = excluded.busy_until;
    return true;
end $$;

-- Gives a relay its number, or the one that it has while that is not used up. null: none, or it is over.
create function ppv_chain_relay_number(p_invoice text, p_relayer text, p_latest bigint) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    r chain_relays;
    v_number bigint;
begin
    select * into r from chain_relays where invoice_id = p_invoice for no key update;
    if r.state = 'sent' and r.relayer = p_relayer and r.relay_nonce >= p_latest then
        v_number := r.relay_nonce;
    elsif r.state in ('claimed', 'sent') then
        v_number := ppv_relay_number(r.chain_id, p_relayer, p_latest);
    end if;
    update chain_relays set state = 'sent', relayer = p_relayer, relay_nonce = v_number, tries = tries + 1
        where invoice_id = p_invoice and v_number is not null;
    return v_number;
end $$;

grant select, update on chain_relays to ppv_app, ppv_worker;
grant execute on function ppv_chain_relay_claim(text, bigint, text, integer, integer) to ppv_app;
grant execute on function ppv_chain_relay_number(text, text, bigint) to ppv_app, ppv_worker;

-- Refunds of what was paid on a chain: an administrator sends them from the treasury; a refund is done when its transfer is found in a
-- final block. One row says what is to be sent where.
create table chain_refunds (
    refund_id bigint primary key references refunds,
    chain_id bigint not null references chains,
    token text not null check (token ~ '^0x[0-9a-f]{40}$'), -- 0x000... = the chain's own coin
    amount numeric(78, 0) not null check (amount > 0),      -- exactly this, in the token's smallest units
    payer text not null check (payer ~ '^0x[0-9a-f]{40}$'), -- who paid gets it back
    -- open: waits for the transaction. seen: one was named and is looked at. done: it is final. void: will not be sent.
    state text not null default 'open' check (state in ('open', 'seen', 'done', 'void')),
    problem text not null default '' check (length(problem) <= 300),
    tx_hash text check (tx_hash ~ '^0x[0-9a-f]{64}$'),
    log_index integer,                                      -- of the token's Transfer; -1 = the transaction itself, for the coin
    created_at timestamptz not null default now(),
    unique (chain_id, tx_hash, log_index)
);
create index chain_refunds_open on chain_refunds (refund_id) where state in ('open', 'seen');

-- What a refund has to send, written once; its state, or null when its order was not paid on a chain that we know of. Parts of all refunds add up
-- to what was paid.
create function ppv_chain_refund(p_refund bigint) returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    r refunds;
    o orders;
    v_paid record;
    v_before bigint;
    v_state text := (select state from chain_refunds where refund_id = p_refund);
begin
    if v_state is not null then
        return v_state;
    end if;
    select * into r from refunds where id = p_refund;
    select * into o from orders where id = r.order_id for no key update;
    select * into v_paid from (
        select c.chain_id, c.token, c.amount, c.payer from payments p join chain_payments c on c.ref = p.payment_ref and c.state = 'final'
            where p.order_id = o.id and p.state = 'booked' and p.provider = 'splitter'
        union all
        select x.chain_id, x.asset, x.amount, x.payer from payments p join x402_payments x on x.ref = p.payment_ref and x.state = 'settled'
            where p.order_id = o.id and p.state = 'booked' and p.provider = 'x402') y limit 1;
    if not found then
        return null;
    end if;
    v_before := coalesce((select sum(charge) from refunds where order_id = o.id and id < r.id and state <> 'failed'), 0);
    insert into chain_refunds (refund_id, chain_id, token, amount, payer) values (r.id, v_paid.chain_id, v_paid.token,
        greatest(div(v_paid.amount * least(v_before + r.charge, o.charge), o.charge) - div(v_paid.amount * least(v_before, o.charge), o.charge), 1),
        v_paid.payer);
    return 'open';
end $$;

-- An administrator names the transaction that sent it, or gives it up (null): then nothing may have been named.
create function ppv_chain_refund_named(p_admin bigint, p_refund bigint, p_tx text) returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_state text;
begin
    perform ppv_admin_check(p_admin, (select o.buyer_id from refunds r join orders o on o.id = r.order_id where r.id = p_refund));
    update chain_refunds set tx_hash = p_tx, problem = '', state = case when p_tx is null then 'void' else 'seen' end
        where refund_id = p_refund and (state = 'open' or (state = 'seen' and p_tx is not null)) returning state into v_state;
    if v_state is null then
        perform ppv_refuse('refund.state', 'This refund does not wait for a transaction.');
    end if;
    perform ppv_audit(p_admin, 'refund.chain', 'refund:' || p_refund, jsonb_build_object('tx', p_tx));
    return v_state;
end $$;

grant select, update on chain_refunds to ppv_app, ppv_worker;
grant execute on function ppv_chain_refund(bigint) to ppv_app, ppv_worker;
grant execute on function ppv_chain_refund_named(bigint, bigint, text) to ppv_app;
