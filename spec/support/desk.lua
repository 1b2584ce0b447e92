-- SPDX-License-Identifier: Apache-2.0
-- What the plugins of this site's own checkouts have in common, with a desk that remembers what was asked of it.
local busted = require "busted"
local assert = require "luassert"

local M = {}

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

--- Declares the specifications of a plugin. on, off: settings with which it starts, and does not; action: of its start.
function M.specify(name, action, on, off)
  local plugin = dofile("plugins/" .. name .. "/handler.lua")
  local order = { id = "o-1", amount = 500, currency = "USD" }

  busted.describe("payment plugin " .. name, function()
    busted.it("opens a checkout at the desk", function()
      local ctx = context(on)
      local r = plugin.start(ctx, order)
      assert.equal(action, r.action)
      assert.equal("d-1", r.ref)
      assert.truthy(r.url:find("o-1", 1, true))
      assert.same({ "open" }, ctx.asked)
    end)

    busted.it("does not start without its setting", function()
      local ctx = context(off)
      local r, err = plugin.start(ctx, order)
      assert.is_nil(r)
      assert.equal("payment.not_configured", err.code)
      assert.same({}, ctx.asked)
    end)

    busted.it("reads, cancels and refunds at the desk, and believes no message", function()
      local ctx = context(on)
      plugin.fetch(ctx, order)
      plugin.cancel(ctx, order)
      plugin.refund(ctx, order, { key = "rf-1", amount = 5 })
      assert.same({ "read", "cancel", "refund" }, ctx.asked)
      local event, err = plugin.verify(ctx, { body = "{}", headers = {} })
      assert.is_nil(event)
      assert.equal("payment.bad_signature", err.code)
    end)
  end)
end

return M
