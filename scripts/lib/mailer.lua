-- SPDX-License-Identifier: Apache-2.0
-- Mail is queued as a job in the caller's transaction, so that it is sent when, and only when, the change is durable.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local mail = require "ppv.mail"
local config = require "lib.config"
local display = require "lib.display"
local html = require "lib.html"
local settings = require "lib.settings"

local M = {}

local function site() return config.get("site_name", "PPV") end

M.templates = {
  reset = { "Reset your password", "Somebody asked to reset the password of your account %(username).\n\n"
    .. "Open this link within 30 minutes:\n%(url)\n\nIf it was not you, ignore this mail." },
  changed = { "Your password was changed", "The password of your account %(username) was changed just now.\nIf it was not you, reset it at once: %(url)" },
  email_asked = { "Another address was asked for", "Somebody with the password of your account %(username) asked to change its e-mail address. Nothing changes "
    .. "until the new address is confirmed. If it was not you, set a new password at once: %(url)" },
  email_confirm = { "Confirm your new address", "This address is to become that of the account %(username).\n\n"
    .. "Open this link within 30 minutes to confirm it:\n%(url)\n\nIf it was not you, ignore this mail." },
  email_changed = { "Your e-mail address was changed", "Your account %(username) has another e-mail address now; this one is not used any more. "
    .. "If it was not you, tell the operator of the site." },
  totp_on = { "Two-step sign-in is on", "Two-step sign-in was switched on for your account %(username). If it was not you, change your password at once." },
  totp_off = { "Two-step sign-in is off", "Two-step sign-in was switched off for your account %(username). If it was not you, change your password at once." },
  totp_recovery = { "New recovery codes", "New recovery codes were made for your account %(username); the old ones do not work any more." },
  exists = { "Somebody tried to register with your address", "There is already an account with this e-mail address "
    .. "(%(username)). If it was you, sign in or reset the password: %(url)" },
  sale = { "You sold %(title)", "%(title) was bought for %(amount). Your share is %(share)." },
  sales = { "%(count) sales", "These were bought:\n\n%(lines)\n" },
  guest_link = { "Your purchases", "Open this link within an hour to see what you bought with this address; it works once:\n%(url)\n\n"
    .. "If you did not ask for it, ignore this mail." },
  guest_receipt = { "Your purchase of %(title)", "Thank you. %(title) was paid with %(amount).\nOrder: %(order)\n\nIt plays in the browser you bought it "
    .. "with. To watch elsewhere, open this link within an hour; it works once:\n%(url)\n\nA new link whenever you need one: %(page)" },
  guest_full = { "Your account %(username)", "Your purchases are in the account %(username) now; sign in with this address and your password. If it was not "
    .. "you, set a new password at once: %(url)" },
  gift = { "A gift for you: %(title)", "%(giver) gives you the film %(title).\n\n%(message)\n\nRedeem it here: %(url)\nor with this code at "
    .. "%(page): %(code)" },
  gift_bought = { "Your gift: %(title)", "Thank you. Whoever has this code can watch %(title):\n\n%(code)\n\nThe link to pass on: %(url)\n%(sent)" },
  grant = { "You can watch %(title)", "%(giver) lets you watch the film %(title) for free%(until).\n\nWatch it here: %(url)" },
  deposit = { "Your deposit was approved", "%(amount) were added to your wallet." },
  deposit_rejected = { "Your deposit was rejected", "Your deposit of %(amount) was rejected. %(note)" },
  destination = { "The account for your payouts was changed", "Money from your account %(username) will go to %(hint) from %(date) on. If it was not you, "
    .. "change your password at once and tell the operator; nothing is sent there before that date: %(url)" },
  chain_address = { "The address for payments on chain was set", "Sales of your account %(username) that are paid on a chain pay your share to "
    .. "%(address). If it was not you, change your password at once and remove the address: %(url)" },
  payout_paid = { "%(amount) were paid out", "%(amount) were sent to %(hint). Reference: %(reference)" },
  payout_refused = { "A payout was not made", "Your payout of %(amount) was not made; the money is in your wallet again. %(note)" },
  payout_reversed = { "A payout came back", "Your payout of %(amount) came back; the money is in your wallet again. %(note)" },
  video_ready = { "%(title) is ready", "Your video %(title) has been prepared and can be watched: %(url)" },
  withdrawal = { "Your withdrawal arrived (%(number))", "We received your statement on %(at) (UTC). This mail is your proof of it; keep it.\n\n"
    .. "Name: %(name)\nPurchase: %(reference)\nReason: %(reason)\n\nYou hear from us by mail as soon as it is decided. If you did not send it, ignore "
    .. "this mail." },
  withdrawal_accepted = { "Your withdrawal was accepted", "Your withdrawal from %(reference) was accepted. The money goes back the way it came. %(note)" },
  withdrawal_refused = { "Your withdrawal was refused", "Your withdrawal from %(reference) was refused: %(note)" },
  test = { "Test mail", "The mail server works. %(username) sent this mail from the settings." },
  video_failed = { "%(title) could not be prepared", "Your video %(title) could not be prepared: %(reason)" },
}

-- Subject lines are one line whatever a title holds; a list has a line for each.
local function fill(text, values)
  local function line(v) return (tostring(v or ""):gsub("[%c]", " ")) end
  return (text:gsub("%%%((%w+)%)", function(k)
    local v = values[k]
    if type(v) ~= "table" then return line(v) end
    local out = {}
    for i, x in ipairs(v) do out[i] = line(x) end
    return table.concat(out, "\n")
  end))
end

function M.render(template, values)
  local t = M.templates[template]
  local subject, text = fill(t[1], values), fill(t[2], values)
  local body = html.esc(text):gsub("\n", "<br>\n"):gsub("https?://[^%s<]+", function(u) return '<a href="' .. u .. '">' .. u .. "</a>" end)
  return site() .. ": " .. subject, text .. "\n", "<p>" .. body .. "</p>"
end

-- The server of stored settings, as ppv.mail.send takes it, and the sender. Both nil: what the configuration says.
function M.server(s)
  local host = s.host:find(":", 1, true) and s.host:sub(1, 1) ~= "[" and "[" .. s.host .. "]" or s.host
  local from
  if s.from_email then from = s.from_name ~= "" and ('%s <%s>'):format(s.from_name, s.from_email) or s.from_email end
  return { url = ("%s://%s:%d"):format(s.port == 465 and "smtps" or "smtp", host, s.port), user = s.username,
    password = s.password and crypto.open(s.password) or "", tls = s.use_tls }, from
end

-- Sends now. Yields.
function M.send(to, template, values)
  local subject, text, body = M.render(template, values or {})
  local stored, server, from = settings.get("smtp"), nil, nil
  if stored and stored.enabled then server, from = M.server(stored) end
  return mail.send { to = to, subject = subject, text = text, html = body, from = from, server = server }
end

-- What strangers wrote into a mail that we send carries no links of theirs.
function M.defang(text) return (text:gsub("%a[%w+.-]*://", ""):gsub("[wW][wW][wW]%.", "")) end

-- Queues a mail. tx: transaction, or nil for an own statement.
function M.queue(tx, to, template, values)
  return (tx or db).exec("select ppv_job_add('mail', $1::jsonb, null, null, now(), 5, 6, null)",
    json.encode { to = to, template = template, values = values })
end

-- Tells creators what was sold since the last time, each in one mail; a sale that has a receipt is told once. true | nil, err. Yields.
local TOLD = 500
local function sold(tx)
  local rows, err = tx.query("select * from ppv_sales_tell($1)", TOLD)
  if not rows then return nil, err end
  local mails, order = {}, {}
  for _, s in ipairs(rows) do
    s.amount, s.share = display.money(s.price, s.currency), display.money(s.share, s.currency)
    if not mails[s.email] then mails[s.email], order[#order + 1] = {}, s.email end
    table.insert(mails[s.email], s)
  end
  for _, to in ipairs(order) do
    local list, lines = mails[to], json.array {}
    for i, s in ipairs(list) do lines[i] = ("%s for %s. Your share is %s."):format(s.title, s.amount, s.share) end
    local queued, why = M.queue(tx, to, #list == 1 and "sale" or "sales", { title = list[1].title, amount = list[1].amount, share = list[1].share,
      count = #list, lines = lines })
    if not queued then return nil, why end
  end
  return #rows
end
function M.sold()
  repeat
    local n, err = db.tx(sold)
    if not n then return nil, err end
  until n < TOLD
  return true
end

return M
