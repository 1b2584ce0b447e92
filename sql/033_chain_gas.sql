-- SPDX-License-Identifier: Apache-2.0
-- Signed invoices whose payment the site sends for the buyer (PPVSplitter.payWithAuthorization): the buyer signs a token's authorization,
-- the key `relayer` pays the network's fee. What settles the order is the contract's event, as with every payment of an invoice.
set local role ppv_owner;

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
