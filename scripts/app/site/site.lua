-- SPDX-License-Identifier: Apache-2.0
-- Pages, static files, probes, figures and the API's description.
local blob = require "ppv.blob"
local cache = require "ppv.cache"
local db = require "ppv.db"
local json = require "ppv.json"
local log = require "ppv.log"
local metrics = require "ppv.metrics"
local config = require "lib.config"
local errors = require "lib.errors"
local live = require "lib.live"

local function to(path)
  return function(ctx) return ctx:redirect(path) end
end

-- What a browser needs; build files that lie in the same directory are nobody's business.
local SERVED = { html = true, css = true, js = true, mjs = true, map = true, svg = true, png = true, jpg = true, jpeg = true,
  webp = true, ico = true, woff2 = true, webmanifest = true, txt = true }

local function static(ctx)
  local rel = ctx.params.rest or ""
  if rel == "" or rel:sub(-1) == "/" then rel = rel .. "index.html" end
  if not SERVED[rel:match("%.(%w+)$") or ""] or rel:find("^node_modules/") or rel:find("/%.") or rel:sub(1, 1) == "." then
    return errors.not_found()
  end
  local page = rel:find("%.html$")
  return ctx:file("static", rel, { ["cache-control"] = page and "no-cache" or "public, max-age=600" })
end

local function health(ctx) return ctx:text(200, "ok") end

local function ready(ctx)
  local checks, fine = {}, true
  local row = db.read_one("select 1 as one")
  checks.database = row and "ok" or "down"
  fine = fine and row ~= nil
  local free = blob.free("media")
  checks.media = free and "ok" or "down"
  checks.disk = free and (free > config.int("disk_reserve", 0) and "ok" or "full") or "unknown"
  fine = fine and free ~= nil and checks.disk == "ok"
  return ctx:json(fine and 200 or 503, { ok = fine, checks = checks })
end

-- Figures are for the operator: this machine, private networks, or an administrator who is logged in.
local PRIVATE = { "^127%.", "^10%.", "^192%.168%.", "^172%.1[6-9]%.", "^172%.2%d%.", "^172%.3[01]%.", "^::1$", "^f[cd]%x%x:", "^fe80:" }

local function is_private(ip)
  for _, pattern in ipairs(PRIVATE) do if ip:find(pattern) then return true end end
  return false
end

local function figures(ctx)
  if not ctx:is_admin() and not is_private(ctx.ip or "") then return errors.not_found() end
  return ctx:text(200, metrics.render(), "text/plain; version=0.0.4; charset=utf-8")
end

local document

local function openapi(ctx)
  document = document or json.encode(live.document(live.routes, ctx.base_url))
  return { status = 200, headers = { ["content-type"] = "application/json", ["cache-control"] = "public, max-age=60" },
    body = document }
end

local function site(ctx)
  return ctx:ok { name = config.get("site_name", "PPV"), currency = config.get("currency", "USD") }
end

-- What browsers refused because of our Content-Security-Policy. Anybody can send anything, so it is counted, and one
-- report a minute, cut short and without query strings, is logged.
local function csp(ctx)
  metrics.count("csp_reports_total", 1)
  if cache.incr("csp:log", 1, 60) == 1 then
    local t = json.decode(ctx.req.body or "")
    local report = type(t) == "table" and type(t["csp-report"]) == "table" and t["csp-report"] or {}
    local function field(name)
      local v = report[name]
      return type(v) == "string" and v:match("^[^?#]*"):sub(1, 200) or nil
    end
    log.warn("csp.report", { ip = ctx.ip, page = field "document-uri", blocked = field "blocked-uri", source = field "source-file",
      directive = field "effective-directive" or field "violated-directive" })
  end
  return { status = 204, headers = {}, body = "" }
end

local routes = {
  { method = "GET", path = "/", auth = "none", hidden = true, handler = to "/public/browse.html" },
  { method = "GET", path = "/browse", auth = "none", hidden = true, handler = to "/public/browse.html" },
  { method = "GET", path = "/dashboard", auth = "none", hidden = true, handler = to "/public/dashboard.html" },
  { method = "GET", path = "/admin", auth = "none", hidden = true, handler = to "/public/admin/dashboard.html" },
  { method = "GET", path = "/public", auth = "none", hidden = true, handler = to "/public/browse.html" },
  { method = "GET", path = "/public/", auth = "none", hidden = true, html = true, handler = static },
  { method = "GET", path = "/public/*rest", auth = "none", hidden = true, html = true, pure = true, handler = static },
  { method = "GET", path = "/health", auth = "none", summary = "Is the process alive", handler = health },
  { method = "GET", path = "/ready", auth = "none", summary = "Can it serve", handler = ready },
  { method = "GET", path = "/metrics", auth = "public", summary = "Figures for Prometheus", handler = figures },
  { method = "GET", path = "/api/openapi.json", auth = "none", summary = "This description", handler = openapi },
  { method = "POST", path = "/csp", auth = "none", rate = "60/m", max_body = 16384, hidden = true, handler = csp },
  { method = "GET", path = "/api/site", auth = "none", summary = "Name and currency of the site", handler = site },
}
return { routes = routes }
