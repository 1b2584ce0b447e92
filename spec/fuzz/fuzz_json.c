/* SPDX-License-Identifier: Apache-2.0
 * What is decoded can be encoded, and that text settles. Exact decoding accepts the same
 * texts. Nothing stays on the stack. */
#include <lauxlib.h>
#include <string.h>

#include "bind/bind_json.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static int decode(lua_State *L, struct str s, bool exact)
{
    struct err e = {0};
    int top = lua_gettop(L);
    int rc = (exact ? bind_json_decode_exact : bind_json_decode)(L, s, &e);
    must(lua_gettop(L) == top + (rc == 0) && (rc == 0 || e.code == ERR_BAD_REQUEST));
    return rc;
}

/* The first text rounds to 14 digits, which may make an integer of a fraction; from then on nothing
 * changes. */
static void check(lua_State *L, bool exact)
{
    struct buf t[3] = {0};
    struct err e = {0};
    for (int i = 0; i < 3; i++) {
        must(bind_json_encode(L, -1, true, &t[i], &e) == 0);
        struct str s = {t[i].p, t[i].n};
        must(str_is_utf8(s) && decode(L, s, exact) == 0);
    }
    must(str_eq((struct str){t[1].p, t[1].n}, (struct str){t[2].p, t[2].n}));
    for (int i = 0; i < 3; i++)
        buf_fini(&t[i]);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static lua_State *L;
    struct str s = {(const char *)data, size};
    if (!L)
        L = luaL_newstate();
    must(L);
    int plain = decode(L, s, false);
    if (plain == 0)
        check(L, false);
    lua_settop(L, 0);
    must(decode(L, s, true) == plain);
    if (plain == 0)
        check(L, true);
    lua_settop(L, 0);
    return 0;
}
