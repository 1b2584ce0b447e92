-- SPDX-License-Identifier: Apache-2.0
-- Selling to programs: one address says what a film costs (402), takes the signed payment in a header, settles it on the chain before it
-- lets anybody in, and answers with what a player needs. Who paid before signs in with the address that paid.
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local evm = require "ppv.evm"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local money = require "ppv.money"
local consent = require "lib.consent"
local display = require "lib.display"
local errors = require "lib.errors"
local offers = require "lib.offers"
local quote = require "lib.quote"
local rates = require "lib.rates"
local session = require "lib.session"
local settle = require "lib.settle"
local x402 = require "lib.x402"
local x402pay = require "lib.x402pay"
local lease = require "app.playback.lease"

local CORS = { ["access-control-allow-origin"] = "*", vary = "accept, cookie",
  ["access-control-expose-headers"] = "payment-required, payment-response, x-payment-response" }
local TYPE = "application/vnd.apple.mpegurl"
local ORDER_S = 3600

local function find(id)
  local v, err = db.read_one([[select id::text as id, owner_id, title, price, currency::text as currency, duration_ms from videos
    where id = $1::uuid and state = 'ready' and visibility = 'published']], id)
  if v == nil then return nil, err end
  if not v then return errors.not_found("video") end
  return v
end

local function url_of(ctx) return ctx.base_url .. ctx.path end
local function host_of(ctx) return ctx.base_url:match "^https?://([^/]+)" end

-- An offer's price in the token's smallest units, now.
local function amount_of(cfg, o)
  local r, err = rates.current(cfg.symbol, o.currency)
  if not r then return nil, err end
  return x402.atoms(o.price, money.exponent(o.currency), cfg.decimals, r.rate)
end

-- What the film can be had as, each with its `amount`; the title for good first, an excerpt last. only: the name of one of them. Yields.
local function offers_of(cfg, v, only)
  local list, err = offers.of(v.id)
  if not list then return nil, err end
  local out = {}
  local e
  e, err = db.read_one([[select 'excerpt' as offer, 'excerpt' as kind, price, currency::text as currency, excerpt_s from offers
    where video_id = $1::uuid and kind = 'excerpt' and active]], v.id)
  if e == nil then return nil, err end
  if e then
    e.title = v.title
    list[#list + 1] = e
  end
  for _, o in ipairs(list) do
    if not only or o.offer == only then
      o.amount, err = amount_of(cfg, o)
      if not o.amount then return nil, err end
      out[#out + 1] = o
    end
  end
  if #out == 0 then return errors.fail("offer.gone", "This offer is not available any more.", { status = 404 }) end
  return out
end

-- The offer that a payment of so much is for.
local function chosen(list, p)
  for _, o in ipairs(list) do if evm.cmp(o.amount, p.value) == 0 then return o end end
  return list[1]
end

-- Answers -----------------------------------------------------------------------------------------------------------------

-- 402: what is asked for, in the words of both versions. reason: why the payment that came is none.
local function required(ctx, cfg, v, list, reason, failed)
  local resource = { url = url_of(ctx), description = v.title, mimeType = TYPE }
  local why = reason or "PAYMENT-SIGNATURE header is required"
  local v2, v1, shown = {}, {}, {}
  for i, o in ipairs(list) do
    v2[i], v1[i] = x402.requirement(cfg, o.amount), x402.requirement_v1(cfg, o.amount, resource)
    shown[i] = { offer = o.offer, title = o.title, price_cents = o.price, currency = o.currency, price_display = display.money(o.price, o.currency),
      amount = o.amount, window_hours = o.window_h, play_hours = o.play_h, seconds = o.excerpt_s }
  end
  local headers = { ["payment-required"] = x402.pack { x402Version = 2, error = why, resource = resource,
    accepts = json.array(v2), extensions = {
      ["payment-identifier"] = { info = { required = false }, schema = { ["$schema"] = "https://json-schema.org/draft/2020-12/schema",
        type = "object", required = json.array { "required" }, properties = { required = { type = "boolean" },
          id = { type = "string", minLength = 16, maxLength = 128, pattern = "^[a-zA-Z0-9_-]+$" } } } },
      ["sign-in-with-x"] = x402.sign_in(cfg, resource.url, host_of(ctx), ctx.now) } } }
  if failed then
    headers["payment-response"] = x402.pack(failed)
    headers["x-payment-response"] = headers["payment-response"]
  end
  -- People get the page where they can pay in their own ways.
  if ctx:wants_page() and (ctx:header "user-agent" or ""):find("Mozilla", 1, true) then
    headers.location = "/public/watch.html?video_id=" .. v.id
    return { status = 303, body = "", headers = headers }
  end
  return ctx:json(402, { ok = false, code = "payment.required", x402Version = 1, error = why, accepts = json.array(v1), video_id = v.id,
    title = v.title, price_cents = v.price, currency = v.currency, price_display = display.money(v.price, v.currency), offers = json.array(shown),
    consent = consent.required() and consent.TEXT or nil, request_id = ctx.id }, headers)
end

local function refused(ctx, cfg, v, list, p, reason, tx)
  metrics.count("x402_refused_total", 1)
  log.info("x402.refused", { request_id = ctx.id, reason = reason, payer = p.from, video = v.id })
  return required(ctx, cfg, v, list, reason, { success = false, errorReason = reason, transaction = tx or "",
    network = p.version == 1 and cfg.network_v1 or cfg.network, payer = p.from })
end

-- What a player needs, for ctx.user; the caller's own log-in or one that only plays.
local function play(ctx, v, access)
  if not ctx.session then
    local ok, err = session.play_only(ctx, ctx.user)
    if not ok then return nil, err end
  end
  local token, err = lease.start(ctx, { id = v.id, access = access })
  if not token then return nil, err end
  local seconds
  if access == "excerpt" then
    local row
    row, err = db.one("select ppv_excerpt_s($1, $2::uuid) as n", ctx.user.id, v.id)
    if not row then return nil, err end
    seconds = row.n
  end
  metrics.count("plays_total", 1)
  return { ok = true, video_id = v.id, title = v.title, access = access, session = token, playlist = "/hls/" .. token .. "/master.m3u8",
    playlist_url = ctx.base_url .. "/hls/" .. token .. "/master.m3u8", mime_type = TYPE, expires_in_seconds = lease.LIFE_S,
    duration = v.duration_ms and v.duration_ms / 1000 or nil, seconds = seconds }
end

local function person(id)
  local u, err = db.one("select id, username::text as username, guest, is_admin from users where id = $1 and disabled_at is null", id)
  if u == nil then return nil, err end
  if not u then return errors.fail("access.denied", "This account is suspended.") end
  return { id = u.id, username = u.username, guest = u.guest, is_admin = u.is_admin, email = "" }
end

-- Why the user may watch, excerpts included.
local function access_of(user_id, v)
  local row, err = db.one("select ppv_play_access($1, $2::uuid, 'excerpt') as why", user_id, v.id)
  if not row then return nil, err end
  return row.why or false
end

-- Whether an offer would add something to an access: who rents may buy, and a further excerpt adds to those before.
local function adds(why, kind)
  return not why or why == "excerpt" or (why == "rental" and kind ~= "rental" and kind ~= "excerpt")
end

-- Paying ------------------------------------------------------------------------------------------------------------------

-- The header of either version: payment, false for none | nil, err (400).
local function read(ctx)
  for name, version in pairs { ["payment-signature"] = 2, ["x-payment"] = 1 } do
    local text = ctx:header(name)
    if text then
      local t = x402.unpack(text)
      if not t then return errors.fail("payment.malformed", "The payment cannot be read: it is not base64 of JSON.", { status = 400 }) end
      return x402.read(t, version)
    end
  end
  return false
end

-- The order that this pays: row of lib.settle | nil, err. ctx.user buys.
local function order_of(ctx, v, cfg, o)
  local q, err = quote.of(ctx, { id = v.id, owner_id = v.owner_id, title = v.title, price = o.price, currency = o.currency }, "x402", nil)
  if not q then return nil, err end
  local row
  row, err = db.one("select ppv_order_start($1, $2::uuid, $3::jsonb)::text as r", ctx.user.id, v.id, json.encode { method = "x402", price = o.price,
    what = { offer = o.offer, currency = o.currency }, fee_bp = q.fee_bp, payees = json.array(q.lines), pct = q.pct, rule = q.rule or "",
    tax = json.array(q.tax.lines or {}), live = cfg.live, expires_s = ORDER_S, meta = { reversible = false, tax_rule = q.tax.rule } })
  if not row then return nil, err end
  local r = json.decode(row.r)
  if not r.ref then
    local done
    done, err = db.exec("select ppv_order_opened($1, $2, null, '{}'::jsonb, '{}'::jsonb, null)", r.order_id, r.uid)
    if not done then return nil, err end
  end
  return settle.find("o.id = $1", r.order_id)
end

-- Lets the payer in: the answer of a settled payment, kept when the client may ask for it again.
local function let_in(ctx, cfg, v, x, p, o)
  local why, err = access_of(o.buyer_id, v)
  if why == nil then return nil, err end
  if not why then
    return errors.fail("payment.review", "The payment has arrived and needs a look by a person; nothing is lost.", { status = 409,
      extra = { order_id = o.uid, transaction = x.tx_hash } })
  end
  if not ctx.user or ctx.user.id ~= o.buyer_id then ctx.user, ctx.session = nil, nil end
  if not ctx.user then
    ctx.user, err = person(o.buyer_id)
    if not ctx.user then return nil, err end
  end
  local t
  t, err = play(ctx, v, why)
  if not t then return nil, err end
  t.order_id, t.payer, t.transaction = o.uid, p.from, x.tx_hash
  local response = { success = true, transaction = x.tx_hash, network = p.version == 1 and cfg.network_v1 or cfg.network, payer = p.from }
  local n
  n, err = db.exec("update x402_payments set answered = true, answer = $2::jsonb where id = $1", x.id, x.identifier and json.encode { body = t,
    response = response } or nil)
  if not n then return nil, err end
  local packed = x402.pack(response)
  return ctx:json(200, t, { ["payment-response"] = packed, ["x-payment-response"] = packed, ["cache-control"] = "private, no-store" })
end

-- A claimed payment is settled and booked; then its payer may watch.
local function go_on(ctx, cfg, v, list, x, p)
  local state, err = x402pay.settle(cfg, x, p.version == 1 and x402.requirement_v1(cfg, x.amount, { url = url_of(ctx), description = v.title,
    mimeType = TYPE }) or x402.requirement(cfg, x.amount), p.raw)
  if not state then
    if err.code == "rpc.error" then return refused(ctx, cfg, v, list, p, "invalid_exact_evm_transaction_failed") end
    return nil, err
  end
  if state == "failed" then return refused(ctx, cfg, v, list, p, x.reason == "expired" and "invalid_exact_evm_payload_authorization_valid_before"
    or "invalid_transaction_state", x.tx_hash) end
  if state == "pending" then
    x402pay.release(x)
    return refused(ctx, cfg, v, list, p, x.refused or "settlement_pending", x.tx_hash)
  end
  local o
  o, err = settle.find("o.id = $1", x.order_id)
  if not o then return nil, err end
  if not o.paid then
    local r
    r, err = settle.ask(o, "return")
    if not r then return nil, err end
  end
  return let_in(ctx, cfg, v, x, p, o)
end

-- An authorization that is known: finished for who began it, refused to everybody else.
local function known(ctx, cfg, v, list, x, p, digest)
  if x.digest ~= crypto.hex_encode(digest) then
    if x.identifier and x.identifier == p.id then
      return errors.fail("payment.identifier", "This payment identifier belongs to another payment.", { status = 409 })
    end
    return refused(ctx, cfg, v, list, p, "invalid_exact_evm_nonce_already_used")
  end
  if x.answered then
    if not (x.identifier and x.identifier == p.id and x.answer) then
      return refused(ctx, cfg, v, list, p, "invalid_exact_evm_nonce_already_used", x.tx_hash)
    end
    local kept = json.decode(x.answer)
    local packed = x402.pack(kept.response)
    return ctx:json(200, kept.body, { ["payment-response"] = packed, ["x-payment-response"] = packed, ["cache-control"] = "private, no-store" })
  end
  if x.state == "failed" then return refused(ctx, cfg, v, list, p, "invalid_transaction_state", x.tx_hash) end
  local mine, err = x402pay.take(x)
  if mine == nil then return nil, err end
  if not mine then return refused(ctx, cfg, v, list, p, "settlement_pending", x.tx_hash) end
  return go_on(ctx, cfg, v, list, x, p)
end

-- The buyer: who is signed in, else the account of the address.
local function buyer(ctx, p)
  if ctx.user then return ctx.user end
  local row, err = db.one("select ppv_x402_payer($1) as id", p.from:lower())
  if not row then return nil, err end
  return person(row.id)
end

local function pay(ctx, input, cfg, v, list, p)
  local digest = crypto.sha256(table.concat({ v.id, cfg.chain_id, cfg.asset, p.from, p.to, p.value, p.valid_after, p.valid_before,
    crypto.hex_encode(p.nonce), crypto.hex_encode(p.signature), p.id or "" }, "\n"))
  local x, err = x402pay.find("chain_id = $1 and asset = $2 and payer = $3 and nonce = $4", cfg.chain_id, cfg.asset:lower(), p.from:lower(),
    "0x" .. crypto.hex_encode(p.nonce))
  if x == false and p.id then x, err = x402pay.find("identifier = $1", p.id) end
  if x == nil then return nil, err end
  if x then return known(ctx, cfg, v, list, x, p, digest) end

  local o = chosen(list, p)
  local reason = x402.wrong(cfg, p, o.amount, ctx.now)
  if reason then return refused(ctx, cfg, v, list, p, reason) end
  local head
  head, err = x402pay.precheck(cfg, p)
  if not head then
    if err.code == "payment.x402" then return refused(ctx, cfg, v, list, p, err.reason) end
    return nil, err
  end
  local u
  u, err = buyer(ctx, p)
  if not u then return nil, err end
  local why
  why, err = access_of(u.id, v)
  if why == nil then return nil, err end
  -- Nothing is taken for what is there already.
  if not adds(why, o.kind) then return refused(ctx, cfg, v, list, p, "already_paid") end
  ctx.user = u
  if input.agree then
    local ok
    ok, err = consent.record(ctx, v.id, "")
    if not ok then return nil, err end
  end
  local order
  order, err = order_of(ctx, v, cfg, o)
  if not order then
    if errors.is(err, "sale.already_owned") then return refused(ctx, cfg, v, list, p, "already_paid") end -- all of it, by excerpts
    return nil, err
  end
  x, err = x402pay.claim(cfg, p, order.id, digest, head)
  if not x then
    if err.code == "request.conflict" then return refused(ctx, cfg, v, list, p, "settlement_pending") end
    return nil, err
  end
  metrics.count("x402_payments_total", 1)
  return go_on(ctx, cfg, v, list, x, p)
end

-- Watching again ----------------------------------------------------------------------------------------------------------

-- Whoever signs with an address that paid for this film watches in the account that bought it.
local function again(ctx, cfg, v, text)
  local t = x402.unpack(text)
  if not t then return errors.fail("auth.siwx", "The sign-in cannot be read.", { status = 400 }) end
  local address, nonce = x402.signed_in(cfg, t, url_of(ctx), host_of(ctx), ctx.now)
  if not address or not cache.add("x402:" .. nonce, "1", 600) then
    return errors.fail("auth.siwx", "The sign-in is not valid: " .. (address and "it was used" or nonce) .. ".", { status = 401 })
  end
  local row, err = db.one([[select c.id, ppv_play_access(c.id, o.video_id, 'excerpt') as why from x402_payments x
    join orders o on o.id = x.order_id
    join users b on b.id = o.buyer_id join users c on c.id in (b.id, b.claimed_by) and c.disabled_at is null
    where x.payer = $1 and x.state = 'settled' and o.video_id = $2::uuid and ppv_play_access(c.id, o.video_id, 'excerpt') is not null
    order by x.id desc limit 1]],
    address:lower(), v.id)
  if row == nil then return nil, err end
  if not row then return false end
  ctx.user, err = person(row.id)
  if not ctx.user then return nil, err end
  ctx.session = nil
  local body
  body, err = play(ctx, v, row.why)
  if not body then return nil, err end
  return ctx:json(200, body, { ["cache-control"] = "private, no-store" })
end

local function access(ctx, input)
  local v, err = find(input.id)
  if not v then return nil, err end
  if ctx.user then
    local why
    why, err = access_of(ctx.user.id, v)
    if why == nil then return nil, err end
    local more = ctx:header "payment-signature" or ctx:header "x-payment" or input.offer -- asks to buy what adds to it
    if why and not (more and adds(why, "purchase")) then
      local t
      t, err = play(ctx, v, why)
      return t and ctx:json(200, t), err
    end
  elseif v.price == 0 then
    return errors.fail("auth.required", "not logged in", { reason = "not_logged_in" })
  end
  local cfg
  cfg, err = x402pay.config()
  if not cfg then return nil, err end
  local list
  list, err = offers_of(cfg, v, input.offer)
  if not list then return nil, err end
  local text = ctx:header "sign-in-with-x"
  if text then
    local answer, why = again(ctx, cfg, v, text)
    if answer or why then return answer, why end
  end
  local p
  p, err = read(ctx)
  if p == nil then return nil, err end
  if p then return pay(ctx, input, cfg, v, list, p) end
  return required(ctx, cfg, v, list)
end

local function options(ctx)
  local answer = ctx:empty(204)
  answer.headers["access-control-allow-methods"] = "GET"
  answer.headers["access-control-allow-headers"] = "payment-signature, x-payment, sign-in-with-x, accept"
  answer.headers["access-control-max-age"] = "600"
  return answer
end

return { routes = {
  { method = "GET", path = "/api/v1/videos/:id/access", auth = "public", rate = "60/m", headers = CORS, handler = access,
    summary = "What a program needs to play a film, paid with x402", input = { id = { type = "uuid", required = true },
      offer = { type = "string", max = 36, pattern = "^[%w-]+$" }, agree = { type = "bool", default = false } } },
  { method = "OPTIONS", path = "/api/v1/videos/:id/access", auth = "none", headers = CORS, handler = options,
    summary = "What other sites' pages may send there" },
} }
