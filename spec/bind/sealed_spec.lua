-- SPDX-License-Identifier: Apache-2.0
-- A new master key must reach every sealed text.
local db = require "ppv.db"
local sealed = require "lib.sealed"

describe("lib.sealed", function()
  it("knows every column that is named for sealed text", function()
    local known = {}
    for _, p in ipairs(sealed.PLACES) do known[p.from .. "." .. p.get:match "^[%w_]+"] = true end
    for _, c in ipairs(assert(db.query [[select table_name || '.' || column_name as name from information_schema.columns
      where table_schema = 'public' and data_type = 'text' and column_name ~ '(^|_)(sealed|secret)(_|$)']])) do
      assert.is_true(known[c.name], c.name .. " belongs into lib.sealed")
    end
  end)
end)
