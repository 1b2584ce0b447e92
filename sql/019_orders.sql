-- SPDX-License-Identifier: Apache-2.0
-- Orders paid through a provider: start, the provider's payments, the sale. Plugins bring facts, these functions decide.
-- A payment is booked only when provider, mode, object, amount and currency are what the order froze; any other money waits in
-- `payments` for a person. Locks: order, then entitlement, then wallets in id order.
set local role ppv_owner;

-- Every payment a provider reported as paid, once. review: the money is there, the sale is not.
create table payments (
    id bigint generated always as identity primary key,
    order_id bigint not null references orders,
    provider text not null,
    payment_ref text not null,
    amount bigint not null,
    currency text not null,
    live boolean not null,
    fee bigint check (fee >= 0),
    source text not null,                  -- 'return', 'webhook', 'poll', 'admin' ...: who brought the news
    state text not null check (state in ('booked', 'review', 'credited', 'returned')),
    why text not null default '',          -- underpaid, overpaid, late, duplicate, owned, mode, currency, object, not_for_sale
    txn_id bigint unique references ledger_txns,
    decided_by bigint references users,
    decided_at timestamptz,
    created_at timestamptz not null default now(),
    unique (provider, payment_ref),
    check ((state = 'review') = (decided_at is null) or state = 'booked'),
    check (state not in ('booked', 'credited') or txn_id is not null)
);
create index payments_order on payments (order_id);
create index payments_review on payments (id) where state = 'review';

-- Messages of providers, raw as they came; processed when their effect has been committed.
alter table payment_events
    add column raw_body bytea,
    add column processed_at timestamptz,
    add column attempts integer not null default 0,
    add column error text;
alter table payment_events alter column raw drop not null;
drop trigger payment_events_frozen on payment_events;
create function ppv_payment_event_guard() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
    if tg_op <> 'UPDATE' or (new.provider, new.event_key, new.raw_body, new.created_at)
            is distinct from (old.provider, old.event_key, old.raw_body, old.created_at) then
        raise exception 'payment events are kept as they came' using errcode = '42501';
    end if;
    return new;
end $$;
create trigger payment_events_frozen before update or delete on payment_events
    for each row execute function ppv_payment_event_guard();
create index payment_events_open on payment_events (id) where processed_at is null;

-- Frees up to p_amount (null = all) of an open hold; what is left stays held. Returns what was freed, 0 when nothing was held.
create function ppv_unhold(p_cause text, p_amount bigint default null, p_state text default 'released') returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    h holds;
    v_free bigint;
begin
    select * into h from holds where cause = p_cause and state = 'open' for update;
    if not found then
        return 0;
    end if;
    v_free := least(coalesce(p_amount, h.amount), h.amount);
    if v_free <= 0 then
        return 0;
    end if;
    if v_free = h.amount then
        update holds set state = p_state, closed_at = now() where id = h.id;
    else
        update holds set amount = amount - v_free where id = h.id;
    end if;
    update ledger_accounts set held = held - v_free where id = h.account_id;
    return v_free;
end $$;

-- Internal: what somebody owes the platform, from refunds that a wallet could not give back. The row lock keeps two sales from repaying the
-- same debt.
create function ppv_debt(p_user bigint, p_currency text) returns bigint
    language plpgsql as $$
declare v_account bigint;
begin
    select id into v_account from ledger_accounts where kind = 'receivable' and owner_id = p_user and name = 'debt'
        and currency = p_currency for update;
    if v_account is null then
        return 0;
    end if;
    return (select -coalesce(sum(amount), 0) from ledger_entries where account_id = v_account);
end $$;

-- Internal: locks the debts of several people in id order.
create function ppv_debt_lock(p_people bigint[], p_currency text) returns void
    language plpgsql as $$
begin
    perform id from ledger_accounts where kind = 'receivable' and owner_id = any (p_people) and name = 'debt' and currency = p_currency
        order by id for update;
end $$;

-- Internal: lines that credit earnings: a debt is repaid first, the rest reaches the wallet.
create function ppv_earn_lines(p_user bigint, p_amount bigint, p_currency text, p_note text) returns jsonb
    language plpgsql as $$
declare
    v_wallet bigint;
    v_debt bigint;
    v_back bigint := 0;
begin
    select max(id) filter (where kind = 'user' and name = 'wallet'), max(id) filter (where kind = 'receivable' and name = 'debt')
        into v_wallet, v_debt from ledger_accounts where owner_id = p_user and currency = p_currency;
    v_wallet := coalesce(v_wallet, ppv_account('user', p_user, 'wallet', p_currency));
    if v_debt is not null then
        v_back := least(p_amount, greatest(ppv_debt(p_user, p_currency), 0));
    end if;
    if v_back = 0 then
        return jsonb_build_array(jsonb_build_array(v_wallet, p_amount, p_note));
    end if;
    return jsonb_build_array(jsonb_build_array(v_wallet, p_amount - v_back, p_note),
        jsonb_build_array(v_debt, v_back, 'Repays what was owed'));
end $$;

-- Lines from the provider's clearing account: in the price's currency, or through the exchange account. amount < 0: they owe us.
create function ppv_clearing_lines(o orders, p_amount bigint, p_charge bigint, p_note text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if o.charge_currency = o.currency then
        return jsonb_build_array(jsonb_build_array(ppv_account('clearing', null, o.method, o.currency), p_amount, p_note));
    end if;
    return jsonb_build_array(
        jsonb_build_array(ppv_account('clearing', null, o.method, o.charge_currency), p_charge, p_note),
        jsonb_build_array(ppv_account('platform', null, 'exchange', o.charge_currency), -p_charge, p_note),
        jsonb_build_array(ppv_account('platform', null, 'exchange', o.currency), p_amount, p_note));
end $$;

-- Freezes an order. p: {method, price, fee_bp, payees [{to, amount, memo}], pct, rule, tax [{code, amount, title}], charge, charge_currency,
-- fx, live, expires_s, what {offer, currency, coupon, discount, gift}}. A checkout of the same buyer, title and provider that is still open and
-- unchanged is answered again.
-- Reply: {order_id, uid, attempt, ref, url, state, price, currency, charge, charge_currency, expires_at (unix s), again}.
create function ppv_order_start(p_buyer bigint, p_video uuid, p jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    s record;
    v videos;
    f ppv_picked;
    o orders;
    v_gross bigint;
    v_taxes bigint;
    v_payees jsonb;
    v_commission bigint;
    v_again boolean := true;
begin
    s := ppv_sale_check(p_buyer, p_video, (p->>'price')::bigint, p->'what');
    v := s.v;
    f := s.f;
    perform pg_advisory_xact_lock(hashtextextended(p_buyer || ':' || p_video, 0));
    v.price := v.price - ppv_coupon_take(v, p_buyer, p->'what');
    select * into o from orders where buyer_id = p_buyer and video_id = p_video and method = p->>'method' and state = 'pending'
        and offer = f.kind and offer_id is not distinct from f.id and terms = f.terms and currency = v.currency
        and price = v.price and charge = coalesce((p->>'charge')::bigint, v.price)
        and charge_currency = coalesce(p->>'charge_currency', v.currency) and expires_at > now() + interval '1 minute' and live = coalesce((p->>'live')::boolean, true)
        and coupon_id is not distinct from (p #>> '{what,coupon}')::bigint and not gift and p #> '{what,gift}' is null
        order by id desc limit 1;
    if not found then
        v_again := false;
        v_taxes := ppv_tax_total(p->'tax', v.price);
        v_gross := div((v.price - v_taxes)::numeric * (10000 - (p->>'fee_bp')::integer), 10000)::bigint;
        v_payees := ppv_payees(v, p_buyer, p->'payees', v_gross);
        v_commission := ppv_payees_total(v_payees);
        insert into orders (buyer_id, video_id, creator_id, method, price, currency, charge, charge_currency, fx, live, fee_bp, tax,
            taxes, platform, creator, commission, payees, affiliate_id, commission_pct, rule, expires_at, meta, offer, offer_id, terms)
        values (p_buyer, v.id, v.owner_id, p->>'method', v.price, v.currency, coalesce((p->>'charge')::bigint, v.price),
            coalesce(p->>'charge_currency', v.currency), p->'fx', coalesce((p->>'live')::boolean, true), (p->>'fee_bp')::integer,
            ppv_tax_lines(p->'tax'), v_taxes, v.price - v_taxes - v_gross, v_gross - v_commission, v_commission,
            v_payees, (ppv_payee_ids(v_payees))[1], (p->>'pct')::integer, coalesce(p->>'rule', ''),
            now() + make_interval(secs => coalesce((p->>'expires_s')::integer, 3600)), coalesce(p->'meta', '{}'), f.kind, f.id,
            f.terms)
        returning * into o;
        o := ppv_order_codes(o, p->'what');
        if o.offer = 'bundle' then
            perform ppv_order_items(o);
        end if;
    end if;
    return jsonb_build_object('order_id', o.id, 'uid', o.uid, 'attempt', o.attempt, 'ref', o.provider_ref, 'url', o.payment_url,
        'state', o.state, 'price', o.price, 'currency', o.currency, 'charge', o.charge, 'charge_currency', o.charge_currency,
        'expires_at', extract(epoch from o.expires_at)::bigint, 'title', ppv_order_title(o, v.title), 'again', v_again and o.provider_ref is not null);
end $$;

-- What the provider answered to the start. Also kept when the order was given up meanwhile: who has the checkout may still pay there.
create function ppv_order_opened(p_order bigint, p_ref text, p_url text, p_ids jsonb, p_meta jsonb, p_expires bigint) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update orders set provider_ref = p_ref, payment_url = p_url, ids = coalesce(p_ids, '{}'),
        meta = meta || coalesce(p_meta, '{}'), expires_at = coalesce(to_timestamp(p_expires), expires_at) where id = p_order
        and (state = 'pending' or provider_ref is null and paid_at is null);
end $$;

-- A payment that cannot become the sale by itself: it waits in the queue, and the order says so unless it is paid already.
create function ppv_payment_review(o orders, p_facts jsonb, p_source text, p_why text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into payments (order_id, provider, payment_ref, amount, currency, live, fee, source, state, why)
        values (o.id, o.method, p_facts->>'payment_ref', (p_facts->>'amount')::bigint, p_facts->>'currency',
            (p_facts->>'live')::boolean, (p_facts->>'fee')::bigint, p_source, 'review', p_why);
    if o.paid_at is null then
        update orders set state = 'review', why = p_why where id = o.id;
    end if;
    perform ppv_audit(null, 'payment.review', 'order:' || o.id,
        jsonb_build_object('why', p_why, 'payment_ref', p_facts->>'payment_ref', 'source', p_source));
    return jsonb_build_object('state', case when o.paid_at is null then 'review' else o.state end, 'why', p_why, 'order_id', o.id);
end $$;

-- Why a paid payment is not what the order asked for; null = it is.
create function ppv_payment_mismatch(o orders, f jsonb) returns text
    language sql immutable set search_path = public, pg_temp as $$
    select case
        when f->>'ref' is distinct from o.provider_ref then 'object'
        when (f->>'live')::boolean is distinct from o.live then 'mode'
        when upper(f->>'currency') is distinct from o.charge_currency then 'currency'
        when (f->>'amount')::bigint < o.charge then 'underpaid'
        when (f->>'amount')::bigint > o.charge then 'overpaid'
    end
$$;

-- Internal: books the sale of a locked order from its provider's clearing account. Earnings wait p_hold_days.
create function ppv_order_book(o orders, p_payment_ref text, p_fee bigint, p_actor bigint) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_txn bigint;
    v_until timestamptz := now() + make_interval(days => ppv_setting_int('payment.hold_days', 14)::integer);
begin
    perform ppv_entitle(o);
    v_txn := ppv_post('sale', o.id, p_actor, 'Sale of ' || o.video_id,
        jsonb_build_object('rule', o.rule, 'payment_ref', p_payment_ref, 'fee', p_fee),
        ppv_clearing_lines(o, -o.price, -o.charge, 'Paid by ' || o.method)
        || jsonb_build_array(jsonb_build_array(ppv_account('platform', null, 'revenue', o.currency), o.platform, 'Platform fee'))
        || ppv_order_earnings(o) || ppv_tax_postings(o.tax, o.currency));
    perform ppv_commission_rows(o, v_txn);
    perform ppv_sale_holds(o, v_txn, case when v_until > now() and coalesce((o.meta->>'reversible')::boolean, true) then v_until end);
    return v_txn;
end $$;

-- The provider's facts about an order: {state, amount, currency, live, ref, payment_ref, fee, instrument (keyed hash), alike (the same of
-- what others may share), in_time (it was
-- paid before the time ran out, whenever we hear of it), review (why a person must look at it)}. The only way to a paid order. Same
-- facts again change nothing. Reply: {state, why, order_id, changed}.
create function ppv_order_settle(p_order bigint, f jsonb, p_source text, p_actor bigint default null) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o orders;
    v_why text;
    v_txn bigint;
    v_news text := f->>'state';
begin
    select * into o from orders where id = p_order for no key update;
    if not found then
        perform ppv_refuse('order.not_found', 'This order does not exist.');
    end if;
    update orders set asked_at = now(), asks = asks + 1, ids = ids || coalesce(f->'ids', '{}') where id = o.id returning * into o;
    if v_news in ('expired', 'failed', 'cancelled') and (o.state = 'pending' or (o.state = 'review' and o.why = 'hold')) then
        update orders set state = v_news, why = coalesce(f->>'why', '') where id = o.id;
        return jsonb_build_object('state', v_news, 'order_id', o.id, 'changed', true);
    elsif v_news = 'hold' and o.state = 'pending' then
        update orders set state = 'review', why = 'hold' where id = o.id;
        return jsonb_build_object('state', 'review', 'why', 'hold', 'order_id', o.id, 'changed', true);
    elsif v_news <> 'paid' then
        return jsonb_build_object('state', o.state, 'why', o.why, 'order_id', o.id, 'changed', false);
    end if;
    if coalesce(f->>'payment_ref', '') = '' then
        raise exception 'a paid payment without a reference' using errcode = '22023';
    end if;
    if exists (select from payments where provider = o.method and payment_ref = f->>'payment_ref') then
        return jsonb_build_object('state', o.state, 'why', o.why, 'order_id', o.id, 'changed', false);
    end if;
    v_why := coalesce(f->>'review', ppv_payment_mismatch(o, f));
    if v_why is null and o.paid_at is not null then
        v_why := 'duplicate';
    elsif v_why is null and o.state not in ('pending', 'review') and not coalesce((f->>'in_time')::boolean, false) then
        -- Paid after we gave the order up (in_time: we only heard of it late): still a sale when nothing has changed for the worse since.
        if not ppv_offer_stands(o) then
            v_why := 'late';
        end if;
    end if;
    if v_why is null and not o.gift and ppv_offer_owned(o.buyer_id, o.video_id, o.offer, o.terms) then
        v_why := 'owned';
    elsif v_why is null and (not exists (select from videos where id = o.video_id and state = 'ready' and visibility = 'published')
            or exists (select from order_items i join videos x on x.id = i.video_id where i.order_id = o.id and x.state <> 'ready')) then
        v_why := 'not_for_sale';
    end if;
    if v_why is not null then
        return ppv_payment_review(o, f, p_source, v_why) || jsonb_build_object('changed', true);
    end if;
    if f->>'instrument' <> '' then
        perform ppv_instrument_seen(o.buyer_id, f->>'instrument');
    end if;
    if f->>'alike' <> '' then
        perform ppv_instrument_seen(o.buyer_id, 'alike:' || (f->>'alike'));
    end if;
    return ppv_order_paid(o, f, p_source, p_actor);
end $$;

-- Internal: the payment becomes the sale.
create function ppv_order_paid(o orders, f jsonb, p_source text, p_actor bigint) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_txn bigint := ppv_order_book(o, f->>'payment_ref', (f->>'fee')::bigint, coalesce(p_actor, o.buyer_id));
begin
    insert into payments (order_id, provider, payment_ref, amount, currency, live, fee, source, state, txn_id, decided_by, decided_at)
        values (o.id, o.method, f->>'payment_ref', (f->>'amount')::bigint, f->>'currency', (f->>'live')::boolean,
            (f->>'fee')::bigint, p_source, 'booked', v_txn, p_actor, case when p_actor is not null then now() end)
        on conflict (provider, payment_ref) do update set state = 'booked', txn_id = v_txn, decided_by = p_actor, decided_at = now();
    update orders set state = 'paid', paid_at = now(), payment_ref = f->>'payment_ref', why = '' where id = o.id;
    return jsonb_build_object('state', 'paid', 'order_id', o.id, 'txn_id', v_txn, 'changed', true);
end $$;

-- An administrator's word on a payment in review. grant: the sale is booked at the frozen price, what was paid above it goes to the
-- buyer's wallet, what is missing is borne by the platform; credit: the money goes to the buyer's wallet; returned: it was sent back outside.
create function ppv_payment_decide(p_admin bigint, p_payment bigint, p_what text, p_note text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    p payments;
    o orders;
    v_txn bigint;
    v_reply jsonb;
begin
    select order_id into o.id from payments where id = p_payment;
    select * into o from orders where id = o.id for no key update;
    select * into p from payments where id = p_payment for no key update;
    if p.id is null then
        perform ppv_refuse('order.payment_not_found', 'This payment does not exist.');
    end if;
    perform ppv_admin_check(p_admin, o.buyer_id);
    if p.state <> 'review' then
        perform ppv_refuse('order.payment_decided', 'This payment was already decided.');
    elsif p_what = 'grant' and o.paid_at is not null then
        perform ppv_refuse('order.payment_paid', 'The order is paid already; credit the money or send it back.');
    elsif p_what = 'grant' and p.live is distinct from o.live then
        perform ppv_refuse('order.payment_mode', 'This is not real money; it cannot pay for a sale.');
    elsif p_what in ('grant', 'credit') and upper(p.currency) <> o.charge_currency then
        perform ppv_refuse('order.payment_currency', 'The payment is in another currency; send it back.');
    end if;
    if p_what = 'grant' then
        perform ppv_payment_even(p, o, p_admin);
        v_reply := ppv_order_paid(o, jsonb_build_object('payment_ref', p.payment_ref, 'amount', p.amount, 'currency', p.currency,
            'live', p.live, 'fee', p.fee), p.source, p_admin);
    elsif p_what = 'credit' then
        v_txn := ppv_payment_credit(p, o, p_admin);
        update payments set state = 'credited', txn_id = v_txn, decided_by = p_admin, decided_at = now() where id = p.id;
    elsif p_what = 'returned' then
        update payments set state = 'returned', decided_by = p_admin, decided_at = now() where id = p.id;
    else
        perform ppv_refuse('order.payment_decision', 'The decision must be grant, credit or returned.');
    end if;
    if p_what <> 'grant' and o.state = 'review' and not exists (select from payments where order_id = o.id and state = 'review') then
        update orders set state = 'returned', why = p_what where id = o.id;
    end if;
    perform ppv_audit(p_admin, 'payment.' || p_what, 'order:' || o.id, jsonb_build_object('payment', p.id, 'note', left(p_note, 500)));
    return coalesce(v_reply, jsonb_build_object('state', (select state from orders where id = o.id), 'order_id', o.id));
end $$;

-- Internal: the difference between what came and what was asked, so that clearing holds exactly what the provider owes.
create function ppv_payment_even(p payments, o orders, p_admin bigint) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_diff bigint := p.amount - o.charge;
    v_price bigint := case when o.charge_currency = o.currency then v_diff else div(v_diff::numeric * o.price, o.charge)::bigint end;
begin
    if v_diff = 0 then
        return;
    end if;
    perform ppv_post('adjustment', o.id, p_admin, case when v_diff > 0 then 'Paid above the price' else 'Missing from the price' end,
        jsonb_build_object('payment_ref', p.payment_ref), ppv_clearing_lines(o, -v_price, -v_diff, 'Difference')
        || jsonb_build_array(jsonb_build_array(case when v_diff > 0 then ppv_account('user', o.buyer_id, 'wallet', o.currency)
            else ppv_account('platform', null, 'revenue', o.currency) end, v_price, 'Difference to the price')));
end $$;

-- Internal: what came in goes to the buyer's wallet, in the price's currency at the frozen rate.
create function ppv_payment_credit(p payments, o orders, p_admin bigint) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_amount bigint := case when o.charge_currency = o.currency then p.amount else div(p.amount::numeric * o.price, o.charge)::bigint end;
begin
    if v_amount <= 0 or not p.live then
        perform ppv_refuse('order.payment_mode', 'This is not real money; it cannot be credited.');
    end if;
    return ppv_post('adjustment', o.id, p_admin, 'Payment credited', jsonb_build_object('payment_ref', p.payment_ref),
        ppv_clearing_lines(o, -v_amount, -p.amount, 'Payment credited')
        || jsonb_build_array(jsonb_build_array(ppv_account('user', o.buyer_id, 'wallet', o.currency), v_amount, 'Payment credited')));
end $$;

-- The provider paid out to the operator's bank: gross leaves clearing, the fee is an expense. Repeatable by reference.
create function ppv_clearing_settle(p_admin bigint, p_provider text, p_currency text, p_gross bigint, p_fee bigint, p_ref text,
    p_idem text, p_hash text) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_scope text := 'clearing:' || p_provider;
    v_reply jsonb := ppv_idem_begin(v_scope, p_idem, p_hash);
    v_txn bigint;
begin
    if v_reply is not null then
        return v_reply;
    end if;
    perform ppv_admin_check(p_admin, null);
    if p_gross <= 0 or p_fee < 0 or p_fee > p_gross then
        perform ppv_refuse('amount.invalid', 'The gross amount must be positive and the fee between 0 and the gross amount.');
    end if;
    v_txn := ppv_post('adjustment', null, p_admin, 'Settlement of ' || p_provider, jsonb_build_object('payment_ref', p_ref), jsonb_build_array(
        jsonb_build_array(ppv_account('clearing', null, p_provider, p_currency), p_gross, 'Settlement ' || p_ref),
        jsonb_build_array(ppv_account('platform', null, 'fees', p_currency), -p_fee, 'Fee of ' || p_provider),
        jsonb_build_array(ppv_account('platform', null, 'bank', p_currency), -(p_gross - p_fee), 'Paid to the bank')));
    perform ppv_audit(p_admin, 'clearing.settle', p_provider, jsonb_build_object('txn_id', v_txn, 'gross', p_gross, 'fee', p_fee));
    return ppv_idem_end(v_scope, p_idem, p_hash, jsonb_build_object('txn_id', v_txn, 'provider', p_provider, 'gross', p_gross, 'fee', p_fee));
end $$;

grant select on payments to ppv_app, ppv_worker;
grant select, insert on payment_events to ppv_worker;
grant update (processed_at, attempts, error, order_id) on payment_events to ppv_app, ppv_worker;
revoke update on orders from ppv_app;
grant update (state, why, asked_at, asks) on orders to ppv_app, ppv_worker;
grant select on orders to ppv_worker;
grant execute on function ppv_order_start(bigint, uuid, jsonb), ppv_order_opened(bigint, text, text, jsonb, jsonb, bigint),
    ppv_order_settle(bigint, jsonb, text, bigint) to ppv_app, ppv_worker;
grant execute on function ppv_payment_decide(bigint, bigint, text, text),
    ppv_clearing_settle(bigint, text, text, bigint, bigint, text, text, text) to ppv_app;

-- Checkouts held by this site itself: bank transfers an administrator confirms (manual), and the practice gateway (sandbox). One row
-- is what a provider would know of a payment; plugins see it through ctx.desk only.
create table desk_payments (
    ref text primary key,
    order_id bigint not null unique references orders,
    state text not null default 'pending' check (state in ('pending', 'paid', 'hold', 'failed', 'expired', 'cancelled')),
    payment_ref text,
    amount bigint not null check (amount > 0),
    currency char(3) not null,
    live boolean not null,
    refunded bigint not null default 0,
    dispute jsonb,
    proof text not null default '',        -- file below upload_dir/proofs
    note text not null default '' check (length(note) <= 500),
    decided_by bigint references users,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create trigger desk_payments_touch before update on desk_payments for each row execute function ppv_touch();
grant select, insert, update on desk_payments to ppv_app, ppv_worker;

-- Keeps a provider's verified message and queues its work, once per key. Null when it is known already.
create function ppv_payment_event_add(p_provider text, p_key text, p_kind text, p_hint jsonb, p_body bytea) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_id bigint;
begin
    insert into payment_events (provider, event_key, kind, raw, raw_body) values (p_provider, p_key, left(p_kind, 100), p_hint, p_body)
        on conflict (provider, event_key) do nothing returning id into v_id;
    if v_id is not null then
        perform ppv_job_add('payment_event', jsonb_build_object('id', v_id), 'payment_event:' || v_id);
    end if;
    return v_id;
end $$;
grant execute on function ppv_payment_event_add(text, text, text, jsonb, bytea) to ppv_app, ppv_worker;
