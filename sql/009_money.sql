-- SPDX-License-Identifier: Apache-2.0
-- The only writers of the ledger. Every public function is one transaction with an idempotency key: the same key and body hash answer
-- the stored reply, the same key with another hash is refused (idempotency.mismatch). Refusals are 'code|sentence' (P0001).
-- Locks: idempotency key, then entitlement, then wallets in id order.
-- Functions marked internal are reached through those only (nobody else may execute them): they run with the rights and the search path
-- of their caller, because changing both costs more than most of them do. And they are plpgsql, which keeps its plans.
set local role ppv_owner;

-- Internal: null = new key, go on, and ppv_idem_end keeps the reply; else the stored reply. A parallel request with the same key waits
-- here for the first one's end.
create function ppv_idem_begin(p_scope text, p_key text, p_hash text) returns jsonb
    language plpgsql as $$
declare
    r idempotency;
    v_lock bigint := hashtextextended(p_scope || ':' || p_key, 0);
begin
    if p_key is null or length(p_key) not between 1 and 200 then
        perform ppv_refuse('idempotency.required', 'This request needs an idempotency key of 1 to 200 characters.');
    end if;
    if not pg_try_advisory_xact_lock(v_lock) then
        perform pg_advisory_xact_lock(v_lock);
    end if;
    select * into r from idempotency where scope = p_scope and key = p_key;
    if not found then
        return null;
    elsif r.body_hash is distinct from coalesce(p_hash, '') then
        perform ppv_refuse('idempotency.mismatch', 'This idempotency key was used for another request.');
    end if;
    return r.reply;
end $$;

create function ppv_idem_end(p_scope text, p_key text, p_hash text, p_reply jsonb) returns jsonb
    language plpgsql as $$
begin
    insert into idempotency (scope, key, body_hash, reply) values (p_scope, p_key, coalesce(p_hash, ''), p_reply);
    return p_reply;
end $$;

-- Internal: get or create. System accounts: ppv_account('platform', null, 'revenue', 'USD').
create function ppv_account(p_kind text, p_owner bigint, p_name text, p_currency text) returns bigint
    language plpgsql as $$
declare v_id bigint;
begin
    -- Two queries, because `is not distinct from` cannot use the index.
    if p_owner is null then
        select id into v_id from ledger_accounts where kind = p_kind and owner_id is null and name = p_name
            and currency = p_currency;
    else
        select id into v_id from ledger_accounts where kind = p_kind and owner_id = p_owner and name = p_name
            and currency = p_currency;
    end if;
    if v_id is not null then
        return v_id;
    end if;
    insert into ledger_accounts (kind, owner_id, name, currency, balance)
        values (p_kind, p_owner, p_name, p_currency, case when p_kind = 'user' then 0 end)
        on conflict do nothing;
    select id into v_id from ledger_accounts where kind = p_kind and owner_id is not distinct from p_owner
        and name = p_name and currency = p_currency;
    return v_id;
end $$;

-- Internal: one balanced transaction. p_lines: [[account, amount, note], ...]; zero amounts are left out, several lines of one
-- account are added up. Changes the wallets in id order, refuses to spend what is not there or on hold. Call it late: from here on the
-- sales of one creator wait for each other.
create function ppv_post(p_kind text, p_order bigint, p_actor bigint, p_memo text, p_meta jsonb, p_lines jsonb)
    returns bigint language plpgsql as $$
declare
    v_txn bigint;
    v_ids bigint[];
    v_amounts bigint[];
    v_notes text[];
    v_wallet boolean[];
    v_after bigint[];
    v_balance bigint;
    v_total numeric;
    a ledger_accounts;
begin
    select array_agg(s.account), array_agg(s.amount), array_agg(s.note), sum(s.amount),
            array_agg((select x.kind = 'user' from ledger_accounts x where x.id = s.account))
        into v_ids, v_amounts, v_notes, v_total, v_wallet
        from (select (l->>0)::bigint as account, sum((l->>1)::bigint)::bigint as amount, max(l->>2) as note
              from jsonb_array_elements(p_lines) l group by 1 having sum((l->>1)::bigint) <> 0 order by 1) s;
    if coalesce(cardinality(v_ids), 0) < 2 or v_total <> 0 then
        raise exception 'unbalanced posting: % entries, sum %', coalesce(cardinality(v_ids), 0), v_total using errcode = '23514';
    end if;
    v_after := array_fill(null::bigint, array[cardinality(v_ids)]);
    for i in 1 .. cardinality(v_ids) loop
        continue when not v_wallet[i];
        update ledger_accounts set balance = balance + v_amounts[i]
            where id = v_ids[i] and (v_amounts[i] > 0 or balance - held + v_amounts[i] >= 0) returning balance into v_balance;
        v_after[i] := v_balance;
        if not found then
            select * into a from ledger_accounts where id = v_ids[i];
            perform ppv_refuse('wallet.insufficient', format('Your wallet has %s %s available, %s are needed.',
                ppv_money_text(a.balance - a.held, a.currency), a.currency, ppv_money_text(-v_amounts[i], a.currency)));
        end if;
    end loop;
    -- Numbers are given while the wallets are locked: those of a wallet's lines are in the order of its balances.
    with t as (insert into ledger_txns (kind, order_id, actor_id, memo, meta)
            values (p_kind, p_order, p_actor, coalesce(p_memo, ''), coalesce(p_meta, '{}')) returning id),
        e as (insert into ledger_entries (txn_id, account_id, amount, balance_after, note)
            select t.id, l.account, l.amount, l.after, l.note
            from t, unnest(v_ids, v_amounts, v_after, v_notes) l(account, amount, after, note))
    select id into v_txn from t;
    return v_txn;
end $$;

-- '12.34' by the currency's exponent; for sentences only.
create function ppv_money_text(p_amount bigint, p_currency text) returns text
    language sql immutable set search_path = public, pg_temp as $$
    select case
        when p_currency in ('JPY', 'KRW', 'VND', 'CLP', 'ISK', 'XAF', 'XOF', 'UGX', 'PYG', 'RWF') then p_amount::text
        when p_currency in ('BHD', 'KWD', 'JOD', 'OMR', 'TND', 'IQD', 'LYD') then to_char(p_amount / 1000.0, 'FM9999999999999990.000')
        else to_char(p_amount / 100.0, 'FM99999999999999990.00') end
$$;

-- Balance and what can be spent: {balance, held, available, currency}. A user without a wallet has zeros.
create function ppv_balance(p_user bigint, p_currency text default 'USD') returns jsonb
    language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    v_balance bigint;
    v_held bigint;
begin
    select balance, held into v_balance, v_held from ledger_accounts where kind = 'user' and owner_id = p_user and name = 'wallet'
        and currency = p_currency;
    return jsonb_build_object('balance', coalesce(v_balance, 0), 'held', coalesce(v_held, 0),
        'available', coalesce(v_balance - v_held, 0), 'currency', p_currency);
end $$;

create function ppv_amount_check(p_amount bigint, p_min bigint) returns void
    language plpgsql stable as $$
begin
    if p_amount is null or p_amount <= 0 then
        perform ppv_refuse('amount.invalid', 'The amount must be a positive number.');
    elsif p_amount < p_min then
        perform ppv_refuse('amount.too_small', format('The smallest amount is %s.', ppv_money_text(p_min, 'USD')));
    elsif p_amount > ppv_setting_int('wallet.max_amount', 100000000000) then
        perform ppv_refuse('amount.too_large', 'The amount is above the limit.');
    end if;
end $$;

create function ppv_active_user(p_user bigint) returns users
    language plpgsql stable as $$
declare u users;
begin
    select * into u from users where id = p_user and disabled_at is null;
    if not found then
        perform ppv_refuse('user.unknown', 'This account does not exist or is closed.');
    end if;
    return u;
end $$;

-- Internal: everything that can be refused before money is looked at. p_what: the offer that is bought (028_offers.sql) and with which codes
-- (029_codes.sql); plain: see below. f is the offer; of v there is what a sale needs, with the offer's price and currency (a title's index may be long).
create type ppv_picked as (kind text, id bigint, price bigint, currency text, terms jsonb);
create function ppv_sale_check(p_buyer bigint, p_video uuid, p_price bigint, p_what jsonb default '{}', out v videos, out f ppv_picked)
    language plpgsql stable as $$
declare
    v_active boolean;
    v_blocked boolean;
begin
    select x.id, x.owner_id, x.title, x.price, x.currency, x.alone, x.state,
            exists (select from users where id = p_buyer and disabled_at is null),
            exists (select from creator_blocks where creator_id = x.owner_id and user_id = p_buyer and (expires_at is null or expires_at > now()))
        into v.id, v.owner_id, v.title, v.price, v.currency, v.alone, v.state, v_active, v_blocked
        from videos x where x.id = p_video and x.state <> 'deleted' and x.visibility = 'published';
    if v_active is not true then
        perform ppv_active_user(p_buyer); -- refuses, unless it is the video that is not there
    end if;
    if v.id is null then
        perform ppv_refuse('video.not_found', 'This video does not exist.');
    elsif v.owner_id = p_buyer then
        perform ppv_refuse('sale.own_video', 'This is your own video.');
    elsif v.price <= 0 then
        perform ppv_refuse('sale.free', 'This video is free.');
    elsif v.state <> 'ready' then
        perform ppv_refuse('video.not_ready', 'This video is not ready yet.');
    end if;
    if p_what ? 'plain' then -- the caller took it for a title with nothing to choose and nobody to share with
        if exists (select from offers where creator_id = v.owner_id and active) or exists (select from prices where video_id = v.id)
           or (select enabled and pct > 0 from affiliate_terms where video_id = v.id) then
            perform ppv_refuse('sale.look_again', 'What this title is sold for has changed. Please look at it again.');
        end if;
    end if;
    f := ppv_offer_pick(v, p_what);
    v.price := f.price;
    v.currency := f.currency;
    if v.price is distinct from p_price then
        perform ppv_refuse('sale.price_changed', 'The price has changed. Please look at it again.');
    elsif v_blocked then
        perform ppv_refuse('sale.blocked', 'The creator does not sell to you.');
    elsif p_what -> 'gift' is null and ppv_offer_owned(p_buyer, p_video, f.kind, f.terms) then
        perform ppv_refuse('sale.already_owned', 'You already have access to this video.');
    end if;
end $$;

-- Sum of tax lines; refuses what is not a list of known-looking codes with whole amounts that leave something of the price.
create function ppv_tax_total(p_tax jsonb, p_price bigint) returns bigint
    language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    l jsonb;
    v_total numeric := 0;
begin
    if jsonb_typeof(coalesce(p_tax, '[]')) <> 'array' then
        perform ppv_refuse('tax.refused', 'The tax rule gave no usable lines.');
    elsif jsonb_array_length(coalesce(p_tax, '[]')) > 10 then
        perform ppv_refuse('tax.refused', 'The tax rule gave no usable lines.');
    end if;
    if coalesce(p_tax, '[]') = '[]' then
        return 0;
    end if;
    for l in select * from jsonb_array_elements(p_tax) loop
        if coalesce(l ->> 'code', '') !~ '^[a-z0-9_]{1,20}$' or jsonb_typeof(l -> 'amount') is distinct from 'number'
           or (l ->> 'amount') !~ '^[0-9]{1,18}$' then
            perform ppv_refuse('tax.refused', 'The tax rule gave no usable lines.');
        end if;
        v_total := v_total + (l ->> 'amount')::numeric;
    end loop;
    if v_total >= p_price then
        perform ppv_refuse('tax.refused', 'The taxes leave nothing of the price.');
    end if;
    return v_total::bigint;
end $$;
-- Internal: as they are frozen on an order; zero amounts are left out.
create function ppv_tax_lines(p_tax jsonb) returns jsonb language plpgsql immutable as $$
begin
    if coalesce(p_tax, '[]') = '[]' then
        return '[]';
    end if;
    return (select coalesce(jsonb_agg(jsonb_build_object('code', l ->> 'code', 'amount', (l ->> 'amount')::bigint, 'included', true,
        'title', left(coalesce(l ->> 'title', l ->> 'code'), 80)) order by o), '[]')
        from jsonb_array_elements(p_tax) with ordinality e(l, o) where (l ->> 'amount')::bigint > 0);
end $$;
-- Internal: lines for ppv_post: every tax to its account tax/<code>.
create function ppv_tax_postings(p_tax jsonb, p_currency text) returns jsonb language plpgsql as $$
begin
    if p_tax = '[]' then
        return p_tax;
    end if;
    return (select jsonb_agg(jsonb_build_array(ppv_account('tax', null, l ->> 'code', p_currency), (l ->> 'amount')::bigint,
        l ->> 'title')) from jsonb_array_elements(p_tax) l);
end $$;
-- Internal: who shares a commission, as it is frozen on an order: [{to, amount, memo}] without the lines of nothing. Whoever is tied to buyer or
-- creator comes last as {to, amount: 0, would, refused: why}, as does what the caller refused; direct = whose link it was. Refuses what the sale cannot carry: more than 10 lines, a sum outside 0 .. the creator's share, somebody twice, a payee who is not active or is buyer or creator, a
-- title without a programme.
create function ppv_payees(v videos, p_buyer bigint, p_payees jsonb, p_gross bigint) returns jsonb
    language plpgsql stable as $$
declare
    l jsonb;
    v_out jsonb := '[]';
    v_refused jsonb := '[]';
    v_tie text;
    v_seen bigint[] := '{}';
    v_sum numeric := 0;
begin
    if jsonb_typeof(coalesce(p_payees, '[]')) <> 'array' then
        perform ppv_refuse('affiliate.out_of_range', 'The affiliate rule gave no usable lines.');
    elsif jsonb_array_length(coalesce(p_payees, '[]')) > 10 then
        perform ppv_refuse('affiliate.out_of_range', 'The affiliate rule gave no usable lines.');
    elsif coalesce(p_payees, '[]') = '[]' then
        return '[]';
    end if;
    for l in select * from jsonb_array_elements(p_payees) loop
        if jsonb_typeof(l -> 'amount') is distinct from 'number' or (l ->> 'amount') !~ '^[0-9]{1,18}$'
           or jsonb_typeof(l -> 'to') is distinct from 'number' or (l ->> 'to') !~ '^[0-9]{1,18}$' then
            perform ppv_refuse('affiliate.out_of_range', 'The affiliate rule gave no usable lines.');
        end if;
        if (l ->> 'amount')::bigint = 0 then
            if (l ->> 'refused' ~ '^[a-z_]{1,40}$' or l -> 'direct' = 'true') and exists (select from users where id = (l ->> 'to')::bigint) then
                v_refused := v_refused || jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('to', (l ->> 'to')::bigint, 'amount', 0,
                    'refused', l ->> 'refused', 'direct', nullif(l -> 'direct' = 'true', false))));
            end if;
            continue;
        end if;
        if (l ->> 'to')::bigint in (p_buyer, v.owner_id) or (l ->> 'to')::bigint = any (v_seen)
           or not exists (select from users where id = (l ->> 'to')::bigint and disabled_at is null) then
            perform ppv_refuse('affiliate.invalid', 'This affiliate cannot earn on this sale.');
        end if;
        v_seen := v_seen || (l ->> 'to')::bigint;
        v_sum := v_sum + (l ->> 'amount')::bigint;
        v_tie := ppv_affiliate_tie((l ->> 'to')::bigint, p_buyer, v.owner_id);
        if v_tie in ('payout_account', 'instrument', 'mail') then
            v_refused := v_refused || jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('to', (l ->> 'to')::bigint, 'amount', 0,
                'would', (l ->> 'amount')::bigint, 'refused', v_tie, 'direct', nullif(l -> 'direct' = 'true', false))));
        else
            v_out := v_out || jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('to', (l ->> 'to')::bigint, 'amount', (l ->> 'amount')::bigint,
                'memo', left(coalesce(l ->> 'memo', ''), 100), 'direct', nullif(l -> 'direct' = 'true', false))));
        end if;
    end loop;
    if v_sum > p_gross then
        perform ppv_refuse('affiliate.out_of_range', 'The affiliate commission is more than the creator''s share.');
    elsif v_sum > 0 and not exists (select from affiliate_terms where video_id = v.id and enabled and pct > 0) then
        perform ppv_refuse('affiliate.disabled', 'This video has no affiliate program.');
    end if;
    return v_out || v_refused;
end $$;
create function ppv_payees_total(p_payees jsonb) returns bigint language plpgsql immutable as $$
begin
    if p_payees = '[]' then
        return 0;
    end if;
    return (select sum((l ->> 'amount')::bigint)::bigint from jsonb_array_elements(p_payees) l);
end $$;
create function ppv_payee_ids(p_payees jsonb) returns bigint[] language plpgsql immutable as $$
begin
    if p_payees = '[]' then
        return '{}';
    end if;
    return (select coalesce(array_agg((l ->> 'to')::bigint order by n), '{}') from jsonb_array_elements(p_payees) with ordinality e(l, n)
        where (l ->> 'amount')::bigint > 0);
end $$;
-- Internal: lines for ppv_post: what everybody earns by a paid order. Their debts are repaid first.
create function ppv_order_earnings(o orders) returns jsonb language plpgsql as $$
declare
    l jsonb;
    v_lines jsonb;
begin
    if o.commission > 0 then
        perform ppv_debt_lock(o.creator_id || ppv_payee_ids(o.payees), o.currency);
    end if;
    v_lines := ppv_earn_lines(o.creator_id, o.creator, o.currency, 'Video sale: ' || o.video_id);
    if o.commission = 0 then
        return v_lines;
    end if;
    for l in select e from jsonb_array_elements(o.payees) e where (e ->> 'amount')::bigint > 0 loop
        v_lines := v_lines || ppv_earn_lines((l ->> 'to')::bigint, (l ->> 'amount')::bigint, o.currency, 'Commission earned: ' || o.video_id);
    end loop;
    return v_lines;
end $$;
-- Internal: one row for every line of the commission, paid or refused, beside the sale's posting.
create function ppv_commission_rows(o orders, p_txn bigint) returns void
    language plpgsql as $$
begin
    if o.payees = '[]' then
        return;
    end if;
    insert into commissions (order_id, txn_id, account_id, video_id, affiliate_id, buyer_id, creator_id, price, amount, currency, pct,
        rule, memo, method)
    select o.id, p_txn, ppv_account('user', (l ->> 'to')::bigint, 'wallet', o.currency), o.video_id, (l ->> 'to')::bigint, o.buyer_id,
        o.creator_id, o.price, (l ->> 'amount')::bigint, o.currency, o.commission_pct, o.rule, coalesce(l ->> 'memo', ''), o.method
    from jsonb_array_elements(o.payees) with ordinality e(l, n) where (l ->> 'amount')::bigint > 0 order by n;
    insert into commission_refusals (order_id, affiliate_id, would, why)
    select o.id, (l ->> 'to')::bigint, (l ->> 'would')::bigint, l ->> 'refused' from jsonb_array_elements(o.payees) l where l ? 'refused';
end $$;

-- Buys a video from the wallet. price = what the buyer saw. p_payees: [{to, amount, memo}] as the affiliate rule computed it, null = nobody
-- (checked by ppv_payees; broken = affiliate.* refusal, and the caller may repeat without them). p_tax: [{code, amount, title}] from the tax rule, in the price; net = price - taxes.
-- p_what: {offer, currency}, nothing = the title for good. Split: creator_gross = floor(net x (10000 - fee_bp) / 10000), platform = rest of net.
-- Reply: {order_id, order_uid, txn_id, entitlement_id, video_id, price, currency, platform, creator, commission, balance}.
create function ppv_sale(p_buyer bigint, p_video uuid, p_price bigint, p_fee_bp integer, p_payees jsonb, p_pct integer,
    p_idem text, p_hash text, p_rule text default '', p_tax jsonb default '[]',
    p_tax_rule text default '', p_what jsonb default '{}')
    returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    s record;
    v videos;
    f ppv_picked;
    o orders;
    v_reply jsonb;
    v_scope text := 'sale:' || p_buyer;
    v_gross bigint;
    v_payees jsonb := '[]';
    v_commission bigint := 0;
    v_affiliate bigint;
    v_ent bigint;
    v_txn bigint;
    v_tax bigint := 0;
    v_wallet bigint;
    v_balance bigint;
begin
    v_reply := ppv_idem_begin(v_scope, p_idem, p_hash);
    if v_reply is not null then
        return v_reply;
    end if;
    if not ppv_setting_bool('payment.wallet_payment_enabled', true) then
        perform ppv_refuse('wallet.disabled', 'Paying from the wallet is switched off.');
    end if;
    s := ppv_sale_check(p_buyer, p_video, p_price, p_what);
    v := s.v;
    f := s.f;
    if p_what ->> 'coupon' is not null then
        v.price := v.price - ppv_coupon_take(v, p_buyer, p_what);
    end if;
    if p_fee_bp is null or p_fee_bp not between 0 and 10000 then
        raise exception 'fee_bp % out of range', p_fee_bp using errcode = '22023';
    end if;
    if p_tax <> '[]' then
        v_tax := ppv_tax_total(p_tax, v.price);
    end if;
    v_gross := div((v.price - v_tax)::numeric * (10000 - p_fee_bp), 10000)::bigint;
    if p_payees <> '[]' then
        v_payees := ppv_payees(v, p_buyer, p_payees, v_gross);
        v_commission := ppv_payees_total(v_payees);
        v_affiliate := (ppv_payee_ids(v_payees))[1];
    end if;
    insert into orders (buyer_id, video_id, creator_id, method, state, price, currency, charge, charge_currency, fee_bp, platform,
        creator, commission, payees, affiliate_id, commission_pct, rule, tax, taxes, meta, paid_at, offer, offer_id, terms)
    values (p_buyer, v.id, v.owner_id, 'wallet', 'paid', v.price, v.currency, v.price, v.currency, p_fee_bp,
        v.price - v_tax - v_gross, v_gross - v_commission, v_commission, v_payees, v_affiliate, p_pct, coalesce(p_rule, ''),
        ppv_tax_lines(p_tax), v_tax, jsonb_build_object('tax_rule', coalesce(p_tax_rule, '')), now(), f.kind, f.id,
        f.terms) returning * into o;
    if p_what ?| array['coupon', 'gift'] then
        o := ppv_order_codes(o, p_what);
    end if;
    if o.offer = 'bundle' then
        perform ppv_order_items(o);
    end if;
    v_ent := ppv_entitle(o);
    v_wallet := ppv_account('user', p_buyer, 'wallet', v.currency);
    v_txn := ppv_post('sale', o.id, p_buyer, 'Sale of ' || v.id, jsonb_build_object('rule', o.rule), jsonb_build_array(
        jsonb_build_array(v_wallet, -v.price, 'Video purchase: ' || v.id),
        jsonb_build_array(ppv_account('platform', null, 'revenue', v.currency), o.platform, 'Platform fee'))
        || ppv_order_earnings(o) || ppv_tax_postings(o.tax, v.currency));
    if v_payees <> '[]' then
        perform ppv_commission_rows(o, v_txn);
        perform ppv_sale_holds(o, v_txn, null);
    end if;
    select balance into v_balance from ledger_accounts where id = v_wallet;
    return ppv_idem_end(v_scope, p_idem, p_hash, jsonb_build_object('order_id', o.id, 'order_uid', o.uid, 'txn_id', v_txn,
        'entitlement_id', v_ent, 'video_id', v.id, 'price', v.price, 'currency', v.currency, 'platform', o.platform,
        'creator', o.creator, 'commission', v_commission, 'balance', v_balance));
end $$;

-- Wallet to wallet. Reply: {txn_id, amount, currency, balance}.
create function ppv_transfer(p_from bigint, p_to bigint, p_amount bigint, p_currency text, p_note text, p_idem text, p_hash text)
    returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_scope text := 'transfer:' || p_from;
    v_limit bigint := ppv_limit('wallet.transfer_day', p_currency, 1000000);
    v_day bigint;
    v_reply jsonb;
    v_txn bigint;
begin
    v_reply := ppv_idem_begin(v_scope, p_idem, p_hash);
    if v_reply is not null then
        return v_reply;
    end if;
    if not ppv_setting_bool('payment.wallet_transfer_enabled', true) then
        perform ppv_refuse('wallet.transfer_disabled', 'Transfers between wallets are switched off.');
    elsif p_from = p_to then
        perform ppv_refuse('transfer.self', 'You cannot send money to yourself.');
    end if;
    perform ppv_amount_check(p_amount, ppv_limit('wallet.min_transfer', p_currency, 100));
    perform ppv_active_user(p_from);
    perform ppv_active_user(p_to);
    v_txn := ppv_post('transfer', null, p_from, left(p_note, 500), '{}', jsonb_build_array(
        jsonb_build_array(ppv_account('user', p_from, 'wallet', p_currency), -p_amount, left(coalesce(p_note, ''), 500)),
        jsonb_build_array(ppv_account('user', p_to, 'wallet', p_currency), p_amount, left(coalesce(p_note, ''), 500))));
    -- Looked at with the sender's wallet locked, so parallel transfers count each other.
    select -sum(e.amount) into v_day from ledger_txns t join ledger_entries e on e.txn_id = t.id and e.amount < 0
        join ledger_accounts a on a.id = e.account_id and a.owner_id = p_from and a.currency = p_currency
        where t.kind = 'transfer' and t.actor_id = p_from and t.created_at > now() - interval '1 day';
    if v_day > v_limit then
        perform ppv_refuse('wallet.limit', format('You can send at most %s %s within 24 hours.',
            ppv_money_text(v_limit, p_currency), p_currency));
    end if;
    return ppv_idem_end(v_scope, p_idem, p_hash, jsonb_build_object('txn_id', v_txn, 'amount', p_amount, 'currency', p_currency,
        'balance', (ppv_balance(p_from, p_currency) ->> 'balance')::bigint));
end $$;

-- Asks for a deposit; no money moves. Reply: {deposit_id, state, amount, currency, balance}.
create function ppv_deposit_request(p_user bigint, p_amount bigint, p_currency text, p_note text, p_idem text, p_hash text)
    returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    v_scope text := 'deposit:' || p_user;
    v_reply jsonb;
    v_id bigint;
begin
    v_reply := ppv_idem_begin(v_scope, p_idem, p_hash);
    if v_reply is not null then
        return v_reply;
    end if;
    if not ppv_setting_bool('payment.wallet_deposit_enabled', true) then
        perform ppv_refuse('wallet.deposit_disabled', 'Top-ups that an administrator approves are switched off.');
    end if;
    perform ppv_amount_check(p_amount, ppv_limit('wallet.min_deposit', p_currency, 1000));
    perform ppv_active_user(p_user);
    insert into deposits (user_id, amount, currency, note)
        values (p_user, p_amount, p_currency, left(coalesce(p_note, ''), 500)) returning id into v_id;
    return ppv_idem_end(v_scope, p_idem, p_hash, jsonb_build_object('deposit_id', v_id, 'state', 'pending', 'amount', p_amount,
        'currency', p_currency, 'balance', (ppv_balance(p_user, p_currency) ->> 'balance')::bigint));
end $$;

-- Internal: an admin who is not the owner of the request.
create function ppv_admin_check(p_admin bigint, p_user bigint) returns void
    language plpgsql stable security definer set search_path = public, pg_temp as $$
begin
    if not exists (select from users where id = p_admin and is_admin and disabled_at is null) then
        perform ppv_refuse('auth.forbidden', 'Only an administrator can do this.');
    elsif p_admin = p_user then
        perform ppv_refuse('approval.self', 'Your own request must be decided by another administrator.');
    end if;
end $$;

-- Internal: the deposit, locked, when this administrator may decide it and nobody has.
create function ppv_deposit_pending(p_admin bigint, p_id bigint) returns deposits
    language plpgsql security definer set search_path = public, pg_temp as $$
declare d deposits;
begin
    select * into d from deposits where id = p_id for update;
    if not found then
        perform ppv_refuse('deposit.not_found', 'This deposit does not exist.');
    end if;
    perform ppv_admin_check(p_admin, d.user_id);
    if d.state <> 'pending' then
        perform ppv_refuse('deposit.decided', 'This deposit was already ' || d.state || '.');
    end if;
    return d;
end $$;

-- Above wallet.four_eyes_above the first call only notes the first administrator (state stays 'pending'), a second one decides.
-- Reply: {deposit_id, state, txn_id, user_id, amount, currency, balance (the user's)}.
create function ppv_deposit_approve(p_admin bigint, p_id bigint, p_note text, p_idem text, p_hash text, p_ip inet default null)
    returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    d deposits;
    v_scope text := 'deposit_decide:' || p_admin;
    v_reply jsonb;
    v_txn bigint;
    v_balance bigint;
begin
    v_reply := ppv_idem_begin(v_scope, p_idem, p_hash);
    if v_reply is not null then
        return v_reply;
    end if;
    d := ppv_deposit_pending(p_admin, p_id);
    if d.amount > ppv_limit('wallet.four_eyes_above', d.currency, 1000000) then
        if d.first_by = p_admin then
            perform ppv_refuse('approval.second', 'A second administrator has to approve this amount.');
        elsif d.first_by is null then
            update deposits set first_by = p_admin where id = d.id;
            perform ppv_audit(p_admin, 'deposit.approve_first', 'deposit:' || d.id,
                jsonb_build_object('amount', d.amount, 'currency', d.currency, 'user_id', d.user_id), p_ip);
            return ppv_idem_end(v_scope, p_idem, p_hash, jsonb_build_object('deposit_id', d.id, 'state', 'pending', 'user_id', d.user_id,
                'amount', d.amount, 'currency', d.currency, 'balance', (ppv_balance(d.user_id, d.currency) ->> 'balance')::bigint));
        end if;
    end if;
    v_txn := ppv_post('deposit', null, p_admin, left(p_note, 500), jsonb_build_object('deposit_id', d.id), jsonb_build_array(
        jsonb_build_array(ppv_account('clearing', null, 'deposits', d.currency), -d.amount, 'Deposit ' || d.id),
        jsonb_build_array(ppv_account('user', d.user_id, 'wallet', d.currency), d.amount, 'Deposit')));
    v_balance := (ppv_balance(d.user_id, d.currency) ->> 'balance')::bigint;
    update deposits set state = 'approved', decided_by = p_admin, decided_at = now(), txn_id = v_txn,
        admin_note = left(coalesce(p_note, ''), 500), balance_after = v_balance where id = d.id;
    perform ppv_audit(p_admin, 'deposit.approve', 'deposit:' || d.id,
        jsonb_build_object('amount', d.amount, 'currency', d.currency, 'user_id', d.user_id, 'txn_id', v_txn), p_ip);
    return ppv_idem_end(v_scope, p_idem, p_hash, jsonb_build_object('deposit_id', d.id, 'state', 'approved', 'txn_id', v_txn,
        'user_id', d.user_id, 'amount', d.amount, 'currency', d.currency, 'balance', v_balance));
end $$;

-- Reply: {deposit_id, state, user_id, amount, currency}.
create function ppv_deposit_reject(p_admin bigint, p_id bigint, p_note text, p_idem text, p_hash text, p_ip inet default null)
    returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    d deposits;
    v_scope text := 'deposit_decide:' || p_admin;
    v_reply jsonb;
begin
    v_reply := ppv_idem_begin(v_scope, p_idem, p_hash);
    if v_reply is not null then
        return v_reply;
    end if;
    d := ppv_deposit_pending(p_admin, p_id);
    update deposits set state = 'rejected', decided_by = p_admin, decided_at = now(),
        admin_note = left(coalesce(p_note, ''), 500) where id = d.id;
    perform ppv_audit(p_admin, 'deposit.reject', 'deposit:' || d.id,
        jsonb_build_object('amount', d.amount, 'currency', d.currency, 'user_id', d.user_id), p_ip);
    return ppv_idem_end(v_scope, p_idem, p_hash, jsonb_build_object('deposit_id', d.id, 'state', 'rejected',
        'user_id', d.user_id, 'amount', d.amount, 'currency', d.currency));
end $$;

-- Lines of a wallet as people see them: movements plus open and refused requests. txn_type: deposit, withdrawal, transfer_in, transfer_out,
-- payment, commission, sale, refund, adjustment.
create view wallet_lines as
    select e.id, a.owner_id as user_id, a.currency,
        case t.kind
            when 'transfer' then case when e.amount < 0 then 'transfer_out' else 'transfer_in' end
            when 'sale' then case when e.amount < 0 then 'payment'
                when o.creator_id = a.owner_id then 'sale' else 'commission' end
            else t.kind end as txn_type,
        abs(e.amount) as amount, e.amount as signed_amount, e.balance_after, 'completed'::text as status,
        case t.kind
            when 'transfer' then (select a2.owner_id from ledger_entries e2 join ledger_accounts a2 on a2.id = e2.account_id
                where e2.txn_id = t.id and e2.account_id <> e.account_id limit 1)
            when 'sale' then case when e.amount < 0 then o.creator_id else o.buyer_id end end as ref_user_id,
        e.note, ''::text as admin_note, e.created_at
    from ledger_entries e
    join ledger_accounts a on a.id = e.account_id and a.kind = 'user'
    join ledger_txns t on t.id = e.txn_id and t.kind not in ('deposit', 'payout')
    left join orders o on o.id = t.order_id
    union all
    select d.id, d.user_id, d.currency, 'deposit', d.amount, case when d.state = 'approved' then d.amount else 0 end,
        d.balance_after, d.state, null, d.note, d.admin_note, d.created_at
    from deposits d
    union all
    select p.id, p.user_id, p.currency, 'withdrawal', p.amount,
        case when p.state in ('rejected', 'failed') then 0 else -p.amount end,
        (select e.balance_after from ledger_entries e where e.txn_id = p.txn_id and e.balance_after is not null limit 1),
        case when p.state in ('paid', 'reversed') then 'completed' when p.state in ('rejected', 'failed') then 'rejected'
            else 'pending' end, null, p.note, p.admin_note, p.created_at
    from payouts p;

grant select on wallet_lines to ppv_app, ppv_ro;
grant execute on function ppv_balance(bigint, text),
    ppv_money_text(bigint, text),
    ppv_sale(bigint, uuid, bigint, integer, jsonb, integer, text, text, text, jsonb, text, jsonb), ppv_tax_total(jsonb, bigint),
    ppv_transfer(bigint, bigint, bigint, text, text, text, text),
    ppv_deposit_request(bigint, bigint, text, text, text, text),
    ppv_deposit_approve(bigint, bigint, text, text, text, inet), ppv_deposit_reject(bigint, bigint, text, text, text, inet) to ppv_app;
