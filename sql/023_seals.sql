-- SPDX-License-Identifier: Apache-2.0
-- Seals of the ledger: transactions in batches, a Merkle root for each, every seal naming the one before, signed with a key that
-- is not in the database. scripts/lib/seal.lua has the format and does the hashing, so that the site, the proof and the
-- offline check are one implementation.
set local role ppv_owner;

create table ledger_seals (
    batch bigint primary key check (batch > 0),
    count integer not null check (count > 0),
    root bytea not null check (octet_length(root) = 32),
    prev bytea not null check (octet_length(prev) = 32),   -- hash of the seal before; 32 zeros for the first
    at bigint not null,                                    -- microseconds since 1970, as signed
    hash bytea not null unique check (octet_length(hash) = 32),
    signature bytea not null check (octet_length(signature) = 64)
);
create table ledger_leaves (
    txn_id bigint primary key,             -- no foreign key: a leaf outlives whatever is done to its transaction
    batch bigint not null,                 -- ledger_seals; a key would look it up for every leaf, the trigger below does for all at once
    pos integer not null check (pos >= 0),
    hash bytea not null check (octet_length(hash) = 32),
    unique (batch, pos)
);
create function ppv_leaf_check() returns trigger language plpgsql as $$
begin
    if exists (select from (select distinct batch from added) n where not exists (select from public.ledger_seals s where s.batch = n.batch)) then
        raise exception 'leaves of a seal that is not there' using errcode = '23503';
    end if;
    return null;
end $$;
create trigger ledger_leaves_sealed after insert on ledger_leaves referencing new table as added
    for each statement execute function ppv_leaf_check();
create trigger ledger_seals_frozen before update or delete or truncate on ledger_seals
    for each statement execute function ppv_append_only();
create trigger ledger_leaves_frozen before update or delete or truncate on ledger_leaves
    for each statement execute function ppv_append_only();

-- Exactly what is hashed, all as text. entries: [[id, kind, owner, name, currency, amount, balance_after, note], ...] by id.
create view ledger_texts as
    select t.id, t.kind, (extract(epoch from t.created_at) * 1000000)::bigint::text as at,
        coalesce(t.reverses_id::text, '') as reverses, coalesce(t.order_id::text, '') as order_id,
        coalesce(t.actor_id::text, '') as actor_id, t.memo, t.meta::text as meta,
        coalesce((select json_agg(json_build_array(e.id::text, a.kind, coalesce(a.owner_id::text, ''), a.name, a.currency::text,
            e.amount::text, coalesce(e.balance_after::text, ''), e.note) order by e.id)
            from ledger_entries e join ledger_accounts a on a.id = e.account_id where e.txn_id = t.id), '[]')::text as entries
    from ledger_txns t;

-- Appends one seal over transactions that wait. Refuses anything that does not continue the chain.
create function ppv_seal_add(p_batch bigint, p_txns bigint[], p_leaves text[], p_root bytea, p_prev bytea, p_at bigint,
    p_hash bytea, p_signature bytea) returns void language plpgsql security definer set search_path = public, pg_temp as $$
declare
    last ledger_seals;
    n integer;
begin
    perform pg_advisory_xact_lock(823743);
    select * into last from ledger_seals order by batch desc limit 1;
    if p_batch <> coalesce(last.batch, 0) + 1 or p_prev <> coalesce(last.hash, decode(repeat('00', 32), 'hex')) then
        raise exception 'seal % does not follow seal %', p_batch, coalesce(last.batch, 0) using errcode = '23514';
    end if;
    delete from ledger_unsealed where txn_id = any (p_txns);
    get diagnostics n = row_count;
    if n <> cardinality(p_txns) or n <> cardinality(p_leaves) then
        raise exception 'seal % names transactions that do not wait for one', p_batch using errcode = '23514';
    end if;
    insert into ledger_seals values (p_batch, n, p_root, p_prev, p_at, p_hash, p_signature);
    insert into ledger_leaves select t, p_batch, o - 1, decode(p_leaves[o], 'hex') from unnest(p_txns) with ordinality u(t, o);
end $$;

grant select on ledger_seals, ledger_leaves, ledger_unsealed, ledger_texts to ppv_app, ppv_ro;
grant execute on function ppv_seal_add(bigint, bigint[], text[], bytea, bytea, bigint, bytea, bytea) to ppv_app;
