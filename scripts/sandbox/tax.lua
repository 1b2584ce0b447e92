-- SPDX-License-Identifier: Apache-2.0
-- Tax rules are pure functions called for a price: arithmetic only.
return { pure = true, modules = { ["ppv.time"] = false, ["ppv.json"] = false } }
