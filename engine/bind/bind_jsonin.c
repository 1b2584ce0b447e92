/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "lua/lx.h"

struct dec {
    lua_State *L;
    const char *s, *p, *end;
    struct err *e;
    bool exact;
};

/* Scratch of one string with escapes. One decode runs at a time (loop thread, no callbacks), so it
 * is shared. */
static struct buf scratch;

static int dec_value(struct dec *d, int depth);

static int bad(struct dec *d, const char *what)
{
    return ERR(d->e, ERR_BAD_REQUEST, "JSON: %s at byte %ld", what, (long)(d->p - d->s) + 1);
}

static void skip_space(struct dec *d)
{
    while (d->p < d->end && (*d->p == ' ' || *d->p == '\t' || *d->p == '\n' || *d->p == '\r'))
        d->p++;
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int x = c >= '0' && c <= '9'                 ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (x < 0)
            return -1;
        v = v * 16 + x;
    }
    return v;
}

static void put_utf8(unsigned cp)
{
    char o[4];
    size_t n;
    if (cp < 0x80) {
        o[0] = (char)cp, n = 1;
    } else if (cp < 0x800) {
        o[0] = (char)(0xC0 | cp >> 6), o[1] = (char)(0x80 | (cp & 63)), n = 2;
    } else if (cp < 0x10000) {
        o[0] = (char)(0xE0 | cp >> 12), o[1] = (char)(0x80 | (cp >> 6 & 63)),
        o[2] = (char)(0x80 | (cp & 63)), n = 3;
    } else {
        o[0] = (char)(0xF0 | cp >> 18), o[1] = (char)(0x80 | (cp >> 12 & 63));
        o[2] = (char)(0x80 | (cp >> 6 & 63)), o[3] = (char)(0x80 | (cp & 63)), n = 4;
    }
    buf_put(&scratch, o, n);
}

/* d->p is behind "\u". Surrogates must come in pairs. */
static int dec_unicode(struct dec *d)
{
    int hi = d->end - d->p >= 4 ? hex4(d->p) : -1;
    if (hi < 0 || (hi >= 0xDC00 && hi <= 0xDFFF))
        return bad(d, "bad \\u escape");
    d->p += 4;
    if (hi < 0xD800 || hi > 0xDBFF) {
        put_utf8((unsigned)hi);
        return 0;
    }
    int lo = d->end - d->p >= 6 && d->p[0] == '\\' && d->p[1] == 'u' ? hex4(d->p + 2) : -1;
    if (lo < 0xDC00 || lo > 0xDFFF)
        return bad(d, "lone surrogate");
    d->p += 6;
    put_utf8(0x10000u + (((unsigned)hi - 0xD800u) << 10) + ((unsigned)lo - 0xDC00u));
    return 0;
}

static int dec_escape(struct dec *d)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (d->p >= d->end)
        return bad(d, "unfinished string");
    char c = *d->p++;
    if (c == 'u')
        return dec_unicode(d);
    const char *at = c ? strchr(from, c) : NULL;
    if (!at)
        return bad(d, "bad escape");
    buf_put(&scratch, &to[at - from], 1);
    return 0;
}

/* d->p is behind the opening quote. Pushes the string. */
static int dec_string(struct dec *d)
{
    const char *run = d->p;
    buf_clear(&scratch);
    bool plain = true;
    for (;;) {
        if (d->p >= d->end)
            return bad(d, "unfinished string");
        unsigned char c = (unsigned char)*d->p;
        if (c == '"')
            break;
        if (c < 32)
            return bad(d, "control character in a string");
        if (c != '\\') {
            d->p++;
            continue;
        }
        plain = false;
        buf_put(&scratch, run, (size_t)(d->p - run));
        d->p++;
        if (dec_escape(d) < 0)
            return -1;
        run = d->p;
    }
    if (plain) {
        lua_pushlstring(d->L, run, (size_t)(d->p - run));
    } else {
        buf_put(&scratch, run, (size_t)(d->p - run));
        lua_pushlstring(d->L, scratch.p ? scratch.p : "", scratch.n);
    }
    d->p++;
    return 0;
}

static bool digits(struct dec *d)
{
    const char *from = d->p;
    while (d->p < d->end && *d->p >= '0' && *d->p <= '9')
        d->p++;
    return d->p > from;
}

/* The text is not NUL-terminated, and strtod wants that. */
static int push_number(struct dec *d, const char *from, bool integer)
{
    char tmp[512];
    size_t n = (size_t)(d->p - from);
    if (n >= sizeof tmp)
        return bad(d, "number too long");
    memcpy(tmp, from, n);
    tmp[n] = 0;
    double v = strtod(tmp, NULL);
    if (!isfinite(v))
        return bad(d, "number out of range");
    bool beyond =
        fabs(v) >= 9007199254740992.0 && strcmp(tmp + (tmp[0] == '-'), "9007199254740992") != 0;
    if (integer ? beyond : d->exact)
        lua_pushlstring(d->L, tmp, n);
    else
        lua_pushnumber(d->L, v);
    return 0;
}

static int dec_number(struct dec *d)
{
    const char *from = d->p;
    bool integer = true;
    if (*d->p == '-')
        d->p++;
    const char *first = d->p;
    if (!digits(d) || (*first == '0' && d->p - first > 1))
        return bad(d, "bad number");
    if (d->p < d->end && *d->p == '.') {
        integer = false;
        d->p++;
        if (!digits(d))
            return bad(d, "bad number");
    }
    if (d->p < d->end && (*d->p == 'e' || *d->p == 'E')) {
        integer = false;
        d->p++;
        if (d->p < d->end && (*d->p == '+' || *d->p == '-'))
            d->p++;
        if (!digits(d))
            return bad(d, "bad number");
    }
    return push_number(d, from, integer);
}

static int dec_array(struct dec *d, int depth)
{
    int n = 0;
    lua_newtable(d->L);
    skip_space(d);
    if (d->p < d->end && *d->p == ']') {
        d->p++;
        bind_json_mark_array(d->L); /* the others show by their keys what they are */
        return 0;
    }
    for (;;) {
        if (dec_value(d, depth + 1) < 0)
            return -1;
        lua_rawseti(d->L, -2, ++n);
        skip_space(d);
        char c = d->p < d->end ? *d->p++ : 0;
        if (c == ']')
            return 0;
        if (c != ',')
            return bad(d, "expected , or ]");
    }
}

static int dec_member(struct dec *d, int depth)
{
    skip_space(d);
    if (d->p >= d->end || *d->p != '"')
        return bad(d, "expected a key");
    d->p++;
    if (dec_string(d) < 0)
        return -1;
    skip_space(d);
    if (d->p >= d->end || *d->p != ':')
        return bad(d, "expected :");
    d->p++;
    if (dec_value(d, depth + 1) < 0)
        return -1;
    if (lua_islightuserdata(d->L, -1)) {
        lua_pop(d->L, 1);
        lua_pushnil(d->L);
    }
    lua_rawset(d->L, -3);
    return 0;
}

static int dec_object(struct dec *d, int depth)
{
    lua_newtable(d->L);
    skip_space(d);
    if (d->p < d->end && *d->p == '}') {
        d->p++;
        return 0;
    }
    for (;;) {
        if (dec_member(d, depth) < 0)
            return -1;
        skip_space(d);
        char c = d->p < d->end ? *d->p++ : 0;
        if (c == '}')
            return 0;
        if (c != ',')
            return bad(d, "expected , or }");
    }
}

static int dec_word(struct dec *d)
{
    size_t left = (size_t)(d->end - d->p);
    if (left >= 4 && memcmp(d->p, "true", 4) == 0)
        d->p += 4, lua_pushboolean(d->L, 1);
    else if (left >= 5 && memcmp(d->p, "false", 5) == 0)
        d->p += 5, lua_pushboolean(d->L, 0);
    else if (left >= 4 && memcmp(d->p, "null", 4) == 0)
        d->p += 4, lua_pushlightuserdata(d->L, NULL);
    else
        return bad(d, "unexpected text");
    return 0;
}

static int dec_value(struct dec *d, int depth)
{
    skip_space(d);
    if (d->p >= d->end)
        return bad(d, "unexpected end");
    if (*d->p == '{' || *d->p == '[') {
        if (depth >= BIND_JSON_DEPTH)
            return bad(d, "nested too deep");
        if (!lua_checkstack(d->L, 8))
            return bad(d, "nested too deep for this stack");
        return *d->p++ == '{' ? dec_object(d, depth) : dec_array(d, depth);
    }
    if (*d->p == '"')
        return d->p++, dec_string(d);
    if (*d->p == '-' || (*d->p >= '0' && *d->p <= '9'))
        return dec_number(d);
    return dec_word(d);
}

static int decode(lua_State *L, struct str text, bool exact, struct err *e)
{
    int top = lua_gettop(L);
    struct dec d = {
        .L = L, .s = text.p, .p = text.p, .end = text.p + text.n, .e = e, .exact = exact};
    int rc = str_is_utf8(text) ? dec_value(&d, 0) : bad(&d, "not UTF-8");
    if (rc == 0) {
        skip_space(&d);
        if (d.p < d.end)
            rc = bad(&d, "text after the value");
    }
    if (scratch.cap > 1 << 20)
        buf_fini(&scratch);
    if (rc < 0)
        lua_settop(L, top);
    return rc;
}

int bind_json_decode(lua_State *L, struct str text, struct err *e)
{
    return decode(L, text, false, e);
}

int bind_json_decode_exact(lua_State *L, struct str text, struct err *e)
{
    return decode(L, text, true, e);
}

/* ppv.json.decode(text: string, opts?: table) -> value | nil, err
 * Strict JSON, depth at most 32, at most 16 MiB. null members are absent, null inside an array is
 * ppv.json.null; integers beyond 2^53 arrive as strings of digits. [] keeps its mark, so it
 * encodes as [] again. opts.exact = true: numbers with a fraction or an exponent (1.0, 1e3) arrive
 * as their text too. Phases: any. Errors: request.bad. Since 1.0 */
static int l_decode(lua_State *L)
{
    struct err e = {0};
    struct str text = lx_str(L, 1, 0, 16 << 20);
    bool exact = false;
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_getfield(L, 2, "exact");
        exact = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    if (decode(L, text, exact, &e) < 0)
        return lx_fail(L, &e);
    return 1;
}

/* ppv.json.encode(value: any) -> string
 * Tables with exactly the keys 1..n become arrays, others objects (integer keys as strings; sparse
 * tables are safe). An empty table is {} unless marked with ppv.json.array. Integers up to 2^53
 * are exact, other numbers keep 14 digits. Functions, NaN, infinity and nesting beyond 64 raise.
 * Phases: any. Since 1.0 */
static int l_encode(lua_State *L)
{
    static struct buf
        out; /* kept between calls: an out-of-memory error while pushing cannot leak it */
    struct err e = {0};
    luaL_checkany(L, 1);
    buf_clear(&out);
    if (bind_json_encode(L, 1, false, &out, &e) < 0)
        return luaL_error(L, "%s", e.msg);
    lua_pushlstring(L, out.p ? out.p : "", out.n);
    if (out.cap > 1 << 20)
        buf_fini(&out);
    return 1;
}

/* ppv.json.array(t?: table) -> table
 * Marks t (or a new table) as an array, so that it encodes as [] when empty. Phases: any. Since
 * 1.0 */
static int l_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    bind_json_mark_array(L);
    return 1;
}

/* ppv.json.null: lightuserdata
 * Encodes as null. Phases: any. Since 1.0 */
int bind_json_open(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"decode", l_decode}, {"encode", l_encode}, {"array", l_array}, {NULL, NULL}};
    lx_module(L, reg);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    return 1;
}
