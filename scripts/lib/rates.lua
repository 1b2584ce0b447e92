-- SPDX-License-Identifier: Apache-2.0
-- Exchange rates as decimal texts. A source without network access is the operator's own word and asked each time; what comes from
-- the network is fetched by a tick, guarded against jumps, kept, and used for 24 hours at most (the price of a token: 2 hours).
local db = require "ppv.db"
local errors = require "lib.errors"
local iso = require "lib.iso"
local registry = require "lib.registry"
local settings = require "lib.settings"

local M = { MAX_AGE_H = 24, TOKEN_AGE_H = 2, BASE = "USD", QUOTE = "IDR" }

-- The source of a pair: tokens may have one of their own (setting rate.token_plugin).
local function source(base)
  if base == M.BASE then return registry.chosen("rate", "fixed_rate") end
  local p = registry.by_name[settings.get("rate.token_plugin", "")]
  if p and p.kind == "rate" then return p end
  return registry.chosen("rate", "fixed_rate")
end

local function remote(p)
  for _, cap in ipairs(p.manifest.caps or {}) do if cap:find("^fetch") then return true end end
  return false
end

-- "16250.50", or nil: signs, exponents, zero, NaN and floats are no rates.
local function decimal(v)
  if type(v) ~= "string" or #v > 24 then return nil end
  local whole, part = v:match("^(%d+)%.?(%d*)$")
  if not whole or #whole > 15 or #part > 12 or not v:find("[1-9]") then return nil end
  return v
end

local function ask(p, base, quote)
  local c, err = registry.context(p)
  if not c then return nil, err end
  local fine, r, why = pcall(registry.call, p.handler.quote, c, base, quote)
  if not fine then return errors.fail("plugin.error", ("rate source %s: %s"):format(p.name, tostring(type(r) == "table" and r.message or r))) end
  if r == nil then return nil, why or errors.new("plugin.error", "rate source " .. p.name .. " gave no answer") end
  if type(r) ~= "table" or not decimal(r.rate) then return errors.fail("plugin.error", "rate source " .. p.name .. " gave no usable rate") end
  return r
end

-- Asks the network source now. -> "accepted", "waiting" or "local" (nothing to fetch); nil, err. Yields.
function M.fetch(base, quote)
  base, quote = base or M.BASE, quote or M.QUOTE
  local p, err = source(base)
  if not p then return nil, err end
  if not remote(p) then return "local" end
  local r
  r, err = ask(p, base, quote)
  if not r then return nil, err end
  local row
  row, err = db.one("select ppv_rate_offer($1, $2, $3::numeric, $4) as state", base, quote, r.rate, p.name)
  if not row then return nil, err end
  return row.state
end

-- The rate in force: {rate (text), source, at (RFC 3339 or nil), age (seconds or nil)}, or nil, err: then nothing is converted. Yields.
function M.current(base, quote)
  base, quote = base or M.BASE, quote or M.QUOTE
  local p, err = source(base)
  if not p then return nil, err end
  if not remote(p) then
    local r
    r, err = ask(p, base, quote)
    if not r then return nil, err end
    return { rate = r.rate, source = p.name }
  end
  local row
  row, err = db.read_one("select trim_scale(rate)::text as rate, source, " .. iso "fetched_at" .. [[ as at,
     extract(epoch from now() - fetched_at)::bigint as age
    from fx_rates where base = $1 and quote = $2 order by fetched_at desc limit 1]], base, quote)
  if row == nil then return nil, err end
  if not row then return errors.fail("rate.unset", "There is no exchange rate yet.", { status = 503, retry = true }) end
  local hours = base == M.BASE and M.MAX_AGE_H or M.TOKEN_AGE_H
  if row.age > hours * 3600 then
    return errors.fail("rate.stale", ("The last exchange rate is older than %d hours."):format(hours), { status = 503, retry = true })
  end
  return row
end

return M
