-- SPDX-License-Identifier: Apache-2.0
-- What every plugin sees, whatever its kind. Absence beats denial: a name that is not listed does not exist.
return {
  globals = {
    "assert", "error", "pcall", "xpcall", "select", "tonumber", "tostring", "type", "unpack",
    "rawget", "rawequal", "setmetatable",
    -- ipairs, next, pairs, rawset, getmetatable and require are our own: see env.lua
  },
  string = {
    "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse",
    "sub", "upper",
  },
  table = { "concat", "insert", "maxn", "remove", "sort" },
  math = {
    "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "deg", "exp", "floor", "fmod", "huge",
    "ldexp", "log", "log10", "max", "min", "modf", "pi", "pow", "rad", "random", "sin", "sqrt", "tan",
  },
  bit = {
    "arshift", "band", "bnot", "bor", "bswap", "bxor", "lshift", "rol", "ror", "rshift", "tobit", "tohex",
  },
  -- Modules of a kind: name = true (whole module) | { cap = "capability", only = { functions } }.
  modules = {
    ["ppv.json"] = {},
    ["ppv.money"] = {},
    ["ppv.time"] = {},
    ["ppv.evm"] = { cap = "evm", only = { -- not the keys
      "keccak256", "hex", "unhex", "address", "personal_hash", "recover", "encode", "decode", "selector", "topic", "call",
      "domain_hash", "struct_hash", "typed_hash", "add", "sub", "cmp", "muldiv",
    } },
  },
}
