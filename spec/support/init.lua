-- SPDX-License-Identifier: Apache-2.0
-- What a specification needs: a client with a cookie jar, people and films made by SQL, waiting by condition, and the
-- check of the ledger's invariants. Runs inside `ppv spec`, so every call goes to this very engine.
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local fetch = require "ppv.fetch"
local json = require "ppv.json"
local time = require "ppv.time"

local M = { url = SPEC_URL }
local serial = 0

--- A client with its own cookies. path: string; opts: {json=, body=, headers=, method=}. Answers {status, headers, body, json}.
local Client = {}
Client.__index = Client

function M.client(base)
  return setmetatable({ jar = {}, base = base or M.url }, Client)
end

function Client:cookie()
  local out = {}
  for k, v in pairs(self.jar) do out[#out + 1] = k .. "=" .. v end
  return table.concat(out, "; ")
end

local function keep(jar, line)
  local name, value = line:match "^([^=]+)=([^;]*)"
  if not name then return end
  if value == "" or line:lower():find("max-age=0", 1, true) then jar[name] = nil else jar[name] = value end
end

function Client:request(method, path, opts)
  opts = opts or {}
  local headers = { origin = self.base, accept = "application/json" }
  if next(self.jar) then headers.cookie = self:cookie() end
  for k, v in pairs(opts.headers or {}) do headers[k] = v or nil end
  local body = opts.body
  if opts.json ~= nil then
    body = json.encode(opts.json)
    headers["content-type"] = "application/json"
  end
  -- Specs are one address; limits have their own.
  local route = path:match "^[^?]*":gsub("^(/api/pay/)%w+(/start)$", "%1:provider%2"):gsub("^(/api/pay/desk/)[^/]+", "%1:ref")
  for _, name in ipairs { route, path:match "^[^?]*" } do cache.del("rate:" .. method .. " " .. name .. ":127.0.0.1") end
  local r = assert(fetch.request { method = method, url = self.base .. path, headers = headers, body = body,
    timeout = 20, max_body = 16 * 1024 * 1024, allow_private = true })
  local set = r.headers["set-cookie"]
  if type(set) == "table" then set = table.concat(set, ", ") end
  for line in ((set or ""):gsub(", ([%w_-]+=)", "\n%1") .. "\n"):gmatch "([^\n]+)\n" do keep(self.jar, line) end
  if (r.headers["content-type"] or ""):find("json", 1, true) then r.json = json.decode(r.body) end
  return r
end

function Client:get(path, opts) return self:request("GET", path, opts) end
function Client:post(path, body, opts)
  opts = opts or {}
  opts.json = body or {}
  return self:request("POST", path, opts)
end

--- Waits for fn() to be truthy and returns it; fails after `seconds` (default 5) with the last value.
function M.eventually(fn, seconds)
  local limit, last = time.mono() + (seconds or 5)
  repeat
    last = fn()
    if last then return last end
    db.one "select pg_sleep(0.02)::text as x"
  until time.mono() > limit
  error("not within " .. (seconds or 5) .. " s; last value: " .. tostring(last), 2)
end

local function unique(prefix)
  serial = serial + 1
  return prefix .. serial .. crypto.hex_encode(crypto.random(4))
end

M.make = {}
local password_hash

--- A person who is signed in. over: columns of users. -> client with .id .username .email .password
function M.make.user(over)
  local c = M.client()
  c.username, c.password = unique "u", "a long password of specs"
  c.email = c.username .. "@example.org"
  password_hash = password_hash or assert(crypto.hash_password(c.password))
  local row = assert(db.one("insert into users(username, email, password_hash) values ($1, $2, $3) returning id",
    c.username, c.email, password_hash))
  c.id = row.id
  for k, v in pairs(over or {}) do assert(db.exec("update users set " .. k .. " = $1 where id = $2", v, c.id)) end
  local r = c:post("/auth/login", { email = c.email, password = c.password })
  assert(r.status == 200, r.body)
  return c
end

function M.make.admin()
  local c = M.make.user { is_admin = true }
  c.jar = {}
  local r = c:post("/admin/login", { email = c.email, password = c.password })
  assert(r.status == 200, r.body)
  return c
end

--- A film that is ready, without media files. over: columns of videos. -> id
function M.make.video(owner, over)
  local row = assert(db.one([[insert into videos(owner_id, title, price, currency, state, visibility, duration_ms, title_secret)
    values ($1, 'A film', 500, 'USD', 'ready', 'published', 8000, 'none') returning id::text as id]], owner.id))
  for k, v in pairs(over or {}) do assert(db.exec("update videos set " .. k .. " = $1 where id = $2", v, row.id)) end
  return row.id
end

--- Puts money into a wallet the way an administrator does.
function M.make.money(admin, who, amount)
  local r = who:post("/api/wallet/deposit", { amount_cents = amount })
  assert(r.status == 200, r.body)
  r = admin:post("/admin/wallet/transactions/" .. r.json.txn_id .. "/approve", {})
  assert(r.status == 200, r.body)
end

--- Sets a setting of a plugin to JSON text; without key takes all of them back.
function M.plugin(name, key, value)
  if key then
    assert(db.exec([[insert into plugin_settings (plugin, key, value) values ($1, $2, $3::jsonb)
      on conflict (plugin, key) do update set value = excluded.value]], name, key, value))
  else
    assert(db.exec("delete from plugin_settings where plugin = $1", name))
  end
  cache.del("plugset:" .. name)
end

function M.balance(who) return who:get("/api/wallet/balance").json.balance_cents end

--- Every breach of the ledger's invariants; a specification asserts that it is empty.
function M.breaches()
  local out = {}
  for _, row in ipairs(assert(db.query "select * from ppv_invariants()")) do out[#out + 1] = json.encode(row) end
  return out
end

return M
