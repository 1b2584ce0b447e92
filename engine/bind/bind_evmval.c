/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_evm.h"

#include <stdio.h>
#include <string.h>
#include "crypto/secp.h"
#include "crypto/u256.h"
#include "lua/lx.h"

struct arena *bind_evmval_arena(void)
{
    static struct arena *kept;
    arena_free(kept);
    return kept = arena_new();
}

struct buf *bind_evmval_scratch(void)
{
    static struct buf kept;
    buf_clear(&kept);
    return &kept;
}

int bind_evmval_push_hex(lua_State *L, const void *p, size_t n)
{
    struct buf *b = bind_evmval_scratch();
    buf_puts(b, "0x");
    buf_put_hex(b, p, n);
    lua_pushlstring(L, b->p, b->n);
    return 1;
}

/* A number or text as decimal text; view: valid while the value is on the stack. */
static int digits(lua_State *L, int i, char small[32], struct str *out, struct err *e)
{
    if (lua_type(L, i) == LUA_TNUMBER) {
        lua_Number v = lua_tonumber(L, i);
        if (!(v >= -9007199254740991.0 && v <= 9007199254740991.0) || v != (lua_Number)(int64_t)v)
            return ERR(e, ERR_INVALID, "not a whole number below 2^53; larger ones are texts");
        snprintf(small, 32, "%lld", (long long)v);
        *out = str_from(small);
        return 0;
    }
    if (lua_type(L, i) != LUA_TSTRING)
        return ERR(e, ERR_INVALID, "a whole number expected, got %s", luaL_typename(L, i));
    out->p = lua_tolstring(L, i, &out->n);
    return 0;
}

int bind_evmval_u256(lua_State *L, int i, struct u256 *out, struct err *e)
{
    char small[32];
    struct str s;
    return digits(L, i, small, &s, e) < 0 ? -1 : u256_parse(s, out, e);
}

static void negate(uint8_t w[32])
{
    int carry = 1;
    for (int i = 31; i >= 0; i--) {
        int v = (uint8_t)~w[i] + carry;
        w[i] = (uint8_t)v;
        carry = v >> 8;
    }
}

static int get_number(lua_State *L, int i, const struct abi_type *t, uint8_t w[32], struct err *e)
{
    char small[32];
    struct str s;
    struct u256 v;
    if (digits(L, i, small, &s, e) < 0)
        return -1;
    bool minus = t->kind == ABI_INT && s.n > 1 && s.p[0] == '-';
    if (u256_parse(minus ? (struct str){s.p + 1, s.n - 1} : s, &v, e) < 0)
        return -1;
    u256_store(&v, w);
    bool top = t->kind == ABI_INT && w[0] & 0x80 && !minus;
    if (minus)
        negate(w);
    /* -2^255 is its own negation; what is below comes out positive, but for -0 */
    if (top || (minus && !(w[0] & 0x80)) || !abi_word_valid(t, w))
        return ERR(e, ERR_INVALID, "the number does not fit into %d bits", (int)t->size);
    return 0;
}

static int get_word(lua_State *L, int i, const struct abi_type *t, uint8_t w[32], struct err *e)
{
    struct str s = {0};
    if (t->kind == ABI_UINT || t->kind == ABI_INT)
        return get_number(L, i, t, w, e);
    if (t->kind == ABI_BOOL) {
        w[31] = (uint8_t)lua_toboolean(L, i);
        return lua_isboolean(L, i) ? 0 : ERR(e, ERR_INVALID, "true or false expected");
    }
    if (lua_type(L, i) != LUA_TSTRING)
        return ERR(e, ERR_INVALID, "a string expected, got %s", luaL_typename(L, i));
    s.p = lua_tolstring(L, i, &s.n);
    if (t->kind == ABI_ADDRESS)
        return secp_address_parse(s, w + 12, e);
    if (s.n != t->size)
        return ERR(e, ERR_INVALID, "%d bytes expected, got %d", (int)t->size, (int)s.n);
    memcpy(w, s.p, s.n);
    return 0;
}

static int get_data(lua_State *L, int i, const struct abi_type *t, struct str *out, struct err *e)
{
    if (lua_type(L, i) != LUA_TSTRING)
        return ERR(e, ERR_INVALID, "a string expected, got %s", luaL_typename(L, i));
    out->p = lua_tolstring(L, i, &out->n);
    if (out->n > ABI_DATA_MAX)
        return ERR(e, ERR_INVALID, "the value is too long");
    return t->kind == ABI_BYTES || str_is_utf8(*out) ? 0
                                                     : ERR(e, ERR_INVALID, "the text is not UTF-8");
}

static int get_items(lua_State *L, int i, struct arena *a, const struct abi_type *t,
                     struct abi_value *out, struct err *e)
{
    if (!lua_istable(L, i))
        return ERR(e, ERR_INVALID, "a table expected, got %s", luaL_typename(L, i));
    size_t have = lua_objlen(L, i), want = t->kind == ABI_TUPLE ? t->nfields : t->size;
    bool named = t->kind == ABI_TUPLE && t->names;
    if (!named && ((want && have != want) || have > 4096))
        return ERR(e, ERR_INVALID, "%d values expected, got %d", (int)want, (int)have);
    out->n = named ? want : have;
    out->items = arena_alloc(a, out->n * sizeof *out->items + 1);
    luaL_checkstack(L, 4, "values are nested too deeply");
    for (size_t k = 0; k < out->n; k++) {
        if (named) {
            lua_pushlstring(L, t->names[k].p, t->names[k].n);
            lua_rawget(L, i);
        } else {
            lua_rawgeti(L, i, (int)k + 1);
        }
        const struct abi_type *f = t->kind == ABI_ARRAY ? t->fields[0] : t->fields[k];
        int rc = bind_evmval_get(L, lua_gettop(L), a, f, &out->items[k], e);
        lua_pop(L, 1); /* the table keeps it */
        if (rc < 0)
            return -1;
    }
    return 0;
}

int bind_evmval_get(lua_State *L, int i, struct arena *a, const struct abi_type *t,
                    struct abi_value *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    if (t->kind == ABI_BYTES || t->kind == ABI_STRING)
        return get_data(L, i, t, &out->data, e);
    if (t->kind == ABI_ARRAY || t->kind == ABI_TUPLE)
        return get_items(L, i, a, t, out, e);
    return get_word(L, i, t, out->word, e);
}

static void push_number(lua_State *L, const struct abi_type *t, const uint8_t word[32])
{
    char text[U256_TEXT + 1] = "-";
    uint8_t w[32];
    struct u256 v;
    memcpy(w, word, 32);
    bool minus = t->kind == ABI_INT && w[0] & 0x80;
    if (minus)
        negate(w);
    u256_load(w, &v);
    u256_print(&v, text + 1);
    lua_pushstring(L, text + !minus);
}

static void push_word(lua_State *L, const struct abi_type *t, const uint8_t w[32])
{
    char text[SECP_ADDRESS_TEXT];
    switch (t->kind) {
    case ABI_BOOL: lua_pushboolean(L, w[31]); break;
    case ABI_ADDRESS:
        secp_address_print(w + 12, text);
        lua_pushstring(L, text);
        break;
    case ABI_FIXED: lua_pushlstring(L, (const char *)w, t->size); break;
    default: push_number(L, t, w);
    }
}

void bind_evmval_push(lua_State *L, const struct abi_type *t, const struct abi_value *v)
{
    if (t->kind == ABI_BYTES || t->kind == ABI_STRING) {
        lua_pushlstring(L, v->data.p, v->data.n);
    } else if (t->kind == ABI_ARRAY || t->kind == ABI_TUPLE) {
        luaL_checkstack(L, 4, "values are nested too deeply");
        lua_createtable(L, (int)v->n, 0);
        for (size_t k = 0; k < v->n; k++) {
            bind_evmval_push(L, t->kind == ABI_ARRAY ? t->fields[0] : t->fields[k], &v->items[k]);
            lua_rawseti(L, -2, (int)k + 1);
        }
    } else {
        push_word(L, t, v->word);
    }
}
