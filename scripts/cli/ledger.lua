-- SPDX-License-Identifier: Apache-2.0
-- ppv ledger verify [--head HASH] | verify FILE [--key KEY] [--head HASH] | verify --proof FILE [--key KEY]
--            export [--user NAME] FILE | report | seal | key
-- The books, checked and shown. KEY: 64 hex digits. Checking a file asks neither the database nor this site's secret.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local money = require "ppv.money"
local seal = require "lib.seal"
local sealer = require "lib.sealer"

local USAGE = [[usage: ppv ledger verify [--head HASH]                the database: sums, invariants, seals, audit log
       ppv ledger verify FILE [--key KEY] [--head HASH]   an export, offline
       ppv ledger verify --proof FILE [--key KEY]         a line's proof, offline
       ppv ledger export [--user NAME] FILE               all books, or the proofs of one user
       ppv ledger report                                  trial balance, revenue, providers
       ppv ledger seal                                    seal now what waits
       ppv ledger key                                     the key and the newest seal, to keep elsewhere]]

local function fail(err)
  print("ppv ledger: " .. (type(err) == "table" and tostring(err.message) or tostring(err)))
  return 1
end

-- "--name value" pairs and the rest.
local function options(...)
  local out, i, list = {}, 1, { ... }
  while list[i] do
    local name = list[i]:match("^%-%-(%a+)$")
    if name then
      out[name], i = list[i + 1] or "", i + 1
    else
      out[#out + 1] = list[i]
    end
    i = i + 1
  end
  return out
end

local function tell(breaches)
  for i, b in ipairs(breaches) do
    if i > 50 then
      print(("WRONG  and %d more"):format(#breaches - 50))
      break
    end
    print("WRONG  " .. b)
  end
end

local function told(c, head)
  local breaches = c:finish(head)
  tell(breaches)
  if #breaches > 0 then return 1 end
  if c.proofs then
    print(("fine   %d transactions proved"):format(c.proofs))
  else
    print(("fine   %d transactions in %d seals add up, %d wait for their seal; head %s"):format(c.txns, c.seals, c.waiting, c.prev))
  end
  return 0
end

local function key_of(o)
  if not o.key then return nil end
  local raw = crypto.hex_decode(o.key)
  if not raw or #raw ~= 32 then error("KEY is 64 hex digits", 0) end
  return raw
end

local function own_key(raw)
  print("note   checked with the key that the file itself names: " .. crypto.hex_encode(raw))
  print("       compare it with the key that the site publishes (GET /api/ledger/key), or give it with --key")
end

local function verify_file(o)
  local f, why = io.open(o[2], "rb")
  if not f then return fail(why) end
  local c = seal.checker(key_of(o))
  local fine, problem = pcall(function()
    for line in f:lines() do c:feed((json.decode(line))) end
  end)
  f:close()
  if not fine then return fail(problem) end
  local status = told(c, o.head)
  if not o.key and c.key then own_key(c.key) end
  return status
end

local function verify_proof(o)
  local f, why = io.open(o.proof, "rb")
  if not f then return fail(why) end
  local p = json.decode(f:read("*a"))
  f:close()
  local key = key_of(o)
  local own = not key and type(p) == "table" and type(p.key) == "string" and crypto.hex_decode(p.key)
  if not key and (not own or #own ~= 32) then return fail("This is not a proof of a ledger line.") end
  local lines, problem = seal.check_proof(p, key or own)
  if not lines then
    print("WRONG  " .. problem)
    return 1
  end
  print(("fine   transaction %s (%s, %s UTC) is sealed in batch %s"):format(p.txn.id, p.txn.kind,
    os.date("!%Y-%m-%d %H:%M:%S", math.floor(tonumber(p.txn.at) / 1e6)), p.seal.batch))
  for _, e in ipairs(lines) do
    local minus, digits = e[6]:match("^(%-?)(%d+)$")
    print(("       %s%s %s on %s/%s, balance after %s: %s"):format(minus, money.format(tonumber(digits), e[5]) or digits, e[5], e[2], e[4],
      e[7] ~= "" and (money.format(tonumber(e[7]), e[5]) or e[7]) or "-", e[8]))
  end
  if own then own_key(own) end
  return 0
end

local function verify_db(o)
  local rows, err = db.query("select name, detail from ppv_invariants()")
  if not rows then return fail(err) end
  local breaches = {}
  for i, r in ipairs(rows) do breaches[i] = r.name .. ": " .. r.detail end
  tell(breaches)
  if #rows == 0 then print("fine   every invariant holds") end
  local chain
  chain, err = db.one("select ok, broken_seq, head from ppv_audit_verify()")
  if not chain then return fail(err) end
  print(chain.ok and "fine   the audit log is whole, head " .. tostring(chain.head)
    or "WRONG  the audit log is broken at " .. tostring(chain.broken_seq))
  local c = seal.checker(crypto.public_key(seal.PURPOSE))
  local ok
  ok, err = sealer.records(function(r) c:feed(r) end)
  if not ok then return fail(err) end
  local status = told(c, o.head)
  return (#rows > 0 or not chain.ok) and 1 or status
end

local function export(o)
  if not o[2] then
    print(USAGE)
    return 2
  end
  local user
  if o.user then
    local row, err = db.one("select id from users where username = $1", o.user)
    if row == nil then return fail(err) end
    if not row then return fail("there is no user " .. o.user) end
    user = row.id
  end
  local f, why = io.open(o[2], "wb")
  if not f then return fail(why) end
  local n = 0
  local function emit(r)
    n = n + 1
    f:write(json.encode(r), "\n")
  end
  local ok, err
  if user then ok, err = sealer.user_records(user, emit) else ok, err = sealer.records(emit) end
  f:close()
  if not ok then return fail(err) end
  print(("%d records in %s"):format(n, o[2]))
  return 0
end

local REPORT = {
  { "Trial balance", [[select kind || '/' || case when kind in ('user', 'receivable') then 'all' else name end as what, currency,
    sum(balance)::bigint as amount from ledger_trial group by 1, 2 order by 1, 2]] },
  { "Revenue by month", [[select month as what, currency, sum(amount)::bigint as amount from ledger_revenue group by 1, 2 order by 1, 2]] },
  { "Providers (negative: they owe us)", [[select provider as what, currency, sum(open)::bigint as amount from ledger_clearing
    group by 1, 2 order by 1, 2]] },
}

local function signed(amount, currency)
  return (amount < 0 and "-" or "") .. money.format(math.abs(amount), currency)
end

local function report()
  for _, part in ipairs(REPORT) do
    local rows, err = db.query(part[2])
    if not rows then return fail(err) end
    print(part[1])
    if #rows == 0 then print("  nothing yet") end
    for _, r in ipairs(rows) do print(("  %-36s %20s %s"):format(r.what, signed(r.amount, r.currency), r.currency)) end
  end
  return 0
end

local function seal_now()
  local n, err = sealer.run(1000000)
  if not n then return fail(err) end
  print(("%d transactions sealed"):format(n))
  return 0
end

local function key()
  local h, err = sealer.head()
  if not h then return fail(err) end
  print(("key    %s\nhead   %s\nbatch  %d"):format(h.key, h.head, h.batch))
  return 0
end

local o = options(...)
local actions = { export = export, report = report, seal = seal_now, key = key,
  verify = function() return (o.proof and verify_proof or o[2] and verify_file or verify_db)(o) end }
if not actions[o[1] or ""] then
  print(USAGE)
  return 2
end
local fine, status = pcall(actions[o[1]], o)
return fine and status or fail(status)
