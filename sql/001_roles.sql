-- SPDX-License-Identifier: Apache-2.0
-- Roles, schemas and small helpers. Roles belong to the cluster, so they may exist already.
--   ppv_owner  owns tables and functions, no login      ppv_app     web and job workers: no DDL, ledger only through functions
--   ppv_worker jobs and media only                      ppv_ro      reports
--   ppv_plugin schema api_v1 and plugins' own schemas
do $$
declare r text;
begin
    perform pg_advisory_xact_lock(823741);
    foreach r in array array['ppv_owner', 'ppv_app', 'ppv_worker', 'ppv_ro', 'ppv_plugin'] loop
        if not exists (select from pg_roles where rolname = r) then
            execute format('create role %I %s', r, case r when 'ppv_owner' then 'nologin' else 'login' end);
        end if;
    end loop;
    if not pg_has_role(current_user, 'ppv_owner', 'member') then
        execute format('grant ppv_owner to %I', current_user);
    end if;
    execute format('grant create, temporary on database %I to ppv_owner', current_database());
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to ppv_app, ppv_worker, ppv_ro, ppv_plugin', current_database());
end $$;
-- A single conninfo may serve plugins too, by switching the role (stops mistakes, not attackers).
grant ppv_plugin to ppv_app;
alter role ppv_plugin set search_path = api_v1;

create extension if not exists citext with schema public;
revoke all on schema public from public;
grant usage, create on schema public to ppv_owner;
grant usage on schema public to ppv_app, ppv_worker, ppv_ro;

set local role ppv_owner;
alter default privileges for role ppv_owner revoke execute on functions from public;
alter default privileges for role ppv_owner in schema public grant select on tables to ppv_ro;

create schema api_v1;
grant usage on schema api_v1 to ppv_plugin, ppv_app, ppv_ro;

-- Time-ordered UUID (RFC 9562 version 7): good index locality, no counter to guess. Parsed here once, so every insert has it inline.
create function ppv_uuid7() returns uuid language sql volatile parallel safe
    return encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
        52, 1), 53, 1), 'hex')::uuid;
grant execute on function ppv_uuid7() to ppv_app, ppv_worker;

-- Business refusal: the engine splits the message into a stable code and a sentence for people.
create function ppv_refuse(code text, sentence text) returns void language plpgsql set search_path = pg_catalog as $$
begin
    raise exception using errcode = 'P0001', message = code || '|' || sentence;
end $$;

-- Trigger: the table is append-only, for every role.
create function ppv_append_only() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = '42501';
end $$;

-- Trigger: keeps updated_at.
create function ppv_touch() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    new.updated_at := now();
    return new;
end $$;
