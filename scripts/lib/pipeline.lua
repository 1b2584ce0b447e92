-- SPDX-License-Identifier: Apache-2.0
-- The one path of every request: rate -> session -> access -> CSRF -> input -> handler -> answer. Routes declare, this
-- file decides. A route is
--   { method, path, auth = "public"|"user"|"admin"|"none", rate = "60/m", csrf = false?, input = {...}?, where = ?,
--     body = "none"|"memory"|"stream"?, max_body = n?, pages = {fail = "/public/..."}?, html = bool?,
--     step_up = true?, guest = true? (open to buyers without a password), pure = bool?, headers = {name = value}? (of every answer), handler = fn(ctx, input) }
-- pure: the answer depends on the path alone; once it was a file that exists, the engine gives it without asking again (until
-- the next reload). Not for plugins, nor with rate, auth other than "none" or input.
-- auth "public": anybody, the session is known when there is one; "none": cookies are never read (webhooks, probes).
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local errors = require "lib.errors"
local context = require "lib.ctx"
local csrf = require "lib.csrf"
local form = require "lib.form"
local html = require "lib.html"
local rate = require "lib.rate"
local schema = require "lib.schema"
local session = require "lib.session"
local stepup = require "lib.stepup"
local totp = require "lib.totp"

local M = {}
local AUTH = { public = true, user = true, viewer = true, admin = true, none = true }
local METHODS = { GET = true, HEAD = true, POST = true, PUT = true, PATCH = true, DELETE = true, OPTIONS = true }
local MEMORY = 64 * 1024
local EXACT = { exact = true } -- 1e3 and 1.0 are no integers

-- Checks a declaration and fills its defaults. true, or nil and a sentence.
function M.declare(route)
  if type(route) ~= "table" then return nil, "a route must be a table" end
  local name = tostring(route.method) .. " " .. tostring(route.path)
  if not METHODS[route.method] then return nil, name .. ": unknown method" end
  if type(route.path) ~= "string" or route.path:sub(1, 1) ~= "/" then return nil, name .. ": the path must begin with /" end
  if type(route.handler) ~= "function" then return nil, name .. ": no handler" end
  if not AUTH[route.auth or ""] then return nil, name .. ": a route must say who may call it (auth)" end
  if route.rate then
    route.limit = rate.parse(route.rate)
    if not route.limit then return nil, name .. ": rate is not like 60/m" end
  end
  if route.input then
    local ok, why = schema.verify(route.input)
    if not ok then return nil, name .. ": " .. why end
  end
  if route.pure and (route.auth ~= "none" or route.rate or route.input or route.method ~= "GET") then
    return nil, name .. ": a pure route has no auth, rate or input"
  end
  route.body = route.body or ((route.method == "POST" or route.method == "PUT") and "memory" or "none")
  route.max_body = route.max_body or MEMORY
  route.name = name
  return true
end

local function allow(ctx, route)
  if route.auth == "none" then return true end
  local ok, err = session.load(ctx)
  if not ok then return nil, err end
  if route.auth == "public" then return true end
  if not ctx.user then
    return errors.fail("auth.required", "not logged in", { reason = "not_logged_in", where = route.where and "auth" })
  end
  if ctx.user.guest and not route.guest then
    return errors.fail("auth.guest", "This needs an account with a password.", { reason = "guest" })
  end
  if route.auth == "admin" and not ctx:is_admin() then
    return errors.fail("auth.forbidden", "administrators only", { reason = "not_admin" })
  end
  if route.auth == "admin" and not ctx.user.totp and totp.admin_required() then
    return errors.fail("auth.totp_enroll", "administrators need two-step sign-in; switch it on in the account page",
      { reason = "totp_enroll" })
  end
  return true
end

-- The body's fields: JSON object, urlencoded form or nothing.
local function body_fields(ctx, route)
  local text = ctx.req.body
  if route.body ~= "memory" or route.raw or not text or text == "" then return {} end
  local ctype = (ctx:header("content-type") or ""):lower():match("^[^;%s]*")
  if ctype == "application/json" then
    local t = json.decode(text, EXACT)
    if type(t) ~= "table" then return errors.fail("request.bad", "The body is not a JSON object.") end
    return t
  elseif ctype == "application/x-www-form-urlencoded" then
    local t, why = form.decode(text)
    if not t then return errors.fail("request.bad", why) end
    return t
  end
  return errors.fail("request.unsupported", "Send JSON (application/json) or a form (application/x-www-form-urlencoded).")
end

local function read_input(ctx, route)
  if not route.input then return {} end
  local fields, err = body_fields(ctx, route)
  if not fields then return nil, err end
  local source = {}
  for name in pairs(route.input) do
    local rule = route.input[name]
    local v = ctx.params[name]
    if v == nil and route.body ~= "memory" then v = ctx:query()[name] end
    if v == nil then v = fields[name] end
    if v == nil and rule.alias then v = fields[rule.alias] or (route.body ~= "memory" and ctx:query()[rule.alias] or nil) end
    source[name] = v
  end
  return schema.apply(route.input, source, route.where and { where = "validation" })
end

local function steps(ctx, route)
  local ok, err
  if route.limit then
    ok, err = rate.hit(route.name, rate.address(ctx.ip), route.limit)
    if not ok then return nil, err end
  end
  ok, err = allow(ctx, route)
  if not ok then return nil, err end
  if route.auth ~= "none" and route.csrf ~= false then
    ok, err = csrf.check(ctx)
    if not ok then return nil, err end
  end
  if route.step_up then
    ok, err = stepup.check(ctx)
    if not ok then return nil, err end
  end
  local input
  input, err = read_input(ctx, route)
  if not input then return nil, err end
  return route.handler(ctx, input)
end

local function error_page(ctx, status, message)
  return ctx:html(status, html.page(("Error %d"):format(status), "<p>" .. html.esc(message) .. "</p><p class=\"text-muted\">Request "
    .. html.esc(ctx.id) .. "</p>"))
end

-- The answer for an error. JSON for programs, a redirect for plain forms, a small page for pages.
function M.failure(ctx, route, err)
  err = errors.from(err)
  local status = errors.status(err)
  if status >= 500 then
    log.error("request.failed", { request_id = ctx.id, route = route and route.name or ctx.path, code = err.code,
      message = tostring(err.message), detail = err.detail })
    metrics.count("http_errors_total", 1)
  elseif status == 401 or status == 403 or status == 429 then
    log.info("request.refused", { request_id = ctx.id, route = route and route.name or ctx.path, code = err.code,
      ip = ctx.ip, user = ctx.user and ctx.user.id })
  end
  local sentence = errors.sentence(err)
  if route and route.pages and ctx:wants_page() then
    return ctx:redirect(route.pages.fail, { status = "fail",
      reason = err.reason or (status >= 500 and "server_error" or err.code:match("[^.]+$")) })
  end
  if route and route.html and ctx:wants_page() then return error_page(ctx, status, sentence) end
  local body = { ok = false, error = sentence, code = err.code, request_id = ctx.id, where = err.where, field = err.field }
  if err.extra then for k, v in pairs(err.extra) do body[k] = v end end
  local headers = {}
  for name, value in pairs(err.headers or {}) do headers[name] = value end
  if err.retry_after then headers["retry-after"] = ("%d"):format(math.max(1, math.ceil(err.retry_after))) end
  return ctx:json(status, body, headers)
end

local function finish(ctx, answer)
  local headers, fixed = answer.headers or {}, ctx.route and ctx.route.headers
  if fixed then for name, value in pairs(fixed) do headers[name] = headers[name] or value end end
  local cookies = rawget(ctx, "set_cookies")
  if cookies then headers["set-cookie"] = cookies end
  -- the engine adds no-store to all but files
  if type(answer.body) == "table" and not headers["cache-control"] and ctx.path:sub(1, 8) ~= "/public/" then
    headers["cache-control"] = "no-store"
  end
  return answer.status, headers, answer.body or ""
end

-- status, headers, body for the engine.
function M.run(route)
  local ctx = context.new(route)
  local fine, answer, err = pcall(steps, ctx, route)
  if not fine then
    answer, err = nil, type(answer) == "table" and answer.code and answer or errors.new("engine.internal", tostring(answer))
  end
  if not answer then answer = M.failure(ctx, route, err or errors.new("engine.internal", "the handler gave no answer")) end
  if type(answer) ~= "table" or not answer.status then
    answer = M.failure(ctx, route, errors.new("engine.internal", "the handler's answer is not a response"))
  end
  return finish(ctx, answer)
end

-- No route: 404, or 405 with what is allowed.
function M.not_found(status, allow_header)
  local ctx = context.new(nil)
  local code = status == 405 and "request.method" or "request.not_found"
  local text = status == 405 and "This address does not accept " .. tostring(ctx.method) .. "." or "There is nothing at this address."
  local answer
  if ctx.method == "GET" and (ctx:header("accept") or ""):find("text/html", 1, true) then
    answer = error_page(ctx, status, text)
  else
    answer = ctx:json(status, { ok = false, error = text, code = code, request_id = ctx.id })
  end
  if status == 405 and allow_header then answer.headers.allow = allow_header end
  return finish(ctx, answer)
end

return M
