-- SPDX-License-Identifier: Apache-2.0
-- Named points at which a test may have the engine die: crash.at "payout.send.after_call" (ppv.plugin.crash_at). Each has its turn in
-- spec/live/crashpoints.mjs.
return { at = require("ppv.plugin").crash_at }
