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

return { routes = {
  { method = "GET", path = "/bench/hello", auth = "none", handler = hello },
  { method = "GET", path = "/bench/row", auth = "none", handler = one },
  { method = "GET", path = "/bench/pay", auth = "none", handler = pay },
} }
