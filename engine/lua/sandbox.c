/* SPDX-License-Identifier: Apache-2.0 */
#include "lua/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include <luajit.h>
#include "base/err.h"
#include "lua/compiled.h"
#include "lua/gen.h"
#include "lua/lx.h"
#include "lua/sched.h"
#include "lua/vm.h"
#include "lua/watchdog.h"

/* The chunk name matters: the watchdog's hook never raises inside it. */
static const char BOUNDARY[] =
    "local enter, leave, convert, rpcall, type, next, error, rawset = ...\n"
    "local function fin(prev, name, ok, ...)\n"
    "  leave(prev)\n"
    "  if ok then return ... end\n"
    "  if prev then error((...), 0) end\n"
    "  error(convert(name, (...)), 0)\n"
    "end\n"
    "local function guard(name, f)\n"
    "  return function(...) return fin(enter(name), name, rpcall(f, ...)) end\n"
    "end\n"
    "local function wrap(name, v, depth, seen)\n"
    "  if type(v) == 'function' then return guard(name, v) end\n"
    "  if type(v) ~= 'table' or depth > 6 or seen[v] then return v end\n"
    "  seen[v] = true\n"
    "  for k, x in next, v do\n"
    "    local t = type(x)\n"
    "    if t == 'function' or t == 'table' then rawset(v, k, wrap(name, x, depth + 1, seen)) end\n"
    "  end\n"
    "  return v\n"
    "end\n"
    "return guard, function(name, v) return wrap(name, v, 0, {}) end\n";

static struct gen *gen_of(lua_State *L)
{
    return vm_of(L)->gen;
}

static struct gen *loading_gen(lua_State *L)
{
    struct gen *g = gen_of(L);
    if (!g->loading)
        luaL_error(L, "this function of ppv.host works only while scripts/boot.lua loads");
    return g;
}

/* ---- primitives for scripts/sandbox/env.lua ---- */

static int l_enter(lua_State *L)
{
    lua_pushstring(L, sched_enter(luaL_checkstring(L, 1)));
    return 1;
}

static int l_leave(lua_State *L)
{
    sched_leave(lua_tostring(L, 1));
    return 0;
}

static void raw_string(lua_State *L, int idx, const char *key, char *out, size_t cap)
{
    lua_pushstring(L, key);
    lua_rawget(L, idx);
    if (lua_type(L, -1) == LUA_TSTRING)
        snprintf(out, cap, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
}

static int push_plugin_err(lua_State *L, const char *plugin, const char *code, const char *msg,
                           bool retry)
{
    struct err e = {.code = ERR_INTERNAL, .retry = retry};
    snprintf(e.msg, sizeof e.msg, "%s", msg);
    lx_push_err(L, &e);
    lua_pushstring(L, code);
    lua_setfield(L, -2, "code");
    lua_pushboolean(L, retry);
    lua_setfield(L, -2, "retry");
    lua_pushstring(L, plugin);
    lua_setfield(L, -2, "plugin");
    return 1;
}

static bool is_memory_error(lua_State *L, int idx)
{
    return lua_type(L, idx) == LUA_TSTRING &&
           strcmp(lua_tostring(L, idx), "not enough memory") == 0;
}

/* What a plugin threw becomes a fresh error table: nothing of its metatables reaches trusted code. */
static int l_convert(lua_State *L)
{
    const char *plugin = luaL_checkstring(L, 1);
    char msg[320] = "";
    lua_settop(L, 2);
    if (sched_is_deadline(L, 2)) {
        sched_strike(plugin, "cpu");
        snprintf(msg, sizeof msg, "%splugin %s used too much CPU time and was stopped",
                 watchdog_where(), plugin);
        return push_plugin_err(L, plugin, "engine.limit", msg, false);
    }
    if (is_memory_error(L, 2)) {
        vm_recover(vm_of(L));
        gen_of(L)->recycle = true;
        sched_strike(plugin, "memory");
        snprintf(msg, sizeof msg, "plugin %s used too much memory and was stopped", plugin);
        return push_plugin_err(L, plugin, "engine.limit", msg, false);
    }
    if (lua_istable(L, 2)) {
        char code[64] = "plugin.error";
        raw_string(L, 2, "code", code, sizeof code);
        raw_string(L, 2, "message", msg, sizeof msg);
        lua_pushliteral(L, "retry");
        lua_rawget(L, 2);
        return push_plugin_err(L, plugin, code, msg[0] ? msg : "error object without message",
                               lua_toboolean(L, -1));
    }
    const char *s = lua_tostring(L, 2);
    return push_plugin_err(L, plugin, "plugin.error", s ? s : "error object is not a string",
                           false);
}

/* compile(path) -> function with the JIT off | nil, message. Text only. */
static int l_compile(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    const struct bundle_file *f = bundle_find(gen_of(L)->bundle, path);
    if (!f) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s:0: file not found", path);
        return 2;
    }
    if (compiled_load(L, f) != 0) {
        lua_pushnil(L);
        if (f->size && f->data[0] == LUA_SIGNATURE[0])
            lua_pushfstring(L, "%s:1: compiled code is not accepted, only source text", path);
        else
            lua_insert(L, -2);
        return 2;
    }
    luaJIT_setmode(L, lua_gettop(L), LUAJIT_MODE_ALLFUNC | LUAJIT_MODE_OFF);
    return 1;
}

static int l_setfenv(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_setfenv(L, 1);
    return 1;
}

/* clone(t) -> a table of the same size with the same members. */
static int l_clone(lua_State *L)
{
    int n = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
        n++;
    lua_createtable(L, 0, n);
    for (lua_pushnil(L); lua_next(L, 1);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 2);
    }
    return 1;
}

static int l_module(lua_State *L)
{
    vm_require(L, luaL_checkstring(L, 1));
    return 1;
}

static int l_exists(lua_State *L)
{
    lua_pushboolean(L, bundle_find(gen_of(L)->bundle, luaL_checkstring(L, 1)) != NULL);
    return 1;
}

/* ---- ppv.host ---- */

static int l_fail(lua_State *L)
{
    struct gen *g = loading_gen(L);
    const char *plugin = lua_tostring(L, 1);
    problems_add(&g->problems, plugin ? plugin : "", luaL_optstring(L, 2, ""),
                 (int)luaL_optinteger(L, 3, 0), luaL_checkstring(L, 4));
    return 0;
}

/* fail_message(plugin, file, "file:line: text") -> nil, {plugin,file,line,text,code,message} */
static int l_fail_message(lua_State *L)
{
    struct gen *g = loading_gen(L);
    struct problems *p = &g->problems;
    const char *msg = lua_tostring(L, 3);
    int n = p->n;
    problems_add_message(p, lua_tostring(L, 1), luaL_checkstring(L, 2), msg ? msg : "error");
    lua_pushnil(L);
    lua_newtable(L);
    if (p->n > n) {
        struct problem *q = &p->v[n];
        lua_pushstring(L, q->plugin);
        lua_setfield(L, -2, "plugin");
        lua_pushstring(L, q->file);
        lua_setfield(L, -2, "file");
        lua_pushinteger(L, q->line);
        lua_setfield(L, -2, "line");
        lua_pushstring(L, q->text);
        lua_setfield(L, -2, "text");
        lua_pushstring(L, q->text);
        lua_setfield(L, -2, "message");
    }
    lua_pushliteral(L, "plugin.invalid");
    lua_setfield(L, -2, "code");
    return 2;
}

static int l_plugins(lua_State *L)
{
    const struct bundle *b = gen_of(L)->bundle;
    char last[64] = "";
    int count = 0;
    lua_newtable(L);
    for (int i = 0; i < b->nfiles; i++) {
        const char *p = b->files[i].path, *slash;
        if (strncmp(p, "plugins/", 8) != 0 || !(slash = strchr(p + 8, '/')) || slash - p - 8 > 63)
            continue;
        size_t n = (size_t)(slash - p - 8);
        if (strlen(last) == n && strncmp(last, p + 8, n) == 0)
            continue;
        snprintf(last, sizeof last, "%.*s", (int)n, p + 8);
        lua_createtable(L, 0, 2);
        lua_pushstring(L, last);
        lua_setfield(L, -2, "name");
        lua_pushboolean(L, bundle_is_disabled(b, last));
        lua_setfield(L, -2, "disabled");
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

static int l_files(lua_State *L)
{
    const struct bundle *b = gen_of(L)->bundle;
    const char *prefix = luaL_checkstring(L, 1);
    lua_newtable(L);
    for (int i = 0; i < b->nfiles; i++)
        if (strncmp(b->files[i].path, prefix, strlen(prefix)) == 0) {
            lua_pushinteger(L, (lua_Integer)b->files[i].size);
            lua_setfield(L, -2, b->files[i].path);
        }
    return 1;
}

static int l_source_hash(lua_State *L)
{
    char hex[65];
    bundle_plugin_hash(gen_of(L)->bundle, luaL_checkstring(L, 1), hex);
    lua_pushstring(L, hex);
    return 1;
}

static int l_bundle(lua_State *L)
{
    const struct bundle *b = gen_of(L)->bundle;
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, b->id);
    lua_setfield(L, -2, "id");
    lua_pushstring(L, b->hash);
    lua_setfield(L, -2, "hash");
    lua_pushnumber(L, (lua_Number)b->read_at / 1e6);
    lua_setfield(L, -2, "read_at");
    return 1;
}

static void open_boundary(lua_State *L, int prim)
{
    static const char *const pass[] = {"type", "next", "error", "rawset", NULL};
    must(luaL_loadbufferx(L, BOUNDARY, sizeof BOUNDARY - 1, "=boundary", "t") == 0);
    lua_pushcfunction(L, l_enter);
    lua_pushcfunction(L, l_leave);
    lua_pushcfunction(L, l_convert);
    lua_getfield(L, LUA_REGISTRYINDEX, "ppv.pcall");
    for (int i = 0; pass[i]; i++)
        lua_getglobal(L, pass[i]);
    lua_call(L, 8, 2);
    lua_setfield(L, prim, "wrap");
    lua_setfield(L, prim, "guard");
}

/* scripts/sandbox/env.lua gets the primitives and fills in load, load_manifest, check, readonly, copy. */
static int open_host(lua_State *L)
{
    static const luaL_Reg prims[] = {{"compile", l_compile},
                                     {"setfenv", l_setfenv},
                                     {"module", l_module},
                                     {"exists", l_exists},
                                     {"clone", l_clone},
                                     {"fail_message", l_fail_message},
                                     {NULL, NULL}};
    static const luaL_Reg host[] = {
        {"plugins", l_plugins}, {"files", l_files}, {"source_hash", l_source_hash},
        {"bundle", l_bundle},   {"fail", l_fail},   {NULL, NULL}};
    lx_module(L, host);
    int h = lua_gettop(L);
    lua_pushboolean(L, gen_of(L)->cold);
    lua_setfield(L, h, "cold");
    lx_module(L, prims);
    int prim = lua_gettop(L);
    open_boundary(L, prim);
    vm_require(L, "sandbox.env");
    lua_pushvalue(L, h);
    lua_pushvalue(L, prim);
    lua_call(L, 2, 0);
    lua_settop(L, h);
    return 1;
}

void sandbox_open(lua_State *L)
{
    vm_module(L, "ppv.host", open_host);
}
