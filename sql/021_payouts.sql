-- SPDX-License-Identifier: Apache-2.0
-- Withdrawals and payouts: the only writers of payouts, payout_batches, payout_destinations. What leaves is on hold from the request on.
-- Locks: idempotency key, then the payout, then wallets in id order.
set local role ppv_owner;

-- Internal: sets money aside. The wallet stays locked until the end of the transaction.
create function ppv_hold(p_account bigint, p_amount bigint, p_cause text, p_reason text default '', p_until timestamptz default null,
    p_evidence jsonb default '{}', p_order bigint default null) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    a ledger_accounts;
    v_id bigint;
begin
    select * into a from ledger_accounts where id = p_account and kind = 'user' for no key update;
    if a.id is null or a.balance - a.held < p_amount then
        perform ppv_refuse('wallet.insufficient', format('Your wallet has %s %s available, %s are needed.',
            ppv_money_text(coalesce(a.balance - a.held, 0), a.currency), a.currency, ppv_money_text(p_amount, a.currency)));
    end if;
    insert into holds (account_id, amount, cause, reason, until, evidence, order_id)
        values (p_account, p_amount, p_cause, p_reason, p_until, p_evidence, p_order) returning id into v_id;
    update ledger_accounts set held = held + p_amount where id = p_account;
    return v_id;
end $$;

-- Internal: frees ('released') or uses up ('captured') an open hold; nothing when it is closed already.
create function ppv_hold_close(p_hold bigint, p_state text) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare h holds;
begin
    select * into h from holds where id = p_hold;
    perform from ledger_accounts where id = h.account_id for no key update;
    update holds set state = p_state, closed_at = now() where id = p_hold and state = 'open';
    if found then
        update ledger_accounts set held = held - h.amount where id = h.account_id;
    end if;
end $$;

-- Internal: the posting that undoes another one, entry by entry. Refused when a wallet has spent the money.
create function ppv_reverse(p_txn bigint, p_actor bigint, p_memo text, p_meta jsonb) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_id bigint;
begin
    perform a.id from ledger_accounts a join ledger_entries e on e.account_id = a.id
        where e.txn_id = p_txn and a.kind = 'user' order by a.id for no key update of a;
    if exists (select from ledger_entries e join ledger_accounts a on a.id = e.account_id and a.kind = 'user'
               where e.txn_id = p_txn and a.balance - a.held < e.amount) then
        perform ppv_refuse('wallet.insufficient', 'The wallet does not have this money any more.');
    end if;
    with t as (insert into ledger_txns (kind, order_id, reverses_id, actor_id, memo, meta)
            select 'reversal', order_id, id, p_actor, left(coalesce(p_memo, ''), 500), coalesce(p_meta, '{}')
            from ledger_txns where id = p_txn returning id),
        n as (insert into ledger_entries (txn_id, account_id, amount, balance_after, note)
            select t.id, a.id, -e.amount, a.balance - e.amount, left('Reversal: ' || e.note, 500)
            from t, ledger_entries e join ledger_accounts a on a.id = e.account_id where e.txn_id = p_txn order by a.id)
    select id into v_id from t;
    update ledger_accounts a set balance = a.balance + e.amount
        from ledger_entries e where e.txn_id = v_id and e.account_id = a.id and a.kind = 'user';
    return v_id;
end $$;

-- Creators' and affiliates' earnings of one currency: {earned (sales less what was taken back), pending (earnings on hold), paid,
-- reserved (payouts under way), payable}. payable is never more than the wallet has: earnings may have been spent.
create function ppv_earnings(p_user bigint, p_currency text) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    with a as (select * from ledger_accounts where kind = 'user' and owner_id = p_user and name = 'wallet' and currency = p_currency),
    s as (select
        (select coalesce(sum(e.amount), 0) from a join ledger_entries e on e.account_id = a.id join ledger_txns t on t.id = e.txn_id
            join orders o on o.id = t.order_id where o.buyer_id <> p_user)::bigint as earned,
        (select coalesce(sum(h.amount), 0) from a join holds h on h.account_id = a.id and h.state = 'open'
            and h.cause not like 'payout:%')::bigint as pending,
        (select coalesce(sum(amount), 0) from payouts where user_id = p_user and currency = p_currency and state = 'paid')::bigint as paid,
        (select coalesce(sum(amount), 0) from payouts where user_id = p_user and currency = p_currency
            and state in ('pending', 'approved', 'sent', 'unknown'))::bigint as reserved,
        (select coalesce(sum(balance - held), 0) from a)::bigint as available)
    select jsonb_build_object('earned', earned, 'pending', pending, 'paid', paid, 'reserved', reserved, 'currency', p_currency,
        'payable', greatest(0, least(available, earned - pending - paid - reserved))) from s
$$;

-- A new place for a user's money; the old one ends. Reply: {destination_id, usable_from, first, same_as}: same_as = other users
-- with the same account.
create function ppv_destination_set(p_user bigint, p_method text, p_sealed text, p_hint text, p_fingerprint text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    d payout_destinations;
    v_first boolean;
    v_same bigint;
begin
    perform ppv_active_user(p_user);
    perform from users where id = p_user for no key update;
    select * into d from payout_destinations where user_id = p_user and removed_at is null;
    v_first := not found;
    if d.fingerprint = p_fingerprint then
        return jsonb_build_object('destination_id', d.id, 'usable_from', d.usable_from, 'first', false, 'unchanged', true);
    end if;
    update payout_destinations set removed_at = now() where id = d.id;
    insert into payout_destinations (user_id, method, sealed, hint, fingerprint, usable_from)
        values (p_user, p_method, p_sealed, p_hint, p_fingerprint,
            now() + make_interval(hours => ppv_setting_int('payout.destination_hold_hours', 72)::int)) returning * into d;
    select count(distinct user_id) into v_same from payout_destinations
        where fingerprint = p_fingerprint and user_id <> p_user and removed_at is null;
    perform ppv_audit(p_user, 'payout.destination', 'user:' || p_user, jsonb_build_object('hint', p_hint, 'shared_with', v_same));
    return jsonb_build_object('destination_id', d.id, 'usable_from', d.usable_from, 'first', v_first, 'shared_with', v_same);
end $$;

-- Internal: a payout with its hold. Refuses what the wallet does not have.
create function ppv_payout_new(p_user bigint, p_amount bigint, p_currency text, p_cause text, p_note text, p_approvals integer)
    returns payouts language plpgsql security definer set search_path = public, pg_temp as $$
declare
    p payouts;
    d payout_destinations;
    v_id bigint := nextval('wallet_line_seq');
    v_first timestamptz;
    v_days integer := ppv_setting_int('payout.new_payee_days', 7);
begin
    select * into d from payout_destinations where user_id = p_user and removed_at is null;
    select min(at) into v_first from (select min(paid_at) as at from orders where creator_id = p_user
        union all select min(created_at) from commissions where affiliate_id = p_user) f;
    p.not_before := greatest(d.usable_from, v_first + make_interval(days => v_days));
    if p.not_before <= now() then
        p.not_before := null;
    end if;
    insert into payouts (id, user_id, amount, currency, cause, destination_id, note, approvals, state, hold_id, not_before, reason, evidence)
        values (v_id, p_user, p_amount, p_currency, coalesce(p_cause, 'wd:' || v_id), d.id, left(coalesce(p_note, ''), 500),
            p_approvals, case p_approvals when 0 then 'approved' else 'pending' end,
            ppv_hold(ppv_account('user', p_user, 'wallet', p_currency), p_amount, 'payout:' || v_id, 'A payout is under way.'),
            p.not_before, case when p.not_before is null then '' when p.not_before = d.usable_from
                then 'The account for payouts was changed. Nothing is sent to a new account before this date.'
                else 'The first sale is recent. New payees wait until this date.' end,
            case when p.not_before is null then '{}' when p.not_before = d.usable_from
                then jsonb_build_object('destination', d.hint, 'changed_at', d.created_at)
                else jsonb_build_object('first_sale_at', v_first, 'days', v_days) end)
        returning * into p;
    return p;
end $$;

-- Asks for a withdrawal: the amount is on hold from here on. Reply: {payout_id, state, amount, currency, balance, available,
-- approvals, not_before, reason}.
create function ppv_payout_request(p_user bigint, p_amount bigint, p_currency text, p_note text, p_idem text, p_hash text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_scope text := 'withdraw:' || p_user;
    v_limit bigint := ppv_limit('wallet.withdraw_day', p_currency, 10000000);
    v_reply jsonb;
    p payouts;
begin
    v_reply := ppv_idem_begin(v_scope, p_idem, p_hash);
    if v_reply is not null then
        return v_reply;
    end if;
    if not ppv_setting_bool('payment.wallet_withdraw_enabled', true) then
        perform ppv_refuse('wallet.withdraw_disabled', 'Withdrawals are switched off.');
    end if;
    perform ppv_amount_check(p_amount, ppv_limit('wallet.min_withdraw', p_currency, 5000));
    perform ppv_active_user(p_user);
    p := ppv_payout_new(p_user, p_amount, p_currency, null, p_note,
        case when p_amount > ppv_limit('payout.four_eyes_above', p_currency, 50000) then 2 else 1 end);
    -- Looked at with the wallet locked, so parallel requests count each other.
    if (select sum(amount) from payouts where user_id = p_user and currency = p_currency and created_at > now() - interval '1 day'
        and state not in ('rejected', 'failed')) > v_limit then
        perform ppv_refuse('wallet.limit', format('You can withdraw at most %s %s within 24 hours.',
            ppv_money_text(v_limit, p_currency), p_currency));
    end if;
    return ppv_idem_end(v_scope, p_idem, p_hash, jsonb_build_object('payout_id', p.id, 'state', p.state, 'amount', p.amount,
        'currency', p.currency, 'approvals', p.approvals, 'not_before', p.not_before, 'reason', p.reason)
        || ppv_balance(p_user, p_currency));
end $$;

-- Internal: the payout, locked, for an administrator who is not the payee.
create function ppv_payout_lock(p_admin bigint, p_id bigint) returns payouts
    language plpgsql security definer set search_path = public, pg_temp as $$
declare p payouts;
begin
    select * into p from payouts where id = p_id for update;
    if not found then
        perform ppv_refuse('payout.not_found', 'This payout does not exist.');
    end if;
    perform ppv_admin_check(p_admin, p.user_id);
    return p;
end $$;

create function ppv_payout_reply(p payouts) returns jsonb language sql immutable set search_path = public, pg_temp as $$
    select jsonb_build_object('payout_id', p.id, 'state', p.state, 'user_id', p.user_id, 'amount', p.amount, 'currency', p.currency,
        'approvals', p.approvals, 'approved_by', p.approved_by, 'second_by', p.second_by, 'not_before', p.not_before,
        'txn_id', p.txn_id, 'failure', p.failure)
$$;

-- Internal: one administrator's yes; null = it needs another one's.
create function ppv_payout_yes(p_admin bigint, p payouts) returns payouts
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if p.state <> 'pending' then
        perform ppv_refuse('payout.decided', 'This payout was already ' || p.state || '.');
    elsif p.not_before > now() then
        perform ppv_refuse('payout.held', format('This payout waits until %s UTC. %s',
            to_char(p.not_before at time zone 'utc', 'YYYY-MM-DD HH24:MI'), p.reason));
    elsif p.approved_by = p_admin then
        perform ppv_refuse('approval.second', 'You have approved this payout already. A second administrator has to do it as well.');
    end if;
    update payouts set
        second_by = case when approved_by is not null then p_admin end, second_at = case when approved_by is not null then now() end,
        approved_by = coalesce(approved_by, p_admin), approved_at = coalesce(approved_at, now()),
        state = case when approvals = 1 or approved_by is not null then 'approved' else 'pending' end
        where id = p.id returning * into p;
    perform ppv_audit(p_admin, 'payout.approve', 'payout:' || p.id,
        jsonb_build_object('amount', p.amount, 'currency', p.currency, 'user_id', p.user_id, 'state', p.state));
    return p;
end $$;

-- Internal: the money has left.
create function ppv_payout_capture(p payouts, p_admin bigint, p_ref text, p_note text) returns payouts
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_txn bigint;
begin
    perform ppv_hold_close(p.hold_id, 'captured');
    v_txn := ppv_post('payout', null, p_admin, 'Payout ' || p.id, jsonb_build_object('payout_id', p.id, 'provider', p.provider,
        'reference', p_ref), jsonb_build_array(
        jsonb_build_array(ppv_account('user', p.user_id, 'wallet', p.currency), -p.amount, 'Payout ' || p.id),
        jsonb_build_array(ppv_account('platform', null, 'bank', p.currency), p.amount, 'Payout ' || p.id)));
    update payouts set state = 'paid', failure = '', txn_id = v_txn, decided_by = p_admin, decided_at = now(),
        provider_ref = coalesce(p_ref, provider_ref), admin_note = left(coalesce(nullif(p_note, ''), admin_note), 500)
        where id = p.id returning * into p;
    perform ppv_audit(p_admin, 'payout.paid', 'payout:' || p.id, jsonb_build_object('amount', p.amount, 'currency', p.currency,
        'user_id', p.user_id, 'reference', p_ref, 'txn_id', v_txn, 'provider', p.provider));
    return p;
end $$;

-- Internal: it does not leave; the hold ends. p_state: rejected (before anything was sent) or failed.
create function ppv_payout_free(p payouts, p_state text, p_admin bigint, p_note text, p_failure text) returns payouts
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform ppv_hold_close(p.hold_id, 'released');
    update payouts set state = p_state, decided_by = p_admin, decided_at = now(), failure = left(coalesce(p_failure, ''), 500),
        admin_note = left(coalesce(nullif(p_note, ''), admin_note), 500) where id = p.id returning * into p;
    perform ppv_audit(p_admin, 'payout.' || p_state, 'payout:' || p.id, jsonb_build_object('amount', p.amount, 'currency', p.currency,
        'user_id', p.user_id, 'failure', p.failure));
    return p;
end $$;

-- Internal: it came back; the wallet gets it again by a posting of its own.
create function ppv_payout_return(p payouts, p_admin bigint, p_note text) returns payouts
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_txn bigint;
begin
    v_txn := ppv_reverse(p.txn_id, p_admin, 'Payout ' || p.id || ' came back', jsonb_build_object('payout_id', p.id));
    update payouts set state = 'reversed', reversal_id = v_txn, decided_by = p_admin, decided_at = now(),
        failure = left(coalesce(p_note, ''), 500), admin_note = left(coalesce(nullif(p_note, ''), admin_note), 500)
        where id = p.id returning * into p;
    perform ppv_audit(p_admin, 'payout.reversed', 'payout:' || p.id, jsonb_build_object('amount', p.amount, 'currency', p.currency,
        'user_id', p.user_id, 'txn_id', v_txn));
    return p;
end $$;

-- What an administrator decides. p_what: approve; pay (done by hand, p_ref = the bank's reference; of a pending one that needs one
-- approval it is that approval too); reject (of what is out already: it did not arrive); reverse (a paid one came back).
create function ppv_payout_decide(p_admin bigint, p_id bigint, p_what text, p_ref text, p_note text, p_idem text, p_hash text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_scope text := 'payout_decide:' || p_admin;
    v_reply jsonb;
    p payouts;
begin
    v_reply := ppv_idem_begin(v_scope, p_idem, p_hash);
    if v_reply is not null then
        return v_reply;
    end if;
    p := ppv_payout_lock(p_admin, p_id);
    if p_what in ('approve', 'pay') and p.state = 'pending' then
        if p_what = 'pay' and p.approvals > 1 then
            perform ppv_refuse('approval.second', 'Two administrators have to approve this payout before it is paid.');
        end if;
        p := ppv_payout_yes(p_admin, p);
    elsif p_what = 'approve' then
        perform ppv_refuse('payout.decided', 'This payout was already ' || p.state || '.');
    end if;
    if p_what = 'pay' then
        if p.state = 'sent' and p.batch_id is null then
            perform ppv_refuse('payout.under_way', 'This payout is at the provider. Its answer decides.');
        elsif p.state not in ('approved', 'sent', 'unknown') then
            perform ppv_refuse('payout.decided', 'This payout was already ' || p.state || '.');
        end if;
        p := ppv_payout_capture(p, p_admin, nullif(p_ref, ''), p_note);
    elsif p_what = 'reject' then
        if p.state = 'sent' and p.batch_id is null then
            perform ppv_refuse('payout.under_way', 'This payout is at the provider. Its answer decides.');
        elsif p.state not in ('pending', 'approved', 'sent', 'unknown') then
            perform ppv_refuse('payout.decided', 'This payout was already ' || p.state || '.');
        end if;
        p := ppv_payout_free(p, case when p.state in ('sent', 'unknown') then 'failed' else 'rejected' end, p_admin, p_note,
            case when p.state in ('sent', 'unknown') then coalesce(nullif(p_note, ''), 'It did not arrive.') end);
    elsif p_what = 'reverse' then
        if p.state <> 'paid' then
            perform ppv_refuse('payout.not_paid', 'Only a payout that was paid can come back.');
        end if;
        p := ppv_payout_return(p, p_admin, p_note);
    elsif p_what <> 'approve' then
        raise exception 'unknown decision %', p_what using errcode = '22023';
    end if;
    return ppv_idem_end(v_scope, p_idem, p_hash, ppv_payout_reply(p));
end $$;

-- The payee takes back what nobody has decided yet.
create function ppv_payout_cancel(p_user bigint, p_id bigint) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare p payouts;
begin
    select * into p from payouts where id = p_id and user_id = p_user for update;
    if not found then
        perform ppv_refuse('payout.not_found', 'This payout does not exist.');
    elsif p.state <> 'pending' or p.cause not like 'wd:%' then
        perform ppv_refuse('payout.decided', 'This payout cannot be taken back any more.');
    end if;
    return ppv_payout_reply(ppv_payout_free(p, 'rejected', null, 'Taken back by the payee.', null));
end $$;

-- All approved payouts with a known account become one file for the bank. Reply: {batch_id, count}.
create function ppv_payout_batch(p_admin bigint, p_currency text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_id bigint;
    v_n integer;
begin
    perform ppv_admin_check(p_admin, null);
    insert into payout_batches (created_by) values (p_admin) returning id into v_id;
    update payouts set state = 'sent', batch_id = v_id, sent_at = now(), attempts = attempts + 1
        where id in (select id from payouts where state = 'approved' and currency = p_currency and destination_id is not null
            and user_id <> p_admin and (not_before is null or not_before <= now()) order by id limit 5000 for update skip locked);
    get diagnostics v_n = row_count;
    if v_n = 0 then
        perform ppv_refuse('payout.none', 'No approved payout with a known account waits to be paid.');
    end if;
    perform ppv_audit(p_admin, 'payout.batch', 'batch:' || v_id, jsonb_build_object('count', v_n, 'currency', p_currency));
    return jsonb_build_object('batch_id', v_id, 'count', v_n);
end $$;

-- Committed before the provider is called: from here on it may be out. Null when it is not to be sent.
create function ppv_payout_begin(p_id bigint, p_provider text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare p payouts;
begin
    update payouts set state = 'sent', provider = p_provider, sent_at = now(), checked_at = now(), attempts = attempts + 1
        where id = p_id and state = 'approved' and destination_id is not null and (not_before is null or not_before <= now())
        returning * into p;
    if not found then
        return null;
    end if;
    perform ppv_audit(null, 'payout.sent', 'payout:' || p.id, jsonb_build_object('provider', p_provider, 'amount', p.amount,
        'currency', p.currency, 'user_id', p.user_id));
    return ppv_payout_reply(p);
end $$;

-- What the provider says: sent, unknown, paid, failed, reversed; approved = it did nothing for certain, try again later. The same again changes nothing; what contradicts a final state is
-- noted (payout.conflict) and changes nothing either.
create function ppv_payout_result(p_id bigint, p_state text, p_ref text, p_failure text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare p payouts;
begin
    select * into p from payouts where id = p_id for update;
    if not found or p.provider is null then
        perform ppv_refuse('payout.not_found', 'This payout does not exist.');
    end if;
    update payouts set checked_at = now() where id = p.id;
    if p.state in ('sent', 'unknown') then
        if p_state in ('paid', 'reversed') then
            p := ppv_payout_capture(p, null, p_ref, null);
        elsif p_state = 'failed' then
            p := ppv_payout_free(p, 'failed', null, null, coalesce(nullif(p_failure, ''), 'The provider could not pay it.'));
        else
            update payouts set state = p_state, provider_ref = coalesce(p_ref, provider_ref), failure = left(coalesce(p_failure, ''), 500)
                where id = p.id returning * into p;
        end if;
    elsif p.state <> p_state and not (p.state = 'paid' and p_state in ('sent', 'unknown', 'reversed'))
          and not (p.state = 'reversed' and p_state in ('sent', 'unknown', 'paid')) and not (p.state = 'failed' and p_state = 'unknown') then
        perform ppv_audit(null, 'payout.conflict', 'payout:' || p.id, jsonb_build_object('is', p.state, 'provider_says', p_state));
    end if;
    if p_state = 'reversed' and p.state = 'paid' then
        p := ppv_payout_return(p, null, coalesce(nullif(p_failure, ''), 'The provider gave it back.'));
    end if;
    return ppv_payout_reply(p);
end $$;

-- Ends the holds of earnings whose time has come; those of a disputed order stay. Returns how many (call again while it is not 0).
create function ppv_holds_release(p_limit integer default 500) returns integer
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    h record;
    n integer := 0;
begin
    for h in select x.id from holds x left join orders o
                on o.id = coalesce(x.order_id, substring(x.cause from '^sale:([0-9]+):')::bigint)
             where x.state = 'open' and x.until <= now() and x.cause like 'sale:%' and o.state is distinct from 'disputed'
               and not exists (select from disputes d where d.order_id = o.id and d.state = 'open')
             order by x.account_id, x.id limit p_limit loop
        perform ppv_hold_close(h.id, 'released');
        n := n + 1;
    end loop;
    return n;
end $$;

-- The payouts of one period ('2026-11'): one per payee whose payable earnings reach the minimum. Goes through the wallets in id
-- order from p_after on, p_limit at a time. Reply: {made, last}: last null = done.
create function ppv_payout_schedule(p_period text, p_after bigint, p_limit integer) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_min bigint;
    v_max bigint;
    v_auto boolean := ppv_setting_bool('payout.auto_approve', false);
    v_made integer := 0;
    v_last bigint;
    v_amount bigint;
    r record;
begin
    for r in select a.id, a.owner_id, a.currency::text as currency, 'auto:' || a.owner_id || ':' || a.currency || ':' || p_period as cause
             from ledger_accounts a join users u on u.id = a.owner_id and u.disabled_at is null
             join payout_destinations d on d.user_id = u.id and d.removed_at is null
             where a.kind = 'user' and a.name = 'wallet' and a.id > p_after
                and a.balance - a.held >= greatest(1, ppv_limit('payout.minimum', a.currency, 5000))
             order by a.id limit p_limit loop
        v_last := r.id;
        v_min := greatest(1, ppv_limit('payout.minimum', r.currency, 5000));
        v_max := ppv_limit('payout.four_eyes_above', r.currency, 50000);
        perform from ledger_accounts where id = r.id for no key update;
        v_amount := (ppv_earnings(r.owner_id, r.currency) ->> 'payable')::bigint;
        if v_amount >= v_min and not exists (select from payouts where cause = r.cause) then
            perform ppv_payout_new(r.owner_id, v_amount, r.currency, r.cause, 'Payout of earnings ' || p_period,
                case when v_amount > v_max then 2 when v_auto then 0 else 1 end);
            v_made := v_made + 1;
        end if;
    end loop;
    return jsonb_build_object('made', v_made, 'last', v_last);
end $$;

grant execute on function ppv_earnings(bigint, text), ppv_destination_set(bigint, text, text, text, text),
    ppv_payout_request(bigint, bigint, text, text, text, text), ppv_payout_decide(bigint, bigint, text, text, text, text, text),
    ppv_payout_cancel(bigint, bigint), ppv_payout_batch(bigint, text), ppv_payout_begin(bigint, text),
    ppv_payout_result(bigint, text, text, text), ppv_holds_release(integer), ppv_payout_schedule(text, bigint, integer) to ppv_app;
