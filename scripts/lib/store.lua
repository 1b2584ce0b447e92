-- SPDX-License-Identifier: Apache-2.0
-- The storage outside of this machine: which one is set, and one object of it at a time. Plugins plan requests and read the
-- answers; here the bytes are moved, between the disk and the network, never through Lua.
local blob = require "ppv.blob"
local cache = require "ppv.cache"
local crypto = require "ppv.crypto"
local fetch = require "ppv.fetch"
local time = require "ppv.time"
local errors = require "lib.errors"
local host = require "ppv.host"
local registry = require "lib.registry"
local settings = require "lib.settings"

local M = { TRIES = { 0.75, 2 } } -- seconds before the second and third try

--- The plugin of a back end's name; nil for "local" and unknown ones.
function M.plugin(backend)
  for _, p in ipairs(registry.by_kind.storage or {}) do
    if p.name == backend then return p end
    for _, name in ipairs(p.manifest.backends or {}) do if name == backend then return p end end
  end
end

--- Names that may be set, "local" first.
function M.backends()
  local out = { "local" }
  for _, p in ipairs(registry.by_kind.storage or {}) do
    if p.name ~= "local_files" then for _, name in ipairs(p.manifest.backends or { p.name }) do out[#out + 1] = name end end
  end
  return out
end

--- {backend, keep_local: segments stay here, deliver: players fetch from the storage}
function M.chosen()
  local s = settings.get("storage", {})
  return { backend = s.backend or "local", keep_local = s.keep_local ~= false, deliver = s.deliver ~= false }
end

--- An open storage {p, c, backend, place, origin, public}; values: settings instead of the stored ones. nil, err: storage.settings ...
function M.open(backend, values)
  local p = M.plugin(backend)
  if not p then return errors.invalid("There is no storage plugin for \"" .. tostring(backend) .. "\".") end
  local c, err = registry.context(p)
  if not c then return nil, err end
  if values then c.settings = host.readonly(values) end
  local at
  at, err = registry.call(p.handler.where, c)
  if not at then return nil, errors.new(err.code, registry.text(err)) end
  -- Both go into headers and playlists.
  if at.origin and not at.origin:find "^https?://[%w.%-]+:?%d*$" or at.public and not at.public:find "^https?://[%w.%-]+:?%d*[%w/._~-]*$" then
    return errors.fail("storage.settings", "The addresses must be https://host, the public one perhaps with a path.")
  end
  return { p = p, c = c, backend = backend, place = backend .. " " .. tostring(at.place), origin = at.origin, public = at.public }
end

--- The storage that is set; false when films stay here. Yields.
function M.current()
  local chosen = M.chosen()
  if chosen.backend == "local" then return false end
  return M.open(chosen.backend)
end

local function refused(err)
  err = type(err) == "table" and err or {}
  return nil, errors.new(rawget(err, "code") or "storage.refused", registry.text(err), { retry = rawget(err, "retry") == true })
end

--- Lets the pages of this site fetch from where films are delivered from: every web worker looks at it twice a second.
function M.announce()
  local chosen, s = M.chosen(), nil
  if chosen.backend ~= "local" and chosen.deliver then s = M.open(chosen.backend) end
  cache.set("http.media_origin", s and s.origin or "")
end

-- One try. o: upload or download = {root, path}, size (bytes that travel)
local function once(s, action, obj, o)
  local plan, err = registry.call(s.p.handler[action], s.c, obj)
  if not plan then return refused(err) end
  if plan.transport ~= "http" then return errors.fail("storage.settings", "This storage plugin has no network address.") end
  local req = { method = plan.method, url = plan.url, headers = plan.headers, upload = o.upload, download = o.download,
    body = o.body, timeout = math.min(600, 60 + (o.size or 0) / 100000), max_body = 4 * 1024 * 1024, allow_private = s.private }
  local r, why = fetch.request(req)
  -- The operator may have it in a private network; only a public one is asked over connections that are kept.
  if not r and why.code == "net.refused" and not s.private then
    s.private, req.allow_private = true, true
    r, why = fetch.request(req)
  end
  if not r then
    if tostring(why.code):find "^io%." or why.code == "request.not_found" or why.code == "auth.forbidden" then return nil, why end
    return errors.fail("storage.down", "The storage did not answer: " .. tostring(why.message), { retry = true })
  end
  local meaning
  meaning, err = registry.call(s.p.handler.read, s.c, action, { status = r.status, headers = r.headers, body = r.body })
  if meaning == nil then return refused(err) end
  return meaning
end

--- As once, up to three times while another try may help. -> answer, tries | nil, err, tries
local function call(s, action, obj, o)
  local got, err
  for try = 1, #M.TRIES + 1 do
    got, err = once(s, action, obj, o or {})
    if got ~= nil or not err.retry or try > #M.TRIES then return got, err or try, try end
    time.sleep(M.TRIES[try])
  end
end

--- Sends a file; sha256 (hex) is what it must be: the storage refuses anything else. -> true, tries | nil, err, tries. Yields.
function M.put(s, key, file, sha256, size)
  return call(s, "put", { key = key, sha256 = sha256, size = size, type = file.type }, { upload = file, size = size })
end

--- Fetches an object into a file, whole and of this hash or not at all. -> true | nil, err. Yields.
function M.get(s, key, file, sha256)
  local part = { root = file.root, path = file.path .. "." .. crypto.hex_encode(crypto.random(6)) .. ".part" }
  local ok, err = call(s, "get", { key = key }, { download = part })
  if ok then
    local sum
    sum, err = blob.sha256(part.root, part.path)
    if sum and sum ~= sha256 then err = errors.new("storage.damaged", "The object in the storage is damaged.") end
    ok = sum == sha256
  end
  if ok then ok, err = blob.rename(part.root, part.path, file.path) end
  if ok then return true end
  blob.remove_tree(part.root, part.path)
  return nil, err
end

--- true, also when there was none | nil, err. Yields.
function M.delete(s, key) return call(s, "delete", { key = key }) end

--- {size, sha256} | false | nil, err. Yields.
function M.stat(s, key) return call(s, "stat", { key = key }) end

--- Calls each(object {key, size, modified}) for all objects below prefix. -> true | nil, err. Yields.
function M.list(s, prefix, each)
  local after
  repeat
    local page, err = call(s, "list", { prefix = prefix, after = after })
    if not page then return nil, err end
    for _, o in ipairs(page.objects) do each(o) end
    after = page.next
  until not after
  return true
end

--- Addresses for players of many keys, good for `expires` seconds from `now`. -> list | nil, err
function M.links(s, keys, now, expires)
  local got, err = registry.call(s.p.handler.link, s.c, { keys = keys, now = now, expires = expires })
  if not got then return refused(err) end
  return got.urls
end

-- Whether a browser may read what lies there, by asking as one does.
local function is_open_to_players(s, key)
  local urls = M.links(s, { key }, time.now(), 300)
  local r = urls and fetch.get { url = urls[1], headers = { origin = "https://player.example" }, timeout = 15, allow_private = true }
  return r and r.status == 200 and r.headers["access-control-allow-origin"] ~= nil
end

--- Writes a small object, reads it back, compares, deletes it. -> {cors} | nil, err. Yields.
function M.test(s)
  local name, text = "ppv-" .. crypto.hex_encode(crypto.random(8)) .. ".txt", "healthcheck " .. time.iso() .. "\n"
  local key, sum = "health/" .. name, crypto.sha256(text, "hex")
  local ok, err = once(s, "put", { key = key, size = #text, sha256 = sum, type = "text/plain" }, { body = text })
  if not ok then return nil, err end
  local file = { root = "tmp", path = name }
  ok, err = M.get(s, key, file, sum)
  blob.remove_tree(file.root, file.path)
  local cors = ok and is_open_to_players(s, key)
  local gone, why = once(s, "delete", { key = key }, {})
  if not ok then return nil, err end
  if not gone then return nil, why end
  return { cors = cors or false }
end

return M
