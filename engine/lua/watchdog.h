/* SPDX-License-Identifier: Apache-2.0
 * CPU budget of running Lua code. A thread looks at what the loop thread is doing whenever that has used 5 ms more, and at the
 * end of a budget, which is counted from the first look: it is never short and at most some ms long. Over budget it sends
 * SIGUSR2, whose handler arms a count hook that raises the deadline sentinel until the mark is cleared.
 * Budgets are CPU time of the loop thread, so a busy machine does not kill innocent code. Private to lua/. */
#ifndef LUA_WATCHDOG_H
#define LUA_WATCHDOG_H
#include <stdbool.h>
#include <stdint.h>
#include <lua.h>

void watchdog_start(int64_t plugin_us,
                    int64_t trusted_us); /* from the loop thread; SIGUSR2 is unblocked there */
void watchdog_stop(void);
/* Lua starts or stops running in L's state. budget_us 0 = the trusted budget. */
void watchdog_begin(lua_State *L, int64_t budget_us);
void watchdog_end(lua_State *L);
void watchdog_plugin(lua_State *L, bool inside); /* outermost entry and exit of plugin code */
bool watchdog_fired(void);                       /* over budget and not yet cleared */
/* "plugins/x/handler.lua:12: " of the plugin code that was stopped last, "" when it was not seen; loop thread. */
const char *watchdog_where(void);
#endif
