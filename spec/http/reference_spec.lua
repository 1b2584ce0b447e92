-- SPDX-License-Identifier: Apache-2.0
-- The requests of the reference system's pages, as those pages send them: the addresses, the names and the types of what
-- comes back are theirs. Ids of users are numbers here and texts there; a refusal has a real status instead of 200.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local form = require "lib.form"
local h = require "spec.support"
local json = require "ppv.json"

local PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

-- A form as a page without scripts sends it.
local function page(c, path, fields)
  return c:request("POST", path, { body = form.encode(fields),
    headers = { accept = PAGE, ["content-type"] = "application/x-www-form-urlencoded" } })
end

local function goes_to(r, path, status, reason)
  assert.equal(303, r.status, r.body)
  local at, query = r.headers.location:match "^([^?]*)%??(.*)$"
  assert.equal(path, at)
  assert.same({ status = status, reason = reason }, form.decode(query))
end

local answer -- the text of the last one: a null is no field of a decoded table

local function is_kind(v, kind, name)
  if kind:sub(-1) == "?" then
    if v == nil or v == json.null then return answer:find('"' .. name .. '":null', 1, true) ~= nil end
    kind = kind:sub(1, -2)
  end
  if kind == "list" or kind == "table" then return type(v) == "table" end
  if kind == "id" then return type(v) == "number" or type(v) == "string" end
  if kind == "time" then return type(v) == "string" and v:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d" ~= nil end
  return type(v) == kind
end

-- names: "id:id title:string ..."; "?" after a type = may be null, but is there.
local function has(t, names)
  assert.is_table(t)
  for name, kind in names:gmatch "([%w_]+):(%w+%??)" do
    assert.is_true(is_kind(t[name], kind, name), name .. " is " .. tostring(t[name]) .. ", not " .. kind .. " in " .. json.encode(t))
  end
end

local function ok(r, names)
  assert.equal(200, r.status, r.body)
  assert.is_true(r.json.ok)
  answer = r.body
  has(r.json, names or "")
  return r.json
end

-- A film of one rendition with one segment.
local function film(owner, price)
  local secret, id = crypto.sha256(crypto.random(32), "hex"), h.make.video(owner, { price = price })
  assert(db.exec("update videos set title_secret = $2, ready_at = now() where id = $1::uuid", id, crypto.seal(secret)))
  assert(db.exec([[insert into renditions (video_id, name, kind, width, height, bandwidth, codecs, init_path, segments, nsegments, bytes)
    values ($1::uuid, 'v360', 'video', 640, 360, 500000, 'avc1.64001e', 'init_v360.mp4', $2::jsonb, 1, 5)]], id,
    json.encode { a = json.array { { name = "s0.m4s", dur = 2, iv = ("0a"):rep(16), size = 5 } } }))
  for name, bytes in pairs { ["s0.m4s"] = "seg-0", ["init_v360.mp4"] = "init!", ["index.json"] = "{}" } do
    assert(blob.write("media", id .. "/" .. name, bytes))
  end
  return id
end

local VIDEO = "id:string owner_id:id owner_name:string owner_profile_desc:string title:string description:string "
  .. "price_cents:number filename:string created_at:time"

describe("the reference's requests", function()
  local admin, maker, viewer, affiliate, id
  lazy_setup(function()
    admin, maker, viewer, affiliate = h.make.admin(), h.make.user(), h.make.user(), h.make.user()
    id = film(maker, 1000)
    h.make.money(admin, viewer, 20000)
  end)

  it("lead the way from the form to the playlist", function()
    local c = h.client()
    goes_to(page(c, "/auth/login", { email = viewer.email, password = viewer.password }), "/public/dashboard.html", "ok")
    has(ok(c:get "/api/me").user, "id:id username:string email:string")
    local list, mine = ok(c:get "/api/videos", "videos:list").videos, nil
    for _, v in ipairs(list) do
      has(v, VIDEO)
      if v.id == id then mine = v end
    end
    assert.equal(1000, mine.price_cents)
    local before = ok(c:get("/api/pay/all_options?video_id=" .. id), "video_id:string price_cents:number price_display:string "
      .. "is_owner:boolean already_purchased:boolean wallet:table x402:table fiat:table")
    has(before.wallet, "available:boolean balance_cents:number balance_display:string can_afford:boolean")
    has(before.x402, "available:boolean tokens:list")
    has(before.fiat, "available:boolean providers:list")
    assert.same({ "$10.00", true, false }, { before.price_display, before.wallet.can_afford, before.already_purchased })
    local paid = ok(c:post("/api/wallet/pay", { video_id = id }), "balance_cents:number balance_display:string "
      .. "creator_received_display:string paid_display:string message:string")
    assert.equal(19000, paid.balance_cents)
    local play = ok(c:get("/api/request_play?video_id=" .. id), "session:string playlist:string video_id:string title:string "
      .. "price_cents:number segment_seconds:number expires_in_seconds:number")
    assert.equal("/hls/" .. play.session .. "/master.m3u8", play.playlist)
    local master = c:get(play.playlist)
    assert.equal(200, master.status, master.body)
    assert.equal("application/vnd.apple.mpegurl", master.headers["content-type"])
    assert.equal("#EXTM3U", master.body:sub(1, 7))
    assert.equal(200, c:get("/hls/" .. play.session .. "/v360.m3u8").status)
    assert.is_true(ok(c:get("/api/pay/all_options?video_id=" .. id)).already_purchased)
    goes_to(page(c, "/auth/logout", {}), "/public/auth/login.html", "ok")
    assert.equal(401, c:get("/api/me").status)
    -- The token is enough to play; it ends with the log-in, as soon as every process has heard of it.
    h.eventually(function() return c:get(play.playlist).status == 404 end)
  end)

  it("are answered by forms with a page and a reason", function()
    local c, name = h.client(), "ref" .. crypto.hex_encode(crypto.random(4))
    local REGISTER, LOGIN = "/public/auth/register.html", "/public/auth/login.html"
    local new = { username = name, email = name .. "@example.org", password = "a long password of a page" }
    local function with(t) return { username = t.username or new.username, email = t.email or new.email,
      password = t.password or new.password } end
    goes_to(page(c, "/auth/register", with { username = " " }), REGISTER, "fail", "missing_field")
    goes_to(page(c, "/auth/register", with { email = "nobody" }), REGISTER, "fail", "invalid_email")
    goes_to(page(c, "/auth/register", with { password = "short" }), REGISTER, "fail", "weak_password")
    goes_to(page(c, "/auth/register", new), LOGIN, "ok")
    goes_to(page(c, "/auth/login", { email = new.email }), LOGIN, "fail", "missing_field")
    goes_to(page(c, "/auth/login", { email = "nobody", password = "x" }), LOGIN, "fail", "invalid_email")
    goes_to(page(c, "/auth/login", { email = new.email, password = "wrong" }), LOGIN, "fail", "bad_credentials")
    goes_to(page(c, "/auth/login", { email = name .. "x@example.org", password = "wrong" }), LOGIN, "fail", "bad_credentials")
    goes_to(page(c, "/auth/login", new), "/public/dashboard.html", "ok")
    goes_to(page(c, "/auth/forgot", { email = "nobody" }), "/public/auth/forgot_password.html", "fail", "invalid_email")
    goes_to(page(c, "/auth/forgot", { email = new.email }), LOGIN, "ok")
    goes_to(page(c, "/auth/reset", { token = "x", password = "a long password of a page" }), "/public/auth/reset_password.html",
      "fail", "invalid_token")
    local a = h.client()
    goes_to(page(a, "/admin/login", { email = "", password = "" }), "/public/admin/login.html", "fail", "missing_field")
    goes_to(page(a, "/admin/login", { email = admin.email, password = "wrong" }), "/public/admin/login.html", "fail", "bad_credentials")
    goes_to(page(a, "/admin/login", new), "/public/admin/login.html", "fail", "not_admin")
    goes_to(page(a, "/admin/login", { email = admin.email, password = admin.password }), "/public/admin/dashboard.html", "ok")
    goes_to(page(a, "/admin/logout", {}), "/public/admin/login.html", "ok")
  end)

  it("find the pages where they were", function()
    local c = h.client()
    for _, path in ipairs { "/", "/browse", "/dashboard", "/auth/register", "/auth/login", "/auth/forgot", "/admin/login" } do
      local r = c:get(path)
      assert.equal(303, r.status, path)
      assert.equal(200, c:get(r.headers.location).status, path)
    end
    for _, path in ipairs { "", "index.html", "dashboard.html", "watch.html", "auth/login.html", "auth/register.html", "admin/login.html" } do
      assert.equal(200, c:get("/public/" .. path).status, path)
    end
    assert.equal("ok", c:get("/health").body)
  end)

  it("change a password and a profile", function()
    local c = h.make.user()
    ok(c:post("/api/change_password", { current_password = c.password, new_password = "another long password" }))
    assert.is_false(c:post("/api/change_password", { current_password = "wrong", new_password = "one more long password" }).json.ok)
    local r = page(c, "/api/profile_update", { bank_account = "BANK 1", wallet_account = "0x" .. ("aB"):rep(20), wallet_chain_id = "",
      whatsapp = "+1", profile_desc = "Hello" })
    ok(r)
    local p = ok(c:get "/api/profile").profile
    has(p, "id:id username:string email:string bank_account:string wallet_account:string wallet_chain_id:number? whatsapp:string profile_desc:string")
    assert.same({ "BANK 1", "0x" .. ("ab"):rep(20), "Hello" }, { p.bank_account, p.wallet_account, p.profile_desc })
    assert.equal("validation", c:post("/api/profile_update", { wallet_account = "0x1" }).json.where)
    has(ok(h.client():get("/api/user_profile?username=" .. c.username)).profile, "id:id username:string profile_desc:string")
    has(ok(h.client():get("/api/user_profile?user_id=" .. c.id)).profile, "id:id username:string profile_desc:string")
    has(ok(c:get("/api/user_lookup?username=" .. maker.username)).user, "id:id username:string")
    has(ok(c:get "/api/user_lookup?username=nobody-of-this-name"), "user:table?")
    has(ok(c:get("/api/user_lookup?q=" .. maker.username)).users[1], "id:id username:string")
    ok(c:get "/api/user_lookup", "users:list")
    assert.is_false(c:get("/api/user_lookup?email=" .. maker.email).json.ok)
  end)

  it("manage the films of a creator", function()
    local own = film(maker, 300)
    local r = page(maker, "/api/video_update", { id = own, title = "New", description = "Text", price_cents = "400" })
    ok(r)
    r = ok(page(maker, "/api/allow", { video_id = own, username = affiliate.username }), "video_id:string username:string rows_affected:number")
    assert.equal(1, r.rows_affected)
    for _, field in ipairs { "email", "username_or_email" } do
      assert.equal(0, ok(page(maker, "/api/allow", { video_id = own, [field] = affiliate.email })).rows_affected)
    end
    ok(page(maker, "/api/allow", { video_id = own, user_id = affiliate.id }))
    local v = ok(maker:get "/api/my_videos", "videos:list").videos[1]
    has(v, "id:string title:string description:string price_cents:number created_at:time allow_count:number allow_users:list can_retry:boolean")
    assert.same({ own, "New", 400, 1, { affiliate.username } }, { v.id, v.title, v.price_cents, v.allow_count, v.allow_users })
    assert.is_false(v.can_retry)
    assert.equal(404, page(viewer, "/api/video_update", { id = own, title = "Mine", description = "", price_cents = "1" }).status)
  end)

  it("offer another try only while the original is there", function()
    local failed = h.make.video(maker, { state = "failed", error = "no", upload_path = "x.mp4" })
    local function can()
      local one = ok(maker:get("/api/videos/" .. failed)).video.can_retry
      for _, v in ipairs(ok(maker:get "/api/my_videos").videos) do
        if v.id == failed then assert.equal(one, v.can_retry) end
      end
      return one
    end
    assert.is_true(can())
    assert(db.exec("update videos set upload_path = null where id = $1::uuid", failed))
    assert.is_false(can())
    assert.equal(409, maker:post("/api/videos/" .. failed .. "/retry", {}).status)
  end)

  it("read ways to pay", function()
    local c = h.client()
    ok(c:get("/api/pay/options?video_id=" .. id), "video_id:string price_cents:number creator_id:id creator_wallet:string? "
      .. "creator_chain_id:number? tokens:list")
    local guest = ok(c:get("/api/pay/all_options?video_id=" .. id))
    has(guest.wallet, "available:boolean balance_cents:number? balance_display:string? can_afford:boolean?")
    for _, p in ipairs(ok(c:get "/api/pay/providers", "default_provider:string? providers:list").providers) do
      has(p, "provider:string display_name:string configured:boolean environment:string api_base_url:string? supports_redirect_checkout:boolean "
        .. "supports_webhook_confirmation:boolean supports_manual_confirmation:boolean supported_currencies:list required_env:list "
        .. "missing_env:list enabled:boolean")
    end
    ok(c:get "/api/kurs", "usd_to_idr:number")
  end)

  it("move money in the wallet", function()
    local dep = ok(viewer:post("/api/wallet/deposit", { amount_cents = 1000, note = "please" }), "txn_id:id message:string")
    assert.is_truthy(dep.txn_id)
    ok(viewer:post("/api/wallet/transfer", { to_username = affiliate.username, amount_cents = 100, note = "hi" }),
      "balance_cents:number balance_display:string transferred_to:string amount_display:string")
    ok(viewer:get "/api/wallet/balance", "balance_cents:number balance_display:string")
    for _, row in ipairs(ok(viewer:get "/api/wallet/transactions?limit=50", "items:list").items) do
      has(row, "id:id txn_type:string amount_cents:number balance_after:number status:string ref_username:string? note:string "
        .. "admin_note:string created_at:time")
    end
    assert.same({}, h.breaches())
  end)

  it("pay an affiliate", function()
    local sold = film(maker, 1000)
    ok(maker:post("/api/affiliate/settings", { video_id = sold, commission_pct = 20, is_enabled = true }), "message:string")
    ok(maker:get("/api/affiliate/settings?video_id=" .. sold), "video_id:string commission_pct:number is_enabled:boolean")
    local link = ok(affiliate:get("/api/affiliate/link?video_id=" .. sold), "link:string username:string video_id:string is_enabled:boolean")
    assert.equal("/public/watch.html", link.link:match "^[^?]*")
    assert.equal(affiliate.username, form.decode(link.link:match "%?(.*)").ref)
    ok(h.client():get("/api/affiliate/program?video_id=" .. sold), "has_affiliate:boolean commission_pct:number")
    ok(viewer:post("/api/wallet/pay", { video_id = sold, ref_code = affiliate.username }))
    local e = ok(affiliate:get "/api/affiliate/earnings?limit=50", "total_commission_cents:number total_display:string earnings:list items:list")
    local ROW = "id:id video_id:string video_title:string buyer_username:string commission_cents:number commission_display:string "
      .. "purchase_price_cents:number payment_method:string created_at:time"
    has(e.items[1], ROW)
    assert.equal(200, e.items[1].commission_cents)
    local s = ok(affiliate:get "/api/affiliate/summary", "total_earnings_cents:number month_earnings_cents:number total_referrals:number")
    assert.same({ 200, 200, 1 }, { s.total_earnings_cents, s.month_earnings_cents, s.total_referrals })
    local all = ok(admin:get "/admin/affiliate/commissions?limit=100", "total_commission_cents:number total_display:string count:number items:list")
    has(all.items[1], ROW .. " affiliate_username:string owner_username:string")
    assert.same({}, h.breaches())
  end)

  it("block people", function()
    local pest = h.make.user()
    ok(maker:post("/api/creator/block_user", { user_id = pest.id, reason = "spam" }), "blocked_user_id:id ban_type:string")
    local b = ok(maker:get "/api/creator/blocked_users", "items:list").items[1]
    has(b, "blocked_user_id:id username:string email:string ban_type:string reason:string expires_at:time? created_at:time")
    assert.same({ pest.id, "soft", "" }, { b.blocked_user_id, b.ban_type, b.email })
    assert.equal(1, ok(maker:post("/api/creator/unblock_user", { user_id = pest.id }), "removed:number").removed)
  end)

  it("read and set the payment switches", function()
    local r = ok(admin:get "/admin/payment_settings", "settings:table providers:list")
    local SETTINGS = "wallet_payment_enabled:boolean wallet_transfer_enabled:boolean paypal_enabled:boolean stripe_enabled:boolean "
      .. "xendit_enabled:boolean midtrans_enabled:boolean x402_enabled:boolean default_provider:string?"
    has(r.settings, SETTINGS)
    local back = ok(admin:post("/admin/payment_settings", { wallet_payment_enabled = r.settings.wallet_payment_enabled,
      wallet_transfer_enabled = r.settings.wallet_transfer_enabled, stripe_enabled = false }))
    has(back.settings, SETTINGS)
    assert.equal(409, admin:post("/admin/payment_settings", { xendit_enabled = true }).status)
    local data = admin:get("/admin/data?limit=50", { headers = { accept = PAGE } })
    assert.equal(200, data.status)
    assert.truthy(data.body:find("Purchases", 1, true))
  end)
end)
