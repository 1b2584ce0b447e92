/* SPDX-License-Identifier: Apache-2.0
 * ppv.log, ppv.conf, ppv.time, ppv.cache, ppv.metrics; ppv.money (bind_money.c). Module openers. */
#ifndef BIND_BIND_CORE_H
#define BIND_BIND_CORE_H
#include <stdint.h>
#include <lua.h>
int bind_core_log(lua_State *L);
int bind_core_conf(lua_State *L);
int bind_core_time(lua_State *L);
int bind_core_cache(lua_State *L);
int bind_core_metrics(lua_State *L);
int bind_money_open(lua_State *L);
/* A number when exact, else the digits as a string. */
void bind_money_push(lua_State *L, int64_t v);
#endif
