-- SPDX-License-Identifier: Apache-2.0
-- A site to look at: an administrator, two creators with a short film each, viewers with money, an affiliate. Passwords are random
-- and printed once; running it again changes nothing. Money comes in through deposits an administrator approves.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local ledger = require "ppv.ledger"
local payments = require "lib.payments"

local M = {}

local PEOPLE = {
  { name = "admin", admin = true },
  { name = "alice", desc = "Makes films about harbours." },
  { name = "bob", desc = "Makes films about rain." },
  { name = "vera", money = 5000 },
  { name = "viktor", money = 2500 },
  { name = "affi", money = 0 },
}

local FILMS = {
  { owner = "alice", title = "Hello, harbour", price = 500, pct = 20, ext = "mp4", source = "movie2/movie-hello.mp4",
    description = "A short greeting. 20 % for whoever brings a buyer." },
  { owner = "bob", title = "An afternoon outside", price = 1200, pct = 0, ext = "mp4", source = "movie1/VID_20191220_170832.mp4",
    description = "Filmed with a telephone, nothing staged." },
}

-- Four groups are easy to copy and 80 bits strong.
local function new_password()
  local letters, out = "abcdefghjkmnpqrstuvwxyz23456789", {}
  for c in crypto.random(20):gmatch(".") do
    local i = c:byte() % #letters + 1
    out[#out + 1] = letters:sub(i, i)
  end
  return (table.concat(out):gsub("(.....)", "%1-"):gsub("%-$", ""))
end

local function check(v, err, what)
  if v == nil then error(what .. ": " .. tostring(err and err.message or err), 0) end
  return v
end

local function person(p)
  local old, err = db.one("select id from users where username = $1", p.name)
  check(old, err, "users")
  if old then return old.id, nil end
  local password = new_password()
  local hash
  hash, err = crypto.hash_password(password)
  check(hash, err, "password")
  local row
  row, err = db.one([[insert into users (username, email, password_hash, is_admin, profile_desc, email_verified_at)
    values ($1, $2, $3, $4, $5, now()) returning id]], p.name, p.name .. "@example.com", hash, p.admin or false, p.desc or "")
  check(row, err, "users")
  return row.id, password
end

local function deposit(admin, user, amount)
  local r, err = ledger.deposit_request("demo-request-" .. user, { user = user, amount = amount, currency = payments.currency(),
    note = "Demo money" })
  check(r, err, "deposit")
  local ok
  ok, err = ledger.deposit_approve("demo-approve-" .. user, { admin = admin, id = r.deposit_id, note = "Demo money" })
  check(ok, err, "deposit")
end

local function film(owner, f)
  local have, err = db.one("select id from videos where owner_id = $1 and upload_name = $2", owner, f.source:match("[^/]+$"))
  check(have, err, "videos")
  if have then return nil end
  local data = blob.read("samples", f.source, 32 * 1024 * 1024)
  if not data then return "no sample film " .. f.source .. " (see demo_films in ppv.conf)" end
  local id = check(db.one("select ppv_uuid7()::text as id")).id
  local path = id .. "." .. f.ext
  check(blob.write("upload", path, data), nil, "storing the film")
  local done
  done, err = db.tx(function(tx)
    local n, e = tx.exec([[insert into videos (id, owner_id, title, description, price, currency, upload_name, upload_path, upload_type,
      upload_size, upload_sha256, title_secret) values ($1::uuid, $2, $3, $4, $5, $6, $7, $8, 'video/mp4', $9, $10, $11)]], id, owner,
      f.title, f.description, f.price, payments.currency(), f.source:match("[^/]+$"), path, #data, crypto.sha256(data, "hex"),
      crypto.seal(crypto.sha256(crypto.random(32), "hex")))
    if not n then return nil, e end
    if f.pct > 0 then
      n, e = tx.exec("insert into affiliate_programs (video_id, pct, enabled) values ($1::uuid, $2, true)", id, f.pct)
      if not n then return nil, e end
    end
    return tx.one([[select ppv_job_add('media.ingest', jsonb_build_object('video_id', $1::text), 'video:' || $1::text,
      'ingest:' || $1::text, now(), 0, 3, $2) as id]], id, owner)
  end)
  check(done, err, "videos")
  return nil
end

function M.run()
  local ids, fresh, notes = {}, {}, {}
  for _, p in ipairs(PEOPLE) do
    local password
    ids[p.name], password = person(p)
    if password then fresh[#fresh + 1] = { name = p.name, password = password } end
  end
  for _, p in ipairs(PEOPLE) do
    if p.money and p.money > 0 then deposit(ids.admin, ids[p.name], p.money) end
  end
  for _, f in ipairs(FILMS) do notes[#notes + 1] = film(ids[f.owner], f) end
  check(db.exec "insert into plugin_settings (plugin, key, value) values ('sandbox', 'on', 'true') on conflict do nothing", nil, "settings")
  if #fresh > 0 then
    print("\n  Demo accounts. The passwords are shown this once:")
    for _, a in ipairs(fresh) do print(("    %-8s %-22s %s"):format(a.name, a.name .. "@example.com", a.password)) end
    print("")
  else
    print("  The demo accounts exist already.")
  end
  for _, note in ipairs(notes) do print("  Note: " .. note) end
  return 0
end

return M
