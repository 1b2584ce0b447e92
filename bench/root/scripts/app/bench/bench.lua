-- SPDX-License-Identifier: Apache-2.0
-- Copied into the scratch root of `make bench`: the mechanisms alone, without sessions and rates.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local ledger = require "ppv.ledger"

local lo, hi -- ids

-- Two users of the bench.
local function pair()
  if not lo then
    local row = db.read_one("select min(id) as lo, max(id) as hi from users where username like 'bench%'")
    lo, hi = row.lo, row.hi
  end
  local a, b = math.random(lo, hi), math.random(lo, hi - 1)
  return a, b >= a and b + 1 or b
end

local function hello(ctx) return ctx:ok { message = "hello" } end

local function one(ctx)
  local row, err = db.read_one("select id, username::text as username, email::text as email from users where id = $1", (pair()))
  if not row then return nil, err end
  return ctx:ok { user = row }
end

local function pay(ctx)
  local a, b = pair()
  local r, err = ledger.transfer(crypto.random_token(16), { from = a, to = b, amount = 100, currency = "USD", note = "", hash = "" })
  if not r then return nil, err end
  return ctx:ok { balance_cents = r.balance, txn_id = r.txn_id }
end

-- A film of one made-up segment for the caller to ask keys of; 1 ms long, so that no pace limit is in the way.
local function title(ctx)
  local crypto, json = require "ppv.crypto", require "ppv.json"
  local secret = crypto.seal(crypto.sha256(crypto.random(32), "hex"))
  local row, err = require("ppv.db").one([[with v as (insert into videos (owner_id, title, price, state, duration_ms, title_secret, ready_at, index)
    values ($1, 'bench', 0, 'ready', 1000, $2, now(), '{"segment_s":0.001}') returning id)
    insert into renditions (video_id, name, kind, width, height, bandwidth, codecs, init_path, segments, nsegments)
    select id, 'v360', 'video', 640, 360, 500000, 'avc1.64001e', 'init.mp4', $3::jsonb, 1 from v returning video_id::text as id]],
    ctx.user.id, secret, json.encode { a = json.array { { name = "s.m4s", dur = 1, iv = ("0a"):rep(16), size = 1 } },
      b = json.array { { name = "t.m4s", dur = 1, iv = ("0b"):rep(16), size = 1 } } })
  if not row then return nil, err end
  return ctx:ok { id = row.id }
end

return { routes = {
  { method = "GET", path = "/bench/title", auth = "user", handler = title },
  { method = "GET", path = "/bench/hello", auth = "none", handler = hello },
  { method = "GET", path = "/bench/row", auth = "none", handler = one },
  { method = "GET", path = "/bench/pay", auth = "none", handler = pay },
} }
