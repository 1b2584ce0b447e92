-- SPDX-License-Identifier: Apache-2.0
-- Copied into the scratch root of `make bench`: what an operator's route costs, and one that never ends.
return { routes = {
  { method = "GET", path = "/bench/plugin", auth = "none", handler = function(ctx) return ctx:ok { message = "hello" } end },
  { method = "GET", path = "/bench/spin", auth = "none", handler = function() while true do end end },
} }
