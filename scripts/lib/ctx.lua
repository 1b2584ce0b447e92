-- SPDX-License-Identifier: Apache-2.0
-- What a handler receives: the request, who is asking, and ways to answer. Answers are plain tables the pipeline
-- turns into status, headers, body.
local config = require "lib.config"
local http = require "ppv.http"
local time = require "ppv.time"
local cookie = require "lib.cookie"
local errors = require "lib.errors"
local form = require "lib.form"

local Ctx = {}
local M = {}

-- Where visitors reach the site: from the configuration, never from the Host header (links in mails use it).
local base, always_https, never_https
function M.base_url()
  if base then return base end
  local url = config.get("base_url")
  if url then
    base = url:gsub("/+$", "")
  else
    base = "http://localhost:" .. (tostring(config.get("listen", "")):match(":(%d+)$") or "8080")
  end
  local want = tostring(config.get("cookie_secure", "auto"))
  always_https = want == "true" or (want ~= "false" and base:find("^https://") ~= nil)
  never_https = want == "false"
  Ctx.base_url = base
  return base
end

-- What is read of the request at the first look and then kept: most handlers need two or three of these.
local PARTS = { "method", "path", "query_text", "host", "ip", "id", "scheme", "params", "headers", "body" }
local FIRST = {
  now = time.now, -- the same for the whole request
  https = function() return always_https or (not never_https and http.request "scheme" == "https") end,
}
for _, name in ipairs(PARTS) do FIRST[name] = function() return http.request(name) end end
Ctx.req = true -- the request itself, for those who name it: ctx.req is ctx

local Meta = {}
function Meta.__index(ctx, name)
  local v = Ctx[name]
  if v ~= nil then return name == "req" and ctx or v end
  local first = FIRST[name]
  if not first then return nil end
  v = first()
  ctx[name] = v
  return v
end

-- The context of the running request. The nil fields are room for what comes.
function M.new(route)
  if not base then M.base_url() end
  return setmetatable({ route = route, now = nil, https = nil, session_loaded = nil, session = nil, user = nil, method = nil,
    path = nil }, Meta)
end

function Ctx.header(_, name) return http.header(name) end

function Ctx:cookies()
  if not self.cookie_jar then self.cookie_jar = cookie.parse(self:header("cookie")) end
  return self.cookie_jar
end

-- An administrator, in a session of the administrators' log-in. One who is signed in as a member is a member.
function Ctx:is_admin() return self.session ~= nil and self.session.kind == "admin" and self.user.is_admin == true end

-- The names of the session cookie, strongest first. A __Host- cookie cannot be planted by a neighbour domain.
function Ctx:session_cookie_name() return self.https and "__Host-ppv" or "ppv_session" end

function Ctx:has_session_cookie() return self:cookies()[self:session_cookie_name()] ~= nil end

-- Parsed query string (first value of each name).
function Ctx:query()
  if not self.query_fields then self.query_fields = form.decode(self.query_text) or {} end
  return self.query_fields
end

-- True for a form sent by a page without scripts: it is answered by a redirect to a page.
function Ctx:wants_page()
  local accept = self:header("accept") or ""
  if not accept:find("text/html", 1, true) then return false end
  local ctype = (self:header("content-type") or ""):lower()
  return self.method ~= "POST" or ctype:find("^application/x%-www%-form%-urlencoded") ~= nil or ctype == ""
end

-- An address inside this site, with optional query.
function Ctx:url(path, query)
  return self.base_url .. path .. (query and next(query) and ("?" .. form.encode(query)) or "")
end

function Ctx:cookie(name, value, o)
  o = o or {}
  o.secure = self.https
  local list = self.set_cookies or {}
  self.set_cookies = list
  for i = #list, 1, -1 do if list[i]:sub(1, #name + 1) == name .. "=" then table.remove(list, i) end end
  list[#list + 1] = cookie.build(name, value, o)
end

Ctx.encode = http.json

function Ctx:json(status, t, headers)
  if headers then headers["content-type"] = "application/json" end
  return { status = status, headers = headers or { ["content-type"] = "application/json" }, body = self.encode(t) }
end

-- {ok = true} and the fields of t, status 200.
function Ctx:ok(t, status)
  t = t or {}
  t.ok = true
  return self:json(status or 200, t)
end

function Ctx.empty(_, status) return { status = status or 204, headers = {}, body = "" } end

function Ctx.text(_, status, s, ctype)
  return { status = status, headers = { ["content-type"] = ctype or "text/plain; charset=utf-8" }, body = s }
end

function Ctx.html(_, status, s)
  return { status = status, headers = { ["content-type"] = "text/html; charset=utf-8" }, body = s }
end

-- Only paths of this site; a foreign target is a mistake in our code.
function Ctx.redirect(_, path, query)
  assert(path:find("^/[^/\\]") or path == "/", "redirect leaves the site")
  return { status = 303, body = "", headers = { location = path .. (query and ("?" .. form.encode(query)) or "") } }
end

-- relpath below one of the roots static, media. ctype nil = by the name's extension.
function Ctx.file(_, root, relpath, headers, ctype)
  return { status = 200, headers = headers or {}, body = { file = relpath, root = root, type = ctype } }
end

-- The same of a file that was made for this answer alone and is gone after it.
function Ctx.file_once(_, root, relpath, headers, ctype)
  return { status = 200, headers = headers or {}, body = { file = relpath, root = root, type = ctype, once = true } }
end

-- The form page's answer, or JSON for scripts.
function Ctx:done(page, t)
  if self:wants_page() then return self:redirect(page, { status = "ok" }) end
  return self:ok(t)
end

function Ctx.err(_, code, message, retry) return errors.new(code, message, { retry = retry or false }) end

M.methods = Ctx
return M
