/* SPDX-License-Identifier: Apache-2.0
 * ppv.plugin. Module opener. */
#ifndef BIND_BIND_PLUGIN_H
#define BIND_BIND_PLUGIN_H
#include <lua.h>
int bind_plugin_open(lua_State *L);
#endif
