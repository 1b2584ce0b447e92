-- SPDX-License-Identifier: Apache-2.0
-- ppv key list | new NAME [--replace] | import NAME FILE [--replace]
local evm = require "ppv.evm"

local ABOUT = { invoice_signer = "signs invoices for the splitter contract", relayer = "sends x402 payments and pays their gas" }

local args, replace = {}, false
for _, a in ipairs { ... } do
  if a == "--replace" then replace = true else args[#args + 1] = a end
end
local action, name, path = args[1], args[2], args[3]

local function told(address, err)
  if address then
    print(("%s has the address %s. Back up the folder `keys` of var_dir together with the secret file."):format(name, address))
    return 0
  end
  print("ppv key: " .. tostring(err.message) .. (err.code == "request.conflict" and "; --replace keeps it aside" or ""))
  return 1
end

if action == "list" then
  local list, err = evm.key_list()
  if not list then
    print("ppv key: " .. tostring(err.message))
    return 1
  end
  for _, k in ipairs(list) do
    local address = k.name:match "%.(0x%x+)$" or evm.key_address(k.name) or "cannot be opened by any key of the secret file"
    print(("%-20s %s  %s"):format(k.name:match "^[^.]+", address, k.name:find(".", 1, true) and "replaced" or ABOUT[k.name] or ""))
  end
  return 0
elseif action == "new" and name and not path then
  return told(evm.key_new(name, replace))
elseif action == "import" and path then
  return told(evm.key_import(name, path, replace))
end
print "usage: ppv key list"
print "       ppv key new NAME           a new key; invoice_signer or relayer"
print "       ppv key import NAME FILE   a key from a file of 64 hexadecimal digits that only you can read"
print "       --replace                  keeps the present one aside (NAME.ADDRESS) instead of refusing"
return action == "help" and 0 or 2
