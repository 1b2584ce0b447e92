/* SPDX-License-Identifier: Apache-2.0 */
#include "lua/lx.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"

#define EXACT 9007199254740992.0 /* 2^53 */

static const char *phase_name(int phase)
{
    switch (phase) {
    case PHASE_LOAD: return "load";
    case PHASE_REQUEST: return "request";
    case PHASE_WEBHOOK: return "webhook";
    case PHASE_TX: return "tx";
    case PHASE_JOB: return "job";
    case PHASE_TICK: return "tick";
    default: return "unknown";
    }
}

struct task *lx_task(lua_State *L, int phases)
{
    struct task *t = sched_running();
    if (!t)
        luaL_error(L, "this function needs a running task");
    if (t->phase & phases)
        return t;
    char allowed[96] = "";
    for (int p = 1; p <= PHASE_TICK; p <<= 1)
        if (p & phases) {
            size_t n = strlen(allowed);
            snprintf(allowed + n, sizeof allowed - n, "%s%s", n ? ", " : "", phase_name(p));
        }
    luaL_error(L, "not available in phase %s (allowed: %s)", phase_name(t->phase), allowed);
    return NULL;
}

struct str lx_str(lua_State *L, int i, size_t min, size_t max)
{
    luaL_checktype(L, i, LUA_TSTRING);
    struct str v;
    v.p = lua_tolstring(L, i, &v.n);
    if (v.n < min || v.n > max)
        luaL_argerror(L, i,
                      lua_pushfstring(L, "string of %d to %d bytes expected, got %d", (int)min,
                                      (int)max, (int)v.n));
    return v;
}

struct str lx_opt_str(lua_State *L, int i, size_t max, const char *def)
{
    if (lua_isnoneornil(L, i))
        return str_from(def);
    return lx_str(L, i, 0, max);
}

static bool to_int(lua_State *L, int i, int64_t *out)
{
    if (lua_type(L, i) == LUA_TNUMBER) {
        lua_Number n = lua_tonumber(L, i);
        if (!(fabs(n) <= EXACT) || n != floor(n))
            return false;
        *out = (int64_t)n;
        return true;
    }
    if (lua_type(L, i) != LUA_TSTRING)
        return false;
    struct str v;
    v.p = lua_tolstring(L, i, &v.n);
    return str_to_int64(v, out) == 0;
}

int64_t lx_int(lua_State *L, int i, int64_t min, int64_t max)
{
    int64_t v;
    if (!to_int(L, i, &v))
        luaL_argerror(L, i, lua_pushfstring(L, "integer expected, got %s", luaL_typename(L, i)));
    if (v < min || v > max)
        luaL_argerror(L, i, lua_pushfstring(L, "integer out of range (%f)", (lua_Number)v));
    return v;
}

int64_t lx_opt_int(lua_State *L, int i, int64_t min, int64_t max, int64_t def)
{
    return lua_isnoneornil(L, i) ? def : lx_int(L, i, min, max);
}

bool lx_opt_bool(lua_State *L, int i, bool def)
{
    if (lua_isnoneornil(L, i))
        return def;
    luaL_checktype(L, i, LUA_TBOOLEAN);
    return lua_toboolean(L, i);
}

struct str lx_field_str(lua_State *L, int i, const char *name, size_t max, bool need)
{
    luaL_checktype(L, i, LUA_TTABLE);
    struct str v = {NULL, 0};
    lua_getfield(L, i, name);
    if (lua_isnil(L, -1)) {
        if (need)
            luaL_error(L, "field '%s' is missing", name);
    } else if (lua_type(L, -1) != LUA_TSTRING) {
        luaL_error(L, "field '%s': string expected, got %s", name, luaL_typename(L, -1));
    } else {
        v.p = lua_tolstring(L, -1, &v.n);
        if (v.n > max)
            luaL_error(L, "field '%s' is longer than %d bytes", name, (int)max);
    }
    lua_pop(L, 1);
    return v;
}

int64_t lx_field_int(lua_State *L, int i, const char *name, int64_t min, int64_t max, int64_t def)
{
    luaL_checktype(L, i, LUA_TTABLE);
    lua_getfield(L, i, name);
    int64_t v = def;
    if (!lua_isnil(L, -1) && (!to_int(L, -1, &v) || v < min || v > max))
        luaL_error(L, "field '%s': integer in range expected", name);
    lua_pop(L, 1);
    return v;
}

bool lx_field_bool(lua_State *L, int i, const char *name, bool def)
{
    luaL_checktype(L, i, LUA_TTABLE);
    lua_getfield(L, i, name);
    bool v = lua_isnil(L, -1) ? def : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return v;
}

char *lx_copy(struct task *t, struct str s)
{
    return arena_strndup(t->arena, s.p ? s.p : "", s.n);
}

static int err_tostring(lua_State *L)
{
    lua_getfield(L, 1, "code");
    lua_getfield(L, 1, "message");
    const char *code = lua_tostring(L, -2), *msg = lua_tostring(L, -1);
    lua_pushfstring(L, "%s: %s", code ? code : "?", msg ? msg : "");
    return 1;
}

static void set_err_meta(lua_State *L)
{
    if (luaL_newmetatable(L, "ppv.err")) {
        lua_pushcfunction(L, err_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

void lx_push_err(lua_State *L, const struct err *e)
{
    luaL_checkstack(L, 6, "error value");
    lua_createtable(L, 0, 4);
    /* a business rule of the database brings its own code ("wallet.insufficient") in detail */
    bool own = e->code == ERR_CONFLICT && strchr(e->detail, '.');
    lua_pushstring(L, own ? e->detail : err_name(e->code));
    lua_setfield(L, -2, "code");
    lua_pushstring(L, e->msg);
    lua_setfield(L, -2, "message");
    lua_pushboolean(L, e->retry || err_is_retry(e->code));
    lua_setfield(L, -2, "retry");
    if (e->detail[0]) {
        lua_pushstring(L, e->detail);
        lua_setfield(L, -2, "detail");
    }
    set_err_meta(L);
}

int lx_fail(lua_State *L, const struct err *e)
{
    lua_pushnil(L);
    lx_push_err(L, e);
    return 2;
}

int lx_failf(lua_State *L, enum err_code code, const char *fmt, ...)
{
    struct err e = {.code = code, .retry = err_is_retry(code)};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e.msg, sizeof e.msg, fmt, ap);
    va_end(ap);
    return lx_fail(L, &e);
}

static void copy_field(lua_State *L, int idx, const char *name, char *out, size_t cap)
{
    lua_pushstring(L, name);
    lua_rawget(L, idx);
    if (lua_type(L, -1) == LUA_TSTRING)
        snprintf(out, cap, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
}

void lx_to_err(lua_State *L, int idx, struct err *e)
{
    if (idx < 0)
        idx = lua_gettop(L) + idx + 1;
    if (lua_istable(L, idx)) {
        char code[64] = "", msg[384] = "", detail[64] = "";
        copy_field(L, idx, "code", code, sizeof code);
        copy_field(L, idx, "message", msg, sizeof msg);
        copy_field(L, idx, "detail", detail, sizeof detail);
        enum err_code c = ERR_INTERNAL;
        for (int i = 1; i < ERR_CODE_COUNT; i++)
            if (strcmp(err_name((enum err_code)i), code) == 0)
                c = (enum err_code)i;
        ERR(e, c, "%s", msg[0] ? msg : "(error object)");
        snprintf(e->detail, sizeof e->detail, "%s", detail[0] ? detail : code);
        return;
    }
    const char *msg = lua_tostring(L, idx);
    ERR(e, ERR_INTERNAL, "%s", msg ? msg : "(error object is not a string)");
}

int lx_module(lua_State *L, const luaL_Reg *reg)
{
    lua_newtable(L);
    for (; reg->name; reg++) {
        lua_pushcfunction(L, reg->func);
        lua_setfield(L, -2, reg->name);
    }
    return 1;
}
