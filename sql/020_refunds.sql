-- SPDX-License-Identifier: Apache-2.0
-- Money that goes back: refunds asked for by us or made at the provider, and disputes. Shares go back pro rata by the cumulative
-- rule: of a share s of price p, floor(s x refunded / p) has gone back after `refunded`; the platform bears the remainder. What a
-- wallet cannot give becomes a debt (receivable), never a negative wallet.
set local role ppv_owner;

-- Shares that went back, and the key sent to the provider.
alter table refunds
    add column currency char(3),
    add column charge bigint check (charge > 0), -- its part of the charge, in the currency the provider took
    add column key text unique,
    add column source text not null default 'admin',
    add column platform bigint not null default 0,
    add column creator bigint not null default 0,
    add column commission bigint not null default 0,
    add column taxes bigint not null default 0,
    add column asked_at timestamptz,
    add column error text not null default '',
    add column done_at timestamptz,
    add check ((state = 'done') = (txn_id is not null));
create unique index refunds_provider_ref on refunds (order_id, provider_ref) where provider_ref is not null;
create index refunds_open on refunds (id) where state in ('pending', 'sent', 'unknown');

alter table disputes
    add column due timestamptz,
    add column txn_id bigint unique references ledger_txns,
    add check ((state = 'open') = (closed_at is null));
create index disputes_order on disputes (order_id) where state = 'open';

-- Internal: takes a share back from a wallet: first the sale's own hold, then what a dispute froze, then what is free; the rest
-- is a debt.
create function ppv_claw_lines(o orders, p_user bigint, p_role text, p_amount bigint, p_note text) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_account bigint;
    v_free bigint;
    v_take bigint;
    v_left bigint;
    r record;
begin
    if p_amount <= 0 then
        return '[]';
    end if;
    v_account := ppv_account('user', p_user, 'wallet', o.currency);
    v_left := p_amount - ppv_unhold('sale:' || o.id || ':' || p_role, p_amount, 'captured');
    -- What an open dispute of this order froze is there for exactly this.
    for r in select id from disputes where order_id = o.id and state = 'open' order by id loop
        v_left := v_left - ppv_unhold('dispute:' || r.id || ':' || p_role, v_left, 'captured');
    end loop;
    select balance - held into v_free from ledger_accounts where id = v_account;
    v_take := least(p_amount, v_free);
    return jsonb_build_array(jsonb_build_array(v_account, -v_take, p_note),
        jsonb_build_array(ppv_account('receivable', p_user, 'debt', o.currency), v_take - p_amount, p_note));
end $$;

-- Internal: posts p_amount of the price back to the buyer (wallet sale) or to the provider. The order row is locked.
create function ppv_refund_book(o orders, p_refund bigint, p_amount bigint, p_charge bigint, p_kind text, p_actor bigint, p_note text) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_after bigint := o.refunded + p_amount;
    v_creator bigint := div(o.creator::numeric * v_after, o.price) - div(o.creator::numeric * o.refunded, o.price);
    v_earned bigint := 0;                  -- of creator and affiliates
    v_taxes bigint := 0;
    v_lines jsonb;
    v_txn bigint;
    v_people bigint[] := array[o.buyer_id, o.creator_id] || ppv_payee_ids(o.payees);
    r record;
begin
    if p_amount <= 0 or v_after > o.price then
        perform ppv_refuse('refund.too_much', format('At most %s can go back.', ppv_money_text(o.price - o.refunded, o.currency)));
    end if;
    -- Wallets in id order, as everywhere.
    perform id from ledger_accounts where kind = 'user' and currency = o.currency and name = 'wallet'
        and owner_id = any (v_people) order by id for no key update;
    if o.method = 'wallet' then
        v_lines := jsonb_build_array(jsonb_build_array(ppv_account('user', o.buyer_id, 'wallet', o.currency), p_amount, p_note));
    else
        v_lines := ppv_clearing_lines(o, p_amount, p_charge, p_note);
    end if;
    for r in select t->>'code' as code, (t->>'amount')::bigint as amount from jsonb_array_elements(o.tax) t loop
        r.amount := div(r.amount::numeric * v_after, o.price) - div(r.amount::numeric * o.refunded, o.price);
        v_taxes := v_taxes + r.amount;
        v_lines := v_lines || jsonb_build_array(jsonb_build_array(ppv_account('tax', null, r.code, o.currency), -r.amount, p_note));
    end loop;
    for r in select s.role, s.owner, sum(div(s.share::numeric * v_after, o.price) - div(s.share::numeric * o.refunded, o.price))::bigint as part
             from ppv_order_shares(o) s group by 1, 2 order by 2 loop
        v_earned := v_earned + r.part;
        v_lines := v_lines || ppv_claw_lines(o, r.owner, r.role, r.part, p_note);
    end loop;
    v_lines := v_lines
        || jsonb_build_array(jsonb_build_array(ppv_account('platform', null, 'revenue', o.currency),
            -(p_amount - v_earned - v_taxes), p_note));
    v_txn := ppv_post(p_kind, o.id, p_actor, p_note, jsonb_build_object('payment_ref', o.payment_ref, 'refund', p_refund), v_lines);
    update refunds set platform = p_amount - v_earned - v_taxes, creator = v_creator, commission = v_earned - v_creator,
        taxes = v_taxes where id = p_refund;
    update orders set refunded = v_after, state = case when v_after = o.price and p_kind = 'dispute' then 'chargeback_lost'
        when v_after = o.price then 'refunded' when p_kind = 'dispute' then 'partially_refunded' when o.state = 'disputed' then o.state else 'partially_refunded' end where id = o.id;
    if v_after = o.price then
        perform ppv_order_unentitle(o, p_kind);
    end if;
    return v_txn;
end $$;

-- The part of the charge that belongs to p_amount of the price after p_before of it: parts of all refunds add up to the charge.
create function ppv_charge_part(o orders, p_before bigint, p_amount bigint) returns bigint
    language sql immutable set search_path = public, pg_temp as $$
    select greatest((div(o.charge::numeric * (p_before + p_amount), o.price) - div(o.charge::numeric * p_before, o.price))::bigint, 1)
$$;

-- Asks for a refund; null amount = all that is left. A wallet sale is paid back at once, else the provider is asked afterwards with
-- `key` and ppv_refund_finish ends it. Reply: {refund_id, key, state, amount, currency, order_id}.
create function ppv_refund_begin(p_admin bigint, p_order bigint, p_amount bigint, p_reason text, p_idem text, p_hash text)
    returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o orders;
    r refunds;
    v_scope text := 'refund:' || p_admin;
    v_reply jsonb := ppv_idem_begin(v_scope, p_idem, p_hash);
    v_left bigint;
    v_txn bigint;
begin
    if v_reply is not null then
        return v_reply;
    end if;
    select * into o from orders where id = p_order for no key update;
    if not found then
        perform ppv_refuse('order.not_found', 'This order does not exist.');
    end if;
    perform ppv_admin_check(p_admin, o.buyer_id);
    if o.state not in ('paid', 'partially_refunded') then
        perform ppv_refuse('refund.state', format('An order that is %s cannot be refunded.', replace(o.state, '_', ' ')));
    end if;
    v_left := o.price - o.refunded - coalesce((select sum(amount) from refunds where order_id = o.id
        and state in ('pending', 'sent', 'unknown')), 0);
    if coalesce(p_amount, v_left) not between 1 and v_left then
        perform ppv_refuse('refund.too_much', format('At most %s can go back.', ppv_money_text(v_left, o.currency)));
    end if;
    insert into refunds (order_id, amount, charge, currency, reason, created_by)
        values (o.id, coalesce(p_amount, v_left), ppv_charge_part(o, o.price - v_left, coalesce(p_amount, v_left)), o.currency,
            left(coalesce(p_reason, ''), 500), p_admin) returning * into r;
    update refunds set key = 'rf-' || r.id where id = r.id returning * into r;
    if o.method = 'wallet' then
        v_txn := ppv_refund_book(o, r.id, r.amount, r.charge, 'refund', p_admin, 'Refund');
        update refunds set state = 'done', done_at = now(), txn_id = v_txn where id = r.id returning * into r;
    end if;
    perform ppv_audit(p_admin, 'refund.begin', 'order:' || o.id, jsonb_build_object('refund', r.id, 'amount', r.amount, 'reason', r.reason));
    return ppv_idem_end(v_scope, p_idem, p_hash, jsonb_build_object('refund_id', r.id, 'key', r.key, 'state', r.state, 'amount', r.amount,
        'currency', o.currency, 'order_id', o.id));
end $$;

-- How a refund at the provider went: done (booked now), failed (nothing moved), sent or unknown (asked again later). Repeatable.
-- A provider gives back no more than it took: what a dispute lost meanwhile has taken of this refund is not booked again. Then the rest is
-- booked, or the refund ends as covered; whichever of the two was heard of first, the same cents have moved.
create function ppv_refund_finish(p_refund bigint, p_state text, p_ref text, p_error text default '') returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o orders;
    r refunds;
    v_txn bigint;
    v_asked bigint;
begin
    select * into o from orders where id = (select order_id from refunds where id = p_refund) for no key update;
    select * into r from refunds where id = p_refund for no key update;
    if r.state in ('done', 'failed', 'covered') then
        return r.state;
    end if;
    if p_state <> 'done' then
        update refunds set state = p_state, provider_ref = coalesce(p_ref, provider_ref), asked_at = now(),
            error = left(coalesce(p_error, ''), 500) where id = r.id;
        return p_state;
    end if;
    v_asked := r.amount;
    r.error := '';
    if v_asked > o.price - o.refunded then
        r.error := format('Asked for %s; a lost dispute had taken %s of it already.', ppv_money_text(v_asked, o.currency),
            ppv_money_text(v_asked - (o.price - o.refunded), o.currency));
        r.amount := o.price - o.refunded;
        r.charge := case when r.amount > 0 then ppv_charge_part(o, o.refunded, r.amount) end;
        perform ppv_audit(null, 'refund.covered', 'order:' || o.id, jsonb_build_object('refund', r.id, 'asked', v_asked, 'booked', r.amount));
    end if;
    if r.amount > 0 then
        v_txn := ppv_refund_book(o, r.id, r.amount, r.charge, 'refund', r.created_by, 'Refund');
        update refunds set amount = r.amount, charge = r.charge where id = r.id;
    end if;
    update refunds set state = case when v_txn is null then 'covered' else 'done' end, done_at = now(), txn_id = v_txn,
        provider_ref = coalesce(p_ref, provider_ref), error = r.error where id = r.id returning * into r;
    return r.state;
end $$;

-- Internal: books what went back without our asking, as a refund row of its own. source: 'provider' or 'dispute'.
create function ppv_refund_outside(o orders, p_amount bigint, p_source text, p_note text) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_id bigint;
    v_txn bigint;
    v_charge bigint := ppv_charge_part(o, o.refunded, p_amount);
begin
    insert into refunds (order_id, amount, charge, currency, reason, source) values (o.id, p_amount, v_charge, o.currency, p_note, p_source)
        returning id into v_id;
    v_txn := ppv_refund_book(o, v_id, p_amount, v_charge, case p_source when 'dispute' then 'dispute' else 'refund' end, null, p_note);
    update refunds set state = 'done', done_at = now(), txn_id = v_txn where id = v_id;
    perform ppv_audit(null, 'refund.' || p_source, 'order:' || o.id, jsonb_build_object('refund', v_id, 'amount', p_amount));
    return v_txn;
end $$;

-- The provider says that p_total of the charge has gone back (disputes are told apart). What we did not ask for was made at its
-- own desk: booked here, also while a dispute is open. Open refunds of ours are left to their own answer. Returns what was booked,
-- in the price's currency.
create function ppv_refund_seen(p_order bigint, p_total bigint) returns bigint
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o orders;
    v_price bigint;
begin
    select * into o from orders where id = p_order for no key update;
    if o.state not in ('paid', 'partially_refunded', 'disputed') or p_total is null
       or exists (select from refunds where order_id = o.id and state in ('pending', 'sent', 'unknown')) then
        return 0;
    end if;
    v_price := least(case when p_total >= o.charge then o.price else div(p_total::numeric * o.price, o.charge)::bigint end
        - coalesce((select sum(amount) from refunds where order_id = o.id and state = 'done' and source <> 'dispute'), 0),
        o.price - o.refunded);
    if v_price <= 0 then
        return 0;
    end if;
    perform ppv_refund_outside(o, v_price, 'provider', 'Refund by the provider');
    return v_price;
end $$;

-- A dispute as the provider has it: {ref, state open|won|lost, amount, due (unix s, or RFC 3339)}. open: what the sale earned is frozen; won: freed;
-- lost: the disputed part of the price goes back like a refund; access ends when nothing is left. Repeatable, in any order. Reply: the order's state.
create function ppv_dispute_seen(p_order bigint, d jsonb) returns text
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o orders;
    v_d disputes;
    v_part bigint;
    v_txn bigint;
    r record;
begin
    select * into o from orders where id = p_order for no key update;
    if o.paid_at is null or coalesce(d->>'ref', '') = '' then
        return o.state;
    end if;
    insert into disputes (order_id, provider, provider_ref, amount, due)
        values (o.id, o.method, d->>'ref', least(greatest(coalesce((d->>'amount')::bigint, o.charge), 1), o.charge),
            case when d->>'due' ~ '^[0-9]{1,12}$' then to_timestamp((d->>'due')::bigint)
                when d->>'due' ~ '^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]' then (d->>'due')::timestamptz end) on conflict (provider, provider_ref) do nothing;
    select * into v_d from disputes where provider = o.method and provider_ref = d->>'ref' for no key update;
    if v_d.state <> 'open' then
        return o.state;
    end if;
    v_part := least(case when v_d.amount >= o.charge then o.price else div(v_d.amount::numeric * o.price, o.charge)::bigint end,
        o.price - o.refunded);
    if o.state in ('paid', 'partially_refunded') then
        update orders set state = 'disputed' where id = o.id returning * into o;
        for r in select a.id, a.balance - a.held as free, w.role, div(w.share::numeric * v_part, o.price)::bigint as share
                 from ledger_accounts a
                 join (select s.role, s.owner, sum(s.share) as share from ppv_order_shares(o) s group by 1, 2) w on w.owner = a.owner_id
                 where a.kind = 'user' and a.name = 'wallet' and a.currency = o.currency order by a.id for no key update of a loop
            -- The sale's own hold stays while a dispute is open; what it does not cover is frozen from the free balance.
            r.share := least(r.free, r.share - coalesce((select amount from holds
                where cause = 'sale:' || o.id || ':' || r.role and state = 'open'), 0));
            if r.share > 0 then
                perform ppv_hold(r.id, r.share, 'dispute:' || v_d.id || ':' || r.role,
                    'The buyer disputes this payment with the provider.', null,
                    jsonb_build_object('order', o.uid, 'dispute', v_d.provider_ref), o.id);
            end if;
        end loop;
    end if;
    if d->>'state' in ('won', 'lost') then
        for r in select cause from holds where order_id = o.id and state = 'open' and starts_with(cause, 'dispute:' || v_d.id || ':')
                 order by account_id loop
            perform ppv_unhold(r.cause);
        end loop;
        update disputes set state = d->>'state', closed_at = now() where id = v_d.id;
        -- A refund that was under way may have ended the order meanwhile; then nothing is left to decide.
        if o.state = 'disputed' and d->>'state' = 'won' then
            update orders set state = case when refunded > 0 then 'partially_refunded' else 'paid' end where id = o.id
                and not exists (select from disputes where order_id = o.id and state = 'open');
        elsif o.state in ('paid', 'partially_refunded', 'disputed') then
            v_txn := ppv_refund_outside(o, v_part, 'dispute', 'Dispute lost');
            update disputes set txn_id = v_txn where id = v_d.id;
        end if;
    end if;
    perform ppv_audit(null, 'dispute.' || coalesce(d->>'state', 'open'), 'order:' || o.id, jsonb_build_object('dispute', v_d.id));
    return (select state from orders where id = o.id);
end $$;

-- All that a provider says of an order, in one transaction: {state, amount ...} as ppv_order_settle, refunded (of the charge, so
-- far), dispute. The same news in any order, late or twice lead to the same state. Reply: {state, why, order_id, changed}.
create function ppv_order_facts(p_order bigint, f jsonb, p_source text, p_actor bigint default null) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare r jsonb := ppv_order_settle(p_order, f - 'refunded' - 'dispute', p_source, p_actor);
begin
    if (f->>'refunded')::bigint > 0 then
        perform ppv_refund_seen(p_order, (f->>'refunded')::bigint);
    end if;
    if jsonb_typeof(f->'dispute') = 'object' then
        r := r || jsonb_build_object('state', coalesce(ppv_dispute_seen(p_order, f->'dispute'), r->>'state'));
    end if;
    return r;
end $$;

revoke insert, update on refunds, disputes from ppv_app;
grant update (evidence) on disputes to ppv_app;
grant select on refunds, disputes to ppv_worker;
grant execute on function ppv_refund_begin(bigint, bigint, bigint, text, text, text) to ppv_app;
grant execute on function ppv_refund_finish(bigint, text, text, text), ppv_order_facts(bigint, jsonb, text, bigint)
    to ppv_app, ppv_worker;
