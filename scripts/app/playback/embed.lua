-- SPDX-License-Identifier: Apache-2.0
-- The page other sites put into a frame: the free preview and a way to the watch page, never the film. It reads no cookie and
-- knows nobody; which sites may frame it, its Content-Security-Policy says from the list the creator keeps.
local errors = require "lib.errors"
local html = require "lib.html"
local preview = require "app.playback.preview"

local POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
  .. "worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors "

local function headers(policy)
  return { ["content-security-policy"] = policy, ["x-frame-options"] = "", ["cross-origin-opener-policy"] = "",
    ["cross-origin-resource-policy"] = "cross-origin", ["cache-control"] = "no-cache" }
end

-- A sentence instead of the preview. Any page may show it in a frame: it has nothing to click.
local function refuse(status, sentence)
  local h = headers "default-src 'none'; style-src 'self'; frame-ancestors *"
  h["content-type"] = "text/html; charset=utf-8"
  return { status = status, headers = h, body = html.page("Not available here", "<p>" .. html.esc(sentence) .. "</p>") }
end

local function embed(ctx, input)
  local v, err = preview.look(input.id)
  if not v then
    if errors.status(err) ~= 404 then return nil, err end
    return refuse(404, "This video does not exist.")
  end
  if v.embed_origins == "" then return refuse(403, "The creator of this video does not offer it on other sites.") end
  return ctx:file("static", "embed.html", headers(POLICY .. v.embed_origins))
end

return { routes = {
  { method = "GET", path = "/embed/:id", auth = "none", rate = "120/m", html = true, summary = "The free preview, for a frame on another site",
    input = { id = { type = "uuid", required = true } }, handler = embed },
} }
