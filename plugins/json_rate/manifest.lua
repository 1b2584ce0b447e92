-- SPDX-License-Identifier: Apache-2.0
return {
  name = "json_rate", kind = "rate", api = "1.0", version = "1.0.0", title = "Exchange rate from a JSON address",
  caps = { "fetch" }, limits = { cpu_ms = 20 },
  settings = {
    { key = "url", type = "url", title = "Address", default = "", required = true,
      help = "Answers JSON. {base} and {quote} are replaced by the currencies." },
    { key = "path", type = "string", title = "Where the rate is", default = "rates.{quote}",
      help = "Names joined by dots, [1] for the first element of a list: data[1].rate" },
    { key = "time_path", type = "string", title = "Where its time is", default = "",
      help = "Unix seconds. When set, a rate older than a day is refused." },
  },
}
