-- SPDX-License-Identifier: Apache-2.0
-- The mail server an administrator sets; it takes the place of the configuration's while it is switched on.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local mail = require "ppv.mail"
local audit = require "lib.audit"
local config = require "lib.config"
local errors = require "lib.errors"
local mailer = require "lib.mailer"
local settings = require "lib.settings"

local function shown(s)
  return { host = s.host or "", port = s.port or 587, username = s.username or "", password = "", has_password = s.password ~= nil,
    from_email = s.from_email or "", from_name = s.from_name or "", use_tls = s.use_tls ~= false, enabled = s.enabled == true }
end

local function show(ctx)
  return ctx:ok { smtp = shown(settings.get("smtp", {})), otherwise = config.get("smtp_url", "") ~= "" and "configuration" or "outbox" }
end

-- The answer tells why a server refused, which is what the administrator asked for.
local function try(ctx, stored, to)
  local server, from = mailer.server(stored)
  local subject, text, html = mailer.render("test", { username = ctx.user.username })
  local ok, err = mail.send { to = to, subject = subject, text = text, html = html, from = from, server = server }
  if ok then return ctx:ok { saved = true, test_sent = true } end
  return ctx:ok { saved = true, test_sent = false, test_error = err.message }
end

local function save(ctx, input)
  local old = settings.get("smtp", {})
  local new = { host = input.host, port = input.port, username = input.username, from_email = input.from_email,
    from_name = input.from_name, use_tls = input.use_tls, enabled = input.enabled, password = old.password }
  if (new.enabled or input.test_email) and new.host == "" then return errors.invalid("The mail server needs a host name.") end
  if input.password ~= "" then new.password = crypto.seal(input.password) end
  if new.username == "" then new.password = nil end
  local ok, err = db.tx(function(tx)
    local done, e = settings.set(tx, { smtp = new }, ctx.user.id)
    if not done then return nil, e end
    return audit.write(tx, ctx, "settings.smtp", "settings", { host = new.host, port = new.port, username = new.username,
      from_email = new.from_email, use_tls = new.use_tls, enabled = new.enabled, password_changed = input.password ~= "" })
  end)
  settings.changed()
  if not ok then return nil, err end
  if input.test_email then return try(ctx, new, input.test_email) end
  return ctx:ok { saved = true }
end

return { routes = {
  { method = "GET", path = "/admin/smtp", auth = "admin", summary = "The mail server", handler = show },
  { method = "POST", path = "/admin/smtp", auth = "admin", step_up = true, rate = "20/m", summary = "Set the mail server, send a test mail",
    handler = save, input = {
      host = { type = "string", max = 253, pattern = "^[%w.:%[%]-]*$", hint = "must be a host name or an address", default = "" },
      port = { type = "int", min = 1, max = 65535, default = 587 },
      username = { type = "string", max = 200, default = "" },
      password = { type = "string", max = 500, raw = true, default = "", keep_blank = true },
      from_email = { type = "email" }, from_name = { type = "string", max = 100, pattern = '^[^"<>\\]*$', default = "" },
      use_tls = { type = "bool", default = true }, enabled = { type = "bool", default = false },
      test_email = { type = "email" } } },
} }
