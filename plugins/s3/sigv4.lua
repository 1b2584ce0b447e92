-- SPDX-License-Identifier: Apache-2.0
-- AWS Signature Version 4 for S3: of a request (headers), and of an address that anybody may fetch for a while (presigned).
-- Paths are signed as they are written: the caller makes them of plain characters only.
local crypto = require "ppv.crypto"

local M = { UNSIGNED = "UNSIGNED-PAYLOAD", EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }

--- RFC 3986, as the signature wants it.
function M.escape(s) return (tostring(s):gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end)) end

--- "name=value&..." in the order of the signature.
function M.query(t)
  local out = {}
  for k, v in pairs(t) do out[#out + 1] = M.escape(k) .. "=" .. M.escape(v) end
  table.sort(out)
  return table.concat(out, "&")
end

--- Seconds since 1970 -> "20130524T000000Z", without os.date.
function M.stamp(t)
  local days, s = math.floor(t / 86400), math.floor(t) % 86400
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day, month = doy - math.floor((153 * mp + 2) / 5) + 1, mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return ("%04d%02d%02dT%02d%02d%02dZ"):format(year, month, day, math.floor(s / 3600), math.floor(s / 60) % 60, s % 60)
end

--- keys: {access_key, secret_key, region}. What signs everything of one day: {scope, key}.
function M.key(keys, stamp)
  local day, k = stamp:sub(1, 8), "AWS4" .. keys.secret_key
  for _, part in ipairs { day, keys.region, "s3", "aws4_request" } do k = crypto.hmac_sha256(k, part) end
  return { scope = day .. "/" .. keys.region .. "/s3/aws4_request", key = k }
end

local function signature(key, stamp, canonical)
  return crypto.hmac_sha256(key.key, "AWS4-HMAC-SHA256\n" .. stamp .. "\n" .. key.scope .. "\n" .. crypto.sha256(canonical, "hex"), "hex")
end

--- Adds x-amz-date, x-amz-content-sha256 and authorization to headers (names lower case; all of them are signed).
-- r: method, host, path, query (text), headers, hash (of the body), now
function M.sign(keys, r)
  local stamp, headers, names, lines = M.stamp(r.now), r.headers, { "host" }, {}
  headers["x-amz-date"], headers["x-amz-content-sha256"] = stamp, r.hash
  for name in pairs(headers) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do lines[i] = name .. ":" .. (name == "host" and r.host or headers[name]) .. "\n" end
  local signed, key = table.concat(names, ";"), M.key(keys, stamp)
  local canonical = table.concat({ r.method, r.path, r.query or "", table.concat(lines), signed, r.hash }, "\n")
  headers.authorization = ("AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s"):format(keys.access_key, key.scope, signed,
    signature(key, stamp, canonical))
  return headers
end

--- Addresses for GET of many paths of a host, good for `expires` seconds from `now`.
function M.presign(keys, base, host, paths, now, expires)
  local stamp = M.stamp(now)
  local key = M.key(keys, stamp)
  local query = M.query { ["X-Amz-Algorithm"] = "AWS4-HMAC-SHA256", ["X-Amz-Credential"] = keys.access_key .. "/" .. key.scope,
    ["X-Amz-Date"] = stamp, ["X-Amz-Expires"] = expires, ["X-Amz-SignedHeaders"] = "host" }
  local tail, out = "\n" .. query .. "\nhost:" .. host .. "\n\nhost\n" .. M.UNSIGNED, {}
  for i, path in ipairs(paths) do
    out[i] = base .. path .. "?" .. query .. "&X-Amz-Signature=" .. signature(key, stamp, "GET\n" .. path .. tail)
  end
  return out
end

return M
