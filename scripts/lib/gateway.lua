-- SPDX-License-Identifier: Apache-2.0
-- What the plugins for foreign payment services share: one way to call a service and to judge its answer, amounts without
-- floats, texts in the form that services take. A plugin passes its own ppv.fetch, so its capabilities hold.
local json = require "ppv.json"

local M = {}

-- Amounts -------------------------------------------------------------------------------------------------------------
local EXACT = 2 ^ 53

--- An integer amount with `from` decimals as one with `to` decimals; nil when that is not a whole number, or too large.
function M.scale(amount, from, to)
  if type(amount) ~= "number" or amount % 1 ~= 0 or amount < 0 or not from or not to then return nil end
  local n = to >= from and amount * 10 ^ (to - from) or amount / 10 ^ (from - to)
  if n % 1 ~= 0 or n >= EXACT then return nil end
  return n
end

--- Decimal text with exactly `to` decimals of an integer amount with `from` decimals ("4.99", "500"); nil as scale.
function M.text(amount, from, to)
  local n = M.scale(amount, from, to)
  if not n then return nil end
  local digits = ("%.0f"):format(n)
  if to == 0 then return digits end
  digits = ("0"):rep(to + 1 - #digits) .. digits
  return digits:sub(1, -to - 1) .. "." .. digits:sub(-to)
end

--- An amount of an answer, text ("75000.00") or whole number, as an integer with `decimals` decimals. Further decimals must be
--- zeros. nil for anything else: signs, exponents, spaces, more than 15 digits.
function M.parse(value, decimals)
  if type(value) == "number" then
    if value % 1 ~= 0 or value < 0 or value >= EXACT then return nil end
    value = ("%.0f"):format(value)
  end
  if type(value) ~= "string" or not decimals then return nil end
  local whole, rest = value:match "^(%d+)%.?(%d*)$"
  if not whole or (rest == "" and value:find(".", 1, true)) then return nil end
  if rest:sub(decimals + 1):find "[^0]" then return nil end
  local digits = whole .. rest:sub(1, decimals) .. ("0"):rep(decimals - #rest)
  digits = digits:match "^0*(%d+)$"
  if #digits > 15 then return nil end
  return tonumber(digits)
end

-- Texts ---------------------------------------------------------------------------------------------------------------

--- At most `max` bytes of a text, cut between characters, without control characters; "-" when nothing is left.
function M.cut(text, max)
  text = tostring(text or ""):gsub("%c+", " ")
  if #text > max then
    text = text:sub(1, max)
    local at = text:find "[\192-\255][\128-\191]*$"
    if at then
      local lead = text:byte(at)
      local need = lead >= 240 and 4 or lead >= 224 and 3 or 2
      if #text - at + 1 < need then text = text:sub(1, at - 1) end
    end
  end
  return text == "" and "-" or text
end

local function escape(c) return ("%%%02X"):format(c:byte()) end

--- application/x-www-form-urlencoded of {{name, value}, ...} in that order; brackets of names stay as they are.
function M.form(list)
  local out = {}
  for i, f in ipairs(list) do
    local v = f[2]
    if type(v) == "number" then v = ("%.0f"):format(v) end
    out[i] = f[1]:gsub("[^%w%-._~%[%]]", escape) .. "=" .. tostring(v):gsub("[^%w%-._~]", escape)
  end
  return table.concat(out, "&")
end

--- JSON of plain data with sorted members: the same request has the same bytes in every process, as its idempotency key promises.
function M.json(v)
  if type(v) ~= "table" then return json.encode(v) end
  local out, keys = {}, {}
  if #v > 0 then
    for i, x in ipairs(v) do out[i] = M.json(x) end
    return "[" .. table.concat(out, ",") .. "]"
  end
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys)
  for i, k in ipairs(keys) do out[i] = json.encode(k) .. ":" .. M.json(v[k]) end
  return "{" .. table.concat(out, ",") .. "}"
end

--- The order's id at the service: another one for every attempt.
function M.reference(order)
  if (order.attempt or 1) > 1 then return order.id .. "." .. ("%.0f"):format(order.attempt) end
  return order.id
end

-- Calls ---------------------------------------------------------------------------------------------------------------
local Service = {}
Service.__index = Service

--- name: for messages. fetch: ppv.fetch.request. secrets: keys of settings that must not show in any message.
function M.service(name, fetch, secrets)
  return setmetatable({ name = name, fetch = fetch, secrets = secrets }, Service)
end

-- A service that echoes our secret must not get it into logs.
local function scrub(self, ctx, text)
  text = tostring(text)
  for _, key in ipairs(self.secrets) do
    local secret = ctx.settings[key]
    if type(secret) == "string" and #secret > 3 then
      local from, to = text:find(secret, 1, true)
      while from do
        text = text:sub(1, from - 1) .. "***" .. text:sub(to + 1)
        from, to = text:find(secret, 1, true)
      end
    end
  end
  return M.cut(text, 300)
end

--- The outcome is open: nothing may be concluded, the same request may be sent again. -> nil, err
function Service:down(ctx, why)
  return nil, ctx:err("payment.gateway_down", self.name .. " did not answer: " .. scrub(self, ctx, why), true)
end

--- The service said no, for good. why: its words, if any. -> nil, err
function Service:refused(ctx, answer, why)
  local text = ("%s refused (status %d): %s"):format(self.name, answer.status, scrub(self, ctx, why or "no reason given"))
  local code = (answer.status == 401 or answer.status == 403) and "payment.not_configured" or "payment.gateway_refused"
  return nil, ctx:err(code, text)
end

--- An answer that cannot be understood is no fact. -> nil, err
function Service:unreadable(ctx, what)
  return nil, ctx:err("payment.gateway_refused", ("%s answered without a readable %s"):format(self.name, what))
end

local function secure(url)
  return url:find "^https://" or url:find "^http://127%.0%.0%.1[:/]" or url:find "^http://localhost[:/]"
end

--- One request (fields as ppv.fetch.request). -> {status, headers, json = table} with a status of 2xx or 4xx | nil, err. No answer,
--- 408, 429, 5xx, redirects and 2xx without JSON leave the outcome open. Yields.
function Service:call(ctx, req)
  if not secure(req.url) then
    return nil, ctx:err("payment.not_configured", self.name .. " is only called over https")
  end
  req.headers = req.headers or {}
  req.headers.accept = req.headers.accept or "application/json"
  local r, err = self.fetch(req)
  if not r then
    if err.code == "net.refused" or err.code == "input.invalid" then
      return nil, ctx:err("payment.not_configured", self.name .. " cannot be called: " .. scrub(self, ctx, err.message))
    end
    return self:down(ctx, err.message)
  end
  local s = r.status
  if s == 408 or s == 429 or s >= 500 or s < 200 or (s >= 300 and s < 400) then return self:down(ctx, "status " .. s) end
  r.json = json.decode(r.body, { exact = true })
  if type(r.json) ~= "table" then
    if s < 300 then return self:down(ctx, "the answer is no JSON") end
    r.json = {}
  end
  return r
end

-- Settings ------------------------------------------------------------------------------------------------------------

--- The value of a setting; nil, err when the operator has not filled it in.
function M.need(ctx, key)
  local v = ctx.settings[key]
  if type(v) == "string" and v ~= "" then return v end
  return nil, ctx:err("payment.not_configured", "the setting " .. key .. " is empty")
end

--- Is the plugin in live mode?
function M.live(ctx) return ctx.settings.environment == "live" end

--- Member of member ... of decoded JSON, nil as soon as something on the way is no table.
function M.at(t, ...)
  for i = 1, select("#", ...) do
    if type(t) ~= "table" then return nil end
    t = t[(select(i, ...))]
  end
  return t
end

--- An id of a foreign message that may stand in an address: nil unless it is made of letters, digits and -_.~ only.
function M.id(v) return type(v) == "string" and #v <= 200 and v:find "^[%w%-_.~]+$" and v or nil end

--- A text of a foreign message; nil for any other type and for more than 200 bytes.
function M.str(v) return type(v) == "string" and #v <= 200 and v or nil end

return M
