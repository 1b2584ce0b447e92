-- SPDX-License-Identifier: Apache-2.0
-- The engine's half of differential.mjs: answers each line of a file of cases with a line of results. Run by `ppv spec` through
-- a file that passes the directory: it has `cases` and the key files `0`, `1`, ...
local evm = require "ppv.evm"
local json = require "ppv.json"
local invoice = require "lib.invoice"

local function unhex(s) return assert(evm.unhex(s)) end

-- Values as JSON carries them to values as ppv.evm takes them: bytes from hexadecimal text, whatever is nested.
local function raw(t, x, structs)
  local item = t:match "^(.*)%[%d*%]$"
  if item then
    local list = {}
    for i, v in ipairs(x) do list[i] = raw(item, v, structs) end
    return list
  elseif structs and structs[t] then
    local s = {}
    for _, f in ipairs(structs[t]) do s[f.name] = raw(f.type, x[f.name], structs) end
    return s
  elseif t:sub(1, 1) == "(" then
    local list, depth, from = {}, 0, 2
    for i = 1, #t do
      local ch = t:sub(i, i)
      if ch == "(" then depth = depth + 1 elseif ch == ")" then depth = depth - 1 end
      if depth == 1 and ch == "," or depth == 0 then
        list[#list + 1] = raw(t:sub(from, i - 1), x[#list + 1], structs)
        from = i + 1
      end
    end
    return list
  end
  return t:find "^bytes" and unhex(x) or x
end

local function text(bytes, err) return bytes and evm.hex(bytes) or "error: " .. tostring(err and err.code) end

local answer = {
  abi = function(c)
    local values = {}
    for i, t in ipairs(c.types) do values[i] = raw(t, c.values[i]) end
    local decoded, err = evm.decode(c.types, unhex(c.data))
    return { text(evm.encode(c.types, values)), decoded and text(evm.encode(c.types, decoded)) or "error: " .. err.message }
  end,
  typed = function(c)
    c.domain.salt = c.domain.salt and unhex(c.domain.salt)
    local t = { domain = c.domain, types = c.types, primary = c.primary, message = raw(c.primary, c.message, c.types) }
    return { text(evm.typed_hash(t)) }
  end,
  invoice = function(c) return { text(evm.typed_hash(invoice.typed(c.invoice))) } end,
  sign = function(c)
    local sig = assert(evm.sign("differential" .. c.key, unhex(c.digest)))
    return { text(sig), (evm.recover(unhex(c.digest), sig)) }
  end,
  recover = function(c) return { evm.recover(unhex(c.digest), unhex(c.sig)) or "refused" } end,
  transaction = function(c) return { evm.raw_transaction(c.tx, "differential" .. c.key) } end,
  text = function(c) return { text(evm.personal_hash(unhex(c.text))) } end,
}

return function(dir)
  for n = 0, 3 do assert(evm.key_import("differential" .. n, dir .. "/" .. n, true)) end
  local out = assert(io.open(dir .. "/answers", "w"))
  for line in io.lines(dir .. "/cases") do
    local c = assert(json.decode(line))
    out:write(json.encode(answer[c.kind](c)), "\n")
  end
  out:close()
end
