-- SPDX-License-Identifier: Apache-2.0
local answer
local chunk = assert(loadfile("plugins/json_rate/handler.lua"))
local source = setfenv(chunk, setmetatable({ require = function(name)
  return name == "ppv.fetch" and { get = function(req) return answer(req) end } or require(name)
end }, { __index = _G }))()

local function ask(body, settings)
  settings = settings or {}
  settings.url, settings.path = settings.url or "https://rates.example/{base}", settings.path or "rates.{quote}"
  answer = function() return type(body) == "table" and body or { status = 200, body = body } end
  return source.quote({ settings = settings, now = 1000000000, err = function(_, code, message) return { code = code, message = message } end }, "USD", "IDR")
end

describe("rate source json_rate", function()
  it("takes the number as its text", function()
    assert.equal("16250.123456789012", ask('{"rates":{"IDR":16250.123456789012}}').rate)
    assert.equal("16250", ask('{"rates":{"IDR":16250}}').rate)
    assert.equal("1.50", ask('{"rates":{"IDR":"1.50"}}').rate)
    assert.equal("7", ask('{"data":[{"x":1},{"v":7}]}', { path = "data[2].v" }).rate)
  end)
  it("puts the currencies into the address", function()
    local url
    answer = function(req) url = req.url return { status = 200, body = '{"r":1}' } end
    source.quote({ settings = { url = "https://x.example/{base}-{quote}", path = "r" }, now = 0 }, "USD", "IDR")
    assert.equal("https://x.example/USD-IDR", url)
  end)
  it("over a real connection", function()
    local real = dofile("plugins/json_rate/handler.lua")
    local r = assert(real.quote({ settings = { url = SPEC_URL .. "/api/kurs?{base}", path = "rate" }, now = 0 }, "USD", "IDR"))
    assert.equal("17000", r.rate)
  end)
  it("refuses everything else", function()
    for _, body in ipairs { "", "x", "[]", '{"rates":{}}', '{"rates":{"IDR":0}}', '{"rates":{"IDR":-5}}', '{"rates":{"IDR":1e9}}', '{"rates":{"IDR":"NaN"}}',
      '{"rates":{"IDR":null}}', '{"rates":{"IDR":{}}}', '{"rates":17000}' } do
      local r, err = ask(body)
      assert.is_nil(r, body)
      assert.equal("rate.unusable", err.code)
    end
    assert.equal("rate.down", select(2, ask { status = 500, body = "" }).code)
    assert.equal("rate.unset", select(2, ask("{}", { url = "" })).code)
    assert.equal("rate.stale", select(2, ask('{"rates":{"IDR":1},"t":999913599}', { time_path = "t" })).code)
    assert.equal("1", ask('{"rates":{"IDR":1},"t":999999999}', { time_path = "t" }).rate)
  end)
end)
