-- SPDX-License-Identifier: Apache-2.0
-- Payment by x402: the engine sells over GET /api/v1/videos/:id/access; this plugin has the settings and says how a payment stands.
local M = {}

function M.start(ctx) return nil, ctx:err("payment.not_configured", "People cannot pay this way; programs pay with x402 at the address of the film.") end

function M.fetch(ctx) return ctx.x402.facts() end

-- What was paid on a chain goes back by hand, from the paid address to the payer; asking for the refund is the record that it was done.
function M.refund(_, _, refund) return { ref = refund.key, state = "done" } end
M.refund_fetch = M.refund

return M
