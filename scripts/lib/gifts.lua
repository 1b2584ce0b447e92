-- SPDX-License-Identifier: Apache-2.0
-- Codes of gifts: 100 random bits in letters that are not mistaken for others, hashed to be found, sealed to be read by who paid.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local errors = require "lib.errors"

local M = { PURPOSE = "gift" }
local LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" -- 32

-- "ABCDE-FGHJK-MNPQR-STVWX"
function M.new()
  local out = {}
  for c in crypto.random(20):gmatch "." do
    local n = c:byte() % 32 + 1
    out[#out + 1] = LETTERS:sub(n, n)
  end
  return (table.concat(out):gsub("(%w%w%w%w%w)", "%1-"):sub(1, 23))
end

-- As people type it: spaces and case do not matter, O is 0, I and L are 1. nil when it cannot be one.
function M.clean(text)
  local s = text:upper():gsub("[^%w]", ""):gsub("O", "0"):gsub("[IL]", "1")
  return #s == 20 and not s:find "U" and s or nil
end

-- hash as bytes of the database, or nil when the text is no code.
function M.hash(text)
  local s = M.clean(text)
  return s and db.bytes(crypto.sha256(s))
end

-- Notes in v.what, for the ledger, that the purchase is a gift, when it is to be one; a gift is a title for good. input: gift, offer?,
-- gift_email?, gift_message?. true | nil, err
function M.take(v, input)
  if not input.gift then return true end
  if (input.offer or "purchase") ~= "purchase" then return errors.fail("gift.offer", "Only a title for good can be given to somebody.") end
  local code = M.new()
  v.what.gift = { hash = crypto.sha256(M.clean(code), "hex"), sealed = crypto.seal(code, M.PURPOSE), email = input.gift_email,
    message = input.gift_message }
  return true
end

function M.read(sealed) return crypto.open(sealed, M.PURPOSE) end

-- Fields of requests that buy.
M.INPUT = { gift = { type = "bool", default = false }, gift_email = { type = "email" },
  gift_message = { type = "string", max = 500, multiline = true, default = "" } }

return M
