-- SPDX-License-Identifier: Apache-2.0
-- The places in the database that hold sealed secrets (ppv.crypto.seal), and moving them to the newest key of the secret file;
-- the files of on-chain keys (ppv.evm) go with them.
-- A new column with sealed text belongs into M.PLACES.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local evm = require "ppv.evm"

local M = { CHAIN_KEYS = "on-chain keys" }
local BATCH = 200

-- id: text expression that names a row; get: expression of the sealed text; set: assignment of $2; purpose: that of crypto.seal.
M.PLACES = {
  { name = "film secrets", from = "videos", id = "id::text", get = "title_secret", set = "title_secret = $2" },
  { name = "two-step secrets", from = "user_totp", id = "user_id::text", get = "secret_sealed", set = "secret_sealed = $2" },
  { name = "plugin secrets", from = "plugin_settings", id = "plugin || ' ' || key", get = "value #>> '{}'", set = "value = to_jsonb($2::text)",
    where = "sealed" },
  { name = "mail password", from = "settings", id = "key", get = "value ->> 'password'",
    set = "value = jsonb_set(value, '{password}', to_jsonb($2::text))", where = "key = 'smtp'" },
  { name = "payees' accounts", from = "payout_destinations", id = "id::text", get = "sealed", set = "sealed = $2", purpose = "payout" },
  { name = "chains' nodes", from = "chains", id = "chain_id::text", get = "rpc_sealed", set = "rpc_sealed = $2" },
  { name = "chains' second nodes", from = "chains", id = "chain_id::text", get = "rpc2_sealed", set = "rpc2_sealed = $2" },
  { name = "gift codes", from = "gifts", id = "id::text", get = "code_sealed", set = "code_sealed = $2", purpose = "gift" },
}

-- A sealed text begins with the name of its key; a film without files has the word none.
local function rows_of(p) return (" from %s where %s like '%%.%%'%s"):format(p.from, p.get, p.where and " and " .. p.where or "") end

--- The name of the key that seals now.
function M.newest() return crypto.seal(""):match "^[^.]+" end

--- How many secrets each key has sealed: list of {key, name, n} | nil, err. Yields.
function M.count()
  local out = {}
  for _, p in ipairs(M.PLACES) do
    local rows, err = db.query(("select split_part(%s, '.', 1) as key, count(*) as n%s group by 1 order by 1"):format(p.get, rows_of(p)))
    if not rows then return nil, err end
    for _, r in ipairs(rows) do out[#out + 1] = { key = r.key, name = p.name, n = r.n } end
  end
  local keys, err = evm.key_list()
  if not keys then return nil, err end
  local by = {}
  for _, k in ipairs(keys) do by[k.sealed_by] = (by[k.sealed_by] or 0) + 1 end
  for kid, n in pairs(by) do out[#out + 1] = { key = kid, name = M.CHAIN_KEYS, n = n } end
  return out
end

-- One batch after row `last` -> the last row's id (nil: done), sealed anew, unreadable | nil, nil, nil, err
local function batch(p, key, last)
  local rows, err = db.query(("select %s as id, %s as text%s and %s not like $1 || '.%%' and %s > $2 order by 1 limit %d")
    :format(p.id, p.get, rows_of(p), p.get, p.id, BATCH), key, last)
  if not rows then return nil, 0, 0, err end
  local done, bad = 0, 0
  for _, r in ipairs(rows) do
    local plain = crypto.open(r.text, p.purpose)
    if plain then
      -- Whoever changed the row meanwhile has sealed it with the newest key.
      local n
      n, err = db.exec(("update %s set %s where %s = $1 and %s = $3"):format(p.from, p.set, p.id, p.get), r.id, crypto.seal(plain, p.purpose), r.text)
      if not n then return nil, done, bad, err end
      done = done + n
    else
      bad = bad + 1
    end
  end
  return rows[1] and rows[#rows].id, done, bad
end

--- Seals everything that another key has sealed with the newest one. What is sealed stays the same, so films, players and people
--- notice nothing. -> list of {name, done, unreadable} | nil, err. Yields.
function M.reseal()
  local key, out = M.newest(), {}
  for _, p in ipairs(M.PLACES) do
    local sum = { name = p.name, done = 0, unreadable = 0 }
    local last = ""
    repeat
      local done, bad, err
      last, done, bad, err = batch(p, key, last)
      if err then return nil, err end
      sum.done, sum.unreadable = sum.done + done, sum.unreadable + bad
    until not last
    out[#out + 1] = sum
  end
  local done, bad = evm.key_reseal()
  if not done then return nil, bad end
  out[#out + 1] = { name = M.CHAIN_KEYS, done = done, unreadable = bad }
  return out
end

return M
