-- SPDX-License-Identifier: Apache-2.0
-- ppv affiliate dry-run [--rule NAME] [--pct N] [--days N] [--set KEY=VALUE]... [--list N]
-- What another rule, other settings of it or another percentage would have made of past sales. Reads only.
local db = require "ppv.db"
local affiliate_trial = require "lib.affiliate_trial"
local display = require "lib.display"
local settings = require "lib.settings"

local USAGE = [[usage: ppv affiliate dry-run [--rule NAME] [--pct N] [--days N] [--set KEY=VALUE]... [--list N]
  --rule   an active affiliate plugin (the one in use unless given)    --pct   percent instead of what each sale had
  --days   how far back (30)      --set   a setting of the rule       --list  most sales to name (20)]]

local function options(...)
  local out, list, i = { days = 30, list = 20, settings = {} }, { ... }, 1
  if list[1] ~= "dry-run" then return nil end
  while list[i + 1] do
    local name, value = list[i + 1]:match "^%-%-(%l+)$", list[i + 2]
    if not value then return nil end
    if name == "set" then
      local k, v = value:match "^([%w_.]+)=(.*)$"
      if not k then return nil end
      out.settings[k] = v == "true" or v ~= "false" and (tonumber(v) or v)
    elseif name == "rule" then
      out.rule = value
    elseif name == "days" or name == "pct" or name == "list" then
      out[name] = tonumber(value)
      if not out[name] then return nil end
    else
      return nil
    end
    i = i + 2
  end
  return out
end

local o = options(...)
if not o then
  print(USAGE)
  return 2
end
local r, err = affiliate_trial.run { rule = o.rule or settings.get("affiliate.plugin", "percent"), settings = o.settings, pct = o.pct, days = o.days,
  keep = o.list }
if not r then
  print("ppv affiliate: " .. tostring(err.message))
  return 1
end
print(("Rule %s over the sales of the last %d days%s:"):format(r.rule, o.days, r.cut and " (the newest 20,000)" or ""))
for _, t in ipairs(r.totals) do
  print(("  %s  %d sales, commission %s -> %s, %d change, %d refused"):format(t.currency, t.sales, display.money(t.old, t.currency),
    display.money(t.new, t.currency), t.changed, t.errors))
end
if #r.totals == 0 then print "  no sales" end
for _, s in ipairs(r.items) do
  print(("  %s  %s -> %s  %s%s"):format(s.order_uid, display.money(s.old, s.currency), display.money(s.new, s.currency), s.title,
    s.error and "  REFUSED: " .. s.error or ""))
end
db.exec("select ppv_audit(null, 'affiliate.dry_run', 'plugin:' || $1, jsonb_build_object('days', $2::int, 'by', 'command line'))", r.rule, o.days)
return 0
