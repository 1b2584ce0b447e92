-- SPDX-License-Identifier: Apache-2.0
local desk = require "spec.support.desk"

desk.specify("sandbox", "redirect", { on = true }, { on = false })
