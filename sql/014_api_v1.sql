-- SPDX-License-Identifier: Apache-2.0
-- What plugins may read. Columns are only ever added. my_* show the user named by the setting ppv.user_id of the transaction.
set local role ppv_owner;

create view api_v1.videos with (security_barrier) as
    select v.id, v.owner_id, u.username::text as owner, v.title, v.description, v.price, v.currency::text as currency,
        v.duration_ms, v.width, v.height, v.created_at
    from public.videos v join public.users u on u.id = v.owner_id
    where v.state = 'ready' and v.visibility = 'published' and u.disabled_at is null;

create view api_v1.users with (security_barrier) as
    select id, username::text as username, profile_desc, created_at from public.users where disabled_at is null;

create view api_v1.my_entitlements with (security_barrier) as
    select id, video_id, kind, starts_at, expires_at from public.entitlements
    where user_id = nullif(current_setting('ppv.user_id', true), '')::bigint and revoked_at is null
      and (expires_at is null or expires_at > now());

create view api_v1.affiliate_programs with (security_barrier) as
    select video_id, pct, enabled from public.affiliate_terms;

create view api_v1.fx_rates with (security_barrier) as
    select distinct on (base, quote) base::text as base, quote::text as quote, rate, source, fetched_at
    from public.fx_rates order by base, quote, fetched_at desc;

grant select on all tables in schema api_v1 to ppv_plugin, ppv_app, ppv_ro;

-- A schema of a plugin's own: plugin_<name>, where ppv_plugin may make tables.
create function ppv_plugin_schema(p_plugin text) returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if p_plugin !~ '^[a-z][a-z0-9_]{0,50}$' then
        raise exception 'bad plugin name' using errcode = '22023';
    end if;
    execute format('create schema if not exists %I', 'plugin_' || p_plugin);
    execute format('grant usage, create on schema %I to ppv_plugin', 'plugin_' || p_plugin);
    return 'plugin_' || p_plugin;
end $$;
grant execute on function ppv_plugin_schema(text) to ppv_app;
