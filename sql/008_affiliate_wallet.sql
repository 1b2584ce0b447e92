-- SPDX-License-Identifier: Apache-2.0
-- Affiliate programs and commissions; deposits, payouts and where they go.
set local role ppv_owner;

create table affiliate_programs (
    video_id uuid primary key references videos,
    pct integer not null default 0 check (pct between 0 and 90),
    enabled boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create trigger affiliate_programs_touch before update on affiliate_programs for each row execute function ppv_touch();

-- What a creator offers for every title that has no row above.
create table creator_programs (
    creator_id bigint primary key references users,
    pct integer not null default 0 check (pct between 0 and 90),
    enabled boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create trigger creator_programs_touch before update on creator_programs for each row execute function ppv_touch();

-- What holds for each title. inherited: by the creator's general terms.
create view affiliate_terms as
    select v.id as video_id, v.owner_id, coalesce(p.pct, c.pct, 0) as pct, coalesce(p.enabled, c.enabled, false) as enabled,
        p.video_id is null as inherited
    from videos v left join affiliate_programs p on p.video_id = v.id left join creator_programs c on c.creator_id = v.owner_id;

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
    memo text not null default '' check (length(memo) <= 100), -- what the rule says of this line
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
    first_by bigint references users,      -- above a limit two approve
    decided_by bigint references users,
    decided_at timestamptz,
    txn_id bigint unique references ledger_txns,
    balance_after bigint,
    created_at timestamptz not null default now(),
    check ((state = 'approved') = (txn_id is not null)),
    constraint deposits_four_eyes check (decided_by <> user_id and first_by <> user_id
        and (state <> 'approved' or first_by <> decided_by))
);
create index deposits_user on deposits (user_id, id desc);
create index deposits_state on deposits (state, id desc);

-- Where somebody's money goes. The account itself is sealed by the engine; hint is what may be shown, fingerprint a keyed hash:
-- equal fingerprints are the same account. One is live per user; a change is a new row.
create table payout_destinations (
    id bigint generated always as identity primary key,
    user_id bigint not null references users,
    method text not null check (method in ('bank', 'ewallet', 'paypal')),
    sealed text not null,
    hint text not null check (length(hint) <= 100),
    fingerprint text not null,
    usable_from timestamptz not null,      -- money goes to a new account only after a while
    created_at timestamptz not null default now(),
    removed_at timestamptz
);
create unique index payout_destinations_live on payout_destinations (user_id) where removed_at is null;
create index payout_destinations_same on payout_destinations (fingerprint);

-- What one file for the operator's bank holds.
create table payout_batches (
    id bigint generated always as identity primary key,
    created_by bigint not null references users,
    created_at timestamptz not null default now()
);

-- Money leaving the platform. Until it is final the amount is on hold; paid captures it, rejected and failed free it, reversed gives it back
-- by a posting of its own. pending: waits for approvals; approved: may be paid; sent: the call to the provider or the file for the
-- bank is out; unknown: nobody knows whether it was done, so it is asked for and never sent again.
create table payouts (
    id bigint primary key default nextval('wallet_line_seq'),
    user_id bigint not null references users,
    amount bigint not null check (amount > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    cause text not null unique,            -- 'wd:<id>' asked for, 'auto:<user>:<currency>:<period>' by the schedule
    destination_id bigint references payout_destinations, -- null: as the note says
    note text not null default '' check (length(note) <= 500),
    admin_note text not null default '' check (length(admin_note) <= 500),
    state text not null default 'pending'
        check (state in ('pending', 'approved', 'sent', 'unknown', 'paid', 'rejected', 'failed', 'reversed')),
    reason text not null default '',       -- why it waits, for the payee
    not_before timestamptz,
    evidence jsonb not null default '{}',
    approvals smallint not null default 1 check (approvals between 0 and 2), -- needed; frozen with the request
    approved_by bigint references users,
    approved_at timestamptz,
    second_by bigint references users,
    second_at timestamptz,
    batch_id bigint references payout_batches,
    provider text,
    provider_ref text,
    failure text not null default '',
    attempts integer not null default 0,
    sent_at timestamptz,
    checked_at timestamptz,                -- when the provider was last heard
    hold_id bigint not null unique references holds,
    decided_by bigint references users,    -- who said paid, rejected, failed or reversed; null = the provider
    decided_at timestamptz,
    txn_id bigint unique references ledger_txns,
    reversal_id bigint unique references ledger_txns,
    created_at timestamptz not null default now(),
    check ((state in ('paid', 'reversed')) = (txn_id is not null)),
    check ((state = 'reversed') = (reversal_id is not null)),
    constraint payouts_four_eyes check (approved_by <> user_id and second_by <> user_id and decided_by <> user_id
        and second_by <> approved_by and (second_by is null or approved_by is not null)),
    constraint payouts_approved check (state in ('pending', 'rejected') or approvals = 0
        or (approved_by is not null and (approvals = 1 or second_by is not null)))
);
create index payouts_user on payouts (user_id, id desc);
create index payouts_state on payouts (state, id desc);
create unique index payouts_provider_ref on payouts (provider, provider_ref) where provider is not null and provider_ref is not null;

-- States only move forward; who, how much and where to stay.
create function ppv_payout_guard() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
    if new.state <> old.state and not (new.state = any (case old.state
        when 'pending' then array['approved', 'rejected']
        when 'approved' then array['sent', 'paid', 'rejected']
        when 'sent' then array['unknown', 'paid', 'failed', 'approved'] -- approved: the provider did nothing for certain
        when 'unknown' then array['sent', 'paid', 'failed']
        when 'paid' then array['reversed'] else array[]::text[] end)) then
        raise exception 'payout % cannot go from % to %', old.id, old.state, new.state using errcode = '23514';
    end if;
    if (new.user_id, new.amount, new.currency, new.cause, new.destination_id, new.hold_id, new.approvals)
       is distinct from (old.user_id, old.amount, old.currency, old.cause, old.destination_id, old.hold_id, old.approvals) then
        raise exception 'payout % is frozen', old.id using errcode = '23514';
    end if;
    return new;
end $$;
create trigger payouts_guard before update on payouts for each row execute function ppv_payout_guard();

grant select, insert, update, delete on affiliate_programs to ppv_app;
grant select, insert, update on creator_programs to ppv_app;
grant select on affiliate_terms to ppv_app, ppv_ro;
grant select, insert, delete on affiliate_clicks to ppv_app;
grant select on commissions, deposits, payouts, payout_batches, payout_destinations to ppv_app;
grant update (sealed) on payout_destinations to ppv_app; -- the same account under a new master key
