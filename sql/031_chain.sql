-- SPDX-License-Identifier: Apache-2.0
-- Payments on EVM chains through the splitter contract: chains, signed invoices, what was seen on chain, who is paid there.
-- Amounts of tokens are whole numbers of their smallest unit (numeric(78,0)), addresses and hashes lower-case text with 0x.
-- A payment is provisional until its chain calls its block final; a block that vanishes takes its payments with it (orphaned).
-- Books: the sale is booked as with any provider; what the contract paid to people is then taken from their wallets again
-- ("Paid on chain"), so that clearing holds what the treasury received and nobody is owed twice.
set local role ppv_owner;

create table chains (
    chain_id bigint primary key check (chain_id > 0),
    name text not null check (length(name) between 1 and 60),
    testnet boolean not null,              -- practice money; offered only while the plugin's environment is sandbox
    enabled boolean not null default false,
    contract text check (contract ~ '^0x[0-9a-f]{40}$'),
    code_hash text check (code_hash ~ '^0x[0-9a-f]{64}$'), -- keccak-256 of the contract's code; null = not compared
    start_block bigint not null default 0 check (start_block >= 0),
    treasury text check (treasury ~ '^0x[0-9a-f]{40}$'),
    finality text not null default 'finalized' check (finality in ('finalized', 'safe', 'count')),
    confirmations integer not null default 1 check (confirmations between 1 and 10000), -- least number of blocks, whatever the finality
    rpc_sealed text not null default '',   -- address of the node; rpc2: a second source
    rpc2_sealed text not null default '',
    second_above bigint default 50000 check (second_above >= 0), -- minor units of the price from which both sources must agree; null = never
    range integer not null default 2000 check (range between 1 and 100000), -- most blocks asked for at a time
    poll_s integer not null default 12 check (poll_s between 1 and 3600),
    explorer text not null default '' check (length(explorer) <= 200),
    -- What the watcher saw last.
    head bigint,
    head_at timestamptz,
    final bigint,
    head2 bigint,
    checked_at timestamptz,
    problem text not null default '' check (length(problem) <= 500),
    problem2 text not null default '' check (length(problem2) <= 500),
    lease timestamptz,                     -- one watcher at a time
    updated_at timestamptz not null default now()
);
insert into chains (chain_id, name, testnet, finality, confirmations, explorer, poll_s) values
    (1, 'Ethereum', false, 'finalized', 12, 'https://etherscan.io', 12),
    (137, 'Polygon', false, 'finalized', 64, 'https://polygonscan.com', 6),
    (8453, 'Base', false, 'finalized', 10, 'https://basescan.org', 6),
    (80002, 'Polygon Amoy Testnet', true, 'finalized', 10, 'https://amoy.polygonscan.com', 6),
    (84532, 'Base Sepolia', true, 'finalized', 10, 'https://sepolia.basescan.org', 6),
    (6342, 'Mega Testnet', true, 'count', 20, '', 6);
alter table pay_tokens add constraint pay_tokens_chain foreign key (chain_id) references chains;
alter table pay_tokens alter column is_active set default false;
-- What its contract said when it was listed: the EIP-712 domain of its signatures (null: none that we can make) and what they can do.
alter table pay_tokens add column sign_name text check (length(sign_name) <= 200), add column sign_version text check (length(sign_version) <= 40),
    add column eip3009 boolean not null default false, -- a payment by signature alone, sent by anybody
    add column eip2612 boolean not null default false; -- a permission by signature

-- Checkpoints of final blocks, so that the fork of a reorganisation is found; the newest is the cursor.
create table chain_blocks (
    chain_id bigint not null references chains,
    number bigint not null check (number >= 0),
    hash text not null check (hash ~ '^0x[0-9a-f]{64}$'),
    primary key (chain_id, number)
);

-- A proved address: its owner signed our challenge. One per person, on all chains.
create table chain_addresses (
    user_id bigint primary key references users on delete cascade,
    address text not null check (address ~ '^0x[0-9a-f]{40}$'),
    message text not null,
    signature text not null,
    proved_at timestamptz not null default now(),
    usable_at timestamptz not null default now() -- a replaced address waits, as a changed payout destination does
);
create table chain_challenges (
    user_id bigint primary key references users on delete cascade,
    address text not null check (address ~ '^0x[0-9a-f]{40}$'),
    message text not null check (length(message) <= 1000),
    expires_at timestamptz not null
);

-- What the contract is asked to split, signed. An order may have several (another token, another wallet); each is payable once.
create table chain_invoices (
    id text primary key check (id ~ '^0x[0-9a-f]{64}$'),
    order_id bigint not null references orders,
    chain_id bigint not null references chains,
    contract text not null,
    token text not null,                   -- 0x000... = the chain's own coin
    symbol text not null,
    decimals integer not null,
    amount numeric(78, 0) not null check (amount > 0),
    payer text not null check (payer ~ '^0x[0-9a-f]{40}$' and payer <> '0x0000000000000000000000000000000000000000'),
    payees jsonb not null check (jsonb_typeof(payees) = 'array'), -- [{to, amount, role treasury|creator|affiliate, user_id, share}]; share: of the price
    deadline timestamptz not null,
    digest text not null,                  -- EIP-712; the contract's event repeats it
    signature text not null,
    rate text not null,                    -- price of one token in the order's currency, and who said so
    rate_source text not null,
    from_block bigint not null default 0,  -- the head when it was signed: where a search for its payment begins
    swept boolean not null default false,  -- after the deadline the contract said that it was not used, or its payment is known
    created_at timestamptz not null default now()
);
create index chain_invoices_order on chain_invoices (order_id);
create index chain_invoices_open on chain_invoices (chain_id, deadline) where not swept;

-- Every Paid event of our contract. ref = what the books call the payment: the contract takes an invoice once, so a payment that is
-- included again, or by another transaction, is the same payment.
create table chain_payments (
    id bigint generated always as identity primary key,
    chain_id bigint not null references chains,
    tx_hash text not null check (tx_hash ~ '^0x[0-9a-f]{64}$'),
    log_index integer not null check (log_index >= 0),
    block_number bigint not null,
    block_hash text not null check (block_hash ~ '^0x[0-9a-f]{64}$'),
    block_time timestamptz not null,
    contract text not null,
    invoice_id text not null,
    order_id bigint references orders,     -- null: signed by our key, but not in these books
    payer text not null,
    token text not null,
    amount numeric(78, 0) not null,
    invoice_hash text not null,
    shares jsonb,                          -- [{to, amount, credited}] as the receipt has them
    state text not null default 'provisional' check (state in ('provisional', 'final', 'orphaned')),
    problem text not null default '' check (length(problem) <= 500), -- why it is not final yet
    sources integer not null default 0,    -- nodes that agreed when it became final
    orphans integer not null default 0,    -- times it vanished
    payout_txn bigint references ledger_txns, -- the posting that says who was paid on chain; null = none in force
    seen_at timestamptz not null default now(),
    final_at timestamptz,
    orphaned_at timestamptz,
    ref text not null generated always as (chain_id::text || ':' || invoice_id) stored,
    unique (chain_id, tx_hash, log_index)
);
create unique index chain_payments_ref on chain_payments (ref) where state <> 'orphaned';
create index chain_payments_open on chain_payments (chain_id, block_number) where state = 'provisional';
create index chain_payments_order on chain_payments (order_id);

-- Whole units of a token for a price: ceil(charge / 10^exponent / rate x 10^decimals), exact.
create function ppv_chain_amount(p_charge bigint, p_exponent integer, p_rate numeric, p_decimals integer) returns numeric
    language sql immutable set search_path = public, pg_temp as $$
    select trim_scale(div(a + b - 1, b)) from (select
        p_charge * ('1' || repeat('0', p_decimals + scale(p_rate)))::numeric as a,
        trunc(p_rate * ('1' || repeat('0', p_exponent + scale(p_rate)))::numeric) as b) x
$$;

-- A person's address that may be paid now: proved, still in the profile, usable, no debt to work off.
create function ppv_chain_address(p_user bigint, p_currency text) returns text
    language sql stable security definer set search_path = public, pg_temp as $$
    select a.address from chain_addresses a join users u on u.id = a.user_id
    where a.user_id = p_user and a.usable_at <= now() and u.wallet_account = a.address and u.disabled_at is null
        and not exists (select from ledger_accounts k join ledger_entries e on e.account_id = k.id where k.kind = 'receivable'
            and k.owner_id = p_user and k.name = 'debt' and k.currency = p_currency having sum(e.amount) < 0)
$$;

-- What an order's invoice in a token is: {amount, payees}. The treasury gets what has no address, and all rounding.
create function ppv_chain_quote(p_order bigint, p_chain bigint, p_symbol text, p_rate numeric, p_exponent integer) returns jsonb
    language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    o orders;
    c chains;
    t pay_tokens;
    v_amount numeric;
    v_left numeric;
    v_part numeric;
    v_payees jsonb := '[]';
    r record;
begin
    select * into o from orders where id = p_order;
    select * into c from chains where chain_id = p_chain;
    select * into t from pay_tokens where chain_id = p_chain and symbol = p_symbol;
    if p_rate is null or p_rate <= 0 then
        perform ppv_refuse('rate.unset', 'There is no price of this token.');
    end if;
    v_amount := ppv_chain_amount(o.charge, p_exponent, p_rate, t.decimals);
    v_left := v_amount;
    for r in select * from (select 0 as n, 'creator' as role, o.creator_id as who, o.creator as share union all
                 select 1, 'affiliate', (l->>'to')::bigint, (l->>'amount')::bigint from jsonb_array_elements(o.payees) l) x
             cross join lateral (select ppv_chain_address(x.who, o.currency) as addr) y where y.addr is not null order by n, who limit 15 loop -- the contract takes 16
        v_part := div(v_amount * r.share, o.price);
        if v_part > 0 then
            v_payees := v_payees || jsonb_build_object('to', r.addr, 'amount', v_part::text, 'role', r.role, 'user_id', r.who, 'share', r.share);
            v_left := v_left - v_part;
        end if;
    end loop;
    if v_left > 0 then
        v_payees := v_payees || jsonb_build_object('to', c.treasury, 'amount', v_left::text, 'role', 'treasury');
    end if;
    return jsonb_build_object('amount', v_amount::text, 'payees', v_payees);
end $$;

-- Keeps a signed invoice; the order waits until its payment can be final.
create function ppv_chain_invoice_add(p_order bigint, p jsonb) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into chain_invoices (id, order_id, chain_id, contract, token, symbol, decimals, amount, payer, payees, deadline, digest, signature,
        rate, rate_source, from_block)
    values (p->>'id', p_order, (p->>'chain_id')::bigint, p->>'contract', p->>'token', p->>'symbol', (p->>'decimals')::integer,
        (p->>'amount')::numeric, p->>'payer', p->'payees', to_timestamp((p->>'deadline')::bigint), p->>'digest', p->>'signature',
        p->>'rate', p->>'rate_source', coalesce((select head from chains where chain_id = (p->>'chain_id')::bigint), 0));
end $$;

-- A Paid event in a block. {id, state, news}: news = it was not known as it is now.
create function ppv_chain_seen(p jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    c chain_payments;
    v_order bigint := (select order_id from chain_invoices where id = p->>'invoice_id' and chain_id = (p->>'chain_id')::bigint);
begin
    select * into c from chain_payments where chain_id = (p->>'chain_id')::bigint and tx_hash = p->>'tx_hash'
        and log_index = (p->>'log_index')::integer for no key update;
    if found and c.block_hash = p->>'block_hash' and c.state <> 'orphaned' then
        return jsonb_build_object('id', c.id, 'state', c.state, 'news', false);
    elsif found and c.state = 'final' then
        -- Final payments move only through ppv_chain_orphan.
        return jsonb_build_object('id', c.id, 'state', c.state, 'news', false);
    elsif found then
        update chain_payments set block_number = (p->>'block_number')::bigint, block_hash = p->>'block_hash',
            block_time = to_timestamp((p->>'block_time')::bigint), state = 'provisional', problem = '', shares = null,
            order_id = coalesce(order_id, v_order) where id = c.id returning * into c;
    else
        insert into chain_payments (chain_id, tx_hash, log_index, block_number, block_hash, block_time, contract, invoice_id, order_id, payer,
            token, amount, invoice_hash)
        values ((p->>'chain_id')::bigint, p->>'tx_hash', (p->>'log_index')::integer, (p->>'block_number')::bigint, p->>'block_hash',
            to_timestamp((p->>'block_time')::bigint), p->>'contract', p->>'invoice_id', v_order, p->>'payer', p->>'token',
            (p->>'amount')::numeric, p->>'invoice_hash') returning * into c;
    end if;
    -- Time to become final.
    update orders set expires_at = greatest(expires_at, now() + interval '1 hour') where id = c.order_id and state = 'pending';
    return jsonb_build_object('id', c.id, 'state', c.state, 'news', true);
end $$;

-- Internal: what the contract paid to people leaves their wallets: they have it. What a wallet cannot give was paid twice: a debt.
create function ppv_chain_payout(p_payment bigint) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    c chain_payments;
    o orders;
    v_lines jsonb := '[]';
    v_sum bigint := 0;
    v_people bigint[];
    r record;
begin
    select * into c from chain_payments where id = p_payment for no key update;
    select * into o from orders where id = c.order_id;
    if c.payout_txn is not null or c.state <> 'final' then
        return;
    end if;
    v_people := o.creator_id || ppv_payee_ids(o.payees);
    perform id from ledger_accounts where kind = 'user' and currency = o.currency and name = 'wallet'
        and owner_id = any (v_people) order by id for no key update;
    for r in select case e->>'role' when 'creator' then 'creator' else 'affiliate:' || (e->>'user_id') end as role, (e->>'user_id')::bigint as who,
                 (e->>'share')::bigint as share, e->>'to' as addr
             from chain_invoices i, jsonb_array_elements(i.payees) e where i.id = c.invoice_id and e ? 'user_id' order by 2 loop
        v_sum := v_sum + r.share;
        v_lines := v_lines || ppv_claw_lines(o, r.who, r.role, r.share, 'Paid on chain to ' || r.addr);
    end loop;
    if v_sum = 0 then
        return;
    end if;
    update chain_payments set payout_txn = ppv_post('adjustment', o.id, null, 'Paid on chain', jsonb_build_object('payment_ref', c.ref,
        'tx', c.tx_hash, 'chain_id', c.chain_id), v_lines || jsonb_build_array(jsonb_build_array(
        ppv_account('clearing', null, o.method, o.currency), v_sum, 'Paid on chain by the contract'))) where id = c.id;
end $$;

-- Internal: the payout never happened, its block is gone.
create function ppv_chain_unpay(p_payment bigint) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare c chain_payments;
begin
    select * into c from chain_payments where id = p_payment for no key update;
    if c.payout_txn is null then
        return;
    end if;
    perform ppv_post('reversal', c.order_id, null, 'The payment on chain vanished', jsonb_build_object('payment_ref', c.ref, 'reverses', c.payout_txn),
        (select jsonb_agg(jsonb_build_array(account_id, -amount, 'The payment on chain vanished')) from ledger_entries where txn_id = c.payout_txn));
    update chain_payments set payout_txn = null where id = c.id;
end $$;

-- Any way a chain payment enters the books (sale, credit, sent back): what the contract paid out goes with it.
create function ppv_chain_booked() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform ppv_chain_payout(id) from chain_payments where ref = new.payment_ref and state = 'final';
    return null;
end $$;
create trigger payments_chain_added after insert on payments for each row
    when (new.provider = 'splitter' and new.state <> 'review') execute function ppv_chain_booked();
create trigger payments_chain_decided after update of state on payments for each row
    when (new.provider = 'splitter' and new.state <> 'review' and old.state is distinct from new.state) execute function ppv_chain_booked();

-- Internal: what a chain paid for a booked payment is not there any more: access ends now, what the sale earned is frozen as in a dispute.
create function ppv_payment_gone(p_provider text, p_ref text) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare p payments;
begin
    select * into p from payments where provider = p_provider and payment_ref = p_ref for no key update;
    if p.state = 'review' then
        update payments set state = 'returned', decided_at = now(), why = 'orphaned' where id = p.id;
        update orders set state = 'returned', why = 'orphaned' where id = p.order_id and state = 'review'
            and not exists (select from payments where order_id = p.order_id and state = 'review');
    elsif p.state = 'booked' then
        update entitlements set revoked_at = now(), revoke_reason = 'orphaned' where order_id = p.order_id and revoked_at is null;
        perform ppv_dispute_seen(p.order_id, jsonb_build_object('ref', p_ref || '#' || (select count(*) + 1 from disputes
            where order_id = p.order_id and state <> 'open'), 'state', 'open'));
    end if;
end $$;

-- Internal: it is there again. False when the books do not know the payment.
create function ppv_payment_back(p_provider text, p_ref text) returns boolean
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    p payments;
    v_ref text;
begin
    select * into p from payments where provider = p_provider and payment_ref = p_ref for no key update;
    if not found then
        return false;
    elsif p.state = 'returned' and p.why = 'orphaned' then
        update payments set state = 'review', decided_at = null where id = p.id;
    elsif p.state <> 'review' then
        update entitlements n set revoked_at = null, revoke_reason = null where n.order_id = p.order_id and n.revoke_reason = 'orphaned'
            and not exists (select from entitlements x where x.user_id = n.user_id and x.video_id = n.video_id and x.revoked_at is null);
        select provider_ref into v_ref from disputes where order_id = p.order_id and state = 'open' and provider = p_provider;
        if found then
            perform ppv_dispute_seen(p.order_id, jsonb_build_object('ref', v_ref, 'state', 'won'));
        end if;
    end if;
    return true;
end $$;

-- Internal: an administrator gives what vanished up: the sale is undone like a lost dispute.
create function ppv_payment_give_up(p_admin bigint, p_provider text, p_order bigint, p_tx text) returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_ref text;
begin
    perform ppv_admin_check(p_admin, (select buyer_id from orders where id = p_order));
    select provider_ref into v_ref from disputes where order_id = p_order and state = 'open' and provider = p_provider;
    if v_ref is null then
        perform ppv_refuse('chain.not_orphaned', 'This payment has not vanished.');
    end if;
    perform ppv_audit(p_admin, 'chain.give_up', 'order:' || p_order, jsonb_build_object('tx', p_tx));
    return ppv_dispute_seen(p_order, jsonb_build_object('ref', v_ref, 'state', 'lost'));
end $$;

-- The block of a payment is gone. A provisional one is forgotten; one that was booked becomes a dispute with the chain: access ends
-- now, what the sale earned is frozen, until it is included again or an administrator gives it up. Reply: the order's state or null.
create function ppv_chain_orphan(p_payment bigint) returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    c chain_payments;
    v_was text;
begin
    perform id from orders where id = (select order_id from chain_payments where id = p_payment) for no key update;
    select * into c from chain_payments where id = p_payment for no key update;
    if c.state = 'orphaned' then
        return null;
    end if;
    v_was := c.state;
    update chain_payments set state = 'orphaned', orphaned_at = now(), orphans = orphans + 1, final_at = null, problem = '' where id = c.id
        returning * into c;
    update chain_invoices set swept = false where id = c.invoice_id;
    if v_was = 'final' then
        perform ppv_audit(null, 'chain.orphaned', 'order:' || coalesce(c.order_id::text, '?'), jsonb_build_object('tx', c.tx_hash,
            'chain_id', c.chain_id, 'block', c.block_number));
    end if;
    if v_was = 'final' then
        perform ppv_chain_unpay(c.id);
        perform ppv_payment_gone('splitter', c.ref);
    end if;
    return (select state from orders where id = c.order_id);
end $$;

-- A payment's block is final. What had vanished is in force again; else the order is to be settled. Reply: {order_id, settle}.
create function ppv_chain_final(p_payment bigint, p_shares jsonb, p_sources integer) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare c chain_payments;
begin
    perform id from orders where id = (select order_id from chain_payments where id = p_payment) for no key update;
    select * into c from chain_payments where id = p_payment for no key update;
    if c.state <> 'provisional' then
        return jsonb_build_object('order_id', c.order_id, 'settle', c.state = 'final');
    end if;
    update chain_payments set state = 'final', final_at = now(), shares = p_shares, sources = p_sources, problem = '' where id = c.id
        returning * into c;
    update chain_invoices set swept = true where id = c.invoice_id;
    if not ppv_payment_back('splitter', c.ref) then
        return jsonb_build_object('order_id', c.order_id, 'settle', c.order_id is not null);
    end if;
    if not exists (select from payments where provider = 'splitter' and payment_ref = c.ref and state = 'review') then
        perform ppv_chain_payout(c.id);
        perform ppv_audit(null, 'chain.restored', 'order:' || c.order_id, jsonb_build_object('tx', c.tx_hash, 'block', c.block_number));
    end if;
    return jsonb_build_object('order_id', c.order_id, 'settle', false);
end $$;

-- An administrator gives a vanished payment up.
create function ppv_chain_give_up(p_admin bigint, p_payment bigint) returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
declare c chain_payments;
begin
    select * into c from chain_payments where id = p_payment;
    if c.state is distinct from 'orphaned' or exists (select from chain_payments where ref = c.ref and state <> 'orphaned') then
        perform ppv_refuse('chain.not_orphaned', 'This payment has not vanished.');
    end if;
    return ppv_payment_give_up(p_admin, 'splitter', c.order_id, c.tx_hash);
end $$;

-- What the chain says of an order, as a provider's facts: the first final payment that is not in the books, else 'pending'. The amount
-- is the price's when exactly the invoice's was paid; any difference shows, however small.
create function ppv_chain_facts(p_order bigint) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce((select jsonb_strip_nulls(jsonb_build_object('state', 'paid', 'currency', o.charge_currency, 'live', not k.testnet,
            'ref', o.provider_ref, 'payment_ref', c.ref, 'instrument', c.payer, 'in_time', c.block_time <= i.deadline,
            'amount', case when c.amount = i.amount then o.charge
                when c.amount < i.amount then least(div(o.charge * c.amount, i.amount), o.charge - 1)::bigint
                else greatest(div(o.charge * c.amount + i.amount - 1, i.amount), o.charge + 1)::bigint end,
            'review', case when (c.contract, c.payer, c.token, c.invoice_hash) is distinct from (i.contract, i.payer, i.token, i.digest)
                    or (select jsonb_agg(jsonb_build_object('to', e->>'to', 'amount', e->>'amount') order by n)
                        from jsonb_array_elements(c.shares) with ordinality y(e, n)) is distinct from (select jsonb_agg(jsonb_build_object('to', e->>'to', 'amount', e->>'amount') order by n)
                        from jsonb_array_elements(i.payees) with ordinality x(e, n)) and c.amount = i.amount then 'object'
                when c.block_time > i.deadline then 'late' end,
            'ids', jsonb_build_object('chain_id', c.chain_id, 'tx', c.tx_hash, 'log_index', c.log_index, 'block', c.block_number)))
        from chain_payments c join chain_invoices i on i.id = c.invoice_id join orders o on o.id = c.order_id join chains k on k.chain_id = c.chain_id
        where c.order_id = p_order and c.state = 'final' and not exists (select from payments p where p.provider = o.method and p.payment_ref = c.ref)
        order by c.id limit 1), jsonb_build_object('state', 'pending'))
$$;

-- The watcher moves on to a final block; of old checkpoints the first in each thousand blocks stays.
create function ppv_chain_cursor(p_chain bigint, p_number bigint, p_hash text) returns void
    language sql security definer set search_path = public, pg_temp as $$
    insert into chain_blocks (chain_id, number, hash) values (p_chain, p_number, p_hash)
        on conflict (chain_id, number) do update set hash = excluded.hash;
    delete from chain_blocks b where b.chain_id = p_chain and b.number < p_number - 5000 and exists (select from chain_blocks x
        where x.chain_id = p_chain and x.number < b.number and x.number / 1000 = b.number / 1000);
    insert into chain_cursors (chain_id, block_number, block_hash) values (p_chain, p_number, p_hash)
        on conflict (chain_id) do update set block_number = excluded.block_number, block_hash = excluded.block_hash, updated_at = now();
$$;
-- ... or back to a block that is still there.
create function ppv_chain_rewind(p_chain bigint, p_number bigint, p_hash text) returns void
    language sql security definer set search_path = public, pg_temp as $$
    delete from chain_blocks where chain_id = p_chain and number > p_number;
    select ppv_chain_cursor(p_chain, p_number, p_hash);
$$;

-- A challenge was signed: the address is the person's.
create function ppv_chain_address_prove(p_user bigint, p_address text, p_message text, p_signature text) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_old text;
begin
    delete from chain_challenges where user_id = p_user and address = p_address and message = p_message and expires_at > now();
    if not found then
        perform ppv_refuse('chain.challenge', 'This challenge has expired. Please start again.');
    end if;
    select address into v_old from chain_addresses where user_id = p_user;
    insert into chain_addresses (user_id, address, message, signature) values (p_user, p_address, p_message, p_signature)
        on conflict (user_id) do update set address = excluded.address, message = excluded.message, signature = excluded.signature,
            proved_at = now(), usable_at = case when chain_addresses.address = excluded.address then chain_addresses.usable_at
                else now() + make_interval(hours => ppv_setting_int('payout.destination_hold_hours', 72)::integer) end;
    update users set wallet_account = p_address where id = p_user;
    perform ppv_audit(p_user, 'chain.address', 'user:' || p_user, jsonb_build_object('address', p_address, 'old', v_old));
end $$;

grant select on chains, chain_blocks, chain_addresses, chain_challenges, chain_invoices, chain_payments to ppv_app, ppv_worker;
grant select on chain_cursors, pay_tokens to ppv_worker;
grant insert, update on chains, chain_challenges to ppv_app, ppv_worker;
grant delete on chain_addresses, pay_tokens to ppv_app;
grant update (problem) on chain_payments to ppv_app, ppv_worker;
grant update (swept) on chain_invoices to ppv_app, ppv_worker;
grant execute on function ppv_chain_quote(bigint, bigint, text, numeric, integer), ppv_chain_invoice_add(bigint, jsonb),
    ppv_chain_seen(jsonb), ppv_chain_orphan(bigint), ppv_chain_final(bigint, jsonb, integer), ppv_chain_facts(bigint),
    ppv_chain_cursor(bigint, bigint, text), ppv_chain_rewind(bigint, bigint, text), ppv_chain_address(bigint, text) to ppv_app, ppv_worker;
grant execute on function ppv_chain_give_up(bigint, bigint), ppv_chain_address_prove(bigint, text, text, text) to ppv_app;
