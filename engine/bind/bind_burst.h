/* SPDX-License-Identifier: Apache-2.0
 * ppv.burst. Module opener. */
#ifndef BIND_BIND_BURST_H
#define BIND_BIND_BURST_H
#include <lua.h>
int bind_burst_open(lua_State *L);
#endif
