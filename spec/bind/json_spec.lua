-- SPDX-License-Identifier: Apache-2.0
local json = require "ppv.json"

describe("ppv.json.encode", function()
  for want, v in pairs {
    ["{}"] = {}, ["[1,2,3]"] = { 1, 2, 3 }, ['{"a":1}'] = { a = 1 }, ["true"] = true, ["1.5"] = 1.5, ["-1"] = -1, ["0"] = 0,
    ["9007199254740992"] = 9007199254740992, ["-9007199254740992"] = -9007199254740992, ['""'] = "", ["null"] = json.null,
    ["[null]"] = { json.null }, ['{"2":1}'] = { [2] = 1 }, ['{"1000000000":1}'] = { [1000000000] = 1 }, ["[[],{}]"] = { json.array(), {} },
    ['"\\u0000\\n\\"\\\\"'] = "\0\n\"\\", ['"\195\164\240\159\142\172"'] = "\195\164\240\159\142\172", ["[]"] = json.array {},
  } do
    it("writes " .. want, function() assert.equal(want, json.encode(v)) end)
  end

  it("never lets a text end a script element or break UTF-8", function()
    local out = json.encode { "</script>", "\226\128\168", "\255\254", "\237\160\128" }
    assert.is_table(json.decode(out), out)
  end)

  it("raises what is no data", function()
    local loop = {}
    loop.loop = loop
    local deep = {}
    for _ = 1, 65 do deep = { deep } end
    for _, bad in ipairs { print, coroutine.create(print), 0 / 0, 1 / 0, -1 / 0, loop, deep, { [{}] = 1 }, { [true] = 1 }, { [print] = 1 } } do
      assert.has_error(function() json.encode { bad } end)
    end
    assert.has_error(function() json.encode() end)
  end)
end)

describe("ppv.json.decode", function()
  it("reads plain values", function()
    assert.same({ a = { 1, 2, { b = "c" } } }, json.decode ' {"a":[1,2,{"b":"c"}]} ')
    assert.equal(1.5, json.decode "1.5")
    assert.equal("x", json.decode '"x"')
    assert.is_true(json.decode "true")
    assert.is_false(json.decode "false")
    assert.equal(-0.00125, json.decode "-1.25e-3")
    assert.equal("\226\130\172\240\157\132\158\0", json.decode '"\\u20ac\\ud834\\udd1e\\u0000"')
  end)

  it("drops null members and keeps null elements", function()
    local t = json.decode '{"a":null,"b":[null,1]}'
    assert.is_nil(t.a)
    assert.equal(json.null, t.b[1])
    assert.equal(1, t.b[2])
    assert.equal("[null,1]", json.encode(t.b))
  end)

  it("keeps [] apart from {}", function()
    assert.equal("[]", json.encode(json.decode "[]"))
    assert.equal("{}", json.encode(json.decode "{}"))
    assert.equal('{"a":[]}', json.encode(json.decode '{"a":[]}'))
  end)

  it("keeps integers exact beyond what a number holds", function()
    assert.equal(9007199254740992, json.decode "9007199254740992")
    assert.equal("9007199254740993", json.decode "9007199254740993")
    assert.equal("9223372036854775807", json.decode "9223372036854775807")
    assert.equal("-9223372036854775808", json.decode "-9223372036854775808")
    assert.equal(0, json.decode "0")
  end)

  it("keeps every number that is not plain digits as text when exact", function()
    assert.same({ 1, -2, 0, "1e3", "1E+3", "1.0", "1.5", "9007199254740993", { a = "1e0" } },
      json.decode('[1, -2, 0, 1e3, 1E+3, 1.0, 1.5, 9007199254740993, {"a": 1e0}]', { exact = true }))
    assert.equal(1000, json.decode("1e3", {}))
    assert.has_error(function() json.decode("1", true) end)
  end)

  for _, bad in ipairs { "", " ", "{", "}", "[1,]", '{"a":1,}', "{a:1}", "{'a':1}", "01", "1.", ".5", "+1", "0x10", "1e", "--1", "NaN", "Infinity",
    "nul", "tru", "undefined", '"\n"', '"\1"', '"\\x41"', '"\\u12"', '"\\ud800"', '"\\udc00"', '"a', "[1 2]", "[1]x", "1 2", "/*c*/1",
    "\239\187\191{}", '"\255"', '"\192\175"', '"\237\160\128"', ("["):rep(33) .. ("]"):rep(33), ("["):rep(100000), '{"a":1 "b":2}', "1e999" } do
    it("refuses " .. ("%q"):format(bad:sub(1, 30)), function()
      local v, err = json.decode(bad)
      assert.is_nil(v)
      assert.equal("request.bad", err.code)
      assert.is_true(#err.message > 3)
    end)
  end

  it("takes a depth of 32", function() assert.is_table(json.decode(("["):rep(32) .. ("]"):rep(32))) end)

  it("has one reading of a doubled name", function()
    local t, err = json.decode '{"a":1,"a":2}'
    assert.is_true(t == nil and err.code == "request.bad" or t.a == 2)
  end)

  it("raises when it gets no text", function()
    for _, bad in ipairs { 5, {}, true } do assert.has_error(function() json.decode(bad) end) end
    assert.has_error(function() json.decode() end)
  end)

  it("gives back what encode wrote", function()
    local seed = 11
    local function pick(n)
      seed = (seed * 16807) % 2147483647
      return seed % n + 1
    end
    local function value(depth)
      local k = pick(depth > 4 and 4 or 6)
      if k == 1 then return pick(2) == 1 end
      if k == 2 then return pick(1000000) - 500000 end
      if k == 3 then return pick(1000) / 8 end
      if k == 4 then
        local s = {}
        for i = 1, pick(8) do s[i] = ({ "a", "\0", "\"", "\\", "\226\130\172", "/", "\n", "\127" })[pick(8)] end
        return table.concat(s)
      end
      local t = {}
      for i = 1, pick(4) do if k == 5 then t[i] = value(depth + 1) else t["k" .. i] = value(depth + 1) end end
      return t
    end
    for _ = 1, 300 do
      local v = value(0)
      assert.same({ v }, json.decode(json.encode { v }))
    end
  end)
end)
