-- SPDX-License-Identifier: Apache-2.0
-- Exchange rates: what pages show, the history, and the administrator's nod to a jump.
local db = require "ppv.db"
local json = require "ppv.json"
local rates = require "lib.rates"

-- Any problem of the source is an error, never a made-up rate.
local function kurs(ctx)
  local r, err = rates.current()
  if not r then return nil, err end
  return ctx:ok { usd_to_idr = tonumber(r.rate), rate = r.rate, source = r.source, at = r.at or json.null }
end

local function show(ctx)
  local out = { base = rates.BASE, quote = rates.QUOTE }
  local err
  local r, why = rates.current()
  out.usable = r ~= nil
  if r then out.rate, out.source, out.at = r.rate, r.source, r.at or json.null else out.problem = why.message end
  out.history, err = db.read([[select extract(epoch from fetched_at)::bigint as at, trim_scale(rate)::text as rate, source from fx_rates
    where base = $1 and quote = $2 and fetched_at > now() - interval '90 days' order by fetched_at]], out.base, out.quote)
  if not out.history then return nil, err end
  out.history = json.array(out.history)
  local w
  w, err = db.read_one("select trim_scale(rate)::text as rate, source from fx_waiting where base = $1 and quote = $2", out.base, out.quote)
  if w == nil then return nil, err end
  out.waiting = w or json.null
  if not out.rate and #out.history > 0 then out.rate = out.history[#out.history].rate end
  return ctx:ok(out)
end

local function fetch(ctx, input)
  local state, err = rates.fetch(input.base, input.quote)
  if not state then return nil, err end
  return ctx:ok { state = state }
end

local function accept(ctx, input)
  local ok, err = db.exec("select ppv_rate_accept($1, $2, $3, $4::numeric)", ctx.user.id, input.base, input.quote, input.rate)
  if not ok then return nil, err end
  return ctx:ok()
end

return { routes = {
  { method = "GET", path = "/api/kurs", auth = "public", rate = "300/m", summary = "Exchange rate USD to IDR", handler = kurs },
  { method = "GET", path = "/admin/rates", auth = "admin", summary = "The rate in force, one that waits, history", handler = show },
  { method = "POST", path = "/admin/rates/fetch", auth = "admin", rate = "20/m", summary = "Ask the source now", handler = fetch,
    input = { base = { type = "string", max = 20 }, quote = { type = "string", max = 3 } } },
  { method = "POST", path = "/admin/rates/accept", auth = "admin", step_up = true, summary = "Agree to a rate that jumped", handler = accept,
    input = { rate = { type = "string", max = 30, required = true, pattern = "^%d+%.?%d*$" },
      base = { type = "string", max = 20, default = rates.BASE }, quote = { type = "string", max = 3, default = rates.QUOTE } } },
} }
