-- SPDX-License-Identifier: Apache-2.0
-- Affiliate rules are pure functions called inside a money transaction: arithmetic only.
return { pure = true, modules = { ["ppv.time"] = false, ["ppv.json"] = false } }
