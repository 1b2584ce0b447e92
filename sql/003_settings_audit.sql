-- SPDX-License-Identifier: Apache-2.0
-- Operator settings and the audit log.
set local role ppv_owner;

-- Keys are dotted names: 'payment.wallet_payment_enabled' = true, 'wallet.min_deposit' = 1000, 'smtp' = {...}.
create table settings (
    key text primary key check (key ~ '^[a-z0-9_.]{1,80}$'),
    value jsonb not null,
    updated_at timestamptz not null default now(),
    updated_by bigint references users on delete set null
);
create trigger settings_touch before update on settings for each row execute function ppv_touch();

create table plugin_settings (
    plugin text not null check (plugin ~ '^[a-z0-9_]{1,60}$'),
    key text not null check (key ~ '^[a-z0-9_.]{1,80}$'),
    value jsonb not null,
    sealed boolean not null default false, -- value is a sealed string (ppv.crypto.seal)
    updated_at timestamptz not null default now(),
    updated_by bigint references users on delete set null,
    primary key (plugin, key)
);
create trigger plugin_settings_touch before update on plugin_settings for each row execute function ppv_touch();

-- plpgsql, because it keeps its plan; a function of language sql that cannot be inlined is planned at every call.
create function ppv_setting_bool(name text, dflt boolean) returns boolean
    language plpgsql stable as $$
begin
    return coalesce((select value::text = 'true' from public.settings where key = name), dflt);
end $$;
create function ppv_setting_int(name text, dflt bigint) returns bigint
    language plpgsql stable as $$
begin
    return coalesce((select value::text::bigint from public.settings where key = name and jsonb_typeof(value) = 'number'), dflt);
end $$;

-- A limit in minor units: the currency's own ('wallet.withdraw_day.idr'), else the general one.
create function ppv_limit(name text, p_currency text, dflt bigint) returns bigint
    language plpgsql stable set search_path = public, pg_temp as $$
begin
    return coalesce((select value::text::bigint from settings where key = name || '.' || lower(p_currency) and jsonb_typeof(value) = 'number'),
        (select value::text::bigint from settings where key = name and jsonb_typeof(value) = 'number'), dflt);
end $$;

create table audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    actor_id bigint,                       -- no foreign key: the log outlives the account
    action text not null check (action ~ '^[a-z0-9_.]{1,80}$'),
    target text not null default '',
    detail jsonb not null default '{}',
    ip inet
);
create index audit_log_at on audit_log (at desc, id desc);
create index audit_log_actor on audit_log (actor_id, id desc);
-- The chain is written by one sealer after the fact, so that audited transactions do not queue behind each other:
-- hash = sha256(previous hash || canonical text of the row), in order of seq.
create table audit_chain (
    seq bigint primary key,
    audit_id bigint not null unique references audit_log,
    hash bytea not null check (octet_length(hash) = 32)
);
create trigger audit_log_frozen before update or delete or truncate on audit_log
    for each statement execute function ppv_append_only();
create trigger audit_chain_frozen before update or delete or truncate on audit_chain
    for each statement execute function ppv_append_only();

-- Writes one audit row in the caller's transaction. Returns its id.
create function ppv_audit(p_actor bigint, p_action text, p_target text, p_detail jsonb default '{}', p_ip inet default null)
    returns bigint language sql volatile security definer set search_path = public, pg_temp as $$
    insert into audit_log (actor_id, action, target, detail, ip)
    values (p_actor, p_action, coalesce(p_target, ''), coalesce(p_detail, '{}'),
        coalesce(p_ip, nullif(current_setting('ppv.ip', true), '')::inet)) returning id
$$;

create function ppv_audit_text(a audit_log) returns text language sql immutable set search_path = public, pg_temp as $$
    select concat_ws(E'\x1f', a.id, (extract(epoch from a.at) * 1000000)::bigint, coalesce(a.actor_id::text, '-'),
        a.action, a.target, a.detail::text, coalesce(host(a.ip), '-'))
$$;

-- Chains rows that are not chained yet (at most 1000 per call). Call it from a tick. Returns how many.
create function ppv_audit_seal() returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
    r audit_log;
    last_hash bytea;
    last_seq bigint;
    n integer := 0;
begin
    if not pg_try_advisory_xact_lock(823742) then
        return 0;
    end if;
    select seq, hash into last_seq, last_hash from audit_chain order by seq desc limit 1;
    last_seq := coalesce(last_seq, 0);
    last_hash := coalesce(last_hash, decode(repeat('00', 32), 'hex'));
    for r in select a.* from audit_log a left join audit_chain c on c.audit_id = a.id
             where c.audit_id is null order by a.id limit 1000 loop
        last_seq := last_seq + 1;
        last_hash := sha256(last_hash || convert_to(ppv_audit_text(r), 'UTF8'));
        insert into audit_chain values (last_seq, r.id, last_hash);
        n := n + 1;
    end loop;
    return n;
end $$;

-- First broken link, or no row when the chain is whole. head = hex of the last hash, to keep elsewhere.
create function ppv_audit_verify(out ok boolean, out broken_seq bigint, out head text)
    language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    r record;
    h bytea := decode(repeat('00', 32), 'hex');
    want bigint := 0;
begin
    ok := true;
    for r in select c.seq, c.hash, a as row from audit_chain c join audit_log a on a.id = c.audit_id order by c.seq loop
        want := want + 1;
        h := sha256(h || convert_to(ppv_audit_text(r.row), 'UTF8'));
        if r.seq <> want or h <> r.hash then
            ok := false;
            broken_seq := want;
            return;
        end if;
    end loop;
    head := encode(h, 'hex');
end $$;

grant select, insert, update, delete on settings, plugin_settings to ppv_app;
grant select on settings, plugin_settings to ppv_worker;
grant select on audit_log, audit_chain to ppv_app;
revoke all on plugin_settings, settings from ppv_ro;
grant execute on function ppv_setting_bool(text, boolean), ppv_setting_int(text, bigint), ppv_limit(text, text, bigint),
    ppv_audit(bigint, text, text, jsonb, inet) to ppv_app, ppv_worker;
grant execute on function ppv_audit_seal(), ppv_audit_verify() to ppv_app;
