/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_crypto.h"

#include <string.h>
#include "base/str.h"
#include "lua/lx.h"

enum { TEXT_MAX = 16 << 20 };
static struct buf out; /* kept: pushing may run out of memory and jump */

static int push_out(lua_State *L)
{
    lua_pushlstring(L, out.p ? out.p : "", out.n);
    if (out.cap > 1 << 20)
        buf_fini(&out);
    return 1;
}

int bind_encode_push(lua_State *L, int i, const void *p, size_t n)
{
    const char *how = luaL_optstring(L, i, "raw");
    buf_clear(&out);
    if (strcmp(how, "raw") == 0)
        buf_put(&out, p, n);
    else if (strcmp(how, "hex") == 0)
        buf_put_hex(&out, p, n);
    else if (strcmp(how, "b64u") == 0)
        buf_put_base64url(&out, p, n);
    else if (strcmp(how, "b64") == 0)
        buf_put_base64(&out, p, n);
    else
        return luaL_argerror(L, i, "\"hex\", \"b64u\", \"b64\" or nothing expected");
    return push_out(L);
}

static int encode(lua_State *L, void (*fn)(struct buf *b, const void *p, size_t n))
{
    struct str s = lx_str(L, 1, 0, TEXT_MAX);
    buf_clear(&out);
    fn(&out, s.p, s.n);
    return push_out(L);
}

static int decode(lua_State *L, long (*fn)(struct str s, void *o, size_t cap))
{
    struct str s = lx_str(L, 1, 0, TEXT_MAX);
    char *tmp = lua_newuserdata(L, s.n + 4);
    long n = fn(s, tmp, s.n + 4);
    if (n < 0)
        return lx_failf(L, ERR_BAD_REQUEST, "malformed encoding");
    lua_pushlstring(L, tmp, (size_t)n);
    return 1;
}

/* ppv.crypto.hex_encode(s: string) -> string
 * Lower-case hex. Phases: any. Since 1.0 */
static int l_hex_encode(lua_State *L)
{
    return encode(L, buf_put_hex);
}

/* ppv.crypto.hex_decode(text: string) -> string | nil, err
 * Phases: any. Errors: request.bad. Since 1.0 */
static int l_hex_decode(lua_State *L)
{
    return decode(L, str_unhex);
}

/* ppv.crypto.base64url_encode(s: string) -> string
 * RFC 4648 section 5 without padding. Phases: any. Since 1.0 */
static int l_base64url_encode(lua_State *L)
{
    return encode(L, buf_put_base64url);
}

/* ppv.crypto.base64url_decode(text: string) -> string | nil, err
 * Either alphabet, padding optional. Phases: any. Errors: request.bad. Since 1.0 */
static int l_base64url_decode(lua_State *L)
{
    return decode(L, str_unbase64);
}

/* ppv.crypto.base64_encode(s: string) -> string
 * RFC 4648 section 4, padded. Phases: any. Since 1.0 */
static int l_base64_encode(lua_State *L)
{
    return encode(L, buf_put_base64);
}

/* ppv.crypto.base64_decode(text: string) -> string | nil, err
 * Either alphabet, padding optional. Phases: any. Errors: request.bad. Since 1.0 */
static int l_base64_decode(lua_State *L)
{
    return decode(L, str_unbase64);
}

void bind_encode_add(lua_State *L)
{
    static const luaL_Reg reg[] = {{"hex_encode", l_hex_encode},
                                   {"hex_decode", l_hex_decode},
                                   {"base64url_encode", l_base64url_encode},
                                   {"base64url_decode", l_base64url_decode},
                                   {"base64_encode", l_base64_encode},
                                   {"base64_decode", l_base64_decode},
                                   {NULL, NULL}};
    for (const luaL_Reg *r = reg; r->name; r++) {
        lua_pushcfunction(L, r->func);
        lua_setfield(L, -2, r->name);
    }
}
