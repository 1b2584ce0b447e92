-- SPDX-License-Identifier: Apache-2.0
-- Affiliate programs and commissions; deposit and payout requests.
set local role ppv_owner;

create table affiliate_programs (
    video_id uuid primary key references videos,
    pct integer not null default 0 check (pct between 0 and 90),
    enabled boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create trigger affiliate_programs_touch before update on affiliate_programs for each row execute function ppv_touch();

create table affiliate_clicks (
    id bigint generated always as identity primary key,
    video_id uuid not null references videos on delete cascade,
    affiliate_id bigint not null references users on delete cascade,
    visitor_hash text,                     -- keyed hash; never the address itself
    landed text not null default '' check (length(landed) <= 300),
    created_at timestamptz not null default now()
);
create index affiliate_clicks_affiliate on affiliate_clicks (affiliate_id, id desc);
create index affiliate_clicks_video on affiliate_clicks (video_id, created_at);

create table commissions (
    id bigint generated always as identity primary key,
    order_id bigint not null references orders,
    txn_id bigint not null references ledger_txns,
    account_id bigint not null references ledger_accounts, -- the affiliate's wallet
    video_id uuid not null references videos,
    affiliate_id bigint not null references users,
    buyer_id bigint not null references users,
    creator_id bigint not null references users,
    price bigint not null check (price > 0),
    amount bigint not null check (amount > 0 and amount <= price),
    currency char(3) not null,
    pct integer,
    rule text not null default '',
    method text not null default 'wallet',
    created_at timestamptz not null default now(),
    unique (order_id, affiliate_id),
    constraint commissions_no_self check (affiliate_id <> buyer_id and affiliate_id <> creator_id)
);
create index commissions_affiliate on commissions (affiliate_id, id desc);
create index commissions_creator on commissions (creator_id, id desc);
create index commissions_video on commissions (video_id);
create trigger commissions_frozen before update or delete or truncate on commissions
    for each statement execute function ppv_append_only();

create table deposits (
    id bigint primary key default nextval('wallet_line_seq'),
    user_id bigint not null references users,
    amount bigint not null check (amount > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    note text not null default '' check (length(note) <= 500),
    admin_note text not null default '' check (length(admin_note) <= 500),
    state text not null default 'pending' check (state in ('pending', 'approved', 'rejected')),
    decided_by bigint references users,
    decided_at timestamptz,
    txn_id bigint unique references ledger_txns,
    balance_after bigint,
    created_at timestamptz not null default now(),
    check ((state = 'approved') = (txn_id is not null)),
    constraint deposits_four_eyes check (decided_by <> user_id)
);
create index deposits_user on deposits (user_id, id desc);
create index deposits_state on deposits (state, id desc);

-- Money leaving the platform. While pending, sent or unknown the amount is on hold; paid captures it, rejected frees it.
create table payouts (
    id bigint primary key default nextval('wallet_line_seq'),
    user_id bigint not null references users,
    amount bigint not null check (amount > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    destination jsonb not null default '{}',
    note text not null default '' check (length(note) <= 500),
    admin_note text not null default '' check (length(admin_note) <= 500),
    state text not null default 'pending' check (state in ('pending', 'sent', 'unknown', 'paid', 'rejected')),
    provider text,
    provider_ref text,
    hold_id bigint not null unique references holds,
    decided_by bigint references users,
    decided_at timestamptz,
    txn_id bigint unique references ledger_txns,
    created_at timestamptz not null default now(),
    check ((state = 'paid') = (txn_id is not null))
);
create index payouts_user on payouts (user_id, id desc);
create index payouts_state on payouts (state, id desc);

grant select, insert, update on affiliate_programs to ppv_app;
grant select, insert, delete on affiliate_clicks to ppv_app;
grant select on commissions, deposits, payouts to ppv_app;
