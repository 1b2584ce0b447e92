-- SPDX-License-Identifier: Apache-2.0
-- ppv trace clip FILE [EVIDENCE.json [PAGE.html]] | verify EVIDENCE.json [PAGE.html]
-- Finds whose copy a leaked clip is; writes the signed evidence, and a page of it for people. Exit: 0 accused, 1 failed,
-- 3 suspects only, 4 none.
local blob = require "ppv.blob"
local conf = require "ppv.conf"
local crypto = require "ppv.crypto"
local evidence = require "lib.evidence"
local trace = require "lib.trace"

local action, file, out, page = ...

local function slurp(path)
  local f, why = io.open(path, "rb")
  if not f then return nil, why end
  local text = f:read("*a")
  f:close()
  return text
end

local function spew(path, text)
  local f, why = io.open(path, "wb")
  if not f then return nil, why end
  local ok
  ok, why = f:write(text)
  f:close()
  return ok, why
end

local function fail(text)
  print("ppv trace: " .. tostring(text))
  return 1
end

if action == "verify" and file then
  local text, why = slurp(file)
  if not text then return fail(why) end
  local report
  report, why = trace.verify(text)
  if not report then return fail(why) end
  if out then
    local ok
    ok, why = spew(out, evidence.page(text, report))
    if not ok then return fail(why) end
  end
  io.write("The signature is this site's and the evidence is unchanged.\n", trace.explain(report))
  return 0
end
if action ~= "clip" or not file then
  print("usage: ppv trace clip FILE [EVIDENCE.json [PAGE.html]] | verify EVIDENCE.json [PAGE.html]")
  return 2
end

local input, why = io.open(file, "rb")
if not input then return fail(why) end
local path = "trace-" .. crypto.hex_encode(crypto.random(12))
local copy
copy, why = io.open(conf.get("var_dir") .. "/tmp/" .. path, "wb")
if not copy then return fail(why) end
repeat
  local part = input:read(1048576)
  if part then copy:write(part) end
until not part
input:close()
copy:close()
local ext = file:match("%.(%w+)$")
local r, err = trace.run({ root = "tmp", path = path, ext = ext and #ext <= 10 and ext or nil, name = file:match("[^/]+$") }, {})
blob.remove_tree("tmp", path)
if not r then return fail(err.message or err.code) end
if out then
  local ok
  ok, why = spew(out, r.file)
  if ok and page then ok, why = spew(page, evidence.page(r.file, r.report)) end
  if not ok then return fail(why) end
end
io.write(trace.explain(r.report))
return ({ accused = 0, suspects = 3, none = 4 })[r.verdict]
