/* SPDX-License-Identifier: Apache-2.0
 * What this process compiled stays for its next generation: a reload parses only the files that changed.
 * Nobody else's compiled code is ever loaded; the sources stay the only thing that travels. Loop thread. */
#ifndef LUA_COMPILED_H
#define LUA_COMPILED_H
#include <lua.h>

struct bundle_file;

/* Pushes the file's main function (0), or a message (LUA_ERRSYNTAX, LUA_ERRMEM), as luaL_loadbufferx
 * with mode "t" does. */
int compiled_load(lua_State *L, const struct bundle_file *f);
/* From now on keep what compiled_load compiles; processes that build once need not. */
void compiled_keep(void);
/* Forgets what was not asked for since the last call. */
void compiled_sweep(void);
#endif
