-- SPDX-License-Identifier: Apache-2.0
-- Languages of sound and subtitles: BCP 47 tags, and their names in themselves.
local M = {}

local NAMES = {
  ar = "العربية", bg = "Български", bn = "বাংলা", ca = "Català", cs = "Čeština", da = "Dansk", de = "Deutsch", el = "Ελληνικά",
  en = "English", es = "Español", et = "Eesti", eu = "Euskara", fa = "فارسی", fi = "Suomi", fil = "Filipino", fr = "Français",
  ga = "Gaeilge", gl = "Galego", gu = "ગુજરાતી", he = "עברית", hi = "हिन्दी", hr = "Hrvatski", hu = "Magyar", hy = "Հայերեն",
  id = "Bahasa Indonesia", is = "Íslenska", it = "Italiano", ja = "日本語", ka = "ქართული", kk = "Қазақ тілі", km = "ខ្មែរ",
  kn = "ಕನ್ನಡ", ko = "한국어", lt = "Lietuvių", lv = "Latviešu", mk = "Македонски", ml = "മലയാളം", mn = "Монгол", mr = "मराठी",
  ms = "Bahasa Melayu", my = "မြန်မာ", nb = "Norsk bokmål", ne = "नेपाली", nl = "Nederlands", nn = "Nynorsk", no = "Norsk",
  pa = "ਪੰਜਾਬੀ", pl = "Polski", pt = "Português", ro = "Română", ru = "Русский", sk = "Slovenčina", sl = "Slovenščina",
  sq = "Shqip", sr = "Српски", sv = "Svenska", sw = "Kiswahili", ta = "தமிழ்", te = "తెలుగు", th = "ไทย", tl = "Tagalog",
  tr = "Türkçe", uk = "Українська", ur = "اردو", uz = "Oʻzbekcha", vi = "Tiếng Việt", zh = "中文",
}

-- A well-formed tag in the usual case ("pt-BR"), or nil.
function M.tag(s)
  if type(s) ~= "string" or #s > 35 or not s:find("^%a%a%a?[%w%-]*$") or s:find("%-%-") or s:find("%-$") then return nil end
  local main, rest = s:match("^(%a+)(.*)$")
  if #main > 3 then return nil end
  for part in rest:gmatch("[^%-]+") do if #part > 8 then return nil end end
  return main:lower() .. rest:gsub("%-(%a%a)%f[%z%-]", function(r) return "-" .. r:upper() end)
end

-- What its speakers call it; the tag itself for rarer ones; nil for nil.
function M.name(tag)
  if not tag then return nil end
  local main, region = tag:match("^(%a+)%-?(.*)$")
  local name = NAMES[main:lower()]
  if not name then return tag end
  return region == "" and name or ("%s (%s)"):format(name, region)
end

return M
