-- SPDX-License-Identifier: Apache-2.0
-- OpenAPI 3.1 from the route table: what is served is what is documented.
local json = require "ppv.json"

local M = {}
local KIND = { int = "integer", bool = "boolean" }
local FORMAT = { uuid = "uuid", email = "email", url = "uri" }

local function field_schema(rule)
  local s = { type = KIND[rule.type] or "string", format = FORMAT[rule.type] }
  if rule.type == "int" then
    s.minimum, s.maximum = rule.min or 0, rule.max
  elseif rule.type == "string" then
    s.minLength, s.maxLength = rule.min, rule.max or 1000
  elseif rule.type == "enum" then
    s.enum = json.array(rule.values)
  end
  s.default = rule.default
  return s
end

local function error_ref(text)
  return { description = text, content = { ["application/json"] = { schema = { ["$ref"] = "#/components/schemas/Error" } } } }
end

local function operation(route)
  local op = { summary = route.summary or route.name, operationId = (route.method:lower() .. route.path:gsub("[^%w]+", "_")),
    responses = { ["200"] = { description = "done" } }, tags = json.array { route.plugin or route.area or "site" } }
  op.responses["4XX"] = error_ref("refused; error is a sentence, code a word")
  if route.auth == "none" then
    op.security = json.array {}
  elseif route.auth == "public" then
    op.security = json.array { {}, { session = json.array {} } }
  else
    op.security = json.array { { session = json.array {} } }
    op.responses["401"] = error_ref("not logged in")
    op.responses["403"] = error_ref("not allowed")
  end
  if route.rate then op.responses["429"] = error_ref("too many requests: " .. route.rate) end
  local params, body, needed, seen = {}, {}, {}, {}
  for name in route.path:gmatch("[:*]([%w_]+)") do
    seen[name] = true
    params[#params + 1] = { name = name, ["in"] = "path", required = true,
      schema = route.input and route.input[name] and field_schema(route.input[name]) or { type = "string" } }
  end
  local names = {}
  for name in pairs(route.input or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local rule = route.input[name]
    if seen[name] then
      seen[name] = true
    elseif route.body == "memory" then
      body[name] = field_schema(rule)
      if rule.required then needed[#needed + 1] = name end
    else
      params[#params + 1] = { name = name, ["in"] = "query", required = rule.required == true, schema = field_schema(rule) }
    end
  end
  if route.input then op.responses["422"] = error_ref("an input is missing or has a wrong form") end
  if #params > 0 then op.parameters = json.array(params) end
  if next(body) then
    local object = { type = "object", properties = body, required = #needed > 0 and json.array(needed) or nil }
    op.requestBody = { content = { ["application/json"] = { schema = object },
      ["application/x-www-form-urlencoded"] = { schema = object } } }
  elseif route.body == "stream" then
    op.requestBody = { content = { ["multipart/form-data"] = { schema = { type = "object" } } } }
  end
  return op
end

function M.document(routes, base_url)
  local paths = {}
  for _, route in ipairs(routes) do
    if not route.hidden then
      local path = route.path:gsub("[:*]([%w_]+)", "{%1}")
      paths[path] = paths[path] or {}
      paths[path][route.method:lower()] = operation(route)
    end
  end
  return { openapi = "3.1.0", info = { title = "PPV Stream", version = "1.0" },
    servers = json.array { { url = base_url } }, paths = paths,
    components = {
      securitySchemes = { session = { type = "apiKey", ["in"] = "cookie", name = "ppv_session" } },
      schemas = { Error = { type = "object", properties = { ok = { type = "boolean" }, error = { type = "string" },
        code = { type = "string" }, request_id = { type = "string" } } } },
    } }
end

return M
