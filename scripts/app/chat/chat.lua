-- SPDX-License-Identifier: Apache-2.0
-- Messages: a member's thread with the administration, and threads between two members. Administrators (in an
-- administrator's session) see every support thread and no private one.
local db = require "ppv.db"
local events = require "ppv.events"
local http = require "ppv.http"
local json = require "ppv.json"
local time = require "ppv.time"
local errors = require "lib.errors"
local iso = require "lib.iso"

local PAGE = 100
local STREAM_S = 300

-- Who may talk in a thread: $1 the user, $2 whether they sit at the administrator's desk.
local MINE = [[(case c.conversation_type when 'direct' then not $2 and $1 in (c.user_a_id, c.user_b_id)
  else $2 or c.support_user_id = $1 end)]]

local function find(ctx, id)
  local row, err = db.read_one("select c.id::text as id, c.conversation_type as kind, c.user_a_id, c.user_b_id, c.support_user_id from chat_conversations c "
    .. "where c.id = $3::uuid and " .. MINE, ctx.user.id, ctx:is_admin(), id)
  if row == nil then return nil, err end
  if not row then return errors.fail("access.denied", "forbidden") end
  return row
end

local function people(ctx, input)
  local rows, err = db.read([[select id, username::text as username, '' as email, true as can_start_direct from users
    where id <> $1 and not is_admin and disabled_at is null and username ilike $2 order by username limit 20]], ctx.user.id,
    "%" .. input.q:gsub("[\\%%_]", "\\%0") .. "%")
  if not rows then return nil, err end
  return ctx:ok { users = json.array(rows) }
end

local function open_support(user)
  return db.one([[with made as (insert into chat_conversations (conversation_type, support_user_id, created_by_user_id)
    values ('admin_support', $1, $1) on conflict (support_user_id) where conversation_type = 'admin_support' do nothing returning id)
    select id::text as id from made union all
    select id::text from chat_conversations where conversation_type = 'admin_support' and support_user_id = $1 limit 1]], user)
end

local LIST = [[select c.id::text as id, c.conversation_type, p.id as other_id, p.username::text as other_name, m.body as last_message,
  s.username::text as last_sender_name, ]] .. iso "c.last_message_at" .. " as last_message_at, " .. iso "c.created_at" .. [[ as created_at,
  (select count(*) from chat_messages n where n.conversation_id = c.id and n.sender_user_id <> $1
    and n.id > coalesce(r.last_message_id, 0)) as unread
  from chat_conversations c
  left join users p on p.id = case c.conversation_type when 'direct' then case c.user_a_id when $1 then c.user_b_id else c.user_a_id end
    else case when $2 then c.support_user_id end end
  left join lateral (select body, sender_user_id from chat_messages where conversation_id = c.id order by id desc limit 1) m on true
  left join users s on s.id = m.sender_user_id
  left join chat_reads r on r.conversation_id = c.id and r.user_id = $1
  where ]] .. MINE .. [[ and (not $2 or m.body is not null) order by coalesce(c.last_message_at, c.created_at) desc, c.id desc limit 200]]

local function conversations(ctx)
  local desk = ctx:is_admin()
  if not desk then
    local made, err = open_support(ctx.user.id)
    if not made then return nil, err end
  end
  local rows, err = db.query(LIST, ctx.user.id, desk)
  if not rows then return nil, err end
  for i, r in ipairs(rows) do
    rows[i] = { id = r.id, conversation_type = r.conversation_type, title = r.other_name or "Support",
      counterpart = r.other_id and { id = r.other_id, username = r.other_name, email = "" } or json.null,
      last_message = r.last_message or json.null, last_message_at = r.last_message_at or json.null,
      last_sender_name = r.last_sender_name or json.null, created_at = r.created_at, unread = r.unread }
  end
  return ctx:ok { conversations = json.array(rows) }
end

local function support(ctx)
  if ctx:is_admin() then return errors.invalid("Administrators answer threads; they do not open them.") end
  local row, err = open_support(ctx.user.id)
  if not row then return nil, err end
  return ctx:ok { conversation_id = row.id }
end

local function direct(ctx, input)
  if ctx:is_admin() then return errors.fail("access.denied", "Private messages are between members.") end
  if input.target_user_id == ctx.user.id then return errors.invalid("You cannot write to yourself.") end
  local target, err = db.read_one([[select u.id, exists (select 1 from creator_blocks b where b.creator_id = u.id and b.user_id = $2
    and (b.expires_at is null or b.expires_at > now())) as blocked from users u
    where u.id = $1 and not u.is_admin and u.disabled_at is null]], input.target_user_id, ctx.user.id)
  if target == nil then return nil, err end
  if not target then return errors.not_found("user") end
  if target.blocked then return errors.fail("access.denied", "This member does not take messages from you.") end
  local a, b = math.min(ctx.user.id, target.id), math.max(ctx.user.id, target.id)
  local row
  row, err = db.one([[with made as (insert into chat_conversations (conversation_type, user_a_id, user_b_id, created_by_user_id)
    values ('direct', $1, $2, $3) on conflict (user_a_id, user_b_id) where conversation_type = 'direct' do nothing returning id)
    select id::text as id from made union all
    select id::text from chat_conversations where conversation_type = 'direct' and user_a_id = $1 and user_b_id = $2 limit 1]],
    a, b, ctx.user.id)
  if not row then return nil, err end
  return ctx:ok { conversation_id = row.id }
end

local MESSAGE = [[select m.id, m.sender_user_id, u.username::text as sender_username, u.is_admin as sender_is_admin, m.body, ]]
  .. iso "m.created_at" .. [[ as created_at, m.sender_user_id = $2 as is_self
  from chat_messages m join users u on u.id = m.sender_user_id where m.conversation_id = $1::uuid ]]

-- Without before: everything up to the newest, which the reference's page expects, but never more than PAGE.
local function messages(ctx, input)
  local c, err = find(ctx, input.id)
  if not c then return nil, err end
  local rows
  rows, err = db.read("select * from (" .. MESSAGE .. [[and ($3::bigint is null or m.id < $3) order by m.id desc limit $4) t
    order by id]], c.id, ctx.user.id, input.before, PAGE)
  if not rows then return nil, err end
  if #rows > 0 and not input.before then
    local ok
    ok, err = db.exec([[insert into chat_reads (conversation_id, user_id, last_message_id) values ($1::uuid, $2, $3)
      on conflict (conversation_id, user_id) do update set last_message_id = greatest(chat_reads.last_message_id, excluded.last_message_id)]],
      c.id, ctx.user.id, rows[#rows].id)
    if not ok then return nil, err end
  end
  return ctx:ok { messages = json.array(rows), more = #rows == PAGE }
end

-- A direct thread is closed to whom the other one has blocked since.
local function may_write(ctx, c)
  if c.kind ~= "direct" then return true end
  local other = c.user_a_id == ctx.user.id and c.user_b_id or c.user_a_id
  local row, err = db.read_one([[select 1 as yes from creator_blocks where creator_id = $1 and user_id = $2
    and (expires_at is null or expires_at > now())]], other, ctx.user.id)
  if row == nil then return nil, err end
  if row then return errors.fail("access.denied", "This member does not take messages from you.") end
  return true
end

local function write(ctx, input)
  local c, err = find(ctx, input.id)
  if not c then return nil, err end
  local ok
  ok, err = may_write(ctx, c)
  if not ok then return nil, err end
  local id
  id, err = db.tx(function(tx)
    local row, e = tx.one("insert into chat_messages (conversation_id, sender_user_id, body) values ($1::uuid, $2, $3) returning id",
      c.id, ctx.user.id, input.body)
    if not row then return nil, e end
    local n
    n, e = tx.exec("update chat_conversations set last_message_at = now(), updated_at = now() where id = $1::uuid", c.id)
    if not n then return nil, e end
    return row.id
  end)
  if not id then return nil, err end
  db.notify("chat", json.encode { id = c.id, direct = c.kind == "direct", to = { c.user_a_id or c.support_user_id, c.user_b_id } })
  local row
  row, err = db.one(MESSAGE .. "and m.id = $3", c.id, ctx.user.id, id)
  if not row then return nil, err end
  return ctx:ok { message = row }
end

-- Whether a notice of write() is for this listener. It names whom it concerns, so that nobody has to ask the database.
local function concerns(ctx, notice)
  if ctx:is_admin() then return not notice.direct end
  return notice.to[1] == ctx.user.id or notice.to[2] == ctx.user.id
end

-- Server-sent events: the id of a thread of mine in which something was written.
local function follow(ctx)
  local sub, err = events.subscribe("chat")
  if not sub then return nil, err end
  local ok
  ok, err = http.stream_open(ctx.req, 200, { ["content-type"] = "text/event-stream", ["cache-control"] = "no-store",
    ["x-accel-buffering"] = "no" })
  if not ok then return nil, err end
  local started = time.mono()
  http.stream_write(ctx.req, ": here\n\n")
  while time.mono() - started < STREAM_S do
    local payload = sub:next(15)
    local text = ": still here\n\n"
    if payload and payload ~= "" then
      local notice = json.decode(payload)
      text = concerns(ctx, notice) and ('data: {"conversation_id":"%s"}\n\n'):format(notice.id) or nil
    end
    if text and not http.stream_write(ctx.req, text) then break end
  end
  http.stream_end(ctx.req)
  return { status = 200, headers = {}, body = { streamed = true } }
end

local ID = { type = "uuid", required = true }

return { routes = {
  { method = "GET", path = "/api/chat/users", auth = "user", rate = "60/m", summary = "People one can write to", handler = people,
    input = { q = { type = "string", max = 60, default = "", keep_blank = true } } },
  { method = "GET", path = "/api/chat/conversations", auth = "user", rate = "120/m", summary = "My threads", handler = conversations },
  { method = "GET", path = "/api/chat/events", auth = "user", rate = "60/m", summary = "New messages as server-sent events", handler = follow },
  { method = "POST", path = "/api/chat/conversations/support", auth = "user", rate = "30/m", summary = "My thread with the administration",
    handler = support },
  { method = "POST", path = "/api/chat/conversations/direct", auth = "user", rate = "30/m", summary = "A thread with a member",
    input = { target_user_id = { type = "int", min = 1, required = true } }, handler = direct },
  { method = "GET", path = "/api/chat/conversations/:id/messages", auth = "user", rate = "240/m", summary = "Messages of a thread",
    input = { id = ID, before = { type = "int", min = 1 } }, handler = messages },
  { method = "POST", path = "/api/chat/conversations/:id/messages", auth = "user", rate = "30/m", summary = "Write",
    input = { id = ID, body = { type = "string", min = 1, max = 4000, multiline = true, required = true } }, handler = write },
} }
