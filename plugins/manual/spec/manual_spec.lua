-- SPDX-License-Identifier: Apache-2.0
local desk = require "spec.support.desk"

desk.specify("manual", "instructions", { account = "Bank 1", text = "", days = 3 }, { account = "", text = "", days = 3 })
