-- SPDX-License-Identifier: Apache-2.0
-- Payment on a chain through the splitter contract. ctx.chain is this order's window to the chains: it signs invoices and reads what
-- the watcher has found final. Nobody sends messages; a buyer who comes back is told what is known.
local M = {}

-- choice: {chain_id, symbol, token_address?, payer_address}. Another choice, or an invoice that ran out, is a new invoice of the same order.
function M.start(ctx, order, choice)
  if not ctx.chain then return nil, ctx:err("payment.not_configured", "no chain is set up") end
  if not choice or not choice.chain_id or not choice.symbol or not choice.payer_address then
    return nil, ctx:err("input.invalid", "Please choose a chain, a token and the wallet that pays.")
  end
  local i, err = ctx.chain.invoice(choice, ctx.settings.deadline_s)
  if not i then return nil, err end
  return { action = "instructions", ref = order.id, expires = i.deadline + 3600, invoice = i,
    lines = { { "Pay exactly", i.amount_text .. " " .. i.symbol }, { "On", i.chain }, { "From your wallet", i.payer } } }
end

function M.fetch(ctx) return ctx.chain.facts() end
M.confirm = M.fetch

function M.progress(ctx) return ctx.chain.progress() end

-- What was paid on a chain goes back by hand; it is done when the chain has it (docs/chain.md).
function M.refund(ctx, _, refund) return ctx.chain.refund(refund) end
M.refund_fetch = M.refund

return M
