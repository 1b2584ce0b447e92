-- SPDX-License-Identifier: Apache-2.0
-- Payment providers, chains and exchange rates. Foreign events are kept raw and once.
set local role ppv_owner;

create table payment_events (
    id bigint generated always as identity primary key,
    provider text not null,
    event_key text not null,
    order_id bigint references orders,
    kind text not null default '',
    amount numeric(78, 0),
    currency text,
    live boolean,
    raw jsonb not null,
    created_at timestamptz not null default now(),
    unique (provider, event_key)
);
create index payment_events_order on payment_events (order_id);
create trigger payment_events_frozen before update or delete or truncate on payment_events
    for each statement execute function ppv_append_only();

create table refunds (
    id bigint generated always as identity primary key,
    order_id bigint not null references orders,
    amount bigint not null check (amount > 0),
    reason text not null default '',
    state text not null default 'pending' check (state in ('pending', 'sent', 'unknown', 'done', 'failed', 'covered')),
    provider_ref text,
    txn_id bigint unique references ledger_txns,
    created_by bigint references users,
    created_at timestamptz not null default now()
);
create index refunds_order on refunds (order_id);

create table disputes (
    id bigint generated always as identity primary key,
    order_id bigint not null references orders,
    provider text not null,
    provider_ref text not null,
    state text not null default 'open' check (state in ('open', 'won', 'lost')),
    amount bigint not null check (amount > 0),
    evidence jsonb not null default '{}',
    created_at timestamptz not null default now(),
    closed_at timestamptz,
    unique (provider, provider_ref)
);

create table pay_tokens (
    id bigint generated always as identity primary key,
    chain text not null,
    chain_id bigint not null check (chain_id > 0),
    symbol text not null,
    decimals integer not null default 18 check (decimals between 0 and 36),
    token_kind text not null check (token_kind in ('NATIVE', 'ERC20', 'STABLE')),
    erc20_address text check (erc20_address ~ '^0x[0-9a-f]{40}$'),
    is_active boolean not null default true,
    updated_at timestamptz not null default now(),
    unique (chain_id, symbol),
    check ((token_kind = 'NATIVE') = (erc20_address is null))
);
create trigger pay_tokens_touch before update on pay_tokens for each row execute function ppv_touch();

create table chain_cursors (
    chain_id bigint primary key,
    block_number bigint not null,
    block_hash text not null,
    updated_at timestamptz not null default now()
);

create table fx_rates (
    base text not null check (length(base) between 1 and 20), -- a currency, or the symbol of a token
    quote char(3) not null,
    rate numeric(30, 12) not null check (rate > 0),
    source text not null,
    fetched_at timestamptz not null default now(),
    primary key (base, quote, fetched_at)
);

insert into pay_tokens (chain, chain_id, symbol, decimals, token_kind, erc20_address) values
    ('Mega Testnet', 6342, 'MEGA', 18, 'NATIVE', null),
    ('Polygon', 137, 'USDC', 6, 'STABLE', '0x2791bca1f2de4661ed88a30c99a7a9449aa84174'),
    ('Polygon Amoy Testnet', 80002, 'POL', 18, 'NATIVE', null);

grant select, insert on payment_events to ppv_app;
grant select, insert, update on refunds, disputes, pay_tokens, chain_cursors to ppv_app;
grant select, insert, delete on fx_rates to ppv_app, ppv_worker;
