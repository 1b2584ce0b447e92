-- SPDX-License-Identifier: Apache-2.0
-- Seals of the ledger: what is hashed, the tree, the signature, proofs, and the check of all of it. The check is pure: it needs
-- neither the database nor a secret, so the same code runs on the site and on anybody's machine.
--
-- Format 1. net(...) = netstrings ("3:abc,") of its arguments, all text; numbers in decimal, absent = empty. H = SHA-256.
--   nonce(x)  = HMAC-SHA-256(blind, x); blind is 32 secret bytes of the transaction, so that a hash does not tell what it hides
--   entry     = H(0x00 nonce("entry ID") net(id, account kind, owner, name, currency, amount, balance after, note))
--   private   = H(0x00 nonce("private") net(order, actor, memo, meta))
--   leaf      = H(0x00 net("ppv-txn-1", id, kind, microseconds, reversed txn, hex private, entries, hex root of the entries))
--   root      = RFC 6962: H(0x01 left right), left = the largest power of two below n; over the entries by id, the leaves by txn id
--   seal text = net("ppv-seal-1", batch, hex hash of the seal before, count, hex root, microseconds), Ed25519-signed; its hash is H(text)
local crypto = require "ppv.crypto"
local json = require "ppv.json"
local money = require "ppv.money"

local M = { FORMAT = "ppv ledger 1", PROOF = "ppv ledger proof 1", PURPOSE = "ledger-seal", ZERO = ("0"):rep(64) }
local sha256, hmac, hex, unhex = crypto.sha256, crypto.hmac_sha256, crypto.hex_encode, crypto.hex_decode

local function net(...)
  local out = {}
  for i = 1, select("#", ...) do
    local s = tostring((select(i, ...)))
    out[i] = #s .. ":" .. s .. ","
  end
  return table.concat(out)
end

-- ---- the tree

local function largest_power_below(n)
  local k = 1
  while k * 2 < n do k = k * 2 end
  return k
end

-- Raw hashes list[from..to] -> raw root.
function M.root(list, from, to)
  from, to = from or 1, to or #list
  if from == to then return list[from] end
  local k = largest_power_below(to - from + 1)
  return sha256("\1" .. M.root(list, from, from + k - 1) .. M.root(list, from + k, to))
end

-- The neighbours from leaf `index` (from 0) up to the root.
function M.path(list, index, from, to)
  from, to = from or 1, to or #list
  if from == to then return {} end
  local k = largest_power_below(to - from + 1)
  local out, other
  if index < k then
    out, other = M.path(list, index, from, from + k - 1), M.root(list, from + k, to)
  else
    out, other = M.path(list, index - k, from + k, to), M.root(list, from, from + k - 1)
  end
  out[#out + 1] = other
  return out
end

-- The root that leaf, index, n and path lead to; nil when the path has another length than such a tree.
function M.climb(leaf, index, n, path)
  if n == 1 then return #path == 0 and index == 0 and leaf or nil end
  if index < 0 or index >= n or #path == 0 then return nil end
  local other, rest, k = path[#path], {}, largest_power_below(n)
  for i = 1, #path - 1 do rest[i] = path[i] end
  if index < k then
    local left = M.climb(leaf, index, k, rest)
    return left and sha256("\1" .. left .. other)
  end
  local right = M.climb(leaf, index - k, n - k, rest)
  return right and sha256("\1" .. other .. right)
end

-- ---- a transaction

local function entry_nonce(blind, e) return hmac(blind, "entry " .. e[1]) end
local function entry_hash(nonce, e) return sha256("\0" .. nonce .. net(e[1], e[2], e[3], e[4], e[5], e[6], e[7], e[8])) end

local function private_hash(blind, t)
  return sha256("\0" .. hmac(blind, "private") .. net(t.order_id, t.actor_id, t.memo, t.meta))
end

local function leaf(t, private, hashes)
  return sha256("\0" .. net("ppv-txn-1", t.id, t.kind, t.at, t.reverses, hex(private), #hashes, hex(M.root(hashes))))
end

local function entry_hashes(t, blind)
  local out = {}
  for i, e in ipairs(t.entries) do out[i] = entry_hash(entry_nonce(blind, e), e) end
  return out
end

-- t: {id, kind, at, reverses, order_id, actor_id, memo, meta, entries}, all text (a row of ledger_texts, entries decoded).
-- blind: 32 bytes. -> raw leaf hash; nil for a transaction without entries, which nothing can seal.
function M.leaf(t, blind)
  if #t.entries == 0 then return nil end
  return leaf(t, private_hash(blind, t), entry_hashes(t, blind))
end

-- The secret of a transaction: from the instance's oldest key, so it is the same for ever and nowhere stored.
local blind_key
function M.blind(txn_id)
  blind_key = blind_key or sha256(crypto.public_sign("ledger-blind", "blind"))
  return hmac(blind_key, tostring(txn_id))
end

-- ---- a seal: {batch, prev, count, root, at, signature}, hashes in hex

function M.seal_text(s) return net("ppv-seal-1", s.batch, s.prev, s.count, s.root, s.at) end

local function bytes(text, n)
  local raw = type(text) == "string" and unhex(text)
  return raw and #raw == n and raw or nil
end

local function signed(s, key)
  local sig = bytes(s.signature, 64)
  return sig ~= nil and crypto.public_verify(key, M.seal_text(s), sig)
end

-- ---- proofs

-- t as above, leaves: raw hashes of its batch, index from 0. own(entry) = may be opened. -> table for JSON
function M.proof(t, blind, own, seal, leaves, index)
  local entries, path = {}, {}
  for i, e in ipairs(t.entries) do
    local nonce = entry_nonce(blind, e)
    entries[i] = own(e) and { fields = json.array(e), nonce = hex(nonce) } or { hash = hex(entry_hash(nonce, e)) }
  end
  for i, p in ipairs(M.path(leaves, index)) do path[i] = hex(p) end
  return { format = M.PROOF, key = hex(crypto.public_key(M.PURPOSE)), txn = { id = t.id, kind = t.kind, at = t.at, reverses = t.reverses },
    private = hex(private_hash(blind, t)), entries = json.array(entries), index = index, path = json.array(path), seal = seal }
end

-- p: decoded proof; key: 32 bytes. -> list of opened entries, or nil and a sentence.
function M.check_proof(p, key)
  if type(p) ~= "table" or p.format ~= M.PROOF or type(p.txn) ~= "table" or type(p.entries) ~= "table" or #p.entries == 0
    or type(p.path) ~= "table" or type(p.seal) ~= "table" or type(p.index) ~= "number" then
    return nil, "This is not a proof of a ledger line."
  end
  local hashes, opened, path = {}, {}, {}
  for i, e in ipairs(p.entries) do
    local nonce = type(e) == "table" and bytes(e.nonce, 32)
    if nonce and type(e.fields) == "table" and #e.fields == 8 then
      hashes[i] = entry_hash(nonce, e.fields)
      opened[#opened + 1] = e.fields
    else
      hashes[i] = type(e) == "table" and bytes(e.hash, 32)
    end
    if not hashes[i] then return nil, ("Entry %d of the proof is not readable."):format(i) end
  end
  for i, s in ipairs(p.path) do
    path[i] = bytes(s, 32)
    if not path[i] then return nil, "The path of the proof is not readable." end
  end
  local private, root, count = bytes(p.private, 32), bytes(p.seal.root, 32), tonumber(p.seal.count)
  if not private or not root or not count then return nil, "The proof is not readable." end
  if not signed(p.seal, key) then return nil, "The seal is not signed with this key." end
  if M.climb(leaf(p.txn, private, hashes), p.index, count, path) ~= root then
    return nil, "The transaction is not the one that was sealed."
  end
  return opened
end

-- ---- the whole books

local Check = {}
Check.__index = Check

-- Takes the records of an export one by one (feed), then finish. key: 32 bytes or nil = the export's own.
function M.checker(key)
  return setmetatable({ key = key, breaches = {}, prev = M.ZERO, batch = 0, txns = 0, seals = 0, waiting = 0, sums = {},
    accounts = {}, heads = {} }, Check)
end

function Check:breach(fmt, ...) self.breaches[#self.breaches + 1] = fmt:format(...) end

-- Decimal text -> exact integer (text beyond 2^53), nil when it is none or leaves 64 bits.
local function int(text)
  local fine, v = pcall(money.add, text, 0)
  return type(text) == "string" and fine and v or nil
end

function Check:close_batch()
  local s = self.seal
  if not s then return end
  self.seal = nil
  if #self.leaves ~= tonumber(s.count) then
    self:breach("batch %s: %d transactions, %s were sealed", s.batch, #self.leaves, s.count)
  elseif hex(M.root(self.leaves)) ~= s.root then
    self:breach("batch %s: the transactions are not those that were sealed (root)", s.batch)
  end
end

function Check:on_seal(s)
  self:close_batch()
  self.seals = self.seals + 1
  if tonumber(s.batch) ~= self.batch + 1 then self:breach("batch %s follows batch %d: seals are missing", s.batch, self.batch) end
  if s.prev ~= self.prev then self:breach("batch %s: the chain is broken, it does not name the seal before it", s.batch) end
  if not signed(s, self.key) then self:breach("batch %s: the signature is not of this key", s.batch) end
  self.batch, self.prev = tonumber(s.batch), sha256(M.seal_text(s), "hex")
  self.heads[self.prev] = true
  self.seal, self.leaves = s, {}
end

-- Adds to sums[name]; nil when it leaves 64 bits.
local function add(sums, name, amount)
  local sum = sums[name] ~= false and money.add(sums[name] or 0, amount) or nil
  sums[name] = sum or false
  return sum
end

function Check:add_entry(t, e, balance)
  local amount, who = int(e[6]), e[2] .. "/" .. e[3] .. "/" .. e[4] .. "/" .. e[5]
  if not amount or amount == 0 then
    self:breach("txn %s: entry %s has the amount %s", t.id, e[1], tostring(e[6]))
    return
  end
  add(balance, e[5], amount)
  local sum = add(self.sums, who, amount)
  if e[2] == "user" then
    if int(e[7]) ~= sum then
      self:breach("txn %s: entry %s says the balance is %s, the entries add up to %s", t.id, e[1], tostring(e[7]), tostring(sum))
    end
    local a = self.accounts[who]
    if a and a.last == e[1] then
      a.seen = true
      if int(a.balance) ~= sum then
        self:breach("%s: the balance is %s, the entries add up to %s", who, a.balance, tostring(sum))
      end
    end
    if tostring(sum):sub(1, 1) == "-" then self:breach("txn %s: %s falls below zero", t.id, who) end
  end
end

function Check:on_txn(r)
  local t = r.txn
  self.txns = self.txns + 1
  if #t.entries < 2 then self:breach("txn %s has %d entries", t.id, #t.entries) end
  local balance = {}
  for _, e in ipairs(t.entries) do self:add_entry(t, e, balance) end
  for currency, sum in pairs(balance) do
    if sum ~= 0 then self:breach("txn %s does not balance: %s %s", t.id, currency, tostring(sum)) end
  end
  if r.waiting then
    self:close_batch()
    self.waiting = self.waiting + 1
    if r.waiting ~= "queued" then self:breach("txn %s is in no seal and waits for none", t.id) end
    return
  end
  local blind = bytes(r.blind, 32)
  local mine = blind and M.leaf(t, blind)
  if not mine or hex(mine) ~= r.leaf then
    self:breach("txn %s was changed after it was sealed (batch %d)", t.id, self.batch)
  end
  if self.seal then
    self.leaves[#self.leaves + 1] = mine or ("?"):rep(32)
  else
    self:breach("txn %s is said to be sealed, but its seal is missing", t.id)
  end
end

-- One record; see M.records.
function Check:feed(r)
  if type(r) ~= "table" then
    self:breach("a line is not readable")
  elseif r.format then
    self.key = self.key or bytes(r.key, 32)
    if r.format ~= M.FORMAT or not self.key then error("not an export of this format", 0) end
  elseif not self.key then
    error("the first line does not say what this is", 0)
  elseif r.account then
    local a = r.account
    self.accounts[a[1] .. "/" .. a[2] .. "/" .. a[3] .. "/" .. a[4]] = { balance = a[5], last = a[6], seen = a[6] == "" }
    if a[6] == "" and int(a[5]) ~= 0 then self:breach("%s/%s: the balance is %s without any entry", a[1], a[2], a[5]) end
  elseif r.seal then
    self:on_seal(r.seal)
  elseif r.missing then
    self:breach("txn %s was removed after it was sealed (batch %d)", r.missing, self.batch)
    if self.seal then self.leaves[#self.leaves + 1] = bytes(r.leaf, 32) or "" end
  elseif r.txn then
    self:on_txn(r)
  elseif r.proof then
    local ok, why = M.check_proof(r.proof, self.key)
    self.proofs = (self.proofs or 0) + 1
    if not ok then self:breach("txn %s: %s", tostring((r.proof.txn or {}).id), why) end
  elseif r["end"] then
    self.ended = true
  end
end

-- head: hex hash of a seal somebody kept; it must be in the chain. -> list of breaches, empty = whole
function Check:finish(head)
  self:close_batch()
  if not self.ended and not self.proofs then self:breach("the export is cut off") end
  if head and not self.heads[head] then self:breach("the seal %s is not in the chain: books were exchanged or cut", head) end
  local total = {}
  for who, sum in pairs(self.sums) do add(total, who:match("(%w+)$"), sum or 0) end
  for who, a in pairs(self.accounts) do
    if not a.seen then self:breach("%s: its last entry %s is missing", who, a.last) end
  end
  for currency, sum in pairs(total) do
    if sum ~= 0 then self:breach("the whole ledger is off by %s %s", currency, tostring(sum)) end
  end
  return self.breaches
end

return M
