-- Exchange rates from the network: jumps wait, old ones are refused, nothing becomes a float.
local db = require "ppv.db"
local h = require "spec.support"
local rates = require "lib.rates"
local registry = require "lib.registry"
local settings = require "lib.settings"

describe("exchange rates", function()
  local admin, guest, plugin, real, word
  lazy_setup(function()
    admin, guest = h.make.admin(), h.client()
    plugin = registry.by_name.json_rate
    real, plugin.handler.quote = plugin.handler.quote, function() return word end
    assert.equal(200, admin:post("/admin/settings", { rate_plugin = "json_rate" }).status)
    assert(db.exec "delete from fx_rates")
  end)
  lazy_teardown(function()
    plugin.handler.quote = real
    admin:post("/admin/settings", { rate_plugin = "fixed_rate" })
  end)
  local function says(rate)
    word = { rate = rate }
    settings.changed()
    return rates.fetch()
  end
  local function kurs() return guest:get("/api/kurs") end

  it("the first one waits for an administrator", function()
    assert.equal(503, kurs().status)
    assert.equal("waiting", says "16000.5")
    assert.equal("16000.5", admin:get("/admin/rates").json.waiting.rate)
    assert.equal("rate.changed", admin:post("/admin/rates/accept", { rate = "16000.6" }).json.code)
    assert.equal(403, h.make.user():post("/admin/rates/accept", { rate = "16000.5" }).status)
    assert.equal(200, admin:post("/admin/rates/accept", { rate = "16000.5" }).status)
    assert.equal("16000.5", kurs().json.rate)
    assert.equal(16000.5, kurs().json.usd_to_idr)
  end)

  it("a step up to 10 % is taken, a jump waits", function()
    assert.equal("accepted", says "17600.55")
    assert.equal("waiting", says "19360.61")
    assert.equal("17600.55", kurs().json.rate)
    assert.equal("waiting", says "0.000001")
    assert.equal("accepted", says "17000")
    assert.is_nil(admin:get("/admin/rates").json.waiting)
    assert.is_true(#admin:get("/admin/rates").json.history >= 3)
  end)

  it("nonsense is refused and changes nothing", function()
    for _, bad in ipairs { "0", "-1", "NaN", "1e9", "inf", "17,5", "", ("9"):rep(30), 17000 } do assert.is_nil((says(bad)), tostring(bad)) end
    word = nil
    assert.is_nil((rates.fetch()))
    plugin.handler.quote = function() error "broken" end
    assert.is_nil((rates.fetch()))
    plugin.handler.quote = function() return word end
    assert.equal("17000", kurs().json.rate)
  end)

  it("one older than 24 hours is not used", function()
    assert(db.exec "delete from fx_rates")
    assert.equal("waiting", says "17000")
    admin:post("/admin/rates/accept", { rate = "17000" })
    rates.MAX_AGE_H = 0
    local limit = h.eventually(function() local _, e = rates.current() return e end)
    rates.MAX_AGE_H = 24
    assert.equal("rate.stale", limit.code)
    assert.is_table(rates.current())
  end)
end)
