-- SPDX-License-Identifier: Apache-2.0
-- The words of x402 (exact scheme on EVM chains, versions 1 and 2): what is asked for, what a client sent, and whether it fits. Pure:
-- asks no chain and no database. Whole numbers are decimal texts.
--   cfg: {network ("eip155:8453"), network_v1 ("base" or nil), chain_id, asset, pay_to, token_name, token_version}
--   payment: {version, scheme, network, from, to, value, valid_after, valid_before, nonce (32 bytes), signature (bytes), id?, raw}
local crypto = require "ppv.crypto"
local evm = require "ppv.evm"
local json = require "ppv.json"
local errors = require "lib.errors"

local M = { SECONDS = 300, MARGIN_S = 6 }

-- The names of version 1.
M.V1 = { [8453] = "base", [84532] = "base-sepolia", [43114] = "avalanche", [43113] = "avalanche-fuji", [137] = "polygon", [80002] = "polygon-amoy",
  [1329] = "sei", [1328] = "sei-testnet", [4689] = "iotex", [2741] = "abstract", [11124] = "abstract-testnet", [3338] = "peaq" }

M.TYPES = { TransferWithAuthorization = { { name = "from", type = "address" }, { name = "to", type = "address" }, { name = "value", type = "uint256" },
  { name = "validAfter", type = "uint256" }, { name = "validBefore", type = "uint256" }, { name = "nonce", type = "bytes32" } } }

--- A table as the text of a header.
function M.pack(t) return crypto.base64_encode(json.encode(t)) end

--- The table of such a text | nil.
function M.unpack(text)
  local raw = #text <= 16384 and crypto.base64_decode(text)
  local t = raw and json.decode(raw)
  return type(t) == "table" and t or nil
end

--- Smallest units of the token for a price, rounded up. rate: decimal text, what one token costs. nil, err when it is none.
function M.atoms(price, exponent, decimals, rate)
  local whole, part = tostring(rate):match "^(%d+)%.?(%d*)$"
  if not whole or #whole > 15 or #part > 18 or not tostring(rate):find "[1-9]" then return errors.fail("rate.unset", "There is no price of the token.") end
  local digits = (whole .. part):gsub("^0+(%d)", "%1")
  local up, down = "1" .. ("0"):rep(decimals + #part), "1" .. ("0"):rep(exponent)
  local per, err = evm.muldiv(digits, down, 1, "up")
  if not per then return nil, err end
  return evm.muldiv(price, up, per, "up")
end

--- What has to be paid, in the words of version 2.
function M.requirement(cfg, amount)
  return { scheme = "exact", network = cfg.network, amount = amount, asset = cfg.asset, payTo = cfg.pay_to, maxTimeoutSeconds = M.SECONDS,
    extra = { name = cfg.token_name, version = cfg.token_version } }
end

--- The same in those of version 1; nil when the chain has no name there. resource: {url, description, mimeType}
function M.requirement_v1(cfg, amount, resource)
  if not cfg.network_v1 then return nil end
  return { scheme = "exact", network = cfg.network_v1, maxAmountRequired = amount, resource = resource.url, description = resource.description,
    mimeType = resource.mimeType, payTo = cfg.pay_to, maxTimeoutSeconds = M.SECONDS, asset = cfg.asset,
    extra = { name = cfg.token_name, version = cfg.token_version } }
end

local function number(v)
  if type(v) ~= "string" or not v:find "^%d+$" or #v > 78 or (#v > 1 and v:byte() == 48) then return nil end
  return pcall(evm.cmp, v, 0) and v or nil
end

local function at(t, ...)
  for _, k in ipairs { ... } do
    if type(t) ~= "table" then return nil end
    t = t[k]
  end
  return t
end

local function malformed(what) return errors.fail("payment.malformed", "The payment cannot be read: " .. what .. ".", { status = 400 }) end

--- The payment of a header (decoded, of version 1 or 2) in one form | nil, err (400).
function M.read(t, version)
  if t.x402Version ~= version then return malformed "x402Version" end
  local scheme, network = t.scheme, t.network
  if version == 2 then scheme, network = at(t, "accepted", "scheme"), at(t, "accepted", "network") end
  if type(scheme) ~= "string" or type(network) ~= "string" then return malformed "scheme or network" end
  local a = at(t, "payload", "authorization")
  local p = { version = version, scheme = scheme, network = network, raw = t,
    from = type(at(a, "from")) == "string" and evm.address(a.from) or nil, to = type(at(a, "to")) == "string" and evm.address(a.to) or nil,
    value = number(at(a, "value")), valid_after = number(at(a, "validAfter")), valid_before = number(at(a, "validBefore")) }
  local sig, nonce = at(t, "payload", "signature"), at(a, "nonce")
  p.signature = type(sig) == "string" and #sig <= 8194 and evm.unhex(sig) or nil
  p.nonce = type(nonce) == "string" and #nonce == 66 and evm.unhex(nonce) or nil
  for _, k in ipairs { "from", "to", "value", "valid_after", "valid_before", "nonce", "signature" } do
    if not p[k] then return malformed(k) end
  end
  p.id = at(t, "extensions", "payment-identifier", "info", "id")
  if p.id ~= nil and (type(p.id) ~= "string" or #p.id < 16 or #p.id > 128 or p.id:find "[^%w_-]") then return malformed "payment-identifier" end
  return p
end

--- What the payer signed, for EIP-712.
function M.typed(cfg, p)
  return { domain = { name = cfg.token_name, version = cfg.token_version, chainId = cfg.chain_id, verifyingContract = cfg.asset },
    types = M.TYPES, primary = "TransferWithAuthorization", message = { from = p.from, to = p.to, value = p.value, validAfter = p.valid_after,
      validBefore = p.valid_before, nonce = p.nonce } }
end

--- Why a payment is not one of `amount` to us at unix time `now`; nil when it is. The order is the protocol's.
function M.wrong(cfg, p, amount, now)
  if p.scheme ~= "exact" then return "invalid_scheme" end
  if p.network ~= (p.version == 1 and cfg.network_v1 or cfg.network) then return "invalid_exact_evm_network_mismatch" end
  local hash = evm.typed_hash(M.typed(cfg, p))
  if not hash or evm.recover(hash, p.signature) ~= p.from then return "invalid_exact_evm_signature" end
  if p.to ~= cfg.pay_to then return "invalid_exact_evm_recipient_mismatch" end
  now = ("%d"):format(now)
  if evm.cmp(p.valid_before, evm.add(now, M.MARGIN_S)) < 0 then return "invalid_exact_evm_payload_authorization_valid_before" end
  if evm.cmp(p.valid_after, now) > 0 then return "invalid_exact_evm_payload_authorization_valid_after" end
  if evm.cmp(p.value, amount) ~= 0 then return "invalid_exact_evm_payload_authorization_value_mismatch" end
  return nil
end

--- The arguments of transferWithAuthorization as call data.
function M.calldata(p)
  local v = p.signature:byte(65)
  return evm.call("transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)", p.from, p.to, p.value,
    p.valid_after, p.valid_before, p.nonce, v < 27 and v + 27 or v, p.signature:sub(1, 32), p.signature:sub(33, 64))
end

-- Signing in with an address ------------------------------------------------------------------------------------------------

local STATEMENT = "Watch again what this address has paid for."
local LIFE_S = 300

local function mac(body) return crypto.sha256(crypto.sign("x402 sign-in", body), "hex"):sub(1, 24) end

local function iso(t) return os.date("!%Y-%m-%dT%H:%M:%SZ", t) end

--- What a client may sign to watch again: the extension sign-in-with-x. url: of the request; host: of the site.
function M.sign_in(cfg, url, host, now)
  now = math.floor(now)
  local body = crypto.hex_encode(crypto.random(12)) .. ("%08x"):format(now + LIFE_S)
  return { info = { domain = host, uri = url, version = "1", statement = STATEMENT, nonce = body .. mac(body), issuedAt = iso(now),
      expirationTime = iso(now + LIFE_S) },
    supportedChains = json.array { { chainId = cfg.network, type = "eip191" } },
    schema = { ["$schema"] = "https://json-schema.org/draft/2020-12/schema", type = "object",
      required = json.array { "domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature" } } }
end

--- Who signed in: the address and the nonce (to be used once, until its end) | nil, why. t: the decoded header SIGN-IN-WITH-X.
function M.signed_in(cfg, t, url, host, now)
  for _, k in ipairs { "domain", "address", "uri", "version", "statement", "chainId", "nonce", "issuedAt", "signature" } do
    if type(t[k]) ~= "string" or #t[k] > 500 or t[k]:find "[%c]" then return nil, k end
  end
  if t.domain ~= host then return nil, "domain" end
  if t.uri ~= url then return nil, "uri" end
  if t.chainId ~= cfg.network then return nil, "chainId" end
  local body, sum = t.nonce:match "^(%x+)(%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x)$"
  if not body or #body ~= 32 or not crypto.equal(sum, mac(body)) then return nil, "nonce" end
  if tonumber(body:sub(25), 16) < now then return nil, "expired" end
  local lines = { t.domain .. " wants you to sign in with your Ethereum account:", t.address, "", t.statement, "", "URI: " .. t.uri,
    "Version: " .. t.version, "Chain ID: " .. cfg.chain_id, "Nonce: " .. t.nonce, "Issued At: " .. t.issuedAt }
  if type(t.expirationTime) == "string" then lines[#lines + 1] = "Expiration Time: " .. t.expirationTime end
  local address, sig = evm.address(t.address), evm.unhex(t.signature)
  local who = address and sig and evm.recover(evm.personal_hash(table.concat(lines, "\n")), sig)
  if not who or who ~= address then return nil, "signature" end
  return address, t.nonce
end

return M
