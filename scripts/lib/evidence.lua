-- SPDX-License-Identifier: Apache-2.0
-- A leak's evidence as a page for people: one file that needs nothing else, to be kept beside the signed JSON, which alone proves.
local crypto = require "ppv.crypto"
local json = require "ppv.json"
local html = require "lib.html"

local M = {}
local esc = html.esc

local STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
  .. "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #8886;vertical-align:top}"
  .. "td,code{overflow-wrap:anywhere}svg{width:100%;height:auto}"
local VERDICT = { accused = "An account is named.", suspects = "There are suspects, but nobody is accused.", none = "Nobody is named." }

local function facts(rows)
  local out = { "<table>" }
  for _, r in ipairs(rows) do
    if r[2] ~= nil and r[2] ~= json.null then out[#out + 1] = ("<tr><th>%s</th><td>%s</td></tr>"):format(esc(r[1]), esc(r[2])) end
  end
  return table.concat(out) .. "</table>"
end

local function clock(s) return ("%d:%02d:%02d"):format(math.floor(s / 3600), math.floor(s / 60) % 60, math.floor(s) % 60) end

-- One bar per segment: up = variant a, down = variant b; length = how plain the mark is.
local function plot(segments, segment_s)
  local first, last, top = math.huge, 0, 3
  for _, s in ipairs(segments) do
    first, last, top = math.min(first, s[1]), math.max(last, s[1]), math.max(top, math.abs(s[4]))
  end
  local n = last - first + 1
  local out = { ('<svg viewBox="0 0 %d 120" role="img" aria-label="Readings of the segments" preserveAspectRatio="none">'):format(n * 4) }
  for _, s in ipairs(segments) do
    local high = math.abs(s[4]) / top * 58
    out[#out + 1] = ('<rect x="%d" y="%.1f" width="3" height="%.1f" fill="%s"><title>%s: %.1f</title></rect>'):format((s[1] - first) * 4,
      s[4] > 0 and 60 - high or 60, math.max(high, 0.5), s[4] > 0 and "#2a78d6" or "#d6652a", clock(s[1] * segment_s), s[4])
  end
  out[#out + 1] = '<line x1="0" y1="60" x2="100%" y2="60" stroke="currentColor" stroke-width="0.5"/></svg>'
  return table.concat(out)
end

local function suspects(r)
  local rows = {}
  for i, s in ipairs(r.suspects) do
    rows[i] = { Account = ("%s (number %d)"):format(s.username ~= json.null and s.username or "removed", s.user_id),
      Finding = s.accused and "accused" or "suspect, not accused", ["Chance of error at most"] = ("10^%.1f"):format(s.log10_bound),
      ["Marks that agree"] = ("%d of %d"):format(s.agree, s.read),
      ["Segments served by us"] = (s.served == nil or s.served == json.null) and "not in the log" or ("%d of %d"):format(s.served, s.segments),
      ["Behind the leak"] = s.accounts > 1 and ("one of about %d accounts"):format(s.accounts) or "this account alone" }
  end
  if #rows == 0 then return "<p>No account's copy fits what was read.</p>" end
  return html.table("Accounts", { "Account", "Finding", "Chance of error at most", "Marks that agree", "Segments served by us",
    "Behind the leak" }, rows)
end

local MEANING = [[<h2>What this means</h2>
<p>Every segment of the film exists in two variants that look alike. Each account is served its own sequence of them, which a secret key
decides. The clip was compared with the unmarked film, and for each segment it was read which variant the clip was made of.</p>
<p>The chance of error is an upper limit of the probability that anybody innocent, among all candidates together, fits this clip as well by luck.
It holds for this very clip, whatever was done to it. Above one in a million (10^-6) nobody is accused. The finding is that the clip was
made of a copy that was served to the account; whether its owner, or a thief of the account or of the copy, passed it on, the picture cannot tell.</p>]]

-- file: the signed evidence as lib/trace made it, report: what lib/trace.verify said of it. -> the page's text.
function M.page(file, report)
  local box, r = json.decode(file), report
  local t, read = type(r.title) == "table" and r.title or nil, type(r.reading) == "table" and r.reading or nil
  local body = { ("<p><strong>%s</strong> %s</p>"):format(esc(VERDICT[r.verdict] or r.verdict), esc(r.reason)),
    facts { { "Clip", r.clip.name }, { "SHA-256 of the clip", r.clip.sha256 }, { "Length", clock(r.clip.duration) },
      { "Picture", ("%d x %d, %.2f per second"):format(r.clip.width, r.clip.height, r.clip.fps) }, { "Traced at", r.at },
      { "Film", t and t.title }, { "Number of the film", t and t.id }, { "Likeness of clip and film", t and ("%.3f"):format(t.match) },
      { "Films searched", r.titles }, { "Candidates", r.candidates } }, suspects(r) }
  if read and #read.segments > 0 then
    body[#body + 1] = "<h2>What was read</h2>" .. plot(read.segments, r.segment_s or 2) .. facts {
      { "Segments read", #read.segments }, { "Segments plainly marked", r.marked }, { "Pictures used", ("%d of %d"):format(read.used, read.pictures) },
      { "Uninterrupted runs", #read.runs }, { "Mirrored", read.mirrored and "yes" or "no" },
      { "Likeness after registration", ("%.3f"):format(read.registration) } }
    local rows = {}
    for i, s in ipairs(read.segments) do
      rows[i] = { Segment = s[1], ["Time in the film"] = clock(s[1] * (r.segment_s or 2)), Variant = s[4] > 0 and "a" or "b",
        Pictures = s[2], ["z (deviations from nothing)"] = ("%.1f"):format(math.abs(s[4])) }
    end
    body[#body + 1] = "<details><summary>Every segment</summary>" .. html.table("Segments", { "Segment", "Time in the film", "Variant",
      "Pictures", "z (deviations from nothing)" }, rows) .. "</details>"
  end
  body[#body + 1] = MEANING .. [[<h2>Signature</h2><p>This page is a rendering. What is signed is the JSON file of the same leak;
<code>ppv trace verify</code> of this site checks it.</p>]] .. facts {
    { "SHA-256 of the signed text", crypto.sha256(box.evidence, "hex") }, { "Signature", box.signature } }
  return '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    .. "<title>Evidence of a leak</title><style>" .. STYLE .. "</style></head><body><main><h1>Evidence of a leak</h1>"
    .. table.concat(body, "\n") .. "</main></body></html>\n"
end

return M
