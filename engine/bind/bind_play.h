/* SPDX-License-Identifier: Apache-2.0
 * ppv.playback: tokens, leases and the log of keys; and the key requests the engine answers alone. */
#ifndef BIND_BIND_PLAY_H
#define BIND_BIND_PLAY_H
#include <stdbool.h>
#include <lua.h>
#include "base/err.h"
struct http_req;
struct router_match;

/* A route declared with fast = "key": answers from a lease and true, or false: Lua decides. Loop. */
bool bind_play_answer(struct http_req *r, const struct router_match *m);
/* Worker start, when the database is open: the key log; listen: drops the leases other machines (or this one) say are over
 * (NOTIFY playback, 32 hex digits of the session). One worker of a machine listens for all. */
int bind_play_start(bool listen, struct err *e);
int bind_play_open(lua_State *L);
#endif
