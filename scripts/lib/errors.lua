-- SPDX-License-Identifier: Apache-2.0
-- Error values of the scripts and the one table that maps a code to an HTTP status.
-- An error is {code, message, retry, detail, reason, where}; `reason` is the short word of the form pages.
local M = {}

local STATUS = {
  ["engine.internal"] = 500, ["engine.busy"] = 503, ["engine.timeout"] = 504, ["engine.cancelled"] = 499,
  ["engine.limit"] = 500, ["engine.reloaded"] = 503, ["plugin.error"] = 500,
  ["request.bad"] = 400, ["input.invalid"] = 422, ["request.too_large"] = 413, ["request.unsupported"] = 415,
  ["auth.required"] = 401, ["auth.forbidden"] = 403, ["request.not_found"] = 404, ["request.gone"] = 410,
  ["request.conflict"] = 409, ["request.rate"] = 429, ["request.method"] = 405,
  ["db.error"] = 500, ["db.conflict"] = 409, ["db.retry"] = 503, ["db.unavailable"] = 503,
  ["db.unknown_outcome"] = 503, ["net.failed"] = 502, ["net.refused"] = 403, ["io.failed"] = 500,
  ["io.disk_full"] = 507, ["media.unsupported"] = 422, ["config.invalid"] = 500,
  ["auth.bad_credentials"] = 401, ["auth.suspended"] = 403, ["auth.cross_origin"] = 403, ["auth.not_admin"] = 403,
  ["auth.throttled"] = 429, ["auth.session"] = 401, ["auth.totp_required"] = 401,
  ["wallet.insufficient"] = 402, ["wallet.disabled"] = 403, ["wallet.limit"] = 422, ["wallet.amount"] = 422,
  ["sale.price_changed"] = 409, ["sale.look_again"] = 409, ["sale.already_owned"] = 409, ["sale.own_video"] = 409, ["sale.blocked"] = 403,
  ["access.denied"] = 403, ["playback.limit"] = 409, ["video.not_ready"] = 409, ["upload.quota"] = 413,
  ["video.not_found"] = 404, ["preview.none"] = 404, ["video.not_yours"] = 404, ["deposit.not_found"] = 404,
  ["order.not_found"] = 404, ["order.payment_not_found"] = 404, ["user.unknown"] = 404, ["auth.token"] = 400,
  ["approval.self"] = 403, ["wallet.transfer_disabled"] = 403, ["wallet.deposit_disabled"] = 403, ["wallet.withdraw_disabled"] = 403,
  ["payout.not_found"] = 404, ["idempotency.required"] = 400, ["plugin.missing"] = 503,
  ["payment.not_configured"] = 409, ["payment.gateway_down"] = 503, ["payment.gateway_refused"] = 502, ["payment.currency"] = 422,
  ["coupon.unknown"] = 404, ["gift.unknown"] = 404, ["payment.bad_signature"] = 401, ["payment.bad_event"] = 400,
  ["storage.settings"] = 422, ["storage.missing_fields"] = 422, ["storage.scope"] = 422, ["storage.local"] = 409, ["storage.running"] = 409,
  ["storage.state"] = 409, ["storage.only_copy"] = 409, ["storage.not_found"] = 404,
}

-- Families: the part before the dot decides when the code itself is not listed.
local FAMILY = { input = 422, amount = 422, media = 422, upload = 422, auth = 403, access = 403, approval = 403, user = 404,
  wallet = 409, sale = 409, video = 409, ledger = 409, job = 409, idempotency = 409, order = 409, refund = 409, tax = 409, deposit = 409,
  transfer = 409, payout = 409, coupon = 409, gift = 409, offer = 409, rate = 503, storage = 502,
  affiliate = 409, chain = 409, rpc = 502, request = 400, payment = 502, net = 502, engine = 500, db = 500, io = 500, plugin = 500 }

-- What strangers may read of a failure inside the engine.
local HIDDEN = {
  engine = "Something went wrong on our side. Please try again.",
  db = "The service is not able to answer right now. Please try again.",
  io = "The service is not able to store or read the file right now.",
  plugin = "This function is not working right now.",
  config = "This function is not set up correctly.",
  net = "Another service did not answer. Please try again.",
}
local SPOKEN = { ["db.conflict"] = "This conflicts with what is already there." }

local ERR = { __tostring = function(e) return tostring(e.code) .. ": " .. tostring(e.message) end }
ERR.__index = ERR

-- extra: fields to add, such as reason, where, retry, detail, retry_after.
function M.new(code, message, extra)
  local e = { code = code, message = message, retry = false }
  if extra then for k, v in pairs(extra) do e[k] = v end end
  return setmetatable(e, ERR)
end

-- `return errors.fail(code, message)` is `return nil, err`.
function M.fail(code, message, extra) return nil, M.new(code, message, extra) end

function M.invalid(message, extra) return nil, M.new("input.invalid", message, extra) end

function M.not_found(what, extra) return nil, M.new("request.not_found", (what or "page") .. " not found", extra) end

-- Whatever came as an error (engine table, string, ours) becomes one of ours. Business errors raised by SQL functions
-- ('code|sentence') arrive as request.conflict with the code in detail.
function M.from(e)
  if type(e) ~= "table" then return M.new("engine.internal", tostring(e)) end
  if e.code == "request.conflict" and type(e.detail) == "string" and e.detail:find("^[a-z_]+%.[a-z_]+$") then
    return M.new(e.detail, e.message, { retry = e.retry, status = STATUS[e.detail] or FAMILY[e.detail:match "^[^.]+"] or 409 })
  end
  return e
end

-- What a business rule refused is a conflict; anything else unknown is our fault.
function M.fallback(e)
  return e.business and 409 or 500
end

function M.status(e)
  local code = tostring(e.code or "engine.internal")
  return e.status or STATUS[code] or FAMILY[code:match("^[^.]+") or ""] or M.fallback(e)
end

-- The sentence for the client.
function M.sentence(e)
  local code = tostring(e.code or "engine.internal")
  if SPOKEN[code] then return SPOKEN[code] end
  local hidden = HIDDEN[code:match("^[^.]+") or ""]
  if hidden then return hidden end
  return tostring(e.message or "the request failed")
end

function M.is(e, code) return type(e) == "table" and (e.code == code or e.detail == code) end

return M
