-- SPDX-License-Identifier: Apache-2.0
local subtitles = require "lib.subtitles"

local function texts(cues)
  local out = {}
  for i, c in ipairs(cues) do out[i] = c[3] end
  return out
end

local SRT = "\239\187\1911\r\n00:00:01,500 --> 00:00:02,500\r\n<i>Guten</i> Tag\r\n- zweite Zeile\r\n\r\n2\r\n"
  .. "00:00:00,000 --> 00:00:01,000 X1:1\r\nfr\195\188her\r\n"

describe("lib.subtitles", function()
  it("reads SubRip, in order of time, and writes WebVTT", function()
    local cues = assert(subtitles.parse(SRT))
    assert.same({ "fr\195\188her", "<i>Guten</i> Tag\n- zweite Zeile" }, texts(cues))
    assert.equal("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n00:00:00.000 --> 00:00:01.000\nfr\195\188her\n\n"
      .. "00:00:01.500 --> 00:00:02.500\n<i>Guten</i> Tag\n- zweite Zeile\n", subtitles.vtt(cues))
    assert.same(texts(cues), texts(assert(subtitles.parse(subtitles.vtt(cues)))))
  end)

  it("reads WebVTT with headers, notes, styles, names and settings", function()
    local cues = assert(subtitles.parse("WEBVTT - mine\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nNOTE\nnothing\n\nname\n"
      .. "00:01.000 --> 01:00:02.000 line:0 align:start\n<v Ann>Hello</v> <00:01.500><c.x>there</c> &amp; &lt;you&gt; <lang en>x</lang>\n"))
    assert.same({ { 1000, 3602000, "Hello there &amp; &lt;you&gt; x", n = 0 } }, cues)
  end)

  it("reads ASS: fields by their format, codes as tags, drawings left out", function()
    local cues = assert(subtitles.parse("[Script Info]\n\n[Events]\nFormat: Start, End, Style, Text\n"
      .. "Dialogue: 0:00:01.50,0:00:02.00,Default,{\\pos(1,2)\\b1}Oui{\\b0}, <non>\\Nligne, deux\nComment: 0:00:01.50,0:00:02.00,D,no\n"
      .. "Dialogue: 0:00:03.00,0:00:04.00,Default,{\\p1}m 0 0{\\p0}\n"))
    assert.same({ { 1500, 2000, "<b>Oui</b>, &lt;non&gt;\nligne, deux", n = 0 } }, cues)
  end)

  it("lets only b, i and u pass, balanced, and escapes the rest", function()
    for raw, want in pairs {
      ["<script>alert(1)</script>"] = "&lt;script&gt;alert(1)&lt;/script&gt;", ["<b onclick=x>a"] = "<b>a</b>",
      ["<img src=x onerror=alert(1)>"] = "&lt;img src=x onerror=alert(1)&gt;", ["<i><b>a</i>b"] = "<i><b>ab</b></i>", ["</u>a"] = "a",
      ["<I>a</I>"] = "<i>a</i>", ["<font color=red>a</font>"] = "a", ["1 < 2 > 0 & <3"] = "1 &lt; 2 &gt; 0 &amp; &lt;3", ["a --> b"] = "a --&gt; b",
      ["{\\an8}a"] = "a", ["<<b>b>"] = "&lt;<b>b&gt;</b>", ["&lt;b&gt;"] = "&amp;lt;b&amp;gt;", ["a\27[0m\0b"] = "a [0mb", ["a\n\n \nb"] = "a\nb",
      ["<bdo>a"] = "&lt;bdo&gt;a",
    } do
      assert.equal(want, subtitles.text(raw, "subrip"))
    end
    assert.equal("&lt;script&gt;", subtitles.text("&lt;script&gt;", "webvtt"))
    assert.equal("&lt;i&gt;a", subtitles.text("<i>a", "mov_text"))
    for _, nothing in ipairs { "", " ", "<i></i>", "<c.x></c>" } do assert.is_nil(subtitles.text(nothing, "subrip")) end
  end)

  it("refuses with a sentence what it cannot read", function()
    local long = {}
    for i = 1, subtitles.MAX_CUES + 1 do long[i] = "00:00:00,000 --> 00:00:01,000\nx\n" end
    for file, why in pairs {
      [""] = "no subtitle text", ["hello"] = "Line 1", ["WEBVTT\n\n"] = "no subtitle text", ["1\n00:00:00,000 --> soon\nx\n"] = "Line 2",
      ["1\n00:61:00,000 --> 00:62:00,000\nx\n"] = "Line 2", ["1\n00:00:02,000 --> 00:00:01,000\nx\n"] = "ends before",
      ["99:00:00,000 --> 99:00:01,000\nx"] = "Line 1", ["1\n00:00:00,000 --> 00:00:01,000\nGr\252\223e\n"] = "Latin%-1",
      ["\255\254W\0"] = "UTF%-16", ["a\0b"] = "not a text file", ["00:00:00,000 --> 00:00:01,000\n" .. ("x"):rep(2001)] = "longer than",
      [("x"):rep(subtitles.MAX_BYTES + 1)] = "larger", [table.concat(long, "\n")] = "more than 10000",
      ["[Script Info]\n[Events]\nFormat: Text, Start, End\n"] = "last field", ["[Script Info]\n[Events]\nDialogue: 0,0,a\n"] = "Line 3",
    } do
      local got, said = subtitles.parse(file)
      assert.is_nil(got, file:sub(1, 80))
      assert.truthy(said:find(why), file:sub(1, 60) .. ": " .. said)
    end
  end)

  it("takes what a film holds and leaves out what is broken", function()
    assert.same({ { 5, 9, "<i>a</i>, b", n = 0 } }, subtitles.from_film({ { 5, 9, "0,0,Default,,0,0,0,,{\\i1}a{\\i0}, b" }, { 9, 9, "0,0,D,,0,0,0,,x" },
      { 3, 4, "short" } }, "ass"))
  end)
end)
