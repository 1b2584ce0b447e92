-- SPDX-License-Identifier: Apache-2.0
-- Whose link brought a sale, and who may not earn on it: attribution by account, ties between accounts, commissions that wait for an
-- administrator. Locks: order, then review, then wallets in id order.
set local role ppv_owner;

-- The last link an account followed to each title. What a visitor's signed cookie says joins it at log-in, so that it outlives cookie
-- and device.
create table affiliate_attributions (
    user_id bigint not null references users on delete cascade,
    video_id uuid not null references videos on delete cascade,
    affiliate_id bigint not null references users on delete cascade,
    clicked_at timestamptz not null,
    primary key (user_id, video_id)
);
create index affiliate_attributions_age on affiliate_attributions (clicked_at);

-- Clicks of an account: p_clicks [{video, who, at (unix s)}]. The later click stays; own links and what does not exist are left out.
create function ppv_attribute(p_user bigint, p_clicks jsonb) returns integer
    language plpgsql security definer set search_path = public, pg_temp as $$
declare n integer;
begin
    insert into affiliate_attributions as a (user_id, video_id, affiliate_id, clicked_at)
        select distinct on (e.video) p_user, e.video, e.who, least(to_timestamp(e.at), now())
        from jsonb_to_recordset(p_clicks) e(video uuid, who bigint, at bigint)
        join videos v on v.id = e.video and v.owner_id <> p_user join users u on u.id = e.who
        where e.who <> p_user order by e.video, e.at desc
        on conflict (user_id, video_id) do update set affiliate_id = excluded.affiliate_id, clicked_at = excluded.clicked_at
            where excluded.clicked_at > a.clicked_at;
    get diagnostics n = row_count;
    return n;
end $$;

-- Whose link a purchase comes from: the last click within p_days, of the account or of the visitor's cookie. For a title with terms of its
-- own only links to it count; under the creator's general terms links to any of their titles do. The buyer's own link only when there is
-- no other (it earns nothing, and says so).
create function ppv_attribution(p_user bigint, p_video uuid, p_cookie jsonb, p_days integer) returns bigint
    language sql stable security definer set search_path = public, pg_temp as $$
    with t as (select owner_id, inherited from affiliate_terms where video_id = p_video),
    c as (select video_id, affiliate_id as who, clicked_at as at from affiliate_attributions where user_id = p_user
        union all select e.video, e.who, to_timestamp(e.at) from jsonb_to_recordset(p_cookie) e(video uuid, who bigint, at bigint))
    select c.who from c cross join t join videos v on v.id = c.video_id
    where (c.video_id = p_video or (t.inherited and v.owner_id = t.owner_id)) and c.at > now() - make_interval(days => p_days)
        and c.who <> t.owner_id order by c.who = p_user, c.at desc limit 1
$$;

-- Browsers that accounts signed in from (keyed hash of a cookie of their own), and what they paid with (keyed hash of what the provider
-- calls the card or account). Only compared, never shown.
create table user_devices (
    user_id bigint not null references users on delete cascade,
    device text not null,
    first_at timestamptz not null default now(),
    last_at timestamptz not null default now(),
    primary key (user_id, device)
);
create index user_devices_same on user_devices (device);
create table user_instruments (
    user_id bigint not null references users on delete cascade,
    instrument text not null,
    first_at timestamptz not null default now(),
    last_at timestamptz not null default now(),
    primary key (user_id, instrument)
);
create index user_instruments_same on user_instruments (instrument);

create function ppv_instrument_seen(p_user bigint, p_instrument text) returns void
    language sql volatile security definer set search_path = public, pg_temp as $$
    insert into user_instruments (user_id, instrument) values (p_user, p_instrument)
        on conflict (user_id, instrument) do update set last_at = now()
$$;

-- What ties an affiliate to the buyer or the creator of a sale: 'payout_account', 'mail', 'instrument' (known: the commission is refused),
-- 'device', 'alike' (suspected: it waits for an administrator), null = nothing. mail: a guest whose receipt goes to the affiliate's own
-- address, or whose goods the affiliate took over. alike: instruments named 'alike:...', which others may share (a masked card).
create function ppv_affiliate_tie(p_affiliate bigint, p_buyer bigint, p_creator bigint) returns text
    language plpgsql stable security definer set search_path = public, pg_temp as $$
begin
    return case
        when exists (select from payout_destinations a join payout_destinations b on b.fingerprint = a.fingerprint
                where a.user_id = p_affiliate and b.user_id in (p_buyer, p_creator))
            or exists (select from users a join users b on b.id in (p_buyer, p_creator) and (b.wallet_account = a.wallet_account
                or (length(btrim(a.bank_account)) > 5 and lower(btrim(b.bank_account)) = lower(btrim(a.bank_account))))
                where a.id = p_affiliate) then 'payout_account'
        when exists (select from user_instruments a join user_instruments b on b.instrument = a.instrument
            where a.user_id = p_affiliate and b.user_id = p_buyer and a.instrument not like 'alike:%') then 'instrument'
        when exists (select from users a join users b on b.id = p_buyer and (b.claimed_by = a.id
                or lower(b.guest_email::text) in (lower(a.email::text), lower(a.guest_email::text)))
            where a.id = p_affiliate) then 'mail'
        when exists (select from user_devices a join user_devices b on b.device = a.device
            where a.user_id = p_affiliate and b.user_id in (p_buyer, p_creator)) then 'device'
        when exists (select from user_instruments a join user_instruments b on b.instrument = a.instrument
            where a.user_id = p_affiliate and b.user_id = p_buyer) then 'alike'
    end;
end $$;
-- The same as a sentence for affiliate and administrator.
create function ppv_affiliate_why(p_why text) returns text language sql immutable set search_path = public, pg_temp as $$
    select case p_why
        when 'self' then 'You bought this through your own link.'
        when 'payout_account' then 'The affiliate is paid to the same account as the buyer or the creator.'
        when 'instrument' then 'The affiliate and the buyer pay with the same card or account.'
        when 'mail' then 'The receipt went to the affiliate''s own e-mail address.'
        when 'alike' then 'The affiliate and the buyer pay with cards that look alike.'
        when 'device' then 'The affiliate and the buyer or creator sign in from the same browser.'
        else p_why end
$$;

-- Commissions that were not paid, and why. would: what the rule gave; null = it was not asked.
create table commission_refusals (
    id bigint generated always as identity primary key,
    order_id bigint not null references orders,
    affiliate_id bigint not null references users,
    would bigint,
    why text not null,
    created_at timestamptz not null default now(),
    unique (order_id, affiliate_id)
);
create index commission_refusals_affiliate on commission_refusals (affiliate_id, id desc);

-- Commissions that are paid and on hold until somebody decides.
create table commission_reviews (
    commission_id bigint primary key references commissions,
    why text not null,
    state text not null default 'open' check (state in ('open', 'released', 'refused')),
    decided_by bigint references users,
    decided_at timestamptz,
    note text not null default '' check (length(note) <= 500),
    txn_id bigint unique references ledger_txns,
    created_at timestamptz not null default now(),
    check ((state = 'open') = (decided_at is null)),
    check ((state = 'refused') or txn_id is null)
);
create index commission_reviews_open on commission_reviews (commission_id) where state = 'open';

-- Who has what of a paid order now: the creator, and every payee unless an administrator gave the line back to the creator.
create function ppv_order_shares(o orders) returns table (role text, owner bigint, share bigint)
    language plpgsql stable security definer set search_path = public, pg_temp as $$
begin
    return query select 'creator', o.creator_id, o.creator
    union all
    select case when r.state = 'refused' then 'creator' else 'affiliate:' || c.affiliate_id end,
        case when r.state = 'refused' then o.creator_id else c.affiliate_id end, c.amount
    from commissions c left join commission_reviews r on r.commission_id = c.id where c.order_id = o.id;
end $$;

-- Internal: what a sale earned waits until p_until (null = it does not wait); lines with a tie wait for an administrator. Practice money
-- looks like money in every book, and never leaves.
create function ppv_sale_holds(o orders, p_txn bigint, p_until timestamptz) returns void
    language plpgsql as $$
declare r record;
begin
    if o.live and p_until is null and o.commission = 0 then
        return;
    end if;
    insert into commission_reviews (commission_id, why)
        select c.id, t.tie from commissions c, ppv_affiliate_tie(c.affiliate_id, o.buyer_id, o.creator_id) t(tie)
        where c.order_id = o.id and t.tie is not null;
    for r in select a.id, e.amount, a.owner_id, w.why from ledger_entries e
             join ledger_accounts a on a.id = e.account_id and a.kind = 'user' and a.owner_id <> o.buyer_id
             left join commissions c on c.order_id = o.id and c.affiliate_id = a.owner_id
             left join commission_reviews w on w.commission_id = c.id
             where e.txn_id = p_txn and e.amount > 0 order by a.id loop
        continue when o.live and r.why is null and p_until is null;
        perform ppv_hold(r.id, r.amount, 'sale:' || o.id || ':' || case when r.owner_id = o.creator_id then 'creator' else 'affiliate:' || r.owner_id end,
            case when not o.live then 'Practice money: it cannot be paid out.'
                when r.why is not null then ppv_affiliate_why(r.why) || ' An administrator looks at it.'
                else 'Earned by a payment that can still be refunded or disputed.' end,
            case when o.live and r.why is null then p_until end, jsonb_build_object('order', o.uid, 'method', o.method), o.id);
    end loop;
end $$;

-- An administrator's word on a commission that waits. release: it is the affiliate's, after the time that all earnings wait; refuse: what
-- refunds have left of it goes to the creator. Reply: {commission_id, state, amount, txn_id}.
create function ppv_commission_decide(p_admin bigint, p_commission bigint, p_what text, p_note text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    c commissions;
    o orders;
    r commission_reviews;
    v_left bigint;
    v_txn bigint;
    v_until timestamptz;
    v_role text;
begin
    select * into c from commissions where id = p_commission;
    select * into o from orders where id = c.order_id for no key update;
    select * into r from commission_reviews where commission_id = p_commission for update;
    if r.commission_id is null then
        perform ppv_refuse('affiliate.not_found', 'This commission does not wait for a decision.');
    elsif r.state <> 'open' then
        perform ppv_refuse('affiliate.decided', 'This commission was already ' || r.state || '.');
    elsif p_what not in ('release', 'refuse') then
        perform ppv_refuse('affiliate.decision', 'The decision must be release or refuse.');
    end if;
    perform ppv_admin_check(p_admin, c.affiliate_id);
    if p_admin in (o.buyer_id, o.creator_id) then
        perform ppv_refuse('approval.self', 'Your own sale must be decided by another administrator.');
    end if;
    v_role := 'affiliate:' || c.affiliate_id;
    v_left := c.amount - div(c.amount::numeric * o.refunded, o.price)::bigint;
    perform id from ledger_accounts where kind = 'user' and name = 'wallet' and currency = o.currency
        and owner_id in (o.creator_id, c.affiliate_id) order by id for no key update;
    if p_what = 'refuse' and v_left > 0 then
        v_txn := ppv_commission_return(o, c.affiliate_id, v_role, v_left, p_admin);
    elsif p_what = 'release' and o.live then
        v_until := case when o.method = 'wallet' then now() else o.paid_at + make_interval(days => ppv_setting_int('payment.hold_days', 14)::integer) end;
        if v_until > now() then
            update holds set until = v_until, reason = 'Earned by a payment that can still be refunded or disputed.'
                where cause = 'sale:' || o.id || ':' || v_role and state = 'open';
        else
            perform ppv_unhold('sale:' || o.id || ':' || v_role);
        end if;
    end if;
    update commission_reviews set state = case p_what when 'release' then 'released' else 'refused' end, decided_by = p_admin,
        decided_at = now(), note = left(coalesce(p_note, ''), 500), txn_id = v_txn where commission_id = p_commission returning * into r;
    perform ppv_audit(p_admin, 'commission.' || p_what, 'commission:' || c.id, jsonb_build_object('order', o.id, 'affiliate', c.affiliate_id,
        'amount', v_left, 'why', r.why, 'note', r.note));
    return jsonb_build_object('commission_id', c.id, 'state', r.state, 'amount', v_left, 'currency', o.currency, 'txn_id', v_txn);
end $$;

-- Internal: a commission goes back to the creator, whose earnings of the sale may still wait: then it waits with them.
create function ppv_commission_return(o orders, p_affiliate bigint, p_role text, p_amount bigint, p_admin bigint) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_txn bigint;
    v_got bigint;
    v_account bigint := ppv_account('user', o.creator_id, 'wallet', o.currency);
begin
    perform ppv_debt_lock(array[o.creator_id, p_affiliate], o.currency);
    v_txn := ppv_post('adjustment', o.id, p_admin, 'Commission refused', jsonb_build_object('affiliate', p_affiliate),
        ppv_claw_lines(o, p_affiliate, p_role, p_amount, 'Commission refused')
        || ppv_earn_lines(o.creator_id, p_amount, o.currency, 'Commission refused to an affiliate'));
    select coalesce(sum(amount), 0) into v_got from ledger_entries where txn_id = v_txn and account_id = v_account;
    if v_got > 0 then
        update holds set amount = amount + v_got where cause = 'sale:' || o.id || ':creator' and state = 'open';
        if found then
            update ledger_accounts set held = held + v_got where id = v_account;
        end if;
    end if;
    return v_txn;
end $$;

grant select, insert, update, delete on user_devices to ppv_app;
grant select on affiliate_attributions, commission_refusals, commission_reviews to ppv_app;
grant delete on affiliate_attributions, user_instruments to ppv_app;
grant select (last_at) on user_instruments to ppv_app; -- what is too old is deleted; who pays with what stays unread
revoke all on user_devices, user_instruments, affiliate_attributions from ppv_ro;
grant execute on function ppv_attribute(bigint, jsonb), ppv_attribution(bigint, uuid, jsonb, integer), ppv_affiliate_why(text),
    ppv_affiliate_tie(bigint, bigint, bigint), ppv_commission_decide(bigint, bigint, text, text) to ppv_app;
grant execute on function ppv_instrument_seen(bigint, text) to ppv_app, ppv_worker;
