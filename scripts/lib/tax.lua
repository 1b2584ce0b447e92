-- SPDX-License-Identifier: Apache-2.0
-- Taxes that are in a price. The rule is an operator's plugin; what it returns is checked here. A wrong rule sells nothing: a sale
-- without its tax would be the operator's loss, so it is refused and told.
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local errors = require "lib.errors"
local host = require "ppv.host"
local registry = require "lib.registry"
local rulelines = require "lib.rulelines"
local settings = require "lib.settings"

local M = {}

-- nil when the lines are fine, else why not. codes: list of what the rule's manifest declares.
function M.wrong(lines, price, codes)
  local known, seen = {}, {}
  for _, c in ipairs(codes or {}) do known[c] = true end
  local sum, why = rulelines(lines, function(line)
    local code = tostring(line.code)
    if not known[line.code] or not code:find("^[a-z0-9_]+$") or #code > 20 then
      return ("code '%s' is not one that the rule declares"):format(code:sub(1, 40))
    end
    if seen[code] then return ("code '%s' comes twice"):format(code) end
    seen[code] = true
  end)
  if sum and sum >= price then return ("the taxes add up to %.0f of a price of %.0f"):format(sum, price) end
  return why
end

local function refuse(rule, sale, why)
  log.error("tax.refused", { rule = rule, video = sale.video, why = why })
  metrics.count("tax_refused_total", 1)
  db.exec("select ppv_audit(null, 'tax.refused', $1, jsonb_build_object('rule', $2::text, 'why', $3::text))", tostring(sale.video), rule,
    tostring(why):sub(1, 300))
  return errors.fail("tax.refused", "The price could not be taxed, so nothing was sold. The operator has been told.", { status = 503 })
end

-- The visitor's country: what they declared, else what the proxy says (setting playback.country_header), else "". Two capitals.
function M.country(ctx, declared)
  if declared and declared ~= "" then return declared:upper() end
  local header = settings.get("playback.country_header", "")
  local c = header ~= "" and (ctx:header(header:lower()) or ""):upper() or ""
  return c:find("^%u%u$") and c or ""
end

-- sale: {video (id), price, currency, creator, buyer (ids), country, method}. -> {lines = {{code, amount, title}}, total, rule, json}
-- without a rule: none. nil, err (tax.refused): do not sell. Yields.
function M.quote(sale)
  local name = settings.get("tax.plugin", "")
  if name == "" then return { lines = {}, total = 0, rule = "", json = "[]" } end
  local p = registry.by_name[name]
  if not p or p.kind ~= "tax" then return refuse(name, sale, "the tax rule of the settings is not active") end
  local c, err = registry.context(p)
  if not c then return refuse(name, sale, err.message) end
  local lines, why = registry.try(p.handler.lines, sale, c.settings)
  if not lines then return refuse(name, sale, why) end
  local problem = M.wrong(lines, sale.price, p.manifest.codes)
  if problem then return refuse(name, sale, problem) end
  local out, total = {}, 0
  for _, l in ipairs(lines) do
    if l.amount > 0 then
      out[#out + 1] = { code = l.code, amount = l.amount, title = l.title and registry.text(l.title, 80) or l.code }
      total = total + l.amount
    end
  end
  return { lines = out, total = total, rule = name .. "@" .. tostring(host.source_hash(name)):sub(1, 16), json = json.encode(json.array(out)) }
end

return M
