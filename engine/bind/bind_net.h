/* SPDX-License-Identifier: Apache-2.0
 * ppv.fetch and ppv.mail. Module openers. */
#ifndef BIND_BIND_NET_H
#define BIND_BIND_NET_H
#include <lua.h>
int bind_net_fetch(lua_State *L);
int bind_net_mail(lua_State *L);
#endif
