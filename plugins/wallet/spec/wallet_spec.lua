-- SPDX-License-Identifier: Apache-2.0
local wallet = dofile("plugins/wallet/handler.lua")

describe("payment plugin wallet", function()
  it("settles at once under the order's id", function()
    assert.same({ action = "settle", ref = "o1" }, wallet.start({}, { id = "o1" }))
  end)
end)
