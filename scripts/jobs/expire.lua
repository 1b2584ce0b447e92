-- SPDX-License-Identifier: Apache-2.0
-- Regular housekeeping in the database: what ran out is removed, what is pending too long is closed, the audit log sealed.
local db = require "ppv.db"
local log = require "ppv.log"
local metrics = require "ppv.metrics"

local STATEMENTS = {
  { "sessions", "delete from sessions where least(idle_expires_at, expires_at) < now() - interval '1 hour'" },
  { "password_resets", "delete from password_resets where expires_at < now() - interval '1 day'" },
  { "guest_links", "delete from guest_links where expires_at < now() - interval '1 day'" },
  { "guests", "select ppv_guests_prune()" },
  { "playback", [[update playback_sessions set state = 'ended', end_reason = 'expired', ended_at = now()
    where state = 'ready' and expires_at < now()]] },
  { "jobs", "delete from jobs where state in ('done', 'cancelled') and finished_at < now() - interval '14 days'" },
  { "clicks", "delete from affiliate_clicks where created_at < now() - interval '400 days'" },
  { "attributions", "delete from affiliate_attributions where clicked_at < now() - interval '400 days'" },
  { "devices", "delete from user_devices where last_at < now() - interval '400 days'" },
  { "instruments", "delete from user_instruments where last_at < now() - interval '400 days'" },
}

local function expire()
  for _, s in ipairs(STATEMENTS) do
    local n, err = db.exec(s[2])
    if not n then
      log.warn("expire.failed", { what = s[1], code = err.code, message = err.message })
    elseif n > 0 then
      log.debug("expire.done", { what = s[1], rows = n })
    end
  end
end

local function seal()
  for _ = 1, 20 do
    local row, err = db.one("select ppv_audit_seal() as n")
    if not row then
      log.warn("audit.seal", { code = err.code, message = err.message })
      return
    end
    if row.n < 1000 then return end
  end
end

local function prune_keys()
  for _ = 1, 50 do
    local row = db.one("select ppv_key_log_prune(180) as n")
    if not row or row.n == 0 then return end
  end
end

-- A film whose last job died or vanished must not look busy for ever.
local function fail_orphans()
  local n = db.exec([[update videos v set state = 'failed', error_code = coalesce(v.error_code, 'media.internal'),
    error = coalesce(v.error, 'The preparation stopped. Please try again.')
    where v.state in ('queued', 'processing') and v.updated_at < now() - interval '10 minutes' and not exists
    (select from jobs j where j.subject = 'video:' || v.id::text and j.state in ('ready', 'running'))]])
  if n and n > 0 then
    log.warn("videos.orphans", { failed = n })
    metrics.count("video_orphans_total", n)
  end
end

return { ticks = {
  { name = "expire", every = 300, run = expire },
  { name = "audit_seal", every = 30, run = seal },
  { name = "key_log", every = 86400, run = prune_keys },
  { name = "video_orphans", every = 300, run = fail_orphans },
} }
