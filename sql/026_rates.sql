-- SPDX-License-Identifier: Apache-2.0
-- Exchange rates: what a source says is used only when it is near the last rate in force; a jump waits for an administrator.
set local role ppv_owner;

create table fx_waiting (
    base text not null,
    quote char(3) not null,
    rate numeric(30, 12) not null check (rate > 0 and rate <> 'NaN'),
    source text not null,
    at timestamptz not null default now(),
    primary key (base, quote)
);

-- A rate as the source tells it. 'accepted' = in force from now; 'waiting' = no rate so far, or 10 % or more away from the last one.
create function ppv_rate_offer(p_base text, p_quote text, p_rate numeric, p_source text) returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
declare last numeric;
begin
    if p_rate is null or p_rate = 'NaN' or p_rate <= 0 or p_rate >= 1e15 then
        perform ppv_refuse('rate.unusable', 'The source gave no usable rate.');
    end if;
    perform pg_advisory_xact_lock(823745);
    select rate into last from fx_rates where base = p_base and quote = p_quote order by fetched_at desc limit 1;
    if last is null or abs(p_rate - last) * 10 > last then
        insert into fx_waiting (base, quote, rate, source) values (p_base, p_quote, p_rate, p_source)
            on conflict (base, quote) do update set rate = excluded.rate, source = excluded.source, at = now();
        return 'waiting';
    end if;
    insert into fx_rates (base, quote, rate, source, fetched_at) values (p_base, p_quote, p_rate, p_source, clock_timestamp());
    delete from fx_waiting where base = p_base and quote = p_quote;
    return 'accepted';
end $$;

-- An administrator agrees to the rate that waits; p_rate = what was seen, so that nobody agrees to a newer one by accident.
create function ppv_rate_accept(p_admin bigint, p_base text, p_quote text, p_rate numeric) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare w fx_waiting;
begin
    perform ppv_admin_check(p_admin, null);
    delete from fx_waiting where base = p_base and quote = p_quote and rate = p_rate returning * into w;
    if not found then
        perform ppv_refuse('rate.changed', 'This rate does not wait any more. Please look again.');
    end if;
    insert into fx_rates (base, quote, rate, source, fetched_at) values (p_base, p_quote, w.rate, w.source, clock_timestamp());
    perform ppv_audit(p_admin, 'rate.accept', p_base || '/' || p_quote, jsonb_build_object('rate', w.rate, 'source', w.source));
end $$;

revoke insert on fx_rates from ppv_app, ppv_worker;
grant select on fx_waiting to ppv_app, ppv_ro;
grant execute on function ppv_rate_offer(text, text, numeric, text), ppv_rate_accept(bigint, text, text, numeric) to ppv_app;
