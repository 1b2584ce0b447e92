/* SPDX-License-Identifier: Apache-2.0
 * Helpers of the bindings. Misuse raises with the caller's position; expected failure is `nil, err`. Loop thread.
 * Strings are views into Lua memory: valid while the value is on the stack or referenced; copy into t->arena before an await. */
#ifndef LUA_LX_H
#define LUA_LX_H
#include <stdbool.h>
#include <stdint.h>
#include <lauxlib.h>
#include <lua.h>
#include "base/err.h"
#include "base/str.h"
#include "lua/sched.h"

/* The running task if its phase is in the mask, else raises and names the phase. */
struct task *lx_task(lua_State *L, int phases);
struct str lx_str(lua_State *L, int i, size_t min, size_t max); /* numbers are refused */
struct str lx_opt_str(lua_State *L, int i, size_t max,
                      const char *def); /* nil or absent: def (NULL = {NULL,0}) */
int64_t lx_int(lua_State *L, int i, int64_t min,
               int64_t max); /* exact integers, |x| <= 2^53; decimal strings too */
int64_t lx_opt_int(lua_State *L, int i, int64_t min, int64_t max, int64_t def);
bool lx_opt_bool(lua_State *L, int i, bool def);
/* Fields of the table at i; raise when of the wrong type. need = absent raises. The view stays valid while the table holds it. */
struct str lx_field_str(lua_State *L, int i, const char *name, size_t max, bool need);
int64_t lx_field_int(lua_State *L, int i, const char *name, int64_t min, int64_t max, int64_t def);
bool lx_field_bool(lua_State *L, int i, const char *name, bool def);
/* NUL-terminated copy in the task's arena. */
char *lx_copy(struct task *t, struct str s);
/* Pushes nil and the error table {code,message,retry,detail} with __tostring; returns 2. */
int lx_fail(lua_State *L, const struct err *e);
int lx_failf(lua_State *L, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void lx_push_err(lua_State *L, const struct err *e);
/* Fills e from an error value at idx: an err table, a string, anything. */
void lx_to_err(lua_State *L, int idx, struct err *e);
/* New table with the functions of reg; returns 1 (for luaopen-like functions). */
int lx_module(lua_State *L, const luaL_Reg *reg);
#endif
