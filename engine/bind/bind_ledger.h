/* SPDX-License-Identifier: Apache-2.0
 * ppv.ledger. Module opener. */
#ifndef BIND_BIND_LEDGER_H
#define BIND_BIND_LEDGER_H
#include <lua.h>
int bind_ledger_open(lua_State *L);
#endif
