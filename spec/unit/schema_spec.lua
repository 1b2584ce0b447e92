-- SPDX-License-Identifier: Apache-2.0
local schema = require "lib.schema"

local function one(rule, v)
  local out, err = schema.apply({ x = rule }, { x = v })
  if not out then return nil, err end
  return out.x
end

local function refused(rule, v)
  local out, err = schema.apply({ x = rule }, { x = v })
  assert.is_nil(out, "accepted " .. tostring(v))
  assert.equal("input.invalid", err.code)
  assert.equal("x", err.field)
  assert.is_true(#err.message > 5)
  assert.is_nil(err.message:find("nil", 1, true))
end

describe("lib.schema", function()
  it("ints: digits only, within the limits", function()
    local rule = { type = "int", min = 0, max = 100 }
    for _, v in ipairs { 0, 100, "0", "100", " 7 ", "007" } do assert.equal(tonumber(v), one(rule, v)) end
    for _, v in ipairs { -1, 101, 1.5, 0 / 0, 1 / 0, "1.5", "1e1", "0x10", "+1", "-1", "a", "1 2", "\217\161", ("9"):rep(18), true,
      {} } do refused(rule, v) end
    assert.equal(-5, one({ type = "int", min = -10 }, "-5"))
    refused({ type = "int" }, "9007199254740993")
    assert.equal(9007199254740991, one({ type = "int" }, "9007199254740991"))
  end)

  it("strings: length in characters, no control characters, UTF-8 only", function()
    local rule = { type = "string", min = 2, max = 4 }
    assert.equal("ab", one(rule, " ab "))
    assert.equal(("\226\130\172"):rep(4), one(rule, ("\226\130\172"):rep(4)))
    for _, v in ipairs { "a", "abcde", "a\0b", "a\nb", "a\127b", "\255\254", "\192\128", "\237\160\128", "\244\144\128\128", "\226\130", true, {} } do
      refused(rule, v)
    end
    assert.equal("a\nb\tc", one({ type = "string", multiline = true }, "a\nb\tc"))
    refused({ type = "string", multiline = true }, "a\27b")
    assert.equal("  \0x", one({ type = "string", raw = true }, "  \0x"))
    refused({ type = "string", bytes = true, max = 3 }, "\226\130\172\226")
    assert.equal("12", one({ type = "string" }, 12))
  end)

  it("booleans, ids, enums", function()
    for _, v in ipairs { true, 1, "1", "true", "on", "Yes" } do assert.is_true(one({ type = "bool" }, v)) end
    for _, v in ipairs { false, 0, "0", "false", "off", "no" } do assert.is_false(one({ type = "bool" }, v)) end
    for _, v in ipairs { 2, "maybe", {} } do refused({ type = "bool" }, v) end
    local id = "0190A000-0000-7000-8000-00000000000F"
    assert.equal(id:lower(), one({ type = "uuid" }, id))
    for _, v in ipairs { "x", id .. "0", id:sub(2), id:gsub("-", "_"), ("0"):rep(36), 5, {} } do refused({ type = "uuid" }, v) end
    assert.equal("b", one({ type = "enum", values = { "a", "b" } }, "b"))
    for _, v in ipairs { "c", "A", 1, {} } do refused({ type = "enum", values = { "a", "b" } }, v) end
  end)

  it("addresses and names", function()
    for _, v in ipairs { "a@b.co", "A.b+c@Example.ORG ", "x@sub.domain.example" } do
      assert.equal((v:lower():gsub("%s", "")), one({ type = "email" }, v))
    end
    for _, v in ipairs { "a", "a@b", "@b.co", "a@", "a b@c.de", "a@b@c.de", "a@b.c\r\nbcc: x@y.zz", "<a@b.co>", "a,b@c.de", ("a"):rep(250) .. "@b.co", 5 } do
      refused({ type = "email" }, v)
    end
    for _, v in ipairs { "ab", "A-b_c.d9", ("a"):rep(40) } do assert.equal(v, one({ type = "username" }, v)) end
    for _, v in ipairs { "a", ("a"):rep(41), "-ab", "a b", "a/b", "\195\164b", "a\0b", "<b>" } do refused({ type = "username" }, v) end
    for _, v in ipairs { "http://a.b", "https://a.b:1/x?y=z#q" } do assert.equal(v, one({ type = "url" }, v)) end
    for _, v in ipairs { "ftp://a", "javascript:alert(1)", "//a", "http://", "http://a b" } do refused({ type = "url" }, v) end
    assert.equal("0x" .. ("ab"):rep(20), one({ type = "evm" }, "0x" .. ("AB"):rep(20)))
    for _, v in ipairs { "0x" .. ("ab"):rep(19), ("ab"):rep(21), "0x" .. ("zz"):rep(20) } do refused({ type = "evm" }, v) end
  end)

  it("required, default, blank", function()
    local out, err = schema.apply({ a = { type = "int", required = true } }, { a = "  " })
    assert.is_nil(out)
    assert.equal("missing_field", err.reason)
    assert.same({ b = 5 }, schema.apply({ a = { type = "int" }, b = { type = "int", default = 5 } }, { a = "", c = "ignored" }))
    assert.same({ a = "" }, schema.apply({ a = { type = "string", keep_blank = true } }, { a = "" }))
    assert.is_false(schema.apply({ a = { type = "bool", default = true } }, { a = false }).a)
  end)

  it("gives the same sentence for the same fault", function()
    local rules = {}
    for i = 1, 20 do rules["f" .. i] = { type = "int", required = true } end
    local _, first = schema.apply(rules, {})
    for _ = 1, 10 do assert.equal(first.message, select(2, schema.apply(rules, {})).message) end
  end)

  it("verifies declarations", function()
    assert.is_true(schema.verify { a = { type = "int" } })
    for _, bad in ipairs { { a = {} }, { a = "int" }, { a = { type = "integer" } }, { a = { type = "enum" } } } do
      local ok, why = schema.verify(bad)
      assert.is_nil(ok)
      assert.is_string(why)
    end
  end)
end)
