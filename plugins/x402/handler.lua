-- SPDX-License-Identifier: Apache-2.0
-- Payment by x402: the engine sells over GET /api/v1/videos/:id/access; this plugin has the settings and says how a payment stands.
local M = {}

function M.start(ctx) return nil, ctx:err("payment.not_configured", "People cannot pay this way; programs pay with x402 at the address of the film.") end

function M.fetch(ctx) return ctx.x402.facts() end

-- What was paid on a chain goes back by hand; it is done when the chain has it (docs/chain.md).
function M.refund(ctx, _, refund) return ctx.x402.refund(refund) end
M.refund_fetch = M.refund

return M
