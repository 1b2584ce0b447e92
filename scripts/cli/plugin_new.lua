-- SPDX-License-Identifier: Apache-2.0
-- Templates of `ppv plugin new`. NAME is replaced by the plugin's name.
local M = { kinds = { "affiliate", "payment", "rate", "route", "storage", "tax" } }

local MANIFEST = [=[
return {
  name = "NAME", kind = "KIND", api = "1.0", version = "0.1.0", title = "NAME",
  caps = {}, limits = { cpu_ms = 50 },MORE
  settings = {SETTINGS},
}
]=]

local README = [=[
# NAME

What it does, in one sentence. Settings:

| setting | meaning | default |
|---|---|---|
]=]

local T = {}

T.affiliate = { settings = [[ { key = "max_pct", type = "int", title = "Highest percentage", default = 50 } ]], handler = [=[
local M = {}

-- Pure: no I/O. sale: video, amount, currency, fee, creator_share, pct, buyer, creator, direct (whose link was followed),
-- first (who brought the buyer to the first purchase), referrers (all who may be paid).
-- At most 10 lines, each person once, in sum within creator_share.
function M.split(sale, settings)
  if not sale.direct then return {} end
  local amount = math.floor(sale.amount * math.min(sale.pct, settings.max_pct) / 100)
  amount = math.min(amount, sale.creator_share)
  if amount <= 0 then return {} end
  return { { to = sale.direct, amount = amount, memo = "NAME" } }
end

return M
]=], spec = [=[
local rule = dofile("plugins/NAME/handler.lua")

describe("affiliate rule NAME", function()
  it("pays the referrer and never more than the creator's share", function()
    local lines = rule.split({ amount = 1000, creator_share = 900, pct = 10, direct = 3, referrers = { 3 } }, { max_pct = 50 })
    assert.same({ { to = 3, amount = 100, memo = "NAME" } }, lines)
  end)
end)
]=] }

T.tax = { manifest = [[ codes = { "vat" },]],
  settings = [[ { key = "rate_bp", type = "bps", title = "Rate in basis points of the net price", default = 2000 } ]], handler = [=[
local M = {}

-- Taxes in sale.price as {code, amount, title}; whole minor units, less than the price in sum; codes as in the manifest.
function M.lines(sale, settings)
  local amount = math.floor(sale.price * settings.rate_bp / (10000 + settings.rate_bp))
  return { { code = "vat", amount = amount, title = "NAME" } }
end

return M
]=], spec = [=[
local rule = dofile("plugins/NAME/handler.lua")

describe("tax rule NAME", function()
  it("takes the tax out of the price", function()
    assert.same({ { code = "vat", amount = 200, title = "NAME" } }, rule.lines({ price = 1200 }, { rate_bp = 2000 }))
  end)
end)
]=] }

T.rate = { settings = [[ { key = "rate", type = "string", title = "Rate", default = "1" } ]], handler = [=[
local M = {}

-- {rate = decimal text} for one unit of base in quote, or nil, err.
function M.quote(ctx, base, quote)
  if base ~= "USD" then return nil, ctx:err("rate.unknown", "only USD is known, not " .. base .. " to " .. quote) end
  return { rate = ctx.settings.rate, source = "NAME" }
end

return M
]=], spec = [=[
local source = dofile("plugins/NAME/handler.lua")

describe("rate source NAME", function()
  it("answers a decimal text", function()
    assert.equal("2", source.quote({ settings = { rate = "2" } }, "USD", "IDR").rate)
  end)
end)
]=] }

T.route = { settings = "", handler = [=[
local M = { routes = {} }

M.routes[1] = { method = "GET", path = "/api/NAME", auth = "public", rate = "60/m", summary = "Says hello",
  input = { who = { type = "string", max = 40, default = "world" } },
  handler = function(ctx, input) return ctx:ok { hello = input.who } end }

return M
]=], spec = [=[
local plugin = dofile("plugins/NAME/handler.lua")

describe("route plugin NAME", function()
  it("greets by name", function()
    local ctx = { ok = function(_, t) return t end }
    assert.same({ hello = "you" }, plugin.routes[1].handler(ctx, { who = "you" }))
  end)
end)
]=] }

T.payment = { settings = [[ { key = "secret_key", type = "secret", required = true } ]], handler = [=[
local M = {}

-- order: id, attempt, amount (minor units), currency, title, return_url, cancel_url, notify_url, expires_at.
-- Answers {action = "redirect", url =, ref =} or nil, err.
function M.start(ctx, order)
  return nil, ctx:err("payment.gateway_refused", "NAME cannot start order " .. order.id .. " yet")
end

-- Reads the payment order.ref at the service: {state = "pending|paid|hold|failed|expired|cancelled", amount, currency, live, ref}.
-- Only this decides what is paid.
function M.fetch(ctx, order)
  return nil, ctx:err("payment.gateway_down", "NAME cannot read order " .. order.id .. " yet", true)
end

-- req: headers, body (raw), now. Check the signature first; answer {key =, type =, order =, ref =}, which says where to look.
function M.verify(ctx)
  return nil, ctx:err("payment.bad_signature", "NAME does not verify signatures yet")
end

return M
]=], spec = [=[
local payment = dofile("plugins/NAME/handler.lua")
local ctx = { settings = {}, err = function(_, code) return { code = code } end }

describe("payment plugin NAME", function()
  it("refuses messages it cannot verify", function()
    local facts, err = payment.verify(ctx, { headers = {}, body = "", now = 0 })
    assert.is_nil(facts)
    assert.equal("payment.bad_signature", err.code)
  end)
end)
]=] }

T.storage = { settings = [[ { key = "base_url", type = "url", required = true, title = "Address" } ]], handler = [=[
local M = {}

-- Each function plans a request; the engine moves the bytes. obj: key, size, sha256, type.
local function plan(action, method)
  return function(ctx, obj)
    if not obj.key:find "^media/[%w/_.-]+$" or obj.key:find("..", 1, true) then return nil, ctx:err("storage.key", "not a plain key") end
    return { transport = "http", action = action, method = method, url = ctx.settings.base_url .. "/" .. obj.key, headers = {} }
  end
end

M.put, M.get, M.delete, M.stat = plan("put", "PUT"), plan("get", "GET"), plan("delete", "DELETE"), plan("stat", "HEAD")

function M.list(ctx) return nil, ctx:err("storage.no_list", "this service has no lists yet") end -- {objects = {{key, size, modified}}, next}
function M.link(ctx) return nil, ctx:err("storage.no_link", "players fetch through the site") end -- {urls} of obj.keys

-- The same text for the same objects.
function M.where(ctx) return { place = ctx.settings.base_url } end

-- What an answer means.
function M.read(ctx, action, r)
  if r.status >= 200 and r.status < 300 then return action == "stat" and { size = tonumber(r.headers["content-length"]) } or true end
  if r.status == 404 and action == "stat" then return false end
  if r.status == 404 and action == "delete" then return true end
  if r.status == 404 and action == "get" then return nil, ctx:err("storage.missing", "The object is not there.") end
  return nil, ctx:err("storage.refused", "The service answered " .. r.status, r.status >= 500)
end

return M
]=], spec = [=[
local storage = dofile("plugins/NAME/handler.lua")

describe("storage NAME", function()
  it("plans a request for the key", function()
    assert.equal("http://x/media/a", storage.get({ settings = { base_url = "http://x" } }, { key = "media/a" }).url)
  end)
end)
]=] }

-- List of {path, text}, or nil for an unknown kind or a bad name.
function M.make(kind, name)
  local t = T[kind or ""]
  if not t or not name:find("^[a-z][a-z0-9_]*$") or #name > 50 then return nil end
  local values = { NAME = name, KIND = kind, SETTINGS = t.settings, MORE = t.manifest or "" }
  local function fill(text) return (text:gsub("%u+", values)) end
  return { { "manifest.lua", fill(MANIFEST) }, { "handler.lua", fill(t.handler) }, { "README.md", fill(README) },
    { "spec/" .. name .. "_spec.lua", fill(t.spec) } }
end

return M
