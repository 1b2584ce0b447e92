-- SPDX-License-Identifier: Apache-2.0
-- Bank transfer: the buyer is told where to pay and may show a proof; an administrator who has seen the money confirms it.
local M = {}

function M.start(ctx, order)
  if ctx.settings.account == "" then return nil, ctx:err("payment.not_configured", "the account to pay to is not set") end
  local ref, err = ctx.desk.open()
  if not ref then return nil, err end
  local lines = { { "Pay to", ctx.settings.account }, { "Write as the purpose", ref } }
  if ctx.settings.text ~= "" then lines[3] = { "Please note", ctx.settings.text } end
  return { action = "instructions", ref = ref, lines = lines, upload = true, expires = ctx.now + ctx.settings.days * 86400,
    url = "/public/order.html?id=" .. order.id }
end

function M.fetch(ctx) return ctx.desk.read() end
M.confirm = M.fetch

function M.cancel(ctx) return ctx.desk.cancel() end

-- The administrator sends the money back by hand; asking for the refund is the record that it was done.
function M.refund(ctx, _, refund) return ctx.desk.refund(refund) end
M.refund_fetch = M.refund

function M.verify(ctx) return nil, ctx:err("payment.bad_signature", "bank transfers send no messages") end

return M
