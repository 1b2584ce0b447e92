-- SPDX-License-Identifier: Apache-2.0
local db = require "ppv.db"
local events = require "ppv.events"
local h = require "spec.support"
local json = require "ppv.json"
local time = require "ppv.time"

local function failed(code, ...)
  local v, err = ...
  assert.is_nil(v)
  assert.is_table(err)
  assert.equal(code, err.code)
  assert.is_true(#err.message > 0)
  assert.is_boolean(err.retry)
  assert.is_true(#tostring(err) > 3)
  return err
end

local function who() return h.make.user() end
local function names(prefix) return db.one("select count(*) as n from settings where key like $1", prefix .. "%").n end
local serial = 0
local function prefix()
  serial = serial + 1
  return "spec.db" .. serial .. "."
end
local PUT = "insert into settings(key, value) values ($1, '1'::jsonb)"

describe("ppv.db: values", function()
  it("arrive with their types", function()
    local row = assert(db.one [[select 7::int2 as i2, -7::int4 as i4, 9007199254740992::int8 as exact, 9007199254740993::int8 as beyond,
      '-9223372036854775808'::int8 as lowest, true as t, false as f, null::int as nothing, 'x'::text as text, 0.1::float8 as float,
      12345678901234567890.123456789::numeric as num, '{"a": [1, null]}'::jsonb as j, '0190a000-0000-7000-8000-000000000000'::uuid as u,
      '\x00ff80'::bytea as b, ''::text as empty, ''::bytea as nobytes, array[1,2] as list]])
    assert.same({ i2 = 7, i4 = -7, exact = 9007199254740992, beyond = "9007199254740993", lowest = "-9223372036854775808", t = true, f = false,
      text = "x", float = 0.1, num = "12345678901234567890.123456789", j = '{"a": [1, null]}', u = "0190a000-0000-7000-8000-000000000000",
      b = "\0\255\128", empty = "", nobytes = "", list = "{1,2}" }, row)
  end)

  it("travel there and back", function()
    for _, n in ipairs { 0, 1, -1, 2147483648, 9007199254740992, -9007199254740992 } do
      assert.equal(n, db.one("select $1::int8 as x", n).x)
    end
    assert.equal("9223372036854775807", db.one("select $1::int8 as x", "9223372036854775807").x)
    assert.equal(0.1, db.one("select $1::float8 as x", 0.1).x)
    assert.is_true(db.one("select $1::bool as x", true).x)
    assert.is_false(db.one("select $1::bool as x", false).x)
    assert.is_nil(db.one("select $1::text as x", nil).x)
    assert.equal("nil in the middle", db.one("select $2::text as x where $1::text is null and $3::int is null", nil, "nil in the middle", nil).x)
    for _, s in ipairs { "", "'; drop table users; --", "\\", "\226\130\172", "a\nb\t", ("x"):rep(100000) } do
      assert.equal(s, db.one("select $1::text as x", s).x)
    end
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    for _, s in ipairs { "", "\0", table.concat(all), ("\0\255"):rep(50000) } do
      assert.equal(s, db.one("select $1::bytea as x", db.bytes(s)).x)
      assert.equal(#s, db.read_one("select octet_length($1::bytea) as x", db.bytes(s)).x)
    end
  end)

  it("arrays, with quotes and all", function()
    local list = { "a", "", "NULL", "null", '"', "\\", "{}", ",", "a b", "\226\130\172" }
    local row = db.one("select to_json($1::text[])::text as x, cardinality($1::text[]) as n", db.array(list))
    assert.same(list, json.decode(row.x))
    assert.equal(#list, row.n)
    assert.equal(6, db.one("select (select sum(x) from unnest($1::int8[]) x)::int8 as x", db.array { 1, 2, 3 }).x)
    assert.equal(0, db.one("select cardinality($1::text[]) as n", db.array {}).n)
    assert.equal("{t,f}", db.one("select $1::bool[] as x", db.array { true, false }).x)
  end)

  it("no row is false, none are an empty list that stays a list", function()
    assert.is_false(db.one "select 1 as x where false")
    assert.is_false(db.read_one "select 1 as x where false")
    local rows = db.query "select 1 as x where false"
    assert.equal("[]", json.encode(rows))
    assert.equal(3, #db.read "select * from generate_series(1, 3)")
    assert.equal(0, db.exec "delete from settings where false")
  end)
end)

describe("ppv.db: statement_timeout", function()
  it("is the configured one for writes, a short one for plain reads", function()
    local want = require("ppv.conf").get "statement_timeout" -- `ppv spec` sets one that is not the default
    local sql = "select setting::int as ms from pg_settings where name = 'statement_timeout'"
    assert.equal(tonumber((tostring(want):gsub("s$", ""))) * 1000, db.one(sql).ms)
    assert.not_equal(5000, db.one(sql).ms)
    assert.equal(1000, db.read_one(sql).ms)
  end)
end)

describe("ppv.db: failures are values", function()
  it("name what went wrong", function()
    local u = who()
    failed("db.error", db.query "selec 1")
    failed("db.error", db.query "select * from no_such_table")
    failed("db.conflict", db.exec("insert into users(username, email, password_hash) values ($1, $2, 'x')", u.username, "other" .. u.email))
    local err = failed("db.conflict", db.exec("update users set wallet_account = 'nonsense' where id = $1", u.id))
    assert.equal("users_wallet_account_check", err.detail)
    failed("input.invalid", db.one("select $1::int4 as x", "abc"))
    failed("input.invalid", db.one("select $1::uuid as x", "abc"))
    failed("input.invalid", db.one("select $1::text as x", "\255\254"))
    failed("input.invalid", db.one("select $1::int4 as x", 2147483648))
    failed("db.error", db.read "update users set disabled_at = null")
    failed("engine.timeout", db.read "select pg_sleep(5)")
  end)

  it("refusals of SQL functions carry their code and sentence", function()
    local u = who()
    local err = failed("video.not_yours", db.one("select ppv_grant($1, $1, '00000000-0000-7000-8000-000000000000'::uuid)", u.id))
    assert.equal("This video does not exist or is not yours.", err.message)
  end)

  it("work inside pcall and leave the connection usable", function()
    for _ = 1, 20 do
      local fine, v, err = pcall(db.query, "selec 1")
      assert.is_true(fine)
      failed("db.error", v, err)
      local good, row = pcall(db.one, "select 1 as x")
      assert.is_true(good and row.x == 1)
    end
    local fine, why = pcall(function()
      db.one "select 1 as x"
      error({ code = "spec.mine" }, 0)
    end)
    assert.is_false(fine)
    assert.equal("spec.mine", why.code)
  end)

  it("wrong use raises", function()
    for _, call in ipairs { function() db.query() end, function() db.query "" end, function() db.query(5) end, function() db.query("select 1\0") end,
      function() db.one("select $1", {}) end, function() db.one("select $1", print) end, function() db.one("select $1", 0 / 0) end,
      function() db.one("select $1", 1 / 0) end, function() db.one("select $1", "a\0b") end, function() db.array "x" end,
      function() db.array { {} } end, function() db.bytes(5) end, function() db.tx() end, function() db.tx "x" end,
      function() db.query("select 1", unpack({}, 1, 120)) end } do assert.has_error(call) end
  end)

  it("too few or too many parameters are an error value", function()
    failed("db.error", db.one("select $1::int as x, $2::int as y", 1))
    failed("db.error", db.one("select 1 as x", 1))
  end)
end)

describe("ppv.db: the read lane", function()
  it("a failure leaves the queries after it alone", function()
    for _ = 1, 20 do
      assert.equal(1, db.read_one("select 1 as x").x)
      failed("db.error", db.read_one("select 1 / $1::int as x", 0))
      failed("db.error", db.read "select bad")
      assert.equal(3, db.read_one("select 3 as x").x)
    end
  end)

  -- The queries of requests that come together share one pipeline; those with a cursor of the wrong type fail in it.
  it("a failing neighbour in the same pipeline takes nobody with it", function()
    local page = require "lib.page"
    local out, conf, lines = os.tmpname(), os.tmpname(), {}
    local bad = page.cursor("videos.newest", { "no uuid" })
    for i = 1, 60 do
      lines[i] = ('url = "%s/api/videos?limit=1%s"\noutput = /dev/null'):format(h.url, i % 3 == 0 and "&cursor=" .. bad or "")
    end
    local f = assert(io.open(conf, "w"))
    f:write(table.concat(lines, "\n"), "\n")
    f:close()
    os.execute(("curl -s --parallel --parallel-immediate --parallel-max 60 -K %s -w '%%{url} %%{http_code}\\n' >%s 2>/dev/null &"):format(conf, out))
    local seen
    h.eventually(function()
      seen = {}
      for line in io.lines(out) do seen[#seen + 1] = line end
      return #seen == 60
    end, 15)
    os.remove(out)
    os.remove(conf)
    for _, line in ipairs(seen) do
      assert.equal(line:find("cursor", 1, true) and "422" or "200", line:match "(%d+)$", line)
    end
  end)
end)

describe("ppv.db.tx", function()
  it("commits and returns what the function returned", function()
    local p = prefix()
    assert.equal("done", db.tx(function(tx)
      assert.equal(1, tx.exec(PUT, p .. "a"))
      assert.equal(1, tx.one("select count(*) as n from settings where key like $1", p .. "%").n)
      assert.equal(0, names(p), "seen from outside before the commit")
      return "done"
    end))
    assert.equal(1, names(p))
    assert.is_true(db.tx(function() end))
    assert.is_false((db.tx(function() return false end)))
  end)

  it("rolls back for nil, err", function()
    local p = prefix()
    failed("spec.no", db.tx(function(tx)
      tx.exec(PUT, p .. "a")
      return nil, setmetatable({ code = "spec.no", message = "no", retry = false }, { __tostring = function() return "spec.no: no" end })
    end))
    assert.equal(0, names(p))
  end)

  it("rolls back for a raised text and raises it again", function()
    local p = prefix()
    local fine, why = pcall(db.tx, function(tx)
      tx.exec(PUT, p .. "a")
      error("broken rule", 0)
    end)
    assert.is_false(fine)
    assert.equal("broken rule", why)
    assert.equal(0, names(p))
    assert.equal(1, db.tx(function(tx) return tx.one("select 1 as x").x end))
  end)

  it("rolls back for a raised error value and returns it", function()
    local p = prefix()
    local v, err = db.tx(function(tx)
      tx.exec(PUT, p .. "a")
      error({ code = "spec.raised", message = "raised" }, 0)
    end)
    assert.is_nil(v)
    assert.equal("spec.raised", err.code)
    assert.equal(0, names(p))
  end)

  it("does not commit after a statement failed, even when nobody looked", function()
    local p = prefix()
    local v, err = db.tx(function(tx)
      tx.exec(PUT, p .. "a")
      tx.exec "selec 1"
      tx.exec(PUT, p .. "b")
      return true
    end)
    assert.is_nil(v)
    assert.is_table(err)
    assert.equal(0, names(p))
  end)

  it("ends at its end", function()
    local kept
    db.tx(function(tx) kept = tx end)
    assert.has_error(function() kept.one "select 1 as x" end)
    assert.has_error(function() db.tx(function() return db.tx(function() end) end) end)
    assert.equal(1, db.one("select 1 as x").x)
  end)

  it("many in a row leave no connection behind", function()
    for i = 1, 60 do
      local v = db.tx(function(tx)
        tx.one "select 1 as x"
        if i % 3 == 0 then return nil, { code = "spec.no", message = "no" } end
        return i
      end)
      assert.equal(i % 3 ~= 0 and i or nil, v)
    end
    h.eventually(function() -- a rollback is not waited for
      return db.one("select count(*) as n from pg_stat_activity where state like 'idle in transaction%' and usename = 'ppv_app'").n == 0
    end)
  end)
end)

describe("ppv.events", function()
  it("tell what was notified after the commit, in order, and end", function()
    local sub = assert(events.subscribe "spec_channel")
    local last
    h.eventually(function()
      db.notify("spec_channel", "ready?")
      last = sub:next(0.2)
      return last == "ready?"
    end)
    while sub:next(0.05) do end
    failed("spec.no", db.tx(function(tx)
      tx.one "select pg_notify('spec_channel', 'never')::text as x"
      return nil, setmetatable({ code = "spec.no", message = "no", retry = false }, { __tostring = function() return "spec.no" end })
    end))
    for i = 1, 3 do db.notify("spec_channel", "n" .. i) end
    for i = 1, 3 do assert.equal("n" .. i, sub:next(2)) end
    local started = time.mono()
    assert.is_nil(sub:next(0.1))
    assert.is_true(time.mono() - started < 1.5)
    sub:close()
    assert.is_nil(sub:next(0.05))
  end)

  it("wrong channels raise or are refused", function()
    for _, bad in ipairs { "", "A", "a b", "a;drop", ("x"):rep(61) } do
      local fine, sub = pcall(events.subscribe, bad)
      assert.is_true(not fine or sub == nil, bad)
    end
  end)
end)
