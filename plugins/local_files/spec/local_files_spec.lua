-- SPDX-License-Identifier: Apache-2.0
local storage = dofile("plugins/local_files/handler.lua")
local ctx = { err = function(_, code, message) return { code = code, message = message } end }

describe("storage local_files", function()
  it("plans a path beneath the root", function()
    assert.same({ transport = "file", root = "media", path = "a-1/x.m4s", action = "get" }, storage.get(ctx, { key = "media/a-1/x.m4s" }))
  end)

  for _, key in ipairs { "media/../x", "media//x", "etc/passwd", "media/.hidden", "/media/x", "media/a/..", "media/" } do
    it("refuses the key " .. key, function()
      local got, err = storage.put(ctx, { key = key })
      assert.is_nil(got)
      assert.equal("storage.key", err.code)
    end)
  end
end)
