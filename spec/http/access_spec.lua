-- Every route of the table, called by a visitor, a user and an administrator: who may not call it gets 401 or 403, nobody gets a 5xx.
local h = require "spec.support"

local function concrete(path)
  return (path:gsub(":session", "none"):gsub(":file", "master.m3u8"):gsub(":name", "percent")
    :gsub(":id", "00000000-0000-7000-8000-000000000000"):gsub(":[%w_]+", "1"):gsub("%*.*", "browse.html"))
end

describe("the access matrix", function()
  local visitor, user, admin
  lazy_setup(function() visitor, user, admin = h.client(), h.make.user(), h.make.admin() end)

  local skip = { ["/api/videos/:id/events"] = true, ["/api/chat/events"] = true, ["/auth/logout"] = true, ["/admin/logout"] = true,
    ["/admin/plugins/reload"] = true, ["/admin/plugins/rollback"] = true }

  for _, route in ipairs(SPEC_BOOT.routes) do
    it(route.method .. " " .. route.path .. " (" .. tostring(route.auth) .. ")", function()
      assert.is_true(({ none = 1, public = 1, user = 1, admin = 1 })[route.auth] ~= nil, "auth is " .. tostring(route.auth))
      if skip[route.path] then return end
      local function call(c) return c:request(route.method, concrete(route.path), route.method ~= "GET" and { json = {} } or {}) end
      local seen = { visitor = call(visitor).status, user = call(user).status, admin = call(admin).status }
      for who, status in pairs(seen) do assert.is_true(status < 500, who .. " got " .. status) end
      if route.auth == "user" or route.auth == "admin" then assert.equal(401, seen.visitor) end
      if route.auth == "admin" then assert.is_true(seen.user == 401 or seen.user == 403, "a user got " .. seen.user) end
    end)
  end
end)

describe("bad requests", function()
  local function answer(r) return r.status .. " " .. (r.body or "") end
  it("end in a sentence, a code and a request id", function()
    local u = h.make.user()
    local json = { ["content-type"] = "application/json" }
    for _, case in ipairs {
      { "GET", "/api/nothing", {}, 404 }, { "PUT", "/api/me", { json = {} }, 405 },
      { "POST", "/api/wallet/deposit", { body = "{", headers = json }, 400 },
      { "POST", "/api/wallet/deposit", { body = "[1]", headers = json }, 400 },
      { "POST", "/api/wallet/deposit", { body = "a", headers = { ["content-type"] = "text/plain" } }, 415 },
      { "POST", "/api/wallet/deposit", { body = '{"amount_cents":"' .. ("9"):rep(100000) .. '"}', headers = json }, 413 },
      { "GET", "/api/request_play?video_id=nonsense", {}, 422 },
      { "GET", "/api/videos?limit=-1", {}, 422 },
      { "GET", "/api/videos?cursor=%27%3bdrop", {}, 422 },
    } do
      local r = u:request(case[1], case[2], case[3])
      assert.is_true(r.status >= 400 and r.status < 500, case[2] .. ": " .. answer(r))
      assert.is_table(r.json, case[2] .. ": " .. answer(r))
      assert.is_false(r.json.ok)
      assert.is_true(#r.json.error > 3 and #r.json.code > 3 and #r.json.request_id > 8, answer(r))
      assert.is_nil(r.body:find("ERROR:", 1, true))
      assert.is_nil(r.body:find(".lua:", 1, true))
    end
  end)
end)
