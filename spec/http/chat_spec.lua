-- SPDX-License-Identifier: Apache-2.0
-- Messages: who sees which thread, what is stored, and that nobody else does.
local db = require "ppv.db"
local h = require "spec.support"

local function support_of(u) return u:post("/api/chat/conversations/support").json.conversation_id end
local function say(u, id, body) return u:post("/api/chat/conversations/" .. id .. "/messages", { body = body }) end
local function read(u, id) return u:get("/api/chat/conversations/" .. id .. "/messages") end
local function thread(u, id)
  for _, c in ipairs(u:get("/api/chat/conversations").json.conversations) do if c.id == id then return c end end
end

describe("messages", function()
  local admin, ann, bob, eve
  lazy_setup(function() admin, ann, bob, eve = h.make.admin(), h.make.user(), h.make.user(), h.make.user() end)

  it("a support thread is between a member and the administration", function()
    local id = support_of(ann)
    assert.equal(id, support_of(ann))
    assert.is_table(thread(ann, id))
    assert.is_nil(thread(admin, id), "an empty thread is nothing to answer")
    local r = say(ann, id, "  My film does not play.\nWhat now?  ")
    assert.equal(200, r.status, r.body)
    assert.equal("My film does not play.\nWhat now?", r.json.message.body)
    assert.is_true(r.json.message.is_self)
    local c = assert(thread(admin, id))
    assert.equal(ann.username, c.title)
    assert.equal(ann.id, c.counterpart.id)
    assert.equal("", c.counterpart.email)
    assert.equal(1, c.unread)
    assert.equal(1, #read(admin, id).json.messages)
    assert.equal(0, thread(admin, id).unread)
    assert.equal(200, say(admin, id, "Please reload the page.").status)
    local list = read(ann, id).json.messages
    assert.equal("Please reload the page.", list[2].body)
    assert.is_true(list[2].sender_is_admin)
    assert.is_false(list[2].is_self)
  end)

  it("a direct thread is between two members, one per pair", function()
    local r = ann:post("/api/chat/conversations/direct", { target_user_id = bob.id })
    assert.equal(200, r.status, r.body)
    local id = r.json.conversation_id
    assert.equal(id, bob:post("/api/chat/conversations/direct", { target_user_id = ann.id }).json.conversation_id)
    say(ann, id, "Hello Bob")
    assert.equal("Hello Bob", read(bob, id).json.messages[1].body)
    assert.equal(ann.username, thread(bob, id).title)
    for who, c in pairs { stranger = eve, administrator = admin } do
      assert.equal(403, read(c, id).status, who)
      assert.equal(403, say(c, id, "I was here").status, who)
      assert.is_nil(thread(c, id), who)
    end
    assert.equal(1, db.one("select count(*) as n from chat_messages where conversation_id = $1::uuid", id).n)
  end)

  it("refuses oneself, administrators, strangers to the site, blocked people and bad text", function()
    assert.equal(422, ann:post("/api/chat/conversations/direct", { target_user_id = ann.id }).status)
    assert.equal(404, ann:post("/api/chat/conversations/direct", { target_user_id = admin.id }).status)
    assert.equal(404, ann:post("/api/chat/conversations/direct", { target_user_id = 999999999 }).status)
    local id = ann:post("/api/chat/conversations/direct", { target_user_id = eve.id }).json.conversation_id
    assert.equal(422, say(ann, id, "   ").status)
    assert.equal(422, say(ann, id, ("x"):rep(4001)).status)
    assert.equal(200, say(ann, id, ("é"):rep(4000)).status)
    assert.equal(200, eve:post("/api/creator/block_user", { user_id = ann.id }).status)
    assert.equal(403, say(ann, id, "Still there?").status)
    assert.equal(403, ann:post("/api/chat/conversations/direct", { target_user_id = eve.id }).status)
    assert.equal(403, read(ann, "00000000-0000-7000-8000-000000000000").status)
  end)

  it("finds people by part of their name, and takes % and _ as they are", function()
    local r = ann:get("/api/chat/users?q=" .. bob.username:sub(1, 6))
    local seen = {}
    for _, u in ipairs(r.json.users) do
      seen[u.id] = true
      assert.equal("", u.email)
    end
    assert.is_true(seen[bob.id])
    assert.is_nil(seen[ann.id])
    assert.is_nil(seen[admin.id])
    assert.equal(0, #ann:get("/api/chat/users?q=%25_%25").json.users)
  end)

  it("pages backwards", function()
    local id = support_of(bob)
    assert(db.exec([[insert into chat_messages (conversation_id, sender_user_id, body) select $1::uuid, $2, 'line ' || n
      from generate_series(1, 150) n]], id, bob.id))
    local newest = read(bob, id).json
    assert.is_true(newest.more)
    assert.equal("line 150", newest.messages[#newest.messages].body)
    local older = bob:get("/api/chat/conversations/" .. id .. "/messages?before=" .. newest.messages[1].id).json
    assert.equal(50, #older.messages)
    assert.equal("line 1", older.messages[1].body)
    assert.is_false(older.more)
  end)
end)
