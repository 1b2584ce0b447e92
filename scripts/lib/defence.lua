-- SPDX-License-Identifier: Apache-2.0
-- What speaks for a sale that its buyer disputes: the order, the consent, the receipt, and what the key log says was played: when, how much,
-- in which browser, from which address. Addresses are told as keyed hashes: equal ones are the same address, which is all that matters.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local display = require "lib.display"
local errors = require "lib.errors"
local iso = require "lib.iso"
local settle = require "lib.settle"

local M = {}

local FACTS = [[select o.id, u.username::text as username, coalesce(u.guest_email, u.email)::text as email, u.guest, o.price, o.currency::text as currency,
    coalesce(v.duration_ms, 0) as duration_ms, ]] .. iso "o.created_at" .. " as created_at, " .. iso "o.paid_at" .. " as paid_at, " .. iso "u.created_at"
  .. [[ as member_since, (select r.label from receipts r where r.order_id = o.id and r.series = 'R' order by r.id limit 1) as receipt,
    (select count(*) from orders e where e.buyer_id = o.buyer_id and e.paid_at < o.paid_at and e.state = 'paid')::int as earlier
  from orders o join users u on u.id = o.buyer_id join videos v on v.id = o.video_id where o.id = $1]]

local CONSENT = [[select version, text, country, host(ip) as ip, ]] .. iso "c.created_at" .. [[ as at from consents c join orders o on o.buyer_id = c.user_id
    and o.video_id = c.video_id and c.created_at < coalesce(o.paid_at, now()) where o.id = $1 order by c.id desc limit 1]]

local GIFT = [[select g.state, u.username::text as username from gifts g left join users u on u.id = g.redeemed_by where g.order_id = $1 limit 1]]

-- Playback by whoever got access by the order, since it was paid. A segment counts once in a session.
local PLAYED = [[with who as (select distinct e.user_id, e.video_id from entitlements e where e.order_id = $1
    or e.source in (select 'gift:' || g.id from gifts g where g.order_id = $1))
  select v.title, p.device, p.user_agent, p.access, k.segments, k.keys, host(k.ip) as ip, coalesce(v.duration_ms, 0) as duration_ms,
    coalesce((select max(r.nsegments) from renditions r where r.video_id = v.id), 0)::int as of, ]] .. iso "k.first" .. " as first, "
  .. iso "k.last" .. [[ as last
  from who join playback_sessions p on p.user_id = who.user_id and p.video_id = who.video_id join videos v on v.id = p.video_id
    join lateral (select count(distinct seq)::int as segments, count(*)::int as keys, min(at) as first, max(at) as last, min(ip) as ip from key_log
      where playback_id = p.id) k on k.keys > 0
  where p.created_at >= (select paid_at from orders where id = $1) order by k.first limit 500]]

local function hashed(ip) return ip and ip ~= "" and crypto.hmac_sha256("evidence.ip", ip, "hex"):sub(1, 16) or "unknown" end

-- Minutes of film that so many of its segments are.
local function minutes(s) return s.of > 0 and math.floor(s.duration_ms * math.min(s.segments, s.of) / s.of / 6000 + 0.5) / 10 or 0 end

local function summary(o, f, consent, gift, played)
  local out = { ("Digital film \"%s\", streamed, bought by %s (%s) on %s for %s."):format(o.title, f.username, f.email or "no address",
      f.paid_at or f.created_at, display.money(f.price, f.currency)),
    ("Order %s, payment %s%s. %s since %s with %d earlier undisputed purchases."):format(o.uid, o.payment_ref or "unknown",
      f.receipt and ", receipt " .. f.receipt or "", f.guest and "Guest" or "Account", f.member_since, f.earlier) }
  out[#out + 1] = consent and ("Before paying the buyer agreed (%s, text %s, address %s): \"%s\""):format(consent.at, consent.version,
    hashed(consent.ip), consent.text)
    or "No consent to immediate delivery was asked for."
  if gift then out[#out + 1] = ("It was bought as a gift; the code is %s%s."):format(gift.state, gift.username and " by " .. gift.username or "") end
  local total, from, agents = 0, {}, {}
  for _, s in ipairs(played) do
    total, from[hashed(s.ip)], agents[s.user_agent or "unknown"] = total + minutes(s), true, true
  end
  local function count(t)
    local n = 0
    for _ in pairs(t) do n = n + 1 end
    return n
  end
  out[#out + 1] = #played == 0 and "After the payment nothing was played."
    or ("After the payment it was played in %d sessions, %.1f minutes of film in all, the first %s, the last %s, in %d browsers from %d addresses.")
      :format(#played, total, played[1].first, played[#played].last, count(agents), count(from))
  return out
end

--- The evidence about an order (of settle.find) as text: a summary first, then a line for each session. text | nil, err. Yields.
function M.text(o)
  local f, err = db.read_one(FACTS, o.id)
  if not f then return nil, err or errors.new("request.not_found", "There is no such order.") end
  local consent, gift, played
  consent, err = db.read_one(CONSENT, o.id)
  if consent == nil then return nil, err end
  gift, err = db.read_one(GIFT, o.id)
  if gift == nil then return nil, err end
  played, err = db.read(PLAYED, o.id)
  if not played then return nil, err end
  local out = summary(o, f, consent, gift, played)
  out[#out + 1] = ""
  out[#out + 1] = "Access log (UTC; an address is a keyed hash, equal ones are the same address; a key opens one segment of the film):"
  for _, s in ipairs(played) do
    out[#out + 1] = ("%s to %s: %s, %d keys, %d of %d segments, %.1f minutes, address %s, %s"):format(s.first, s.last, s.title, s.keys, s.segments,
      s.of, minutes(s), hashed(s.ip), s.user_agent or "unknown browser")
  end
  if #played == 0 then out[#out + 1] = "none" end
  return table.concat(out, "\n") .. "\n"
end

--- Hands the evidence of a dispute {id, order_id, provider_ref} to its provider and notes what was sent. who: an administrator, nil = by
--- itself. true | nil, err (payment.unsupported: the provider takes none by its API). Yields.
function M.send(dispute, who)
  local o, err = settle.find("o.id = $1", dispute.order_id)
  if not o then return nil, err end
  local text
  text, err = M.text(o)
  if not text then return nil, err end
  local ok
  ok, err = settle.call(o, "evidence", { ref = dispute.provider_ref }, text)
  local note = ok and { sha256 = crypto.sha256(text, "hex"), bytes = #text, by = who } or { failed = tostring(err.message):sub(1, 200) }
  local n, why = db.exec([[update disputes set evidence = case when $2::boolean then evidence - 'failed' else evidence end || $3::jsonb
    || jsonb_build_object(case when $2::boolean then 'sent_at' else 'tried_at' end, to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
    where id = $1]],
    dispute.id, ok and true or false, json.encode(note))
  if not n then return nil, why end
  if not ok then return nil, err end
  return true
end

--- What nobody has answered a day before its time runs out is answered with what there is; again every hour when that fails. Yields.
function M.due()
  local rows, err = db.query [[select id, order_id, provider_ref from disputes where state = 'open'
    and due between now() and now() + interval '1 day' and evidence -> 'sent_at' is null
    and coalesce((evidence ->> 'tried_at')::timestamptz, '-infinity') < now() - interval '1 hour' order by due limit 10]]
  if not rows then return nil, err end
  for _, d in ipairs(rows) do M.send(d) end
  return #rows
end

return M
