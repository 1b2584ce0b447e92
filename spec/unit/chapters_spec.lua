-- SPDX-License-Identifier: Apache-2.0
local chapters = require "lib.chapters"

describe("chapters", function()
  it("are what a creator writes, and the way back is the same text", function()
    local text = "0:00 Start\n0:07.250 Seven and a quarter\n59:59 Nearly an hour\n1:02:03 The island & more"
    local list = assert(chapters.parse("\n" .. text:gsub("\n", "  \n\n  "), 4000000))
    assert.same({ { 0, "Start" }, { 7250, "Seven and a quarter" }, { 3599000, "Nearly an hour" }, { 3723000, "The island & more" } }, list)
    assert.equal(text, chapters.text(list))
    assert.same({}, chapters.parse(" \n \n"))
    assert.same({ { 5400000, "Minutes alone" } }, chapters.parse("90:00 Minutes alone"))
    assert.equal("WEBVTT\n\n00:00:00.000 --> 00:00:07.250\nStart\n\n00:00:07.250 --> 00:59:59.000\nSeven and a quarter\n\n"
      .. "00:59:59.000 --> 01:02:03.000\nNearly an hour\n\n01:02:03.000 --> 01:06:40.000\nThe island &amp; more\n", chapters.vtt(list, 4000000))
  end)

  it("are refused with the line that is wrong", function()
    for text, line in pairs { ["0:00 A\nB"] = 2, ["0:60 A"] = 1, ["0:00"] = 1, ["1:60:00 A"] = 1, ["0:05 A\n0:05 B"] = 2, ["0:05 A\n0:04 B"] = 2,
      ["0:00 A\n\n9:59 B"] = 3, ["-1:00 A"] = 1, ["0:00 " .. ("x"):rep(101)] = 1, ["1e3:00 A"] = 1 } do
      local list, why = chapters.parse(text, 60000)
      assert.is_nil(list, text)
      assert.truthy(why:find("^Line " .. line .. ":"), text .. " -> " .. why)
    end
    local many = {}
    for i = 0, chapters.MAX do many[i + 1] = ("%d:%02d x"):format(i / 60, i % 60) end
    assert.truthy(select(2, chapters.parse(table.concat(many, "\n"))):find "at most")
    assert.is_table(chapters.parse(table.concat(many, "\n", 1, chapters.MAX)))
  end)
end)
