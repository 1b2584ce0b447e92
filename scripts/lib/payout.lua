-- SPDX-License-Identifier: Apache-2.0
-- Money to payees: calls of the ledger, the sealed accounts it goes to, and a payment plugin that sends it. The row says "sent"
-- and is committed before the plugin is called, under a key made of the payout's id; what was sent is asked for, never sent anew
-- under another key.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local crash = require "lib.crash"
local display = require "lib.display"
local errors = require "lib.errors"
local mailer = require "lib.mailer"
local registry = require "lib.registry"
local settings = require "lib.settings"

local M = {}

--- Calls a money function that answers jsonb. -> table, false (it answered null) or nil, err. Yields.
function M.call(sql, ...)
  local row, err = db.one("select (" .. sql .. ")::text as r", ...)
  if not row then return nil, err end
  if not row.r then return false end
  return json.decode(row.r)
end

--- The same for what somebody decides: the audit log learns the address. Yields.
function M.by(ctx, sql, ...)
  local n = select("#", ...) + 1
  local args = { ... }
  args[n] = ctx.ip
  local row, err = db.one(("select (%s)::text as r from (select set_config('ppv.ip', $%d, true) as ip offset 0) s where ip is not null")
    :format(sql, n), unpack(args, 1, n))
  if not row then return nil, err end
  return json.decode(row.r)
end

-- Accounts ------------------------------------------------------------------------------------------------------------

-- Which fields a method has, in the order of the masked text.
M.METHODS = {
  bank = { "channel_code", "account_number", "account_holder_name" },
  ewallet = { "channel_code", "account_number", "account_holder_name" },
  paypal = { "receiver" },
}

-- All but the last four characters, at most half, are dots.
local function masked(text)
  local keep = math.min(4, math.floor(#text / 2))
  return "····" .. text:sub(#text - keep + 1)
end

--- Stores where a payee's money goes. fields: of M.METHODS[method], checked. -> reply of ppv_destination_set plus hint. Yields.
function M.set_destination(user_id, method, fields)
  local d = { method = method }
  local hint, same = {}, { method }
  for i, name in ipairs(M.METHODS[method]) do
    local v = fields[name]
    if not v or v == "" then return errors.invalid(name .. " is missing", { field = name }) end
    d[name] = v
    if name ~= "account_holder_name" then
      hint[#hint + 1] = name == "channel_code" and v or masked(v)
      same[i + 1] = v:upper():gsub("[%s%-.]", "")
    end
  end
  -- A signature (Ed25519: the same text gives the same one) is a keyed hash: who reads the table cannot try account numbers.
  local mark = crypto.sha256(crypto.public_sign("payout.same", table.concat(same, "|")), "hex")
  local text = table.concat(hint, " ")
  local r, err = M.call("ppv_destination_set($1, $2, $3, $4, $5)", user_id, method, crypto.seal(json.encode(d), "payout"), text, mark)
  if not r then return nil, err end
  r.hint = text
  return r
end

--- The account of a sealed text, or nil, err.
function M.open(sealed)
  local text, err = crypto.open(sealed, "payout")
  if not text then return nil, err end
  return json.decode(text)
end

-- Telling the payee ---------------------------------------------------------------------------------------------------

local MAIL = { paid = "payout_paid", rejected = "payout_refused", failed = "payout_refused", reversed = "payout_reversed" }

--- Queues the mail that fits the payout's state, if there is one. r: a reply of the money functions. Yields.
function M.tell(r, note)
  if not MAIL[r.state] then return end
  local row = db.read_one([[select u.email::text as email, coalesce(d.hint, '') as hint, coalesce(p.provider_ref, '') as ref, p.failure
    from payouts p join users u on u.id = p.user_id left join payout_destinations d on d.id = p.destination_id where p.id = $1]], r.payout_id)
  if not row then return end
  mailer.queue(nil, row.email, MAIL[r.state], { amount = display.money(r.amount, r.currency), hint = row.hint, reference = row.ref,
    note = note and note ~= "" and note or row.failure })
end

-- Sending by a plugin -------------------------------------------------------------------------------------------------

local function can_pay(p) return p and p.kind == "payment" and type(p.handler.payout) == "function" and type(p.handler.payout_fetch) == "function" end

--- The active payment plugin of that name that can pay out, or nil.
function M.provider(name)
  local p = registry.by_name[name]
  return can_pay(p) and p or nil
end

--- Names of the plugins that can pay out.
function M.providers()
  local out = {}
  for _, p in ipairs(registry.by_kind.payment or {}) do if can_pay(p) then out[#out + 1] = p.name end end
  return out
end

local STATES = { sent = true, paid = true, failed = true, reversed = true }

-- What goes to the plugin. nil, err when the account cannot be read.
local function item_of(id)
  local row, err = db.one([[select p.id, p.amount, p.currency::text as currency, p.provider, p.provider_ref, d.sealed
    from payouts p join payout_destinations d on d.id = p.destination_id where p.id = $1]], id)
  if not row then return nil, err or errors.new("payout.not_found", "this payout has no account") end
  local d
  d, err = M.open(row.sealed)
  if not d then return nil, err end
  local key = ("po-%.0f"):format(row.id)
  return { id = key, key = key, amount = row.amount, currency = row.currency, ref = row.provider_ref, destination = d }, row.provider
end

-- What a failed call means. Only the call that sends can say that nothing was done: a service that is not set up is tried again
-- later, a refusal is final. Everything else is "unknown".
local NOTHING_DONE = { ["payment.not_configured"] = "approved", ["payment.gateway_refused"] = "failed", ["payment.currency"] = "failed" }

-- Books what the plugin answered.
local function record(id, answer, err, sending)
  local state, ref, failure
  if type(answer) == "table" and STATES[answer.state] then
    state, ref, failure = answer.state, answer.ref and tostring(answer.ref), answer.failure and tostring(answer.failure)
  else
    local e = type(err) == "table" and err or { code = "plugin.error", message = tostring(err or "the plugin gave no usable answer") }
    state, failure = sending and NOTHING_DONE[e.code] or "unknown", tostring(e.message)
    log.warn("payout.outcome", { id = id, code = e.code, message = failure, state = state })
  end
  crash.at "payout.result.before_commit"
  local r, problem = M.call("ppv_payout_result($1, $2, $3, $4)", id, state, ref, failure)
  if not r then return nil, problem end
  crash.at "payout.result.after_commit"
  metrics.count("payout_results_total", 1)
  M.tell(r)
  return r
end

-- A plugin that raises has told nothing.
local function ask(p, fn, item)
  local c, err = registry.context(p)
  if not c then return nil, err end
  local fine, answer, why = pcall(registry.call, fn, c, item)
  if not fine then return nil, errors.from(answer) end
  return answer, why
end

--- Sends one approved payout through a plugin. -> reply, false (not to be sent now) or nil, err. Yields.
function M.send(id, name)
  local p = M.provider(name)
  if not p then return errors.fail("plugin.missing", "no payment plugin named " .. tostring(name) .. " can pay out") end
  crash.at "payout.send.before_commit"
  local begun, err = M.call("ppv_payout_begin($1, $2)", id, name)
  if not begun then return begun, err end
  crash.at "payout.send.after_commit"
  local item, problem = item_of(id)
  if not item then return record(id, nil, errors.new("payment.gateway_refused", "the account cannot be read: " .. tostring(problem.message)), true) end
  local answer, why = ask(p, p.handler.payout, item)
  crash.at "payout.send.after_call"
  return record(id, answer, why, true)
end

--- Asks the plugin what became of a payout that was sent. -> reply or nil, err. Yields.
function M.check(id)
  local item, name = item_of(id)
  if not item then return nil, name end
  local p = M.provider(name)
  if not p then return errors.fail("plugin.missing", "no payment plugin named " .. tostring(name) .. " can pay out") end
  crash.at "payout.fetch.before_call"
  local answer, why = ask(p, p.handler.payout_fetch, item)
  crash.at "payout.fetch.after_call"
  return record(id, answer, why, false)
end

--- A provider's event about a payout (event.payout = our key, or event.payout_ref): asks the provider. Yields.
function M.on_event(provider, event)
  local id = tostring(event.payout or ""):match "^po%-(%d+)$"
  local row, err = db.one("select id from payouts where provider = $1 and (id = $2::bigint or provider_ref = $3) order by id limit 1", provider,
    id, event.payout_ref and tostring(event.payout_ref))
  if not row then return nil, err or errors.new("payout.not_found", "no payout of ours") end
  return M.check(row.id)
end

-- Ids of payouts; a database that fails is the next round's matter.
local function ids(where)
  local rows, err = db.query("select id from payouts where " .. where .. " order by id limit 100")
  if rows then return rows end
  log.warn("payout.round", { message = tostring(err.message) })
  return {}
end

--- One round: releases holds, makes due payouts, sends what is approved, asks for what is out. Yields.
function M.round(now)
  repeat
    local row, err = db.one "select ppv_holds_release() as n"
    if not row then log.warn("payout.holds", { message = tostring(err.message) }) end
  until not row or row.n == 0
  local schedule = settings.get("payout.schedule", "off")
  local form = ({ daily = "!%Y-%m-%d", weekly = "!%G-W%V", monthly = "!%Y-%m" })[schedule]
  if form then
    local after = 0
    while after do
      crash.at "payout.schedule.before_commit"
      local r, err = M.call("ppv_payout_schedule($1, $2, 200)", os.date(form, now), after)
      if not r then log.warn("payout.schedule", { message = tostring(err and err.message) }) end
      crash.at "payout.schedule.after_commit"
      after = r and r.last
    end
  end
  for _, row in ipairs(ids [[provider is not null and (state <> 'paid' or decided_at > now() - interval '14 days') and checked_at < now()
      - case state when 'sent' then interval '1 minute' when 'unknown' then interval '1 minute' when 'paid' then interval '6 hours' end]]) do
    M.check(row.id)
  end
  local name = settings.get("payout.provider", "")
  if name == "" then return end
  for _, row in ipairs(ids "state = 'approved' and destination_id is not null and (not_before is null or not_before <= now())") do
    M.send(row.id, name)
  end
end

return M
