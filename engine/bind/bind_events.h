/* SPDX-License-Identifier: Apache-2.0
 * ppv.events. Module opener. */
#ifndef BIND_BIND_EVENTS_H
#define BIND_BIND_EVENTS_H
#include <lua.h>
int bind_events_open(lua_State *L);
#endif
