-- SPDX-License-Identifier: Apache-2.0
-- The imitated payment services for specifications: starts them (node), steers them over HTTP, and calls plugins the way the
-- engine does, through the sandbox.
local crypto = require "ppv.crypto"
local fetch = require "ppv.fetch"
local json = require "ppv.json"
local host = require "ppv.host"
local registry = require "lib.registry"

local M = {}

--- Vectors of spec/support/vectors.
function M.vectors(name)
  local f = assert(io.open("spec/support/vectors/" .. name .. ".json"))
  local text = f:read "*a"
  f:close()
  return json.decode(text)
end

--- A call into a plugin under settings: `over` on top of the declared defaults. caps must let its base_url through.
function M.call(name, fn, over, ...)
  local p = registry.by_name[name]
  local c = assert(registry.context(p))
  local values = {}
  for _, s in ipairs(p.manifest.settings) do values[s.key] = s.default end
  for k, v in pairs(over or {}) do values[k] = v end
  values.base_url = registry.base_url(p.manifest, values)
  c.settings, c.now = host.readonly(values), over and over.now or os.time()
  if values.base_url then
    p.manifest.caps[p.own_caps + 1] = "fetch:" .. values.base_url:match "^https?://([%w%.%-]+:?%d*)"
  end
  return registry.call(p.handler[fn], c, ...)
end

--- An order as the engine hands it to plugins, a new one each time. over: fields.
local serial = 0
function M.order(over)
  serial = serial + 1
  local o = { id = ("0190-%d-%s"):format(serial, crypto.random_token(8):gsub("[^%w]", "x")), attempt = 1,
    title = "Ein F\195\188lm, 4\194\162", currency = "USD", amount = 499, return_url = "https://shop.example/back?o=1", cancel_url = "https://shop.example/no",
    notify_url = "https://shop.example/n", expires_at = os.time() + 3600, ids = {} }
  for k, v in pairs(over or {}) do o[k] = v end
  return o
end

local DOWN = { { kind = "drop" }, { kind = "lost" }, { kind = "cut" }, { kind = "garbage" }, { kind = "huge" }, { kind = "status", status = 500 },
  { kind = "status", status = 503 }, { kind = "status", status = 429, headers = { ["retry-after"] = "1" } }, { kind = "status", status = 302,
  headers = { location = "https://evil.example/" } } }

--- Whatever goes wrong between us and the service, `call()` must say that the outcome is open, in words without a secret.
function M.breakdowns(service, match, secrets, call)
  for _, fault in ipairs(DOWN) do
    local o = { times = 6 } -- the library repeats a GET when a kept connection breaks
    for k, v in pairs(fault) do if k ~= "kind" then o[k] = v end end
    service.call("fault", match, fault.kind, o)
    local v, err = call()
    assert(v == nil and err.code == "payment.gateway_down" and err.retry == true, fault.kind .. ": " .. tostring(err and err.code))
    for _, secret in ipairs(secrets) do assert(not err.message:find(secret, 1, true), err.message) end
    service.call "reset"
  end
end

--- Starts the services named. -> {name = {url, key, ..., call = function(method, ...) -> value}}, and a function that ends them
function M.start(...)
  local pipe_in = os.tmpname()
  os.remove(pipe_in)
  assert(os.execute("mkfifo " .. pipe_in))
  local out = assert(io.popen("node spec/support/gateways/serve.mjs " .. table.concat({ ... }, " ") .. " <" .. pipe_in, "r"))
  local hold = assert(io.open(pipe_in, "w"))
  os.remove(pipe_in)
  local services = json.decode(out:read "*l")
  for _, s in pairs(services) do
    function s.call(method, ...)
      local r = assert(fetch.request { url = s.url .. "/__do", json = { method = method, args = json.array { ... } }, timeout = 30,
        max_body = 16 * 1024 * 1024 })
      local v = json.decode(r.body)
      assert(r.status == 200, v.error)
      return v.value
    end
  end
  return services, function() hold:close() out:close() end
end

return M
