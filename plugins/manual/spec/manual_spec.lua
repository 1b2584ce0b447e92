-- SPDX-License-Identifier: Apache-2.0
local plugin = dofile("plugins/manual/handler.lua")

-- A desk that remembers what was asked of it.
local function context(settings)
  local ctx = { settings = settings, now = 1000, asked = {} }
  function ctx.err(_, code, message) return { code = code, message = message } end
  ctx.desk = setmetatable({}, { __index = function(_, name)
    return function(x)
      ctx.asked[#ctx.asked + 1] = name
      return name == "open" and "d-1" or x or { state = "pending" }
    end
  end })
  return ctx
end

describe("payment plugin manual", function()
  local order = { id = "o-1", amount = 500, currency = "USD" }

  it("opens a checkout at the desk", function()
    local ctx = context { account = "Bank 1", text = "", days = 3 }
    local r = plugin.start(ctx, order)
    assert.equal("instructions", r.action)
    assert.equal("d-1", r.ref)
    assert.truthy(r.url:find("o-1", 1, true))
    assert.same({ "open" }, ctx.asked)
  end)

  it("does not start without its setting", function()
    local ctx = context { account = "", text = "", days = 3 }
    local r, err = plugin.start(ctx, order)
    assert.is_nil(r)
    assert.equal("payment.not_configured", err.code)
    assert.same({}, ctx.asked)
  end)

  it("reads, cancels and refunds at the desk, and believes no message", function()
    local ctx = context { account = "Bank 1", text = "", days = 3 }
    plugin.fetch(ctx, order)
    plugin.cancel(ctx, order)
    plugin.refund(ctx, order, { key = "rf-1", amount = 5 })
    assert.same({ "read", "cancel", "refund" }, ctx.asked)
    local event, err = plugin.verify(ctx, { body = "{}", headers = {} })
    assert.is_nil(event)
    assert.equal("payment.bad_signature", err.code)
  end)
end)
