-- SPDX-License-Identifier: Apache-2.0
-- Who gets a commission on a sale, and how much. The rule is an operator's plugin, called between quote and posting; what it
-- returns is checked here. A wrong rule loses its commission, loudly, and never the sale.
local db = require "ppv.db"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local referral = require "lib.referral"
local registry = require "lib.registry"
local rulelines = require "lib.rulelines"

local M = {}

-- The terms of a title: {pct, enabled, inherited, owner_id}, false when there is no such title, or nil, err. Yields.
function M.terms(video)
  return db.read_one("select pct, enabled, inherited, owner_id from affiliate_terms where video_id = $1::uuid", video)
end

function M.find_user(name)
  if not name or name == "" then return false end
  return db.read_one("select id, username::text as username from users where username = $1 and disabled_at is null", name)
end

-- The referrer of this sale: the code sent with it, else the last link followed. id, false or nil, err. Yields.
local function referrer(ctx, video, buyer_id, code)
  local user = code and code ~= "" and M.find_user(code)
  if user then return user.id end
  return referral.find(ctx, buyer_id, video.id)
end

-- nil when the lines are fine, else why not.
local function wrong(lines, sale)
  local seen, known = {}, {}
  for _, id in ipairs(sale.referrers) do known[id] = true end
  local sum, why = rulelines(lines, function(line)
    if line.to == sale.buyer or line.to == sale.creator then return "pays the buyer or the creator" end
    if not known[line.to] then return "pays somebody who did not refer this sale" end
    if seen[line.to] then return "pays the same person twice" end
    seen[line.to] = true
  end)
  if sum and sum > sale.creator_share then
    return ("the lines add up to %.0f, more than the creator's share %.0f"):format(sum, sale.creator_share)
  end
  return why
end
M.wrong = wrong

-- Says that a rule lost its commission: in the log, the figures and the audit. Returns no lines. Yields.
function M.refuse(rule, video, why)
  log.error("affiliate.refused", { rule = rule, video = video.id, why = why })
  metrics.count("affiliate_refused_total", 1)
  db.exec("select ppv_audit(null, 'affiliate.refused', $1, jsonb_build_object('rule', $2::text, 'why', $3::text))",
    video.id, rule, why)
  return {}
end

-- What a rule makes of a sale: checked lines {to, amount, memo} with positive amounts | nil, why not. Does not yield.
function M.split(p, values, sale)
  local lines, why = registry.try(p.handler.split, sale, values)
  if not lines then return nil, why end
  local problem = wrong(lines, sale)
  if problem then return nil, problem end
  local out = {}
  for _, line in ipairs(lines) do
    if line.amount > 0 then out[#out + 1] = { to = line.to, amount = line.amount, memo = registry.text(line.memo, 100) } end
  end
  return out
end

-- Runs the chosen rule on a sale table: lines as M.split gives them, none when it was wrong, and the rule's name. Yields.
function M.lines(sale, video)
  local p, err = registry.chosen("affiliate", "percent")
  if not p then return M.refuse(tostring(err.message), video, "no active rule"), nil end
  local c, cerr = registry.context(p)
  if not c then return M.refuse(p.name, video, tostring(cerr.message)), p.name end
  local lines, why = M.split(p, c.settings, sale)
  if not lines then return M.refuse(p.name, video, why), p.name end
  return lines, p.name
end

--- A sale as rules see it. s: the fields but referrers; direct, first: who may earn, nil for nobody.
function M.sale(s)
  s.referrers = { s.direct }
  if s.first and s.first ~= s.direct then s.referrers[#s.referrers + 1] = s.first end
  return s
end

-- A user who may earn on this sale, else false.
local function payable(id, buyer, owner)
  if not id or id == buyer or id == owner then return false end
  local row, err = db.read_one("select id from users where id = $1 and disabled_at is null", id)
  if row == nil then return nil, err end
  return row and row.id or false
end

-- Marks whose link brought the sale, also when the rule gives them nothing.
local function note_link(lines, direct)
  if not direct then return lines end
  for _, l in ipairs(lines) do
    if l.to == direct then
      l.direct = true
      return lines
    end
  end
  lines[#lines + 1] = { to = direct, amount = 0, direct = true }
  return lines
end

-- video: id, owner_id, price, currency, net? (the price without taxes), program? (of M.terms). split: {platform=, creator=} of the whole price.
-- Returns lines (maybe empty; one of amount 0 says why it was refused, or whose link it was), pct, and the name of the rule that made them.
function M.quote(ctx, video, buyer_id, code, split)
  local program, err = video.program
  if program == nil then program, err = M.terms(video.id) end
  if program == nil then return nil, err end
  if not program or not program.enabled or program.pct <= 0 then return {}, 0 end
  local who, werr = referrer(ctx, video, buyer_id, code)
  if who == nil then return nil, werr end
  local direct, derr = payable(who, buyer_id, video.owner_id)
  if direct == nil then return nil, derr end
  local row = db.read_one("select affiliate_id as id from commissions where buyer_id = $1 order by id limit 1", buyer_id)
  local first, ferr = payable(row and row.id, buyer_id, video.owner_id)
  if first == nil then return nil, ferr end
  local bought, berr = db.read_one("select 1 as yes from orders where buyer_id = $1 and paid_at is not null limit 1", buyer_id)
  if bought == nil then return nil, berr end
  -- Somebody who buys through their own link reads why it earns nothing.
  local own = who == buyer_id and { to = buyer_id, amount = 0, refused = "self" } or nil
  if not direct and not first then return { own }, program.pct end
  local sale = M.sale { video = video.id, amount = video.net or video.price, currency = video.currency, fee = split.platform,
    creator_share = split.creator, pct = program.pct, buyer = buyer_id, creator = video.owner_id,
    direct = direct or nil, first = first or nil, new_buyer = bought == false }
  local lines, rule = M.lines(sale, video)
  lines[#lines + 1] = own
  return note_link(lines, direct), program.pct, rule
end

return M
