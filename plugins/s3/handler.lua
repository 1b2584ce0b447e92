-- SPDX-License-Identifier: Apache-2.0
-- S3 and what speaks like it (Ceph, MinIO, R2, B2). Plans signed requests and reads their answers; the engine moves the bytes.
local sigv4 = require "sigv4"
local time = require "ppv.time"

local M = {}

local PREFIX = { media = "videos/", upload = "uploads/", health = "healthchecks/" }
local PUT_MAX = 5 * 1024 * 1024 * 1024 -- what the protocol takes in one request

-- "media/<film>/<file>" -> the object's name in the bucket. Plain names only: such paths need no escaping and have one reading.
local function object(ctx, key, is_prefix)
  local root, path = tostring(key):match "^(%l+)/(.*)$"
  if not PREFIX[root or ""] then return nil, ctx:err("storage.key", "the key names no storage root") end
  if is_prefix and (path == "" or path:sub(-1) == "/") then path = path .. "x" else is_prefix = false end
  for part in (path .. "/"):gmatch "([^/]*)/" do
    if not part:find "^[%w_-][%w_.-]*$" then return nil, ctx:err("storage.key", "the key is not a plain path") end
  end
  return PREFIX[root] .. (is_prefix and path:sub(1, -2) or path)
end

-- Back from the bucket's name to our key; nil for what is not ours.
local function key_of(name)
  for root, prefix in pairs(PREFIX) do
    if name:sub(1, #prefix) == prefix then return root .. "/" .. name:sub(#prefix + 1) end
  end
end

-- {base, host, path}: where the bucket is. Names with dots do not fit into certificates, so they go into the path.
local function bucket(ctx)
  local s = ctx.settings
  local endpoint = s.endpoint ~= "" and s.endpoint or ("https://s3.%s.amazonaws.com"):format(s.region)
  local scheme, host = endpoint:lower():match "^(https?)://([%w.%-:%[%]]+)/?$"
  if not scheme then return nil, ctx:err("storage.settings", "The address of the service must be https://host, without a path.") end
  if not s.bucket:find "^[%w][%w.-]+[%w]$" then return nil, ctx:err("storage.settings", "The bucket's name is missing or not valid.") end
  for _, key in ipairs { "access_key", "secret_key", "region" } do
    if (s[key] or "") == "" then return nil, ctx:err("storage.settings", "The " .. key:gsub("_", " ") .. " is missing.") end
  end
  host = scheme == "https" and host:gsub(":443$", "") or host:gsub(":80$", "") -- as clients write the header Host
  if s.path_style or s.bucket:find(".", 1, true) then return { base = scheme .. "://" .. host, host = host, path = "/" .. s.bucket .. "/" } end
  host = s.bucket .. "." .. host
  return { base = scheme .. "://" .. host, host = host, path = "/" }
end

local function request(ctx, action, method, at, path, o)
  o = o or {}
  local headers = sigv4.sign(ctx.settings, { method = method, host = at.host, path = path, query = o.query, headers = o.headers or {},
    hash = o.hash or sigv4.EMPTY, now = time.now() })
  return { transport = "http", action = action, method = method, headers = headers,
    url = at.base .. path .. (o.query and "?" .. o.query or "") }
end

local function plan(action, method)
  return function(ctx, obj)
    local name, err = object(ctx, obj.key)
    if not name then return nil, err end
    local at
    at, err = bucket(ctx)
    if not at then return nil, err end
    local headers, hash
    if action == "put" then
      if (obj.size or 0) > PUT_MAX then return nil, ctx:err("storage.too_large", "Files above 5 GiB are not sent.") end
      -- The service computes the hash of what arrived and refuses anything else.
      hash = obj.sha256 or sigv4.UNSIGNED
      headers = { ["content-type"] = obj.type or "application/octet-stream", ["cache-control"] = "public, max-age=31536000, immutable",
        ["x-amz-meta-sha256"] = obj.sha256 }
    end
    return request(ctx, action, method, at, at.path .. name, { headers = headers, hash = hash })
  end
end

M.put, M.get, M.delete, M.stat = plan("put", "PUT"), plan("get", "GET"), plan("delete", "DELETE"), plan("stat", "HEAD")

--- obj: prefix ("media/" or "media/<film>/"), after (`next` of the page before)
function M.list(ctx, obj)
  local prefix, err = object(ctx, obj.prefix, true)
  if not prefix then return nil, err end
  local at
  at, err = bucket(ctx)
  if not at then return nil, err end
  local path = at.path == "/" and "/" or at.path:sub(1, -2)
  return request(ctx, "list", "GET", at, path, { query = sigv4.query { ["list-type"] = 2, prefix = prefix, ["start-after"] = obj.after } })
end

local ENTITY = { amp = "&", lt = "<", gt = ">", quot = '"', apos = "'" }

local function field(xml, name)
  local text = xml:match("<" .. name .. ">(.-)</" .. name .. ">")
  return text and (text:gsub("&(%a+);", ENTITY))
end

local function listed(body)
  local out, last = {}, nil
  for item in body:gmatch "<Contents>(.-)</Contents>" do
    last = field(item, "Key") or ""
    local key, y, mo, d, h, mi, s = key_of(last), (field(item, "LastModified") or ""):match "^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)"
    if key and y then
      out[#out + 1] = { key = key, size = tonumber(field(item, "Size")), modified = ("%s-%s-%sT%s:%s:%sZ"):format(y, mo, d, h, mi, s) }
    end
  end
  return { objects = out, next = field(body, "IsTruncated") == "true" and last or nil }
end

local SAYS = {
  SignatureDoesNotMatch = "The secret key does not belong to this access key.",
  InvalidAccessKeyId = "The service does not know this access key.",
  AccessDenied = "The keys do not allow this.",
  NoSuchBucket = "There is no bucket of this name.",
  RequestTimeTooSkewed = "The clocks of this machine and the service differ too much.",
  PermanentRedirect = "The bucket is in another region, or at another address.",
  AuthorizationHeaderMalformed = "The region is not the bucket's.",
  XAmzContentSHA256Mismatch = "What arrived is not what was sent.",
}
local AGAIN = { SlowDown = true, RequestTimeout = true, InternalError = true, ServiceUnavailable = true, XAmzContentSHA256Mismatch = true,
  OperationAborted = true }

--- What an answer means: put, get, delete -> true; stat -> {size, sha256} or false; list -> {objects = {{key, size, modified}}, next}
function M.read(ctx, action, r)
  if r.status >= 200 and r.status < 300 then
    if action == "list" then return listed(r.body) end
    if action == "stat" then return { size = tonumber(r.headers["content-length"]), sha256 = r.headers["x-amz-meta-sha256"] } end
    return true
  end
  local code = field(r.body or "", "Code") or ""
  if r.status == 404 and code ~= "NoSuchBucket" then
    if action == "stat" then return false end
    if action == "delete" then return true end
    if action == "get" then return nil, ctx:err("storage.missing", "The object is not in the bucket.") end
  end
  if r.status == 403 and code == "" then code = "AccessDenied" end
  local says = SAYS[code] or ("The service answered %d%s."):format(r.status, code ~= "" and " (" .. code:sub(1, 60) .. ")" or "")
  return nil, ctx:err("storage.refused", says, AGAIN[code] or r.status >= 500 or r.status == 429)
end

--- Addresses for players. obj: keys, now, expires (seconds) -> {urls}
function M.link(ctx, obj)
  local at, err = bucket(ctx)
  if not at then return nil, err end
  local paths = {}
  for i, key in ipairs(obj.keys) do
    local name
    name, err = object(ctx, key)
    if not name then return nil, err end
    paths[i] = at.path .. name
  end
  return { urls = sigv4.presign(ctx.settings, at.base, at.host, paths, obj.now, obj.expires) }
end

--- Which storage this is (the same text = the same objects), where players fetch from, and the address of "media/" if anybody may read it.
function M.where(ctx)
  local at, err = bucket(ctx)
  if not at then return nil, err end
  local public = ctx.settings.public_url:gsub("/+$", "")
  if public == "" then public = nil end
  return { place = at.base .. at.path, origin = (public or at.base):match "^%a+://[^/]+", public = public and public .. "/videos" }
end

return M
