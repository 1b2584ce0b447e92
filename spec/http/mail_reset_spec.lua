-- SPDX-License-Identifier: Apache-2.0
-- A forgotten password, from the form to the mail to the new password; mail goes into the outbox directory.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local h = require "spec.support"
local outbox = require "spec.support.mail"

local NEW = "a completely new pass phrase"

local run_jobs, mails_to = outbox.run_jobs, outbox.to

local function ask(email)
  local r = h.client():post("/auth/forgot", { email = email })
  assert.equal(200, r.status, r.body)
  run_jobs()
  return r
end

local function token_of(mail) return mail.text:match "reset_password%.html#token=([%w_-]+)" end
local function reset(token, password) return h.client():post("/auth/reset", { token = token, password = password or NEW }) end
local function login(u, password) return h.client():post("/auth/login", { email = u.email, password = password }).status end

describe("a forgotten password", function()
  setup(run_jobs)

  it("is reset by the link of the mail, once, and every session ends", function()
    local u = h.make.user()
    local other = h.client()
    assert.equal(200, other:post("/auth/login", { email = u.email, password = u.password }).status)
    ask(u.email)
    local mails = mails_to(u.email)
    assert.equal(1, #mails)
    local token = assert(token_of(mails[1]), mails[1].text)
    local r = reset(token)
    assert.equal(200, r.status, r.body)
    for _, c in ipairs { u, other } do assert.equal(401, c:get("/api/me").status) end
    assert.equal(401, login(u, u.password))
    assert.equal(200, login(u, NEW))
    r = reset(token, "yet another long password")
    assert.equal(400, r.status, r.body)
    assert.equal("auth.token", r.json.code)
    assert.equal(200, login(u, NEW))
    run_jobs()
    mails = mails_to(u.email)
    assert.equal(2, #mails, "the owner is told about the change")
    assert.is_nil(token_of(mails[2]))
  end)

  it("writes a proper mail", function()
    local u = h.make.user()
    ask(u.email)
    local raw = mails_to(u.email)[1].raw
    for _, name in ipairs { "From", "To", "Subject", "Date", "Message%-ID", "MIME%-Version", "Content%-Type" } do
      assert.truthy(("\r\n" .. raw):find("\r\n" .. name .. ": [^\r\n]"), name)
    end
    assert.is_nil(raw:gsub("\r\n", ""):find "[\r\n]", "lines end in CRLF")
    for line in raw:gmatch "[^\r\n]+" do assert.is_true(#line <= 998) end
  end)

  it("keeps only the hash of the token", function()
    local u = h.make.user()
    ask(u.email)
    local token = token_of(mails_to(u.email)[1])
    local row = db.one("select encode(token_hash, 'hex') as hex, expires_at - created_at as life from password_resets where user_id = $1", u.id)
    assert.equal(crypto.sha256(token, "hex"), row.hex)
    assert.is_false(db.one("select 1 as x from jobs where payload::text like '%' || $1 || '%' and state in ('ready', 'running')", token))
  end)

  it("is too old after its time", function()
    local u = h.make.user()
    ask(u.email)
    local token = token_of(mails_to(u.email)[1])
    db.exec("update password_resets set expires_at = now() - interval '1 second' where user_id = $1", u.id)
    local r = reset(token)
    assert.equal(400, r.status, r.body)
    assert.equal("auth.token", r.json.code)
    assert.truthy(r.json.error:find "too old")
    assert.equal(200, login(u, u.password))
  end)

  it("survives a weak new password: the link stays good", function()
    local u = h.make.user()
    ask(u.email)
    local token = token_of(mails_to(u.email)[1])
    for _, weak in ipairs { "short", "password123", u.username } do
      local r = reset(token, weak)
      assert.equal(422, r.status, r.body)
    end
    assert.equal(200, reset(token).status)
  end)

  it("tells nobody whether an account exists", function()
    local u = h.make.user()
    local known, unknown = ask(u.email), ask "nobody-at-all@example.org"
    known.json.request_id, unknown.json.request_id = nil, nil
    assert.same(known.json, unknown.json)
    assert.same({}, mails_to "nobody-at-all@example.org")
    local off = h.make.user()
    db.exec("update users set disabled_at = now() where id = $1", off.id)
    ask(off.email)
    assert.same({}, mails_to(off.email))
  end)

  it("sends at most five links an hour", function()
    local u = h.make.user()
    for _ = 1, 7 do ask(u.email) end
    assert.equal(5, #mails_to(u.email))
  end)

  it("refuses made-up tokens", function()
    for _, token in ipairs { "x", ("A"):rep(43), "' or 1=1 --", ("%00"):rep(3) } do
      local r = reset(token)
      assert.is_true(r.status == 400 or r.status == 422, r.body)
    end
    assert.is_true(reset(("A"):rep(500)).status < 500)
  end)

  it("registering again sends the owner a mail instead of an answer", function()
    local u = h.make.user()
    local name = "again" .. u.id
    local fresh = h.client():post("/auth/register", { username = name, email = name .. "@example.org", password = NEW })
    local again = h.client():post("/auth/register", { username = name .. "b", email = u.email, password = NEW })
    assert.equal(fresh.status, again.status)
    assert.equal(fresh.json.message, again.json.message)
    run_jobs()
    assert.equal(1, #mails_to(u.email))
    assert.equal(200, login(u, u.password))
  end)

  it("long passwords are refused politely everywhere", function()
    local u = h.make.user()
    local long = ("x"):rep(2000)
    assert.equal(401, login(u, long))
    local r = u:post("/api/change_password", { current_password = long, new_password = NEW })
    assert.is_true(r.status == 403 or r.status == 401, r.body)
    r = u:post("/api/change_password", { current_password = u.password, new_password = long })
    assert.equal(422, r.status, r.body)
  end)
end)

describe("another e-mail address", function()
  local function link_of(address)
    local mails = mails_to(address)
    return mails[1] and mails[#mails].text:match "confirm_email%.html#token=([%w%._-]+)"
  end
  local function ask_for(u, email, password)
    local r = u:post("/api/email", { email = email, password = password or u.password })
    run_jobs()
    return r
  end
  local function confirm(token) return h.client():post("/auth/email", { token = token }) end

  it("is used after its owner confirmed it; both addresses hear of it", function()
    local u = h.make.user()
    local new = "new-" .. u.email
    assert.equal(200, ask_for(u, new).status)
    assert.equal(u.email, u:get("/api/me").json.user.email)
    local token = assert(link_of(new))
    assert.equal(1, #mails_to(u.email), "the old address is warned")
    assert.is_nil(link_of(u.email))
    ask(u.email)
    local old_link = assert(token_of(mails_to(u.email)[2]))
    local r = confirm(token)
    assert.equal(200, r.status, r.body)
    run_jobs()
    assert.equal(new, u:get("/api/me").json.user.email)
    assert.truthy(mails_to(u.email)[3].text:find("not used any more", 1, true))
    assert.equal(401, login(u, u.password))
    assert.equal(200, h.client():post("/auth/login", { email = new, password = u.password }).status)
    assert.equal("auth.token", confirm(token).json.code)
    assert.equal(400, reset(old_link).status, "links to the old address end")
  end)

  it("needs the password and a link that is genuine, fresh and of this account as it is", function()
    local u, other = h.make.user(), h.make.user()
    assert.is_true(ask_for(u, "x-" .. u.email, "not the password").status >= 400)
    assert.is_nil(link_of("x-" .. u.email))
    assert.equal(422, ask_for(u, u.email:upper()).status)
    assert.equal(401, h.client():post("/api/email", { email = "a@example.org", password = "x" }).status)
    local taken = ask_for(u, other.email)
    assert.same({ 200, taken.json.message }, { taken.status, ask_for(u, "y-" .. u.email).json.message })
    assert.is_nil(link_of(other.email), "a taken address gets a mail without a link")
    local token = assert(link_of("y-" .. u.email))
    for _, bad in ipairs { "x", token .. "A", crypto.sign("other", "{}"), crypto.sign("email.change", '{"id":1,"ends":1}') } do
      assert.equal("auth.token", confirm(bad).json.code, bad)
    end
    assert.equal(200, u:post("/api/change_password", { current_password = u.password, new_password = NEW }).status)
    assert.equal("auth.token", confirm(token).json.code, "a new password ends open links")
    u.password = NEW
    assert.equal(200, ask_for(u, "z-" .. u.email).status)
    assert(db.exec("update users set email = $1 where id = $2", "z-" .. u.email, other.id))
    assert.equal("auth.token", confirm(link_of("z-" .. u.email)).json.code, "somebody else was faster")
  end)
end)
