-- SPDX-License-Identifier: Apache-2.0
-- The own address on chains: proved by signing a text of ours, so that nobody can be paid at an address that is not theirs.
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local evm = require "ppv.evm"
local json = require "ppv.json"
local config = require "lib.config"
local errors = require "lib.errors"
local iso = require "lib.iso"
local mailer = require "lib.mailer"
local rpc = require "lib.rpc"

local LIFE_S = 600

local function show(ctx)
  local a, err = db.one("select a.address, " .. iso "a.proved_at" .. " as proved_at, " .. iso "a.usable_at" .. [[ as usable_at, a.usable_at > now() as waits,
    u.wallet_account = a.address as in_profile from chain_addresses a join users u on u.id = a.user_id where a.user_id = $1]], ctx.user.id)
  if a == nil then return nil, err end
  if a then a.address = evm.address(a.address) end
  return ctx:ok { address = a or json.null }
end

local function challenge(ctx, input)
  local address = evm.address(input.address)
  if not address then return errors.invalid("This is no address, or its checksum is wrong.") end
  local message = ("%s asks you to prove that this address is yours.\n\nAddress: %s\nAccount: %s\nSite: %s\nNonce: %s\nIssued: %s\n\n"
    .. "Signing costs nothing and moves no money."):format(config.get("site_name", "PPV"), address, ctx.user.username, ctx.base_url,
    crypto.random_token(18), os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(ctx.now)))
  local ok, err = db.exec([[insert into chain_challenges (user_id, address, message, expires_at) values ($1, $2, $3, now() + make_interval(secs => $4))
    on conflict (user_id) do update set address = excluded.address, message = excluded.message, expires_at = excluded.expires_at]],
    ctx.user.id, rpc.address(input.address), message, LIFE_S)
  if not ok then return nil, err end
  return ctx:ok { address = address, message = message, expires_in = LIFE_S }
end

local function prove(ctx, input)
  local c, err = db.one("select address, message from chain_challenges where user_id = $1 and expires_at > now()", ctx.user.id)
  if c == nil then return nil, err end
  if not c then return errors.fail("chain.challenge", "This challenge has expired. Please start again.") end
  local sig = evm.unhex(input.signature)
  local signer = sig and evm.recover(evm.personal_hash(c.message), sig)
  if not signer or signer:lower() ~= c.address then
    return errors.fail("chain.signature", "The signature is not by this address.")
  end
  local ok
  ok, err = db.exec("select ppv_chain_address_prove($1, $2, $3, $4)", ctx.user.id, c.address, c.message, input.signature)
  if not ok then return nil, err end
  mailer.queue(nil, ctx.user.email, "chain_address", { username = ctx.user.username, address = signer, url = ctx.base_url .. "/public/account.html" })
  return show(ctx)
end

local function remove(ctx)
  local n, err = db.exec("delete from chain_addresses where user_id = $1", ctx.user.id)
  if not n then return nil, err end
  return ctx:ok { removed = n > 0 }
end

return { routes = {
  { method = "GET", path = "/api/chain/address", auth = "user", summary = "The own proved address", handler = show },
  { method = "POST", path = "/api/chain/address/challenge", auth = "user", rate = "20/h", summary = "A text to sign with the own address",
    handler = challenge, input = { address = { type = "string", max = 42, min = 42, required = true, pattern = "^0x%x+$",
      hint = "must be 0x and 40 hexadecimal digits" } } },
  { method = "POST", path = "/api/chain/address/prove", auth = "user", rate = "20/h", step_up = true, summary = "Prove the own address", handler = prove,
    input = { signature = { type = "string", max = 132, min = 132, required = true, pattern = "^0x%x+$", hint = "must be 65 bytes in hexadecimal" } } },
  { method = "POST", path = "/api/chain/address/remove", auth = "user", rate = "20/h", step_up = true, summary = "Forget the own address", handler = remove },
} }
