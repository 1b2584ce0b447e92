-- SPDX-License-Identifier: Apache-2.0
-- A gateway to practise with: its checkout is a page of this site where the visitor decides how the payment ends. No money moves
-- outside; the books move as with any provider.
local M = {}

function M.start(ctx, order)
  if not ctx.settings.on then return nil, ctx:err("payment.not_configured", "practice payments are switched off") end
  local ref, err = ctx.desk.open()
  if not ref then return nil, err end
  return { action = "redirect", ref = ref, url = "/public/practice.html?ref=" .. ref .. "&order=" .. order.id }
end

function M.fetch(ctx) return ctx.desk.read() end
M.confirm = M.fetch

function M.cancel(ctx) return ctx.desk.cancel() end

function M.refund(ctx, _, refund) return ctx.desk.refund(refund) end
M.refund_fetch = M.refund

-- Its messages come from this site itself, never by HTTP.
function M.verify(ctx) return nil, ctx:err("payment.bad_signature", "the practice gateway sends no messages by HTTP") end

return M
