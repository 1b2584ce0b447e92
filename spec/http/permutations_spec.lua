-- SPDX-License-Identifier: Apache-2.0
-- What is said of an order, in every order: all arrangements of all subsets of six messages of each provider's kind, each also told
-- twice, lead to one state, the right one, and to the same cents everywhere. Each arrangement is played on a new order and taken back.
--   PERMUTATIONS=all spec/run.sh lua spec/http/permutations_spec.lua       all 1,957 x 2 of each provider; else a sample
local conf = require "ppv.conf"
local h = require "spec.support"

local PRICE = 999
local STEP = os.getenv "PERMUTATIONS" == "all" and 1 or 40
local PAID = [["state": "paid", "amount": 999, "currency": "USD", "live": true, "ref": "r", "payment_ref": "p"]]

-- Snapshots as the plugins read them: of the moment, so one that was overtaken on the way says less than is known already. opened = the
-- provider's answer to the start; cancel = the buyer gives up here. What comes before `opened` is tried again after it.
local PROVIDERS = {
  stripe = { '{"do": "opened"}', '{"state": "pending"}', "{" .. PAID .. "}", '{"state": "expired"}', "{" .. PAID .. ', "refunded": 333}',
    "{" .. PAID .. ', "dispute": {"ref": "d", "state": "lost", "amount": 999}}' },
  paypal = { '{"do": "opened"}', '{"do": "cancel"}', "{" .. PAID .. "}", "{" .. PAID .. ', "dispute": {"ref": "d", "state": "open", "amount": 500}}',
    "{" .. PAID .. ', "refunded": 333}', "{" .. PAID .. ', "refunded": 333, "dispute": {"ref": "d", "state": "lost", "amount": 500}}' },
  midtrans = { '{"do": "opened"}', '{"state": "hold"}', "{" .. PAID .. "}", '{"state": "expired"}', "{" .. PAID .. ', "refunded": 333}',
    "{" .. PAID .. ', "refunded": 999}' },
  xendit = { '{"do": "opened"}', '{"state": "pending"}', "{" .. PAID .. "}", '{"state": "expired"}', '{"do": "cancel"}',
    "{" .. PAID .. ', "dispute": {"ref": "d", "state": "open", "amount": 999}}' },
  sandbox = { '{"do": "opened"}', '{"state": "failed"}', "{" .. PAID .. ', "dispute": {"ref": "d", "state": "open", "amount": 999}}',
    "{" .. PAID .. ', "refunded": 333}', "{" .. PAID .. ', "refunded": 333, "dispute": {"ref": "d", "state": "won", "amount": 999}}',
    "{" .. PAID .. ', "refunded": 600}' },
}

-- The right end, from what was said at all and nothing else. A digit string of the messages.
local function right(provider, said)
  local news = { refunded = 0 }
  for i in said:gmatch "%d" do
    local m = PROVIDERS[provider][tonumber(i)]
    if not said:find "1" and not m:find "cancel" then m = '{"state": "pending"}' end -- nobody to ask yet
    news[m:match '"do": "(%a+)"' or m:match '"state": "(%a+)"'] = true
    news.refunded = math.max(news.refunded, tonumber(m:match '"refunded": (%d+)') or 0)
    local dispute, amount = m:match '"ref": "d", "state": "(%a+)", "amount": (%d+)'
    if dispute and (dispute ~= "open" or not news.dispute) then news.dispute, news.disputed = dispute, tonumber(amount) end
  end
  if not news.paid then return (news.expired or news.cancel or news.failed) and "closed" or news.hold and "review" or "pending" end
  if news.dispute == "lost" then
    return math.min(news.refunded + news.disputed, PRICE) == PRICE and "chargeback_lost" or "partially_refunded"
  end
  return news.refunded == PRICE and "refunded" or news.dispute == "open" and "disputed" or news.refunded > 0 and "partially_refunded" or "paid"
end

local SQL = [[
begin;
create function pg_temp.play(buyer bigint, maker bigint, friend bigint, film uuid, provider text, news jsonb, seq int[], proof boolean) returns text
    language plpgsql as $$
declare
    v_id bigint; waits jsonb[] := '{}'; known boolean := false; m jsonb; i int;
begin
    begin
        v_id := (ppv_order_start(buyer, film, jsonb_build_object('method', provider, 'price', 999, 'fee_bp', 1000, 'rule', 'spec', 'pct', 10,
            'payees', jsonb_build_array(jsonb_build_object('to', friend, 'amount', 90, 'memo', '')),
            'tax', '[{"code": "ppn", "amount": 99, "title": "PPN"}]'::jsonb)) ->> 'order_id')::bigint;
        foreach i in array seq loop
            m := news -> (i - 1);
            if m ->> 'do' = 'opened' then
                perform ppv_order_opened(v_id, 'r', null, '{}', '{}', null);
                known := true;
                foreach m in array waits loop perform ppv_order_facts(v_id, m, 'webhook'); end loop;
                waits := '{}';
            elsif m ->> 'do' = 'cancel' then
                perform ppv_order_facts(v_id, '{"state": "cancelled"}', 'cancel');
            elsif known then
                perform ppv_order_facts(v_id, m, 'webhook');
            else
                waits := waits || m;
            end if;
        end loop;
        raise exception sqlstate 'PT001' using message = (select concat_ws(' ',
            case when o.state in ('expired', 'cancelled', 'failed') then 'closed' else o.state end,
            'refunded', o.refunded, 'access', (select count(*) from entitlements e where e.order_id = o.id and e.revoked_at is null),
            'payments', (select count(*) from payments p where p.order_id = o.id), 'books', (select string_agg(a.kind || a.name || coalesce(case a.owner_id
                when maker then 'M' when friend then 'F' else 'B' end, '') || s.sum, ',' order by a.kind, a.name, a.owner_id)
                from (select e.account_id, sum(e.amount) from ledger_entries e
                join ledger_txns t on t.id = e.txn_id where t.order_id = o.id group by 1) s join ledger_accounts a on a.id = s.account_id where s.sum <> 0),
            'held', (select string_agg(case a.owner_id when maker then 'M' else 'F' end || x.amount, ',' order by a.owner_id)
                from (select account_id, sum(amount) as amount from holds where order_id = o.id and state = 'open' group by 1) x
                join ledger_accounts a on a.id = x.account_id),
            (select 'BREACH ' || min(name) from ppv_invariants() where proof having count(*) > 0)) from orders o where o.id = v_id);
    exception when sqlstate 'PT001' then return sqlerrm;
    end;
end $$;
with recursive arranged(seq) as (select '{}'::int[] union all select seq || i from arranged, generate_series(1, 6) i where i <> all (seq)),
played as (select (select string_agg(x::text, '' order by x) from unnest(seq) x) as said, seq, twice,
    pg_temp.play(%d, %d, %d, '%s', '%s', '%s'::jsonb, case when twice then seq || seq else seq end, abs(hashtext(seq::text)) %% 97 = 0) as fp
    from arranged, (values (false), (true)) d(twice) where seq <> '{}' and abs(hashtext(seq::text || twice)) %% %d = 0)
select said || '|' || count(*) || '|' || count(distinct fp) || '|' || min(fp) || '|' || max(fp) from played group by said;
rollback;
]]

describe("an order told of in any order", function()
  local buyer, maker, friend, film
  lazy_setup(function()
    buyer, maker, friend = h.make.user(), h.make.user(), h.make.user()
    film = h.make.video(maker, { price = PRICE })
    assert(require("ppv.db").exec("insert into affiliate_programs (video_id, pct, enabled) values ($1::uuid, 10, true)", film))
  end)
  for _, name in ipairs { "stripe", "paypal", "midtrans", "xendit", "sandbox" } do
    it("ends in one state, the right one, as " .. name .. " tells it", function()
      local sql = SQL:format(buyer.id, maker.id, friend.id, film, name, "[" .. table.concat(PROVIDERS[name], ",") .. "]", STEP)
      local path = os.tmpname()
      local f = assert(io.open(path, "w"))
      f:write(sql)
      f:close()
      local pipe = assert(io.popen(("psql -XqAt -v ON_ERROR_STOP=1 'host=%s/pgrun user=ppv dbname=ppv' -f %s 2>&1"):format(conf.get "var_dir", path)))
      local played = 0
      for line in pipe:lines() do
        local said, n, distinct, least, most = line:match "^(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)$"
        if said then
          played = played + tonumber(n)
          assert.equal("1", distinct, name .. " " .. said .. "\n" .. least .. "\n" .. most)
          assert.equal(right(name, said), least:match "^%S+", name .. " " .. said .. ": " .. least)
          assert.is_nil(least:find("BREACH", 1, true), least)
        elseif not line:find "^%s*$" then
          error(line)
        end
      end
      pipe:close()
      os.remove(path)
      assert.is_true(played >= (STEP == 1 and 3912 or 50), tostring(played))
    end)
  end
end)
