local db = require "ppv.db"
local h = require "spec.support"

describe("accounts", function()
  it("register, log in, tell who I am, log out", function()
    local c = h.client()
    local r = c:post("/auth/register", { username = "newcomer1", email = "newcomer1@example.org", password = "not so easy to guess" })
    assert.is_true(r.status == 200 or r.status == 201, r.body)
    assert.equal(401, h.client():get("/api/me").status)
    r = c:post("/auth/login", { email = "newcomer1@example.org", password = "not so easy to guess" })
    assert.equal(200, r.status, r.body)
    assert.equal("newcomer1", c:get("/api/me").json.user.username)
    local stolen = h.client()
    for k, v in pairs(c.jar) do stolen.jar[k] = v end
    assert.equal(200, c:post("/auth/logout", {}).status)
    assert.equal(401, stolen:get("/api/me").status)
  end)

  it("answer alike for an unknown account and a wrong password", function()
    local u = h.make.user()
    local a = h.client():post("/auth/login", { email = u.email, password = "wrong wrong wrong" })
    local b = h.client():post("/auth/login", { email = "nobody@example.org", password = "wrong wrong wrong" })
    assert.equal(401, a.status)
    assert.equal(a.status, b.status)
    assert.equal(a.json.error, b.json.error)
    assert.equal(a.json.code, b.json.code)
  end)

  it("refuse a weak password, a bad address and a bad name", function()
    for _, bad in ipairs { { password = "short" }, { password = "password123" }, { email = "nonsense" }, { username = "a b" },
      { username = "" } } do
      local body = { username = "someone9", email = "someone9@example.org", password = "a perfectly fine one" }
      for k, v in pairs(bad) do body[k] = v end
      local r = h.client():post("/auth/register", body)
      assert.is_true(r.status >= 400 and r.status < 500, r.body)
    end
  end)

  it("change the password and end the other sessions", function()
    local u = h.make.user()
    local other = h.client()
    assert.equal(200, other:post("/auth/login", { email = u.email, password = u.password }).status)
    local r = u:post("/api/change_password", { current_password = u.password, new_password = "another long password" })
    assert.equal(200, r.status, r.body)
    assert.equal(401, other:get("/api/me").status)
    assert.equal(401, h.client():post("/auth/login", { email = u.email, password = u.password }).status)
  end)

  it("do not let a visitor or a user act as administrator", function()
    local u = h.make.user()
    for _, c in ipairs { h.client(), u } do
      local r = c:get("/admin/users")
      assert.is_true(r.status == 401 or r.status == 403, r.body)
    end
    assert.is_true(u:post("/admin/login", { email = u.email, password = u.password }).status >= 400)
    assert.equal(200, h.make.admin():get("/admin/users").status)
  end)

  it("refuse a form from another site", function()
    local u = h.make.user()
    local r = u:post("/api/profile", { profile_desc = "x" }, { headers = { origin = "https://evil.example" } })
    assert.equal(403, r.status)
    r = u:post("/api/profile", { profile_desc = "x" }, { headers = { ["sec-fetch-site"] = "cross-site" } })
    assert.equal(403, r.status)
  end)

  it("keep only hashes of session and reset tokens", function()
    local u = h.make.user()
    local value = select(2, next(u.jar))
    local rows = assert(db.query("select row_to_json(s)::text as t from sessions s where user_id = $1", u.id))
    assert.is_true(#rows > 0)
    for _, row in ipairs(rows) do assert.is_nil(row.t:find(value:sub(1, 24), 1, true)) end
  end)
end)
