-- SPDX-License-Identifier: Apache-2.0
local cache = require "ppv.cache"
local db = require "ppv.db"
local h = require "spec.support"
local totp = require "lib.totp"

local B32 = {}
for i = 1, 32 do B32[("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"):sub(i, i)] = i - 1 end
local function unbase32(text)
  local out, acc, bits = {}, 0, 0
  for c in text:gmatch "." do
    acc, bits = acc * 32 + B32[c], bits + 5
    if bits >= 8 then
      bits = bits - 8
      out[#out + 1] = string.char(math.floor(acc / 2 ^ bits) % 256)
      acc = acc % 2 ^ bits
    end
  end
  return table.concat(out)
end

-- The step before now is in the window, so three codes can be spent without waiting.
local function code(who, shift) return totp.code(who.secret, totp.step() + (shift or 0)) end

local function forget_step(who) assert(db.exec("update user_totp set last_step = 0 where user_id = $1", who.id)) end

local function enroll(who)
  local r = who:post("/api/totp", { action = "start" })
  assert(r.status == 200, r.body)
  who.secret = unbase32(r.json.secret)
  r = who:post("/api/totp", { action = "confirm", code = code(who) })
  assert(r.status == 200, r.body)
  who.recovery = r.json.recovery_codes
  forget_step(who)
  return who
end

local function age(who)
  assert(db.exec("update sessions set reauth_at = now() - interval '6 minutes' where user_id = $1", who.id))
  for _, row in ipairs(assert(db.query("select encode(token_hash, 'hex') as hex from sessions where user_id = $1", who.id))) do
    cache.del("sess:" .. row.hex)
  end
end

local function setting(key, value)
  if value == nil then assert(db.exec("delete from settings where key = $1", key))
  else
    assert(db.exec([[insert into settings (key, value) values ($1, $2::jsonb) on conflict (key) do update
      set value = excluded.value]], key, value))
  end
  cache.del "settings"
end

describe("one-time codes", function()
  it("equal the vectors of RFC 6238", function()
    local secret = "12345678901234567890"
    for t, want in pairs { [59] = "287082", [1111111109] = "081804", [1111111111] = "050471", [1234567890] = "005924",
      [2000000000] = "279037", [20000000000] = "353130" } do
      assert.equal(want, totp.code(secret, totp.step(t)))
    end
  end)

  it("write base 32 as RFC 4648", function()
    for plain, want in pairs { [""] = "", f = "MY", fo = "MZXQ", foo = "MZXW6", foob = "MZXW6YQ", fooba = "MZXW6YTB",
      foobar = "MZXW6YTBOI" } do assert.equal(want, totp.base32(plain)) end
  end)

  it("are accepted one step early or late and no further", function()
    local secret, now = "12345678901234567890", 1234567890
    for shift = -1, 1 do
      assert.equal(totp.step(now) + shift, totp.match(secret, totp.code(secret, totp.step(now) + shift), now))
    end
    assert.is_nil(totp.match(secret, totp.code(secret, totp.step(now) - 2), now))
    assert.is_nil(totp.match(secret, totp.code(secret, totp.step(now) + 2), now))
  end)
end)

describe("two-step sign-in", function()
  it("is set up with a code and shows its secret once", function()
    local u = h.make.user()
    assert.is_false(u:get("/api/totp").json.enabled)
    assert.equal(409, u:post("/api/totp", { action = "confirm", code = "123456" }).status)
    local r = u:post("/api/totp", { action = "start" })
    assert.equal(32, #r.json.secret)
    assert.is_truthy(r.json.uri:find("^otpauth://totp/[%w%%.@_-]+%?secret=" .. r.json.secret .. "&issuer="), r.json.uri)
    u.secret = unbase32(r.json.secret)
    r = u:post("/api/totp", { action = "confirm", code = "000000" })
    assert.is_true(r.status == 403 or code(u) == "000000")
    local other = h.client()
    assert.equal(200, other:post("/auth/login", { email = u.email, password = u.password }).status)
    r = u:post("/api/totp", { action = "confirm", code = code(u) })
    assert.equal(200, r.status, r.body)
    assert.equal(10, #r.json.recovery_codes)
    assert.equal(401, other:get("/api/me").status)
    r = u:get("/api/totp")
    assert.is_true(r.json.enabled)
    assert.equal(10, r.json.recovery_left)
    assert.is_nil(r.body:find "secret")
    assert.equal(409, u:post("/api/totp", { action = "start" }).status)
  end)

  it("asks for the code at the log-in and takes each once", function()
    local u = enroll(h.make.user())
    local c = h.client()
    local function try(fields)
      fields.email, fields.password = u.email, fields.password or u.password
      return c:post("/auth/login", fields)
    end
    local r = try {}
    assert.equal(401, r.status)
    assert.equal("auth.totp_required", r.json.code)
    assert.equal(401, c:get("/api/me").status)
    assert.equal("auth.bad_credentials", try({ password = "wrong wrong wrong", code = code(u) }).json.code)
    assert.equal("auth.totp_required", try({ code = totp.code(u.secret, totp.step() - 5) }).json.code)
    local now = code(u)
    assert.equal(200, try({ code = now:sub(1, 3) .. " " .. now:sub(4) }).status)
    assert.equal(200, c:get("/api/me").status)
    assert.equal("auth.totp_required", try({ code = now }).json.code)
  end)

  it("lets one code in once, however often it is tried", function()
    local u = enroll(h.make.user())
    local now, n = code(u), 0
    for _ = 1, 20 do
      local r = h.client():post("/auth/login", { email = u.email, password = u.password, code = now })
      if r.status == 200 then n = n + 1 end
    end
    assert.equal(1, n)
  end)

  it("answers a form without scripts by a redirect", function()
    local u = enroll(h.make.user())
    local r = h.client():request("POST", "/auth/login", { body = "email=" .. u.email .. "&password=a+long+password+of+specs",
      headers = { accept = "text/html", ["content-type"] = "application/x-www-form-urlencoded" } })
    assert.equal(303, r.status)
    assert.is_truthy(r.headers.location:find("reason=totp_required", 1, true))
  end)

  it("takes each recovery code once and keeps only hashes", function()
    local u = enroll(h.make.user())
    local one = u.recovery[3]
    local c = h.client()
    assert.equal(200, c:post("/auth/login", { email = u.email, password = u.password, code = one:lower() }).status)
    assert.equal(401, c:post("/auth/login", { email = u.email, password = u.password, code = one }).status)
    assert.equal(9, u:get("/api/totp").json.recovery_left)
    local row = assert(db.one("select row_to_json(t)::text as t from user_totp t where user_id = $1", u.id))
    assert.is_nil(row.t:find(u.recovery[1], 1, true))
    assert.is_nil(row.t:find((u.recovery[1]:gsub("-", "")), 1, true))
    assert.is_nil(row.t:find(totp.base32(u.secret), 1, true))
  end)

  it("ends only with password and code", function()
    local u = enroll(h.make.user())
    assert.is_true(u:post("/api/totp", { action = "disable", code = code(u) }).status >= 400)
    assert.equal(403, u:post("/api/totp", { action = "disable", code = code(u), password = "wrong" }).status)
    assert.equal(403, u:post("/api/totp", { action = "disable", code = "abc", password = u.password }).status)
    local r = u:post("/api/totp", { action = "disable", code = code(u), password = u.password })
    assert.equal(200, r.status, r.body)
    assert.equal(200, h.client():post("/auth/login", { email = u.email, password = u.password }).status)
  end)

  it("slows down who guesses", function()
    local u = enroll(h.make.user())
    local last
    for _ = 1, 8 do
      last = h.client():post("/auth/login", { email = u.email, password = u.password, code = "12" })
    end
    assert.equal(429, last.status)
  end)

  it("is asked of administrators before anything else when required", function()
    local a = h.make.admin()
    setting("security.admin_totp_required", "true")
    local r = a:get("/admin/users")
    assert.equal(403, r.status)
    assert.equal("auth.totp_enroll", r.json.code)
    assert.is_true(a:get("/api/totp").json.required)
    enroll(a)
    assert.equal(200, a:get("/admin/users").status)
    local c = h.client()
    assert.equal("auth.totp_required", c:post("/admin/login", { email = a.email, password = a.password }).json.code)
    assert.equal(200, c:post("/admin/login", { email = a.email, password = a.password, code = code(a) }).status)
    setting "security.admin_totp_required"
  end)
end)

describe("step-up", function()
  it("is asked of accounts with a second factor after five minutes", function()
    local a, u = enroll(h.make.admin()), h.make.user()
    local path = "/admin/users/" .. u.id .. "/suspend"
    age(a)
    local r = a:post(path, { reason = "x" })
    assert.equal(403, r.status)
    assert.equal("auth.step_up", r.json.code)
    assert.is_true(r.json.totp)
    assert.equal(200, a:get("/admin/users").status)
    assert.equal(403, a:post("/api/step_up", { password = "wrong" }).status)
    assert.equal(403, a:post("/api/step_up", { code = "000" }).status)
    assert.equal("auth.step_up", a:post(path, {}).json.code)
    assert.equal(200, a:post("/api/step_up", { code = code(a) }).status)
    assert.equal(200, a:post(path, {}).status)
    age(a)
    assert.equal(200, a:post("/api/step_up", { password = a.password }).status)
    assert.equal(200, a:post("/admin/users/" .. u.id .. "/unsuspend", {}).status)
  end)

  it("covers deposits, settings and plugin settings", function()
    local a = enroll(h.make.admin())
    age(a)
    for _, path in ipairs { "/admin/wallet/transactions/1/approve", "/admin/wallet/transactions/1/reject",
      "/admin/payment_settings", "/admin/settings", "/admin/plugins/percent/settings" } do
      assert.equal("auth.step_up", a:post(path, {}).json.code, path)
    end
  end)

  it("guards where money goes to, not the rest of the profile", function()
    local u = enroll(h.make.user())
    assert.equal(200, u:post("/api/profile", { bank_account = "12", profile_desc = "a" }).status)
    age(u)
    assert.equal(200, u:post("/api/profile", { bank_account = "12", profile_desc = "b" }).status)
    for _, change in ipairs { { bank_account = "13" }, { bank_account = "12", wallet_account = "0x" .. ("a"):rep(40) }, {} } do
      assert.equal("auth.step_up", u:post("/api/profile", change).json.code)
    end
    assert.equal(200, u:post("/api/step_up", { password = u.password }).status)
    assert.equal(200, u:post("/api/profile", { bank_account = "13" }).status)
  end)

  it("follows the setting", function()
    local u = h.make.user()
    age(u)
    assert.equal(200, u:post("/api/profile", { bank_account = "1" }).status)
    setting("security.step_up", '"on"')
    assert.equal("auth.step_up", u:post("/api/profile", { bank_account = "2" }).json.code)
    setting("security.step_up", '"off"')
    assert.equal(200, u:post("/api/profile", { bank_account = "3" }).status)
    setting "security.step_up"
  end)

  it("is needed to begin with a new secret", function()
    local u = h.make.user()
    age(u)
    assert.equal("auth.step_up", u:post("/api/totp", { action = "start" }).json.code)
    assert.equal(200, u:post("/api/step_up", { password = u.password }).status)
    assert.equal(200, u:post("/api/totp", { action = "start" }).status)
  end)
end)
