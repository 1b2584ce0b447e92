/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "base/arena.h"
#include "lua/lx.h"

enum { ENCODE_DEPTH = 64 };
#define EXACT 9007199254740992.0

static const char ARRAY_MARK[] = "ppv.json.array";

static void push_array_meta(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, ARRAY_MARK);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushboolean(L, 0); /* shared by all arrays: nobody may reach it from Lua */
        lua_setfield(L, -2, "__metatable");
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, ARRAY_MARK);
    }
}

void bind_json_mark_array(lua_State *L)
{
    push_array_meta(L);
    lua_setmetatable(L, -2);
}

/* ---- encode ---- */

struct enc {
    lua_State *L;
    struct buf *out;
    struct err *e;
    struct arena *tmp; /* sort keys */
    bool sorted;
};

static int enc_value(struct enc *c, int idx, int depth);

static int enc_number(struct enc *c, double d)
{
    if (!isfinite(d))
        return ERR(c->e, ERR_INVALID, "json: not a finite number");
    if (d == floor(d) && fabs(d) <= EXACT)
        buf_put_int(c->out, (int64_t)d);
    else
        buf_printf(c->out, "%.14g", d);
    return 0;
}

static bool is_marked(struct enc *c, int idx)
{
    if (!lua_getmetatable(c->L, idx))
        return false;
    push_array_meta(c->L);
    bool yes = lua_rawequal(c->L, -1, -2);
    lua_pop(c->L, 2);
    return yes;
}

/* Length when the keys are exactly 1..n, else -1. Never proportional to the largest key. */
static long array_length(struct enc *c, int idx)
{
    lua_State *L = c->L;
    long count = 0;
    double max = 0;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        double k = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        if (k < 1 || k != floor(k)) {
            lua_pop(L, 1);
            return -1;
        }
        max = k > max ? k : max;
        count++;
    }
    return max == (double)count ? count : -1;
}

static int enc_array(struct enc *c, int idx, long n, int depth)
{
    buf_putc(c->out, '[');
    for (long i = 1; i <= n; i++) {
        if (i > 1)
            buf_putc(c->out, ',');
        lua_rawgeti(c->L, idx, (int)i);
        int rc = enc_value(c, lua_gettop(c->L), depth + 1);
        lua_pop(c->L, 1);
        if (rc < 0)
            return -1;
    }
    buf_putc(c->out, ']');
    return 0;
}

static int enc_key(struct enc *c, int idx)
{
    size_t n;
    double d;
    switch (lua_type(c->L, idx)) {
    case LUA_TSTRING: {
        const char *p = lua_tolstring(c->L, idx, &n);
        buf_put_json_text(c->out, (struct str){p, n});
        break;
    }
    case LUA_TNUMBER:
        d = lua_tonumber(c->L, idx);
        buf_putc(c->out, '"');
        if (enc_number(c, d) < 0)
            return -1;
        buf_putc(c->out, '"');
        break;
    default: return ERR(c->e, ERR_INVALID, "json: a %s cannot be a key", luaL_typename(c->L, idx));
    }
    buf_putc(c->out, ':');
    return 0;
}

struct member {
    struct str text; /* "key":value */
};

static int member_cmp(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int d = memcmp(x->text.p, y->text.p, n);
    return d ? d : (x->text.n > y->text.n) - (x->text.n < y->text.n);
}

/* The members just written (from `start`, ends[i] apart) are put in byte order in place. */
static void sort_members(struct enc *c, size_t start, const size_t *ends, int n)
{
    size_t total = c->out->n - start;
    char *copy = arena_strndup(c->tmp, c->out->p + start, total);
    struct member *v = arena_alloc(c->tmp, sizeof *v * (size_t)n);
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        v[i].text = (struct str){copy + at, ends[i] - start - at};
        at = ends[i] - start + 1; /* the comma */
    }
    qsort(v, (size_t)n, sizeof *v, member_cmp);
    c->out->n = start;
    for (int i = 0; i < n; i++) {
        if (i)
            buf_putc(c->out, ',');
        buf_put(c->out, v[i].text.p, v[i].text.n);
    }
}

static int count_members(lua_State *L, int idx)
{
    int n = 0;
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1))
        n++;
    return n;
}

static int enc_object(struct enc *c, int idx, int depth)
{
    lua_State *L = c->L;
    size_t *ends =
        c->sorted ? arena_alloc(c->tmp, sizeof *ends * (size_t)(count_members(L, idx) + 1)) : NULL;
    int n = 0;
    buf_putc(c->out, '{');
    size_t start = c->out->n;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (n)
            buf_putc(c->out, ',');
        int top = lua_gettop(L);
        if (enc_key(c, top - 1) < 0 || enc_value(c, top, depth + 1) < 0) {
            lua_settop(L, top - 2);
            return -1;
        }
        if (ends)
            ends[n] = c->out->n;
        n++;
        lua_pop(L, 1);
    }
    if (n > 1 && c->sorted)
        sort_members(c, start, ends, n);
    buf_putc(c->out, '}');
    return 0;
}

static int enc_table(struct enc *c, int idx, int depth)
{
    if (depth > ENCODE_DEPTH)
        return ERR(c->e, ERR_INVALID, "json: nested deeper than %d (a cycle?)", ENCODE_DEPTH);
    if (!lua_checkstack(c->L, 8))
        return ERR(c->e, ERR_INVALID, "json: stack overflow");
    long n = array_length(c, idx);
    if (n > 0 || (n == 0 && is_marked(c, idx)))
        return enc_array(c, idx, n, depth);
    return enc_object(c, idx, depth);
}

static int enc_value(struct enc *c, int idx, int depth)
{
    lua_State *L = c->L;
    size_t n;
    switch (lua_type(L, idx)) {
    case LUA_TNIL: buf_puts(c->out, "null"); return 0;
    case LUA_TBOOLEAN: buf_puts(c->out, lua_toboolean(L, idx) ? "true" : "false"); return 0;
    case LUA_TNUMBER: return enc_number(c, lua_tonumber(L, idx));
    case LUA_TSTRING: {
        const char *p = lua_tolstring(L, idx, &n);
        buf_put_json_text(c->out, (struct str){p, n});
        return 0;
    }
    case LUA_TTABLE: return enc_table(c, idx, depth);
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(L, idx)) {
            buf_puts(c->out, "null");
            return 0;
        }
        break;
    default: break;
    }
    return ERR(c->e, ERR_INVALID, "json: cannot encode a %s", luaL_typename(L, idx));
}

int bind_json_encode(lua_State *L, int idx, bool sorted, struct buf *out, struct err *e)
{
    struct enc c = {.L = L, .out = out, .e = e, .sorted = sorted};
    int top = lua_gettop(L);
    if (idx < 0 && idx > LUA_REGISTRYINDEX)
        idx = top + idx + 1;
    c.tmp = sorted ? arena_new() : NULL;
    int rc = enc_value(&c, idx, 0);
    arena_free(c.tmp);
    lua_settop(L, top);
    return rc;
}
