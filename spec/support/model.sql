-- SPDX-License-Identifier: Apache-2.0
-- The driver of spec/model/model_spec.lua: many operations in one call, each in a subtransaction of its own. p_ops: [[name, id, at, ...]]:
-- id is the row it is about, or at says which operation (counted from p_first, or of an earlier call) made that row. Every operation is a
-- function of the product. Answers {out: the replies in their order, a refusal is "!code"; people: [[id, balance, held, debt]]}.
create temp table model_made (n int primary key, id bigint);
grant all on model_made to ppv_owner;
create or replace function ppv_model_run(p_ops jsonb, p_first int, p_admin bigint, p_second bigint, p_people bigint[]) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o jsonb;
    r jsonb;
    v_id bigint;
    v_out jsonb[] := '{}';
    v_admin bigint;
begin
    for o in select e from jsonb_array_elements(p_ops) with ordinality x(e, n) order by n loop
        if o -> 1 <> 'null' then
            v_id := (o ->> 1)::bigint;
        elsif (o ->> 2)::int >= p_first then
            v_id := (v_out[(o ->> 2)::int - p_first + 1] ->> 'id')::bigint;
        else
            select id into v_id from model_made where n = (o ->> 2)::int;
        end if;
        v_admin := case when (o ->> 4) = '2' then p_second else p_admin end;
        begin
            case o ->> 0
            when 'sale' then
                r := ppv_sale(v_id, (o ->> 3)::uuid, (o ->> 4)::bigint, (o ->> 5)::int, o -> 6, 10, o ->> 7, o ->> 8, 'model', o -> 9);
                r := r || jsonb_build_object('id', r -> 'order_id');
            when 'start' then
                r := ppv_order_start(v_id, (o ->> 3)::uuid, o -> 4);
                if o ->> 5 <> '' then
                    perform ppv_order_opened((r ->> 'order_id')::bigint, o ->> 5, null, '{}', '{}', null);
                end if;
                r := r || jsonb_build_object('id', r -> 'order_id');
            when 'facts' then
                r := ppv_order_facts(v_id, o -> 3, 'model');
            when 'refund' then
                r := ppv_refund_begin(p_admin, v_id, (o ->> 3)::bigint, 'model', o ->> 4, '');
                r := r || jsonb_build_object('id', r -> 'refund_id');
            when 'finish' then
                r := to_jsonb(ppv_refund_finish(v_id, o ->> 3, o ->> 4));
            when 'transfer' then
                r := ppv_transfer(v_id, (o ->> 3)::bigint, (o ->> 4)::bigint, 'USD', '', o ->> 5, o ->> 6);
            when 'deposit' then
                r := ppv_deposit_request(v_id, (o ->> 3)::bigint, 'USD', '', o ->> 4, '');
                r := r || jsonb_build_object('id', r -> 'deposit_id');
            when 'deposit_decide' then
                if o ->> 3 = 'approve' then
                    r := ppv_deposit_approve(v_admin, v_id, '', o ->> 5, o ->> 6);
                else
                    r := ppv_deposit_reject(v_admin, v_id, '', o ->> 5, o ->> 6);
                end if;
            when 'withdraw' then
                r := ppv_payout_request(v_id, (o ->> 3)::bigint, 'USD', '', o ->> 4, o ->> 5);
                r := r || jsonb_build_object('id', r -> 'payout_id');
            when 'payout' then
                r := ppv_payout_decide(v_admin, v_id, o ->> 3, 'bank-' || v_id, '', o ->> 5, o ->> 6);
            when 'payout_cancel' then
                r := ppv_payout_cancel((o ->> 3)::bigint, v_id);
            when 'payout_begin' then
                r := coalesce(ppv_payout_begin(v_id, 'model'), '{"state": "none"}');
            when 'payout_result' then
                r := ppv_payout_result(v_id, o ->> 3, 'bank-' || v_id, '');
            when 'film' then
                insert into videos (id, owner_id, title, price, currency, state, visibility, duration_ms, title_secret)
                    values ((o ->> 3)::uuid, v_id, 'A film', (o ->> 4)::bigint, 'USD', 'ready', 'published', 8000, 'none');
                insert into affiliate_programs (video_id, pct, enabled) values ((o ->> 3)::uuid, 90, true);
                r := '{}';
            end case;
        exception when raise_exception then
            r := to_jsonb('!' || split_part(sqlerrm, '|', 1));
        when others then
            raise exception 'operation % %: %', p_first + coalesce(array_length(v_out, 1), 0), o, sqlerrm;
        end;
        v_out := v_out || r;
    end loop;
    insert into model_made select p_first + n - 1, (e ->> 'id')::bigint from unnest(v_out) with ordinality x(e, n)
        where jsonb_typeof(e) = 'object' and e ? 'id';
    return jsonb_build_object('out', to_jsonb(v_out), 'people', (select jsonb_agg(jsonb_build_array(p, coalesce(a.balance, 0), coalesce(a.held, 0),
            coalesce((select -sum(e.amount) from ledger_entries e join ledger_accounts d on d.id = e.account_id
                where d.kind = 'receivable' and d.owner_id = p), 0)) order by n)
        from unnest(p_people) with ordinality x(p, n) left join ledger_accounts a on a.owner_id = p and a.kind = 'user'));
end $$;
alter function ppv_model_run(jsonb, int, bigint, bigint, bigint[]) owner to ppv_owner;
