-- SPDX-License-Identifier: Apache-2.0
-- The few pages made on the server. Every value passes esc().
local M = {}

local ENT = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

function M.esc(v) return (tostring(v == nil and "" or v):gsub("[&<>\"']", ENT)) end

-- columns: list of names; rows: list of tables keyed by them.
function M.table(title, columns, rows)
  local out = { "<section><h2>", M.esc(title), "</h2><table><thead><tr>" }
  for _, c in ipairs(columns) do out[#out + 1] = "<th>" .. M.esc(c) .. "</th>" end
  out[#out + 1] = "</tr></thead><tbody>"
  for _, row in ipairs(rows) do
    out[#out + 1] = "<tr>"
    for _, c in ipairs(columns) do out[#out + 1] = "<td>" .. M.esc(row[c]) .. "</td>" end
    out[#out + 1] = "</tr>"
  end
  out[#out + 1] = "</tbody></table></section>"
  return table.concat(out)
end

function M.page(title, body)
  return "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>" .. M.esc(title)
    .. "</title><link rel=\"stylesheet\" href=\"/public/styles.css\"></head><body><main class=\"container\"><h1>"
    .. M.esc(title) .. "</h1>" .. body .. "</main></body></html>"
end

-- A page that looks like the site and prints well; body is HTML.
function M.document(title, body)
  return "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
    .. "<meta name=\"color-scheme\" content=\"light dark\"><title>" .. M.esc(title) .. "</title>"
    .. "<link rel=\"stylesheet\" href=\"/public/vendor/bootstrap.min.css\"><link rel=\"stylesheet\" href=\"/public/styles.css\">"
    .. "<script src=\"/public/js/theme.js\"></script></head><body><main class=\"container py-4\"><h1 class=\"mb-3\">" .. M.esc(title) .. "</h1>"
    .. body .. "</main></body></html>"
end

return M
