/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_db.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/str.h"
#include "bind/bind_json.h"
#include "lua/lx.h"

#define EXACT 9007199254740992.0
#define EXACT_INT ((int64_t)1 << 53)

static const char MARK_ARRAY[] = "ppv.db.array";
static const char MARK_BYTES[] = "ppv.db.bytes";

static void mark(lua_State *L, const char *name)
{
    if (luaL_newmetatable(L, name)) {
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

static bool has_mark(lua_State *L, int i, const char *name)
{
    if (!lua_istable(L, i) || !lua_getmetatable(L, i))
        return false;
    lua_getfield(L, LUA_REGISTRYINDEX, name);
    bool yes = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return yes;
}

static void check_element(lua_State *L, int arg)
{
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
    case LUA_TBOOLEAN: return;
    case LUA_TNUMBER:
        if (!isnan(lua_tonumber(L, -1)))
            return;
        break;
    default: break;
    }
    luaL_argerror(L, arg, "array elements are strings, numbers or booleans");
}

/* ppv.db.array(list: table) -> parameter
 * A PostgreSQL array parameter ("any($1::text[])"). Elements: strings, numbers, booleans. Phases:
 * any. Since 1.0 */
int bind_db_array(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    int n = (int)lua_objlen(L, 1);
    lua_createtable(L, n, 0);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        check_element(L, 1);
        lua_rawseti(L, -2, i);
    }
    mark(L, MARK_ARRAY);
    return 1;
}

/* ppv.db.bytes(s: string) -> parameter
 * A bytea parameter: the bytes travel in binary form. Phases: any. Since 1.0 */
int bind_db_bytes(lua_State *L)
{
    lx_str(L, 1, 0, 16 << 20);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    mark(L, MARK_BYTES);
    return 1;
}

void bind_db_check(lua_State *L, int first)
{
    int top = lua_gettop(L);
    luaL_argcheck(L, top - first < 100, first, "at most 100 parameters");
    for (int i = first; i <= top; i++) {
        int type = lua_type(L, i);
        if (type == LUA_TNIL || type == LUA_TBOOLEAN)
            continue;
        if (type == LUA_TLIGHTUSERDATA && !lua_touserdata(L, i))
            continue;
        if (type == LUA_TNUMBER) {
            luaL_argcheck(L, isfinite(lua_tonumber(L, i)), i, "not a finite number");
            continue;
        }
        if (type == LUA_TSTRING) {
            struct str s = lx_str(L, i, 0, 16 << 20);
            luaL_argcheck(L, !memchr(s.p, 0, s.n), i, "text with a NUL byte (use ppv.db.bytes)");
            continue;
        }
        if (!has_mark(L, i, MARK_ARRAY) && !has_mark(L, i, MARK_BYTES))
            luaL_argerror(L, i,
                          "nil, boolean, number, string, ppv.db.array or ppv.db.bytes expected");
    }
}

static char *number_text(struct arena *a, double d)
{
    if (d == floor(d) && fabs(d) <= EXACT) {
        struct buf b = {0};
        buf_put_int(&b, (int64_t)d);
        char *text = arena_strndup(a, b.p, b.n);
        buf_fini(&b);
        return text;
    }
    return arena_printf(a, "%.17g", d);
}

static void put_quoted(struct buf *b, const char *p, size_t n)
{
    buf_put(b, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '"' || p[i] == '\\')
            buf_put(b, "\\", 1);
        buf_put(b, p + i, 1);
    }
    buf_put(b, "\"", 1);
}

static char *array_text(lua_State *L, int idx, struct arena *a)
{
    struct buf b = {0};
    int n = (int)lua_objlen(L, idx);
    buf_put(&b, "{", 1);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            buf_put(&b, ",", 1);
        lua_rawgeti(L, idx, i);
        size_t len;
        const char *p;
        if (lua_type(L, -1) == LUA_TBOOLEAN)
            buf_puts(&b, lua_toboolean(L, -1) ? "t" : "f");
        else if (lua_type(L, -1) == LUA_TNUMBER)
            buf_puts(&b, number_text(a, lua_tonumber(L, -1)));
        else if ((p = lua_tolstring(L, -1, &len)) != NULL)
            put_quoted(&b, p, len);
        else
            buf_puts(&b, "NULL");
        lua_pop(L, 1);
    }
    buf_put(&b, "}", 1);
    char *out = arena_strndup(a, b.p, b.n);
    buf_fini(&b);
    return out;
}

static const char *bytes_copy(lua_State *L, int idx, struct arena *a, int *len)
{
    size_t n = 0;
    lua_rawgeti(L, idx, 1);
    const char *p = lua_tolstring(L, -1, &n);
    char *copy = arena_alloc(a, n + 1);
    if (p)
        memcpy(copy, p, n);
    lua_pop(L, 1);
    *len = (int)n;
    return copy;
}

static const char *param_text(lua_State *L, int i, struct arena *a)
{
    size_t n;
    switch (lua_type(L, i)) {
    case LUA_TBOOLEAN: return lua_toboolean(L, i) ? "t" : "f";
    case LUA_TNUMBER: return number_text(a, lua_tonumber(L, i));
    case LUA_TSTRING: {
        const char *p = lua_tolstring(L, i, &n);
        return arena_strndup(a, p, n);
    }
    case LUA_TTABLE: return array_text(L, i, a);
    default: return NULL;
    }
}

void bind_db_params(lua_State *L, int first, struct arena *a, struct db_query *q)
{
    int n = lua_gettop(L) - first + 1;
    q->nparams = n > 0 ? n : 0;
    if (n <= 0)
        return;
    const char **params = arena_alloc(a, sizeof *params * (size_t)n);
    int *lens = arena_alloc(a, sizeof *lens * (size_t)n);
    int *formats = arena_alloc(a, sizeof *formats * (size_t)n);
    bool binary = false;
    for (int i = 0; i < n; i++) {
        if (has_mark(L, first + i, MARK_BYTES)) {
            params[i] = bytes_copy(L, first + i, a, &lens[i]);
            formats[i] = 1;
            binary = true;
        } else {
            params[i] = param_text(L, first + i, a);
        }
    }
    q->params = params;
    q->lens = lens;
    q->formats = binary ? formats : NULL;
}

static void push_cell(lua_State *L, const struct db_result *r, int row, int col)
{
    size_t n;
    const char *p = db_result_get(r, row, col, &n);
    int64_t v;
    switch (db_result_type(r, col)) {
    case DBV_INT:
        v = db_result_int(r, row, col);
        if (v >= -EXACT_INT && v <= EXACT_INT)
            lua_pushnumber(L, (lua_Number)v);
        else
            lua_pushlstring(L, p, n);
        break;
    case DBV_BOOL: lua_pushboolean(L, db_result_bool(r, row, col)); break;
    case DBV_FLOAT: lua_pushnumber(L, strtod(p, NULL)); break;
    default: lua_pushlstring(L, p, n); break;
    }
}

/* Column names lie at names+1...; pushing them once keeps a wide result from hashing them again
 * for every row. */
static void push_row(lua_State *L, const struct db_result *r, int row, int ncols, int names)
{
    lua_createtable(L, 0, ncols);
    for (int c = 0; c < ncols; c++) {
        if (db_result_null(r, row, c))
            continue;
        lua_pushvalue(L, names + 1 + c);
        push_cell(L, r, row, c);
        lua_rawset(L, -3);
    }
}

static void push_rows(lua_State *L, const struct db_result *r, bool one)
{
    int names = lua_gettop(L), ncols = db_result_cols(r), nrows = db_result_rows(r);
    for (int c = 0; c < ncols; c++)
        lua_pushstring(L, db_result_name(r, c));
    if (one) {
        if (nrows > 0)
            push_row(L, r, 0, ncols, names);
        else
            lua_pushboolean(L, 0);
    } else {
        lua_createtable(L, nrows, 0);
        if (nrows == 0)
            bind_json_mark_array(L);
        for (int i = 0; i < nrows; i++) {
            push_row(L, r, i, ncols, names);
            lua_rawseti(L, -2, i + 1);
        }
    }
    lua_replace(L, names + 1);
    lua_settop(L, names + 1);
}

static int push_json(lua_State *L, const struct db_result *r)
{
    struct err e = {0};
    if (db_result_rows(r) < 1 || db_result_cols(r) < 1 || db_result_null(r, 0, 0)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    struct str s;
    s.p = db_result_get(r, 0, 0, &s.n);
    if (bind_json_decode(L, s, &e) < 0)
        return lx_fail(L, &e);
    return 1;
}

int bind_db_push(lua_State *L, const struct db_result *r, enum bind_db_mode mode)
{
    int ncols = db_result_cols(r);
    if (!lua_checkstack(L, ncols + 8))
        return lx_failf(L, ERR_LIMIT, "too many columns: %d", ncols);
    if (mode == BIND_DB_JSON)
        return push_json(L, r);
    if (mode == BIND_DB_COUNT)
        lua_pushnumber(L, (lua_Number)db_result_count(r));
    else if (ncols == 0 && mode == BIND_DB_ONE)
        lua_pushboolean(L, 0);
    else
        push_rows(L, r, mode == BIND_DB_ONE);
    return 1;
}
