-- SPDX-License-Identifier: Apache-2.0
-- What every plugin of a kind promises, checked for each installed one, and each plugin's own specifications.
local host = require "ppv.host"
local registry = require "lib.registry"
local settings = require "lib.settings"

local REQUIRED = { affiliate = { "split" }, rate = { "quote" }, payment = { "start" },
  storage = { "put", "get", "delete", "stat", "list", "link", "where", "read" }, route = {}, tax = { "lines" } }

-- A default that the settings page would accept.
local VALID = {
  string = function(v) return type(v) == "string" end,
  secret = function(v) return type(v) == "string" and v == "" end, -- a secret in the source is none
  int = function(v) return type(v) == "number" and v == math.floor(v) end,
  money = function(v) return type(v) == "number" and v == math.floor(v) and v >= 0 end,
  bps = function(v) return type(v) == "number" and v == math.floor(v) and v >= 0 and v <= 10000 end,
  bool = function(v) return type(v) == "boolean" end,
  url = function(v) return type(v) == "string" and (v == "" or v:find "^https?://" ~= nil) end,
  enum = function(v, s) for _, one in ipairs(s.values or {}) do if one == v then return true end end return false end,
  list = function(v) return type(v) == "table" end,
}

local function of_kind(kind)
  local out = {}
  for _, p in ipairs(SPEC_BOOT.plugins) do if p.kind == kind then out[#out + 1] = registry.by_name[p.name] end end
  return out
end

local function context(p) return assert(registry.context(p)) end

describe("the installed plugins", function()
  it("are all loaded, at least one of each kind", function()
    local kinds = {}
    for _, p in ipairs(SPEC_BOOT.plugins) do
      assert.equal("active", p.state, p.name)
      assert.same({}, p.errors)
      kinds[p.kind] = true
    end
    for kind in pairs(REQUIRED) do assert.is_true(kinds[kind], kind) end
  end)
end)

for _, listed in ipairs(SPEC_BOOT.plugins) do
  describe("plugin " .. listed.name, function()
    local p = registry.by_name[listed.name]
    local m = p.manifest

    it("has a complete manifest for api 1.0", function()
      assert.equal(listed.name, m.name)
      assert.is_table(REQUIRED[m.kind], m.kind)
      assert.equal("1.0", m.api)
      assert.truthy(m.version:find "^%d+%.%d+%.%d+$", m.version)
      assert.is_true(#m.title > 2)
      assert.is_table(m.caps)
      assert.is_table(m.settings)
    end)

    it("offers the functions of its kind", function()
      for _, name in ipairs(REQUIRED[m.kind]) do assert.is_function(p.handler[name], name) end
    end)

    it("describes each setting with a key, a type, a title and a fitting default", function()
      local seen = {}
      for _, s in ipairs(m.settings) do
        assert.truthy(s.key:find "^[a-z0-9_.]+$")
        assert.is_nil(seen[s.key], s.key)
        seen[s.key] = true
        assert.is_function(VALID[s.type], s.key .. " has type " .. tostring(s.type))
        assert.is_true(type(s.title) == "string" and #s.title > 2, s.key)
        if s.type == "enum" then assert.is_table(s.values, s.key) end
        assert.is_true(s.required == true or s.default ~= nil, s.key .. " is neither required nor has a default")
        if s.default ~= nil then assert.is_true(VALID[s.type](s.default, s), s.key .. " = " .. tostring(s.default)) end
      end
      local values = assert(settings.plugin(m))
      for _, s in ipairs(m.settings) do assert.same(s.default, values[s.key]) end
    end)

    it("cannot change its settings", function()
      local c = context(p)
      assert.has_error(function() c.settings.anything = 1 end)
    end)

    it("is described in a README and has specifications", function()
      assert.is_truthy(host.files("plugins/" .. m.name .. "/")["plugins/" .. m.name .. "/manifest.lua"])
      for _, file in ipairs { "README.md", "spec/" .. m.name .. "_spec.lua" } do
        local f = assert(io.open("plugins/" .. m.name .. "/" .. file), file)
        assert.is_true(#f:read "*a" > 100, file)
        f:close()
      end
    end)
  end)
end

-- A generator of its own, so that a failure can be repeated.
local function numbers(seed)
  local state = seed
  return function(lo, hi)
    state = (state * 16807) % 2147483647
    return lo + state % (hi - lo + 1)
  end
end

local function random_sale(pick)
  local amount = ({ pick(0, 20), pick(0, 100000), 9007199254740991 - pick(0, 1000), pick(0, 2000000000) })[pick(1, 4)]
  local split = assert(require("ppv.money").split(amount, pick(0, 10000), 0))
  local s = { video = "00000000-0000-7000-8000-000000000001", amount = amount, currency = "USD", fee = split.platform,
    creator_share = split.creator, pct = pick(0, 90), buyer = pick(1, 50), referrers = {} }
  s.creator = s.buyer + pick(1, 50)
  local function somebody()
    if pick(1, 3) == 1 then return nil end
    return 200 + pick(1, 3)
  end
  s.direct, s.first = somebody(), somebody()
  if s.direct then s.referrers[1] = s.direct end
  if s.first and s.first ~= s.direct then s.referrers[#s.referrers + 1] = s.first end
  return s
end

for _, p in ipairs(of_kind "affiliate") do
  describe("affiliate rule " .. p.name, function()
    local check = require "lib.affiliate"

    it("is pure, whole, within the creator's share and pays only who referred, for 2000 sales", function()
      local pick, values = numbers(20261), context(p).settings
      for i = 1, 2000 do
        local sale = random_sale(pick)
        local copy = host.copy(sale)
        local lines, err = registry.call(p.handler.split, sale, values)
        assert.is_nil(err)
        assert.is_table(lines)
        assert.same(copy, sale, "the rule changed the sale")
        assert.same(lines, registry.call(p.handler.split, sale, values), "the rule is not a function of the sale")
        local sum = 0
        for _, line in ipairs(lines) do
          assert.is_true(line.amount == math.floor(line.amount) and line.amount >= 0, "sale " .. i)
          assert.is_true(line.to ~= sale.buyer and line.to ~= sale.creator, "sale " .. i)
          sum = sum + line.amount
        end
        assert.is_true(sum <= sale.creator_share, "sale " .. i .. ": " .. sum .. " of " .. sale.creator_share)
        assert.is_nil(check.wrong(lines, sale), "sale " .. i)
      end
    end)

    it("pays nobody when nobody referred", function()
      assert.same({}, registry.call(p.handler.split, { amount = 1000, creator_share = 900, fee = 100, pct = 50, buyer = 1, creator = 2,
        referrers = {} }, context(p).settings))
    end)
  end)
end

for _, p in ipairs(of_kind "rate") do
  describe("rate source " .. p.name, function()
    it("answers a positive decimal text and where it is from, or a clear refusal", function()
      local good = 0
      for _, pair in ipairs { { "USD", "IDR" }, { "USD", "EUR" }, { "IDR", "USD" }, { "XXX", "YYY" }, { "", "" } } do
        local r, err = registry.call(p.handler.quote, context(p), pair[1], pair[2])
        if r then
          good = good + 1
          assert.is_string(r.rate, "a rate is a text, not a float")
          assert.truthy(r.rate:find "^%d+%.?%d*$" and r.rate:find "[1-9]", r.rate)
          assert.is_string(r.source)
        else
          assert.truthy(err.code:find "^rate%.", err.code)
          assert.is_true(#err.message > 8)
        end
      end
      local unset = false -- a source that needs an address has none yet
      for _, s in ipairs(p.manifest.settings) do unset = unset or (s.required and s.default == "") end
      assert.is_true(good > 0 or unset, "it knows no pair at all")
    end)
  end)
end

local BAD_KEYS = { "", "x", "media", "media/", "/media/x", "media//x", "media/../x", "media/a/../../x", "media/a/..", "media/./x",
  "media/.hidden", "media/a\0b", "media/a\nb", "media/a\\..\\b", "media/%2e%2e/x", "tmp/x", "static/x", "etc/passwd", "../media/x",
  "media/\226\128\174x", "MEDIA/x", "media/a/", "upload/..", "secret/x", "C:/x", "media/a b" }

for _, p in ipairs(of_kind "storage") do
  describe("storage " .. p.name, function()
    local SET = { bucket = "films", access_key = "AKTEST", secret_key = "never to be seen", endpoint = "https://s3.example.org" }
    -- The plugin's context with the settings that it needs.
    local function context() -- luacheck: ignore 431
      local values = assert(settings.plugin(p.manifest))
      for _, s in ipairs(p.manifest.settings) do values[s.key] = SET[s.key] or values[s.key] end
      return { settings = host.readonly(values), err = function(_, code, message) return { code = code, message = message } end }
    end

    it("says where it is, and the same place for the same settings", function()
      local a, b = assert(registry.call(p.handler.where, context())), registry.call(p.handler.where, context())
      assert.same(a, b)
      assert.is_true(#a.place > 0)
      if a.origin then assert.truthy(a.origin:find "^https?://[%w.:-]+$") end
    end)

    it("plans lists, and requests that do not hold the secret", function()
      for _, prefix in ipairs { "media/", "media/0190-a/" } do
        local plan = assert(registry.call(p.handler.list, context(), { prefix = prefix }))
        assert.equal("list", plan.action)
      end
      for _, bad in ipairs { "", "/", "etc/", "media/../", "media/a/../", "media//" } do
        assert.is_nil((registry.call(p.handler.list, context(), { prefix = bad })), bad)
      end
      for _, fn in ipairs { "put", "get", "delete", "stat" } do
        local plan = assert(registry.call(p.handler[fn], context(), { key = "media/a/b.m4s", size = 3 }))
        assert.is_true(plan.transport == "http" or plan.transport == "file")
        if plan.transport == "http" then
          assert.truthy(plan.url:find "^https?://", plan.url)
          assert.is_table(plan.headers)
          local all = plan.url
          for k, v in pairs(plan.headers) do all = all .. "\n" .. k .. ": " .. v end
          assert.is_nil(all:find(SET.secret_key, 1, true))
        end
      end
    end)

    it("tells what is there, what is missing, what is refused and what is worth another try", function()
      local plan = registry.call(p.handler.get, context(), { key = "media/a/b.m4s" })
      if plan.transport == "file" then return end
      local function read(action, status, body)
        return registry.call(p.handler.read, context(), action, { status = status, headers = {}, body = body or "" })
      end
      for _, action in ipairs { "put", "get", "delete" } do assert.is_true(read(action, 200), action) end
      assert.is_table(read("stat", 200))
      assert.is_false(read("stat", 404))
      assert.is_true(read("delete", 404))
      for _, action in ipairs { "put", "get", "delete", "stat", "list" } do
        for _, status in ipairs { 301, 400, 403, 500, 503 } do
          local got, err = read(action, status, "<html>no xml at all")
          assert.is_nil(got, action .. status)
          assert.truthy(err.code:find "^storage%.")
          assert.is_true(#err.message > 10)
        end
      end
      local _, err = read("get", 404)
      assert.equal("storage.missing", err.code)
    end)

    it("links many objects at once, or says that it does not", function()
      local keys = { "media/a/b.m4s", "media/a/c.m4s" }
      local got, err = registry.call(p.handler.link, context(), { keys = keys, now = 1800000000, expires = 3600 })
      if not got then
        assert.equal("storage.no_link", err.code)
        return
      end
      assert.equal(2, #got.urls)
      for i, url in ipairs(got.urls) do
        assert.truthy(url:find "^https?://[^%s]+$")
        assert.truthy(url:find(keys[i]:match "[^/]+$", 1, true))
        assert.is_nil(url:find(SET.secret_key, 1, true))
      end
      assert.same(got, registry.call(p.handler.link, context(), { keys = keys, now = 1800000000, expires = 3600 }))
    end)

    it("plans a path beneath a root of the engine", function()
      for _, fn in ipairs { "put", "get", "delete", "stat" } do
        for _, key in ipairs { "media/0190-a/seg_1.m4s", "upload/0190.mp4", "media/a/b/c/d.m4s" } do
          local plan = assert(registry.call(p.handler[fn], context(), { key = key, size = 10 }))
          assert.is_string(plan.transport)
          assert.equal(fn, plan.action)
          if plan.transport == "file" then
            assert.is_true(plan.root == "media" or plan.root == "upload")
            assert.equal(key, plan.root .. "/" .. plan.path)
          end
        end
      end
    end)

    it("never leaves it, whatever the key", function()
      for _, fn in ipairs { "put", "get", "delete", "stat" } do
        for _, key in ipairs(BAD_KEYS) do
          local plan, err = registry.call(p.handler[fn], context(), { key = key })
          assert.is_nil(plan, fn .. " of " .. key)
          assert.truthy(err.code:find "^storage%.", key)
        end
      end
      local pick, alphabet = numbers(7), { "media", "upload", "/", "/", "..", ".", "a", "\0", "\\", "%", " ", "b.m4s" }
      for _ = 1, 2000 do
        local parts = {}
        for i = 1, pick(1, 7) do parts[i] = alphabet[pick(1, #alphabet)] end
        local plan = registry.call(p.handler.get, context(), { key = table.concat(parts) })
        if plan and plan.transport == "file" then
          assert.is_nil(("/" .. plan.path .. "/"):find "/%.?%.?/", plan.path)
          assert.is_nil(plan.path:find "[%z%c\\]", plan.path)
        end
      end
    end)
  end)
end

local NEEDS = { verify = "fetch", refund_fetch = "refund", payout_fetch = "payout" }

for _, p in ipairs(of_kind "payment") do
  describe("payment plugin " .. p.name, function()
    local h, m = p.handler, p.manifest
    local order = { id = "0190-order", attempt = 1, amount = 150000, currency = (m.currencies or { "USD" })[1], title = "A film", buyer = 1,
      return_url = "https://shop.example/r", cancel_url = "https://shop.example/c", notify_url = "https://shop.example/n",
      expires_at = os.time() + 3600, ids = {} }

    it("starts with an action the engine knows, and a reference; without its settings it says so", function()
      local c = context(p)
      c.desk = { open = function() return "desk-1" end }
      local r, err = registry.call(h.start, c, order)
      if not r then
        assert.equal("payment.not_configured", err.code)
        return
      end
      assert.is_true(({ settle = 1, redirect = 1, qr = 1, instructions = 1 })[r.action] ~= nil, tostring(r.action))
      assert.is_string(r.ref)
      if r.action == "redirect" then assert.truthy(r.url:find "^https?://" or r.url:find "^/public/") end
    end)

    it("offers what its other functions need, and says what it can do", function()
      for name, other in pairs(NEEDS) do if h[name] then assert.is_function(h[other], other) end end
      for _, name in ipairs { "refund", "payout", "evidence" } do
        assert.equal(h[name] ~= nil, (m.features or {})[name] or false, name)
      end
      for _, code in ipairs(m.currencies or {}) do assert.is_true(code == "*" or require("ppv.money").exponent(code) ~= nil, code) end
    end)

    if h.verify then
      it("refuses a message while its secret is not set, and one that it cannot prove", function()
        for _, body in ipairs { "", "{}", "[]", "null", "\0", "{", ("["):rep(100000) } do
          local event, err = registry.call(h.verify, context(p), { headers = {}, body = body, now = os.time() })
          assert.is_nil(event)
          assert.truthy(err.code:find "^payment%.")
        end
      end)
    end
  end)
end

for _, p in ipairs(of_kind "route") do
  describe("route plugin " .. p.name, function()
    it("declares complete routes that are served", function()
      local served = {}
      for _, r in ipairs(SPEC_BOOT.routes) do served[r.method .. " " .. r.path] = r end
      assert.is_true(#p.handler.routes > 0)
      for _, r in ipairs(p.handler.routes) do
        local name = tostring(r.method) .. " " .. tostring(r.path)
        assert.is_table(served[name], name)
        assert.is_true(({ none = 1, public = 1, user = 1, admin = 1 })[served[name].auth] ~= nil, name)
        assert.is_function(r.handler, name)
        assert.is_true(type(r.summary) == "string" and #r.summary > 3, name .. " has no summary")
        assert.is_nil(r.path:find "^/public/", name)
      end
    end)
  end)
end
