-- SPDX-License-Identifier: Apache-2.0
-- Seals and the database: sealing what waits, proofs of lines, reading the books out.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local time = require "ppv.time"
local errors = require "lib.errors"
local seal = require "lib.seal"

local M = { BATCH = 1000 }
local COLUMNS = "t.id::text as id, t.kind, t.at, t.reverses, t.order_id, t.actor_id, t.memo, t.meta, t.entries"
local SEAL = [[batch::text as batch, encode(prev, 'hex') as prev, count::text as count, encode(root, 'hex') as root, at::text as at,
  encode(signature, 'hex') as signature, encode(hash, 'hex') as hash]]

local function decoded(row)
  row.entries = json.decode(row.entries)
  return row
end

-- One batch. -> number of transactions, 0 = nothing waits or another process is at it. Yields.
local function one_batch()
  return db.tx(function(tx)
    local lock, err = tx.one("select pg_try_advisory_xact_lock(823743) as mine")
    if not lock then return nil, err end
    if not lock.mine then return 0 end
    local rows
    rows, err = tx.query("select " .. COLUMNS .. [[ from ledger_texts t where t.id in
      (select txn_id from ledger_unsealed order by txn_id limit $1) order by t.id]], M.BATCH)
    if not rows then return nil, err end
    if #rows == 0 then return 0 end
    local last
    last, err = tx.one("select batch, encode(hash, 'hex') as hash from ledger_seals order by ledger_seals.batch desc limit 1")
    if last == nil then return nil, err end
    local ids, leaves, texts = {}, {}, {}
    for i, row in ipairs(rows) do
      leaves[i] = seal.leaf(decoded(row), seal.blind(row.id))
      if not leaves[i] then return nil, errors.new("ledger.hollow", "transaction " .. row.id .. " has no entries") end
      ids[i], texts[i] = row.id, crypto.hex_encode(leaves[i])
    end
    local s = { batch = ("%.0f"):format((last and last.batch or 0) + 1), prev = last and last.hash or seal.ZERO, count = #rows,
      root = crypto.hex_encode(seal.root(leaves)), at = ("%.0f"):format(math.floor(time.now() * 1e6)) }
    local text = seal.seal_text(s)
    local done
    done, err = tx.exec("select ppv_seal_add($1::bigint, $2::bigint[], $3::text[], $4, $5, $6::bigint, $7, $8)", s.batch, db.array(ids),
      db.array(texts), db.bytes(crypto.hex_decode(s.root)), db.bytes(crypto.hex_decode(s.prev)), s.at, db.bytes(crypto.sha256(text)),
      db.bytes(crypto.public_sign(seal.PURPOSE, text)))
    if not done then return nil, err end
    return #rows
  end)
end

-- Seals what waits, at most `batches` of M.BATCH. -> transactions sealed. Yields.
function M.run(batches)
  local total = 0
  for _ = 1, batches or 20 do
    local n, err = one_batch()
    if not n then return nil, err end
    total = total + n
    if n < M.BATCH then break end
  end
  return total
end

local function leaves_of(batch)
  local rows, err = db.read("select hash from ledger_leaves where batch = $1::bigint order by pos", batch)
  if not rows then return nil, err end
  for i, r in ipairs(rows) do rows[i] = r.hash end
  return rows
end

local function proof_of(txn_id, user)
  local at, err = db.read_one("select batch, pos from ledger_leaves where txn_id = $1", txn_id)
  if at == nil then return nil, err end
  if not at then
    return errors.fail("ledger.not_sealed", "This line waits for its seal. Try again in a minute.", { status = 409, retry = true })
  end
  local s, t, leaves
  s, err = db.read_one("select " .. SEAL .. " from ledger_seals where batch = $1", at.batch)
  if not s then return nil, err end
  t, err = db.read_one("select " .. COLUMNS .. " from ledger_texts t where t.id = $1", txn_id)
  if not t then return nil, err end
  leaves, err = leaves_of(at.batch)
  if not leaves then return nil, err end
  local mine = ("%.0f"):format(user)
  s.hash = nil
  return seal.proof(decoded(t), seal.blind(t.id), function(e) return e[3] == mine end, s, leaves, at.pos)
end

-- The proof of a line (entry) of this user; others' lines stay closed. -> table, or nil, err. Yields.
function M.proof(user, line)
  local row, err = db.read_one([[select e.txn_id from ledger_entries e join ledger_accounts a on a.id = e.account_id
    where e.id = $1 and a.owner_id = $2]], line, user)
  if row == nil then return nil, err end
  if not row then return errors.not_found("line") end
  return proof_of(row.txn_id, user)
end

-- key in hex, and the newest seal's number and hash, for people to keep elsewhere. Yields.
function M.head()
  local s, err = db.read_one("select " .. SEAL .. " from ledger_seals order by ledger_seals.batch desc limit 1")
  if s == nil then return nil, err end
  return { key = crypto.hex_encode(crypto.public_key(seal.PURPOSE)), batch = s and tonumber(s.batch) or 0, head = s and s.hash or seal.ZERO }
end

-- ---- reading everything out; emit(record) is called for each

local function begin(emit)
  emit { format = seal.FORMAT, key = crypto.hex_encode(crypto.public_key(seal.PURPOSE)), at = os.date("!%Y-%m-%dT%H:%M:%SZ") }
end

local function each(sql, fn, ...)
  local rows, err = db.query(sql, ...)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do fn(row) end
  return #rows
end

-- -> number of the last batch
local function emit_batches(emit)
  local batch = 0
  while true do
    local s, err = db.one("select " .. SEAL .. " from ledger_seals where batch > $1 order by ledger_seals.batch limit 1", batch)
    if s == nil then return nil, err end
    if not s then return batch end
    batch = tonumber(s.batch)
    s.hash = nil
    emit { seal = s }
    local n
    n, err = each("select l.txn_id::text as leaf_id, encode(l.hash, 'hex') as leaf, " .. COLUMNS .. [[ from ledger_leaves l
      left join ledger_texts t on t.id = l.txn_id where l.batch = $1 order by l.pos]], function(row)
        local id, leaf = row.leaf_id, row.leaf
        row.leaf_id, row.leaf = nil, nil
        if row.id then
          emit { txn = decoded(row), blind = crypto.hex_encode(seal.blind(id)), leaf = leaf }
        else
          emit { missing = id, leaf = leaf }
        end
      end, batch)
    if not n then return nil, err end
  end
end

-- What was in no batch when the batches were read; some may have got their seal since.
local function emit_waiting(emit, batch)
  local after = 0
  while true do
    local n, err = each("select " .. COLUMNS .. [[, exists (select from ledger_unsealed u where u.txn_id = t.id)
      or exists (select from ledger_leaves l where l.txn_id = t.id) as queued from ledger_texts t
      where t.id > $1 and not exists (select from ledger_leaves l where l.txn_id = t.id and l.batch <= $2)
      order by t.id limit 2000]], function(row)
        after = tonumber(row.id)
        local queued = row.queued
        row.queued = nil
        emit { txn = decoded(row), waiting = queued and "queued" or "lost" }
      end, after, batch)
    if not n then return nil, err end
    if n < 2000 then return true end
  end
end

-- All books, as records for seal.checker or lines of a file. Balances come with their account's last entry, so that money may
-- move meanwhile. -> true, or nil, err. Yields.
function M.records(emit)
  begin(emit)
  local batch
  local ok, err = each([[select kind, owner_id::text as owner, name, currency::text as currency, balance::text as balance,
    coalesce((select max(e.id) from ledger_entries e where e.account_id = a.id)::text, '') as last
    from ledger_accounts a where kind = 'user' order by id]], function(a)
      emit { account = json.array { a.kind, a.owner, a.name, a.currency, a.balance, a.last } }
    end)
  if not ok then return nil, err end
  batch, err = emit_batches(emit)
  if not batch then return nil, err end
  ok, err = emit_waiting(emit, batch)
  if not ok then return nil, err end
  emit { ["end"] = true }
  return true
end

-- A proof for every sealed transaction of one user. Yields.
function M.user_records(user, emit)
  begin(emit)
  local rows, err = db.read([[select distinct e.txn_id from ledger_entries e join ledger_accounts a on a.id = e.account_id
    join ledger_leaves l on l.txn_id = e.txn_id where a.owner_id = $1 order by 1]], user)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do
    local p
    p, err = proof_of(row.txn_id, user)
    if not p then return nil, err end
    emit { proof = p }
  end
  emit { ["end"] = true }
  return true
end

return M
