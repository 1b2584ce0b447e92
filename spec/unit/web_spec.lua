-- SPDX-License-Identifier: Apache-2.0
-- Cookies, forms, cursors, pages, rate limits, errors: the small pure modules of scripts/lib.
local cookie = require "lib.cookie"
local errors = require "lib.errors"
local form = require "lib.form"
local html = require "lib.html"
local json = require "ppv.json"
local page = require "lib.page"
local rate = require "lib.rate"
local rules = require "lib.password_rules"

describe("lib.cookie", function()
  it("reads what browsers send; the first of a name wins", function()
    assert.same({ a = "1", b = "x=y", c = "q" }, cookie.parse 'a=1; b=x=y; a=2;c="q" ')
    assert.same({}, cookie.parse(nil))
    assert.same({}, cookie.parse "")
    assert.same({}, cookie.parse(("a=1; "):rep(3000)))
    assert.same({ a = "" }, cookie.parse "a=; =b; ;;")
  end)

  it("writes attributes", function()
    assert.equal("n=v; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax", cookie.build("n", "v", { max_age = 60, secure = true }))
    assert.equal("n=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax", cookie.build("n", "", { max_age = 0 }))
    assert.equal("n=v; Path=/; SameSite=Strict", cookie.build("n", "v", { http_only = false, same_site = "Strict" }))
  end)
end)

describe("lib.form", function()
  it("decodes", function()
    assert.same({ a = "1 2", b = "\226\130\172&=", c = "", d = "" }, form.decode "a=1+2&b=%E2%82%ac%26%3D&c=&d&a=9")
    assert.same({}, form.decode(nil))
    assert.same({ a = "b=c" }, form.decode "a=b=c")
  end)

  for _, bad in ipairs { "a=%", "a=%4", "a=%zz", "%=1", "a=%00", "a=x%2" } do
    it("refuses " .. bad, function() assert.is_nil((form.decode(bad))) end)
  end

  it("refuses more fields than anybody needs", function() assert.is_nil((form.decode(("a=1&"):rep(101)))) end)

  it("gives back what it wrote, sorted", function()
    local t = { a = "1 & 2", ["b c"] = "\226\130\172+%", z = "" }
    assert.same(t, form.decode(form.encode(t)))
    assert.equal("a=1&b=2&c=3", form.encode { c = 3, a = 1, b = 2 })
  end)
end)

describe("lib.page", function()
  it("a cursor is read back by its own list only", function()
    local text = page.cursor("spec", { "9007199254740993", "id" })
    assert.same({ "9007199254740993", "id" }, (page.read("spec", text, 2)))
    for _, r in ipairs { { page.read("other", text, 2) }, { page.read("spec", text, 1) }, { page.read("spec", text .. "x", 2) },
      { page.read("spec", "", 2) }, { page.read("spec", "a.b.c", 2) } } do
      assert.is_nil(r[1])
      assert.equal("input.invalid", r[2].code)
    end
    assert.is_nil(page.read("spec", nil, 2))
    assert.is_nil((select(2, page.read("spec", nil, 2))))
  end)

  it("cuts the surplus row and points at the last one kept", function()
    local function keys(row) return { row.id } end
    local rows, cursor = page.cut({ { id = "1" }, { id = "2" }, { id = "3" } }, 2, "spec", keys)
    assert.same({ { id = "1" }, { id = "2" } }, rows)
    assert.same({ "2" }, page.read("spec", cursor, 1))
    rows, cursor = page.cut({ { id = "1" }, { id = "2" } }, 2, "spec", keys)
    assert.equal(2, #rows)
    assert.is_nil(cursor)
    assert.is_nil((select(2, page.cut({}, 2, "spec", keys))))
  end)
end)

describe("lib.rate", function()
  it("parses limits", function()
    assert.same({ count = 20, seconds = 300 }, rate.parse "20/5m")
    assert.same({ count = 1, seconds = 3600 }, rate.parse "1/h")
    for _, bad in ipairs { "", "x", "5", "5/", "5/x", "/m", "-1/m" } do assert.is_nil(rate.parse(bad)) end
  end)

  it("counts an IPv6 network as one address", function()
    assert.equal("192.0.2.1", rate.address "192.0.2.1")
    assert.equal(rate.address "2001:db8:1:2::1", rate.address "2001:DB8:1:2:aaaa:bbbb:cccc:dddd")
    assert.not_equal(rate.address "2001:db8:1:2::1", rate.address "2001:db8:1:3::1")
    assert.equal("-", rate.address(nil))
  end)

  it("refuses from the first hit beyond the limit", function()
    local limit = { count = 3, seconds = 60 }
    for _ = 1, 3 do assert.is_true(rate.hit("spec", "somebody", limit)) end
    local ok, err = rate.hit("spec", "somebody", limit)
    assert.is_nil(ok)
    assert.equal(429, errors.status(err))
    assert.is_true(rate.hit("spec", "somebody else", limit))
  end)
end)

describe("lib.errors", function()
  it("has a status for every code and no secrets for strangers", function()
    for code, status in pairs { ["input.invalid"] = 422, ["auth.required"] = 401, ["wallet.insufficient"] = 402, ["sale.already_owned"] = 409,
      ["engine.internal"] = 500, ["made.up"] = 500, ["video.anything"] = 409, ["db.retry"] = 503 } do
      assert.equal(status, errors.status { code = code }, code)
    end
    for _, code in ipairs { "engine.internal", "db.error", "io.failed", "plugin.error", "net.failed", "config.invalid" } do
      local said = errors.sentence { code = code, message = "relation users at /srv/x.lua:1" }
      assert.is_nil(said:find("users", 1, true), code)
      assert.is_nil(said:find("/", 1, true), code)
    end
    assert.equal("No money.", errors.sentence { code = "wallet.insufficient", message = "No money." })
    assert.equal("a.b: c", tostring(errors.new("a.b", "c")))
  end)
end)

describe("lib.html", function()
  it("escapes", function()
    assert.equal("&lt;a b=&quot;&#39;&amp;&gt;", html.esc "<a b=\"'&>")
    assert.equal("", html.esc(nil))
    assert.is_nil(html.page("<script>", html.table("<i>", { "a" }, { { a = "<b>" } })):find "<script>[^<]*</title>")
  end)
end)

describe("lib.password_rules", function()
  local who = { username = "margaret", email = "maggie@example.org" }

  for _, good in ipairs { "correct horse battery", "k3#qP!z9", "\208\191\208\176\209\128\208\190\208\187\209\140 \208\180", ("long "):rep(51),
    "        x" } do
    it("accepts " .. good:sub(1, 20), function() assert.is_true(rules.check(good, who)) end)
  end

  for _, bad in ipairs { "", "short", "password", "Password123!", "1234567890", "qwertyuiop", "aaaaaaaaaa", "margaret", "Margaret2024", "maggie@example.org",
    "MAGGIE12!!", "ppvstream1", ("x"):rep(257) } do
    it("refuses " .. bad:sub(1, 20), function()
      local ok, err = rules.check(bad, who)
      assert.is_nil(ok)
      assert.equal("weak_password", err.reason)
      assert.is_true(#err.message > 10)
    end)
  end

  it("asks more of administrators", function()
    assert.is_nil((rules.check("k3#qP!z9", { admin = true })))
    assert.is_true(rules.check("k3#qP!z9 and more", { admin = true }))
  end)

  it("never fails on odd values", function()
    for _, v in ipairs { 5, true, {}, "\0\0\0\0\0\0\0\0\1" } do rules.check(v, {}) end
    assert.equal("input.invalid", json.decode(json.encode { code = select(2, rules.check(5, {})).code }).code)
  end)
end)
