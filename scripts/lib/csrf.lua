-- SPDX-License-Identifier: Apache-2.0
-- Which state-changing requests come from our own pages. Browsers say so in Sec-Fetch-Site or Origin; a client that
-- sends neither is no browser and must show it with a JSON body or the X-PPV header once it uses a session cookie.
local errors = require "lib.errors"

local M = {}
local SAFE = { GET = true, HEAD = true, OPTIONS = true }

-- scheme, host, port of an origin or URL; nil when it is none.
local function parse(url)
  local scheme, authority = tostring(url):match("^(https?)://([^/%?#]+)")
  if not scheme or authority:find("@", 1, true) then return nil end
  local host, port = authority:match("^(%[[%x:.]+%])(.*)$")
  if not host then host, port = authority:match("^([^:]+)(.*)$") end
  if not host then return nil end
  port = port:match("^:(%d+)$") or (port == "" and (scheme == "https" and "443" or "80")) or nil
  if not port then return nil end
  return scheme .. "://" .. host:lower() .. ":" .. port
end
M.origin = parse

local function ours(value, ctx)
  local got = parse(value)
  return got ~= nil and (got == parse(ctx.base_url) or got == parse(ctx.scheme .. "://" .. (ctx.req.host or "")))
end

local function refuse()
  return errors.fail("auth.cross_origin", "This request did not come from our own pages.", { reason = "cross_origin" })
end

function M.check(ctx)
  if SAFE[ctx.method] then return true end
  local h = ctx.req.headers
  local site = h["sec-fetch-site"]
  if site then
    if site == "same-origin" or site == "none" then return true end
    return refuse()
  end
  local origin = h.origin or h.referer
  if origin then
    if ours(origin, ctx) then return true end
    return refuse()
  end
  if not ctx:has_session_cookie() then return true end
  local ctype = (h["content-type"] or ""):lower()
  if ctype:find("^application/json") or h["x-ppv"] then return true end
  return refuse()
end

return M
