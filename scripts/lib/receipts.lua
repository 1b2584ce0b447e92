-- SPDX-License-Identifier: Apache-2.0
-- Receipts and credit notes: issuing them for what was sealed, and the page to print.
local db = require "ppv.db"
local json = require "ppv.json"
local config = require "lib.config"
local display = require "lib.display"
local html = require "lib.html"
local sealer = require "lib.sealer"
local settings = require "lib.settings"

local M = {}

local function seller()
  local text = settings.get("receipt.seller", "")
  return text ~= "" and text or config.get("site_name", "PPV")
end

-- Seals what waits and issues what is missing. -> number, or nil, err. Yields.
function M.issue()
  local n, err = sealer.run()
  if not n then return nil, err end
  local total = 0
  repeat
    local row
    row, err = db.one("select ppv_receipts_issue($1) as n", seller())
    if not row then return nil, err end
    n, total = row.n, total + row.n
  until n == 0
  return total
end

local function line(name, amount, currency, strong)
  local tag = strong and "th" or "td"
  return ("<tr><%s>%s</%s><%s class=\"text-end\">%s</%s></tr>"):format(tag, html.esc(name), tag, tag, html.esc(display.money(amount, currency)), tag)
end

-- r: a row of receipts with day, order_uid and tax (text). -> the page
function M.page(r)
  local credit = r.series == "C"
  local taxes, net = json.decode(r.tax) or {}, r.amount
  local rows = {}
  for _, t in ipairs(taxes) do
    net = net - t.amount
    rows[#rows + 1] = line(t.title, t.amount, r.currency)
  end
  local title = (credit and "Credit note " or "Receipt ") .. r.label
  local e = html.esc
  return html.document(title, table.concat {
    '<p>', (e(r.seller):gsub("\n", "<br>")), "</p>",
    '<dl class="row"><dt class="col-4">Number</dt><dd class="col-8">', e(r.label), '</dd><dt class="col-4">Date</dt><dd class="col-8">', e(r.day),
    ' (UTC)</dd><dt class="col-4">Buyer</dt><dd class="col-8">', e(r.buyer), '</dd><dt class="col-4">Paid by</dt><dd class="col-8">', e(r.method),
    '</dd><dt class="col-4">Order</dt><dd class="col-8"><code>', e(r.order_uid), "</code></dd>",
    credit and ('<dt class="col-4">Corrects</dt><dd class="col-8">' .. e(r.reference) .. "</dd>") or "", "</dl>",
    '<table class="table"><tbody>', line(r.title .. (#taxes > 0 and ", before tax" or ""), net, r.currency), table.concat(rows),
    line(credit and "Refunded" or "Paid", r.amount, r.currency, true), "</tbody></table>",
    '<p class="d-print-none"><a class="btn btn-outline-secondary" href="/public/statement.html?tab=receipts">All receipts</a></p>' })
end

return M
