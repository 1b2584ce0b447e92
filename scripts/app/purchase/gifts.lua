-- SPDX-License-Identifier: Apache-2.0
-- Gifts: who paid reads the codes, who has one redeems it, creators see how many of theirs are out.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local csv = require "lib.csv"
local display = require "lib.display"
local errors = require "lib.errors"
local gifts = require "lib.gifts"
local iso = require "lib.iso"
local page = require "lib.page"
local rate = require "lib.rate"

local GUESSES = { count = 20, seconds = 3600 }

-- The code's hash, after the guess was counted: 20 codes an hour from an address and from an account.
local function guess(ctx, code)
  local ok, err = rate.hit("gift", crypto.sha256(rate.address(ctx.ip), "hex"), GUESSES)
  if ok and ctx.user then ok, err = rate.hit("gift_user", ("%.0f"):format(ctx.user.id), GUESSES) end
  if not ok then return nil, err end
  local hash = gifts.hash(code)
  if not hash then return errors.fail("gift.unknown", "This code is not known.", { status = 404 }) end
  return hash
end

local function look(ctx, input)
  local hash, err = guess(ctx, input.code)
  if not hash then return nil, err end
  local row
  row, err = db.one("select ppv_gift_look($1)::text as r", hash)
  if not row then return nil, err end
  return ctx:ok { gift = json.decode(row.r) }
end

local function redeem(ctx, input)
  local hash, err = guess(ctx, input.code)
  if not hash then return nil, err end
  local row
  row, err = db.one("select ppv_gift_redeem($1, $2)::text as r", ctx.user.id, hash)
  if not row then return nil, err end
  local r = json.decode(row.r)
  return ctx:ok { video_id = r.video_id, title = r.title, message = "Enjoy the video." }
end

local function mine(ctx, input)
  local after, err = page.read("gifts", input.cursor, 1)
  if err then return nil, err end
  local rows, next_cursor
  rows, err = db.read([[select g.id, g.code_sealed, g.email::text as email, g.message, g.state, v.id::text as video_id, v.title, o.uid::text as order_id,
    o.state as order_state, ]] .. iso "g.redeemed_at" .. " as redeemed_at, " .. iso "g.created_at" .. [[ as created_at
    from gifts g join orders o on o.id = g.order_id join videos v on v.id = g.video_id
    where o.buyer_id = any(ppv_buyers($1)) and g.state <> 'ordered' and ($2::bigint is null or g.id < $2) order by g.id desc limit $3]],
    ctx.user.id, after and after[1], input.limit + 1)
  if not rows then return nil, err end
  rows, next_cursor = page.cut(rows, input.limit, "gifts", function(r) return { r.id } end)
  for _, r in ipairs(rows) do
    if r.state == "open" then
      r.code = gifts.read(r.code_sealed)
      r.link = ctx:url "/public/gift.html" .. "#code=" .. r.code
    end
    r.code_sealed = nil
  end
  return ctx:ok { items = json.array(rows), next_cursor = next_cursor or json.null }
end

local SOLD = [[select g.id, v.title, g.state, o.price as paid_cents, o.currency::text as currency, ]] .. iso "g.created_at" .. " as created_at, "
  .. iso "g.redeemed_at" .. [[ as redeemed_at from gifts g join orders o on o.id = g.order_id join videos v on v.id = g.video_id
  where (o.creator_id = $1 or $1::bigint is null) and g.state <> 'ordered' order by g.id desc limit $2]]

local function sold(ctx, owner)
  local rows, err = db.read(SOLD, owner, 200)
  if not rows then return nil, err end
  local counts
  counts, err = db.read([[select g.state, count(*) as n from gifts g join orders o on o.id = g.order_id
    where (o.creator_id = $1 or $1::bigint is null) and g.state <> 'ordered' group by 1]], owner)
  if not counts then return nil, err end
  local out = { open = 0, redeemed = 0, void = 0 }
  for _, c in ipairs(counts) do out[c.state] = c.n end
  for _, r in ipairs(rows) do r.paid_display = display.money(r.paid_cents, r.currency) end
  return ctx:ok { items = json.array(rows), counts = out }
end

local function file(ctx, owner)
  local rows, err = db.read(SOLD, owner, 100000)
  if not rows then return nil, err end
  local out = csv.new { "created_at", "title", "state", "redeemed_at", "paid_cents", "currency" }
  for _, r in ipairs(rows) do out:row { r.created_at, r.title, r.state, r.redeemed_at, r.paid_cents, r.currency } end
  return out:answer "gifts.csv"
end

local CODE = { code = { type = "string", max = 60, required = true } }

return { routes = {
  { method = "POST", path = "/api/gift/look", auth = "public", rate = "30/5m", summary = "What a gift's code is for", input = CODE, handler = look },
  { method = "POST", path = "/api/gift/redeem", auth = "user", guest = true, rate = "30/5m", summary = "Redeem a gift's code", input = CODE,
    handler = redeem },
  { method = "GET", path = "/api/gifts", auth = "user", guest = true, summary = "Gifts I paid for, with their codes", input = page.input(50, 200),
    handler = mine },
  { method = "GET", path = "/api/creator/gifts", auth = "user", summary = "Gifts of my videos", handler = function(ctx) return sold(ctx, ctx.user.id) end },
  { method = "GET", path = "/api/creator/gifts.csv", auth = "user", rate = "30/m", summary = "The same as a file",
    handler = function(ctx) return file(ctx, ctx.user.id) end },
  { method = "GET", path = "/admin/gifts", auth = "admin", summary = "Gifts of all videos", handler = function(ctx) return sold(ctx, nil) end },
  { method = "GET", path = "/admin/gifts.csv", auth = "admin", rate = "30/m", summary = "The same as a file",
    handler = function(ctx) return file(ctx, nil) end },
} }
