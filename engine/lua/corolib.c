/* SPDX-License-Identifier: Apache-2.0
 * pcall, xpcall and coroutine.* as Lua wrappers, because only Lua code may yield across them in LuaJIT.
 * - the deadline sentinel passes through every one of them, so code over its budget cannot catch its own end;
 * - an await inside an inner coroutine travels up to the task's coroutine, and its results travel back down. */
#include "base/err.h"
#include "lua/sched.h"
#include "lua/vm.h"

static const char GUARD[] =
    "local D, AWAIT, pending, rpcall, rxpcall, co = ...\n"
    "local error, cresume, cyield, ccreate = error, co.resume, co.yield, co.create\n"
    "local crunning, cstatus, type = co.running, co.status, type\n"
    "local function fin(ok, ...)\n"
    "  if not ok and ((...) == D or pending()) then error(D, 0) end\n"
    "  return ok, ...\n"
    "end\n"
    "function pcall(f, ...) return fin(rpcall(f, ...)) end\n"
    "function xpcall(f, h, ...)\n"
    "  return fin(rxpcall(f, function(e)\n"
    "    if e == D or pending() then return D end\n"
    "    return h(e)\n"
    "  end, ...))\n"
    "end\n"
    "local function pump(c, ok, a, ...)\n"
    "  if ok and a == AWAIT then return pump(c, cresume(c, cyield(AWAIT))) end\n"
    "  if not ok and (a == D or pending()) then error(D, 0) end\n"
    "  return ok, a, ...\n"
    "end\n"
    "local function resume(c, ...) return pump(c, cresume(c, ...)) end\n"
    "local function unwrap(ok, ...)\n"
    "  if not ok then error((...), 0) end\n"
    "  return ...\n"
    "end\n"
    "local function wrap(f)\n"
    "  local c = ccreate(f)\n"
    "  return function(...) return unwrap(resume(c, ...)) end\n"
    "end\n"
    "return { create = ccreate, resume = resume, yield = cyield, wrap = wrap, running = crunning, "
    "status = cstatus }\n";

static int l_pending(lua_State *L)
{
    lua_pushboolean(L, sched_over_budget());
    return 1;
}

void vm_guard_open(lua_State *L)
{
    must(luaL_loadbufferx(L, GUARD, sizeof GUARD - 1, "=guard", "t") == 0);
    sched_push_deadline(L);
    sched_push_await(L);
    lua_pushcfunction(L, l_pending);
    lua_getglobal(L, "pcall");
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "ppv.pcall"); /* the plain one, for the plugin boundary */
    lua_getglobal(L, "xpcall");
    lua_getglobal(L, "coroutine");
    lua_call(L, 6, 1);
    lua_setglobal(L, "coroutine");
}
