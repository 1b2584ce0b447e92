-- Seals, proofs and the check of the books: what is changed behind the triggers' back is named.
local conf = require "ppv.conf"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local h = require "spec.support"
local json = require "ppv.json"
local seal = require "lib.seal"
local sealer = require "lib.sealer"

local function copy(v) return json.decode(json.encode(v)) end

describe("the tree", function()
  it("has RFC 6962's roots, and a path of every leaf leads to them", function()
    local leaves = {}
    for n = 1, 17 do
      leaves[n] = crypto.sha256("\0leaf " .. n)
      local root = seal.root(leaves)
      for i = 0, n - 1 do
        local path = seal.path(leaves, i)
        assert.equal(root, seal.climb(leaves[i + 1], i, n, path))
        if n > 1 then
          assert.is_false(root == seal.climb(leaves[i + 1], (i + 1) % n, n, path))
          path[#path] = nil
          assert.is_false(root == seal.climb(leaves[i + 1], i, n, path))
        end
      end
    end
    -- RFC 6962's shape for 7 leaves: ((0 1)(2 3))((4 5) 6)
    local function two(a, b) return crypto.sha256("\1" .. a .. b) end
    assert.equal(two(two(two(leaves[1], leaves[2]), two(leaves[3], leaves[4])), two(two(leaves[5], leaves[6]), leaves[7])),
      seal.root(leaves, 1, 7))
  end)
end)

describe("sealed books", function()
  local admin, creator, buyer, film
  lazy_setup(function()
    admin, creator, buyer = h.make.admin(), h.make.user(), h.make.user()
    h.make.money(admin, buyer, 5000)
    assert(sealer.run(1000))
    film = h.make.video(creator, { price = 700 })
    assert.equal(200, buyer:post("/api/wallet/pay", { video_id = film }).status)
    assert.is_true(assert(sealer.run(1000)) >= 1)
  end)

  local function records()
    local out = {}
    assert(sealer.records(function(r) out[#out + 1] = r end))
    return out
  end
  local function check(list, head, key)
    local c = seal.checker(key or crypto.public_key(seal.PURPOSE))
    for _, r in ipairs(list) do c:feed(r) end
    return c:finish(head), c
  end
  local function names(list, text)
    for _, b in ipairs(list) do if b:find(text, 1, true) then return true end end
    return false
  end

  it("are whole, also as a file, and a kept head is found again", function()
    local list = records()
    local breaches, c = check(list)
    assert.same({}, breaches)
    assert.is_true(c.txns >= 2 and c.seals >= 1)
    assert.same({}, (check(copy(list), assert(sealer.head()).head)))
    assert.is_true(names(check(list, ("ab"):rep(32)), "is not in the chain"))
  end)

  it("stay in order beyond the ninth batch", function()
    local saver = h.make.user()
    for _ = 1, 11 do
      h.make.money(admin, saver, 1000)
      assert.equal(1, assert(sealer.run(1000)))
    end
    local head = assert(sealer.head())
    assert.is_true(head.batch > 10)
    assert.same({}, (check(records(), head.head)))
  end)

  it("name every change of a record", function()
    local list, n = records(), 0
    local function breaks(what, change)
      local t = copy(list)
      change(t)
      n = n + 1
      assert.is_true(#check(t) > 0, what .. " went unnoticed")
    end
    local at = {} -- the last of each kind; other files' lines are here too
    for i, r in ipairs(list) do
      local kind = r.txn and r.leaf and "txn" or r.seal and "seal" or r.account and r.account[6] ~= "" and "account"
      if kind then at[kind] = i end
    end
    local txn, s = list[at.txn].txn, list[at.seal].seal
    for field, v in pairs(txn) do
      if type(v) == "string" then breaks(field, function(t) t[at.txn].txn[field] = v .. "1" end) end
    end
    for k, e in ipairs(txn.entries) do
      for f = 1, 8 do breaks("field " .. f, function(t) t[at.txn].txn.entries[k][f] = e[f] .. "1" end) end
    end
    breaks("an entry", function(t) table.remove(t[at.txn].txn.entries) end)
    breaks("a transaction", function(t) table.remove(t, at.txn) end)
    for field, v in pairs(s) do
      breaks(field, function(t) t[at.seal].seal[field] = (v:gsub("%w", function(c) return c == "1" and "2" or "1" end, 1)) end)
    end
    breaks("a seal", function(t) table.remove(t, at.seal) end)
    breaks("a balance", function(t) t[at.account].account[5] = t[at.account].account[5] .. "1" end)
    breaks("the end", function(t) t[#t] = nil end)
    assert.is_true(n > 30)
    assert.is_true(names(check(list, nil, crypto.public_key("another")), "the signature is not of this key"))
  end)

  -- As a superuser with the triggers off, and undone again.
  local TABLES = { "ledger_txns", "ledger_entries", "ledger_accounts", "ledger_seals", "ledger_leaves" }
  local function superuser(sql)
    local pipe = assert(io.popen(("psql -XqAt -v ON_ERROR_STOP=1 'host=%s/pgrun user=ppv dbname=ppv' 2>&1 <<'EOF'\nbegin;\n"
      .. "set local session_replication_role = replica;\n%s;\ncommit;\nEOF"):format(conf.get "var_dir", sql)))
    local out = pipe:read("*a")
    pipe:close()
    assert.equal("", out)
  end
  local function tampered(sql)
    local keep, back = {}, {}
    for i, t in ipairs(TABLES) do
      keep[i] = ("create table kept_%s as select * from %s"):format(t, t)
      back[i] = ("delete from %s; insert into %s overriding system value select * from kept_%s; drop table kept_%s"):format(t, t, t, t)
    end
    superuser(table.concat(keep, ";") .. ";" .. sql)
    local breaches = check(records())
    superuser(table.concat(back, ";"))
    return breaches
  end

  it("show what a superuser changes with triggers off", function()
    local last = assert(db.one([[select l.txn_id as id, max(e.id) as entry from ledger_leaves l
      join ledger_entries e on e.txn_id = l.txn_id group by 1 order by 1 desc limit 1]]))
    local cases = {
      { "was changed after it was sealed", "update ledger_txns set memo = memo || '!' where id = " .. last.id },
      { "was changed after it was sealed", "update ledger_entries set note = note || '!' where id = " .. last.entry },
      { "was changed after it was sealed", "update ledger_txns set created_at = created_at + interval '1 us' where id = " .. last.id },
      { "does not balance", "update ledger_entries set amount = amount + 1 where id = " .. last.entry },
      { "was removed after it was sealed", "delete from ledger_entries where txn_id = " .. last.id .. "; delete from ledger_txns where id = " .. last.id },
      { "was changed after it was sealed", "update ledger_accounts set owner_id = " .. admin.id .. " where kind = 'user' and owner_id = " .. creator.id },
      { "the balance is", "update ledger_accounts set balance = balance + 5 where kind = 'user' and owner_id = " .. buyer.id },
      { "is in no seal and waits for none", "insert into ledger_txns (kind) values ('adjustment')" },
      { "was changed after it was sealed", "update ledger_leaves set hash = sha256('x') where txn_id = " .. last.id },
      { "seals are missing", "delete from ledger_leaves where batch = 1; delete from ledger_seals where batch = 1" },
      { "the signature is not of this key", "update ledger_seals set signature = sha512('x') where batch = 1" },
    }
    for _, c in ipairs(cases) do
      local breaches = tampered(c[2])
      assert.is_true(names(breaches, c[1]), c[2] .. ": " .. json.encode(breaches))
    end
    assert.same({}, (check(records())))
  end)

  it("give everybody a proof of the own lines that opens nobody else's", function()
    local key = crypto.hex_decode(h.client():get("/api/ledger/key").json.key)
    local line = buyer:get("/api/statement").json.items[1]
    assert.equal(-700, line.amount)
    local r = buyer:get("/api/statement/proof?line=" .. ("%.0f"):format(line.id))
    assert.equal(200, r.status, r.body)
    local opened, why = seal.check_proof(r.json, key)
    assert.equal(1, opened and #opened, why)
    assert.equal("-700", opened[1][6])
    local closed = 0
    for _, e in ipairs(r.json.entries) do
      if e.fields then assert.equal(("%.0f"):format(buyer.id), e.fields[3]) else closed = closed + 1 end
    end
    assert.equal(2, closed)
    assert.equal(404, creator:get("/api/statement/proof?line=" .. ("%.0f"):format(line.id)).status)
    for _, change in ipairs {
      function(p) p.txn.at = p.txn.at .. "0" end, function(p) p.seal.at = p.seal.at .. "0" end, function(p) p.index = p.index + 1 end,
      function(p) for _, e in ipairs(p.entries) do if e.fields then e.fields[6] = "-70" end end end,
      function(p) p.private = ("00"):rep(32) end, function(p) table.remove(p.entries) end,
    } do
      local p = copy(r.json)
      change(p)
      assert.is_nil((seal.check_proof(p, key)))
    end
    assert.is_nil((seal.check_proof(r.json, crypto.public_key("another"))))
  end)

  it("a line without a seal says so", function()
    h.make.money(admin, buyer, 1000)
    local line = buyer:get("/api/statement").json.items[1]
    local r = buyer:get("/api/statement/proof?line=" .. ("%.0f"):format(line.id))
    assert.equal(409, r.status, r.body)
    assert.equal("ledger.not_sealed", r.json.code)
    assert(sealer.run(1000))
    assert.equal(200, buyer:get("/api/statement/proof?line=" .. ("%.0f"):format(line.id)).status)
  end)
end)

describe("statements", function()
  local admin, a, b
  lazy_setup(function()
    admin, a, b = h.make.admin(), h.make.user(), h.make.user()
    h.make.money(admin, a, 5000)
    assert.equal(200, a:post("/api/wallet/transfer", { to_username = b.username, amount_cents = 1250, note = '=HYPERLINK("x"),"y"' }).status)
  end)
  after_each(function() assert.same({}, h.breaches()) end)

  it("list what is booked with the balance after each line", function()
    local s = a:get("/api/statement").json
    assert.equal(2, #s.items)
    assert.same({ -1250, 3750, "transfer_out" }, { s.items[1].amount, s.items[1].balance_after, s.items[1].type })
    assert.same({ 5000, -1250, 3750 }, { s.months[1].credit, s.months[1].debit, s.months[1].balance })
    assert.equal(2, #a:get("/api/statement?month=" .. s.months[1].month).json.items)
    assert.equal(0, #a:get("/api/statement?month=2001-01").json.items)
    assert.equal(422, a:get("/api/statement?month=2001-13").status)
    assert.equal(401, h.client():get("/api/statement").status)
  end)

  it("are files without formulas", function()
    local r = a:get("/api/statement.csv")
    assert.equal(200, r.status)
    assert.is_truthy(r.headers["content-type"]:find("text/csv", 1, true))
    assert.is_truthy(r.body:find([["'=HYPERLINK(""x""),""y"""]], 1, true), r.body)
    assert.is_truthy(r.body:find(",-12.50,37.50,", 1, true), r.body)
  end)

  it("administrators see the whole: zero per currency", function()
    local t = admin:get("/admin/ledger/trial").json
    assert.equal(0, t.totals.USD)
    assert.equal(64, #t.key)
    assert.equal(200, admin:get("/admin/ledger/revenue?period=month").status)
    local c = admin:get("/admin/ledger/clearing").json
    assert.equal("deposits", c.providers[1].provider)
    assert.same({}, admin:get("/admin/ledger/breaches").json.breaches)
    assert.equal(403, a:get("/admin/ledger/trial").status)
  end)

  it("checkpoints change no balance", function()
    local function trial()
      local out = {}
      for _, r in ipairs(db.query("select id, balance from ledger_trial order by id")) do out[r.id] = r.balance end
      return out
    end
    local before = trial()
    h.eventually(function() return assert(db.one("select ppv_checkpoint() as n")).n > 0 end)
    assert.same(before, trial())
    assert.is_true(db.one("select count(*) as n from ledger_checkpoints").n > 0)
    h.make.money(admin, a, 1700)
    local sum = db.one([[select count(*) as n from ledger_trial t where balance <> (select coalesce(sum(amount), 0) from ledger_entries e
      where e.account_id = t.id)]])
    assert.equal(0, sum.n)
  end)
end)
