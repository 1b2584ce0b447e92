/* SPDX-License-Identifier: Apache-2.0 */
#include <lauxlib.h>
#include "lua/vm.h"
#include "test.h"

/* What lives is a third of the cap: the collector must come before garbage has filled the rest. */
TEST(garbage_beside_much_that_lives)
{
    struct vm *v = vm_new(12 << 20, false);
    v->enforce = true;
    CHECK(luaL_loadstring(v->L, "keep = {} for i = 1, 50000 do keep[i] = {i} end "
                                "for i = 1, 1000000 do last = {i} end return #keep") == 0);
    CHECK(lua_pcall(v->L, 0, 1, 0) == 0 && lua_tointeger(v->L, -1) == 50000);
    CHECK(!v->oom && v->peak > 3 << 20);
    CHECK(luaL_loadstring(v->L, "for i = 1, 1e9 do keep[i] = {i} end") == 0);
    CHECK(lua_pcall(v->L, 0, 0, 0) != 0 && v->oom); /* and the cap is one */
    vm_free(v);
}
