/* SPDX-License-Identifier: Apache-2.0
 * JSON <-> Lua values. Our own codec, because integers up to 2^53 must survive exactly and nulls
 * must vanish. Raw access only: no metamethod of the value runs, so it cannot call back into Lua.
 * Loop thread. */
#ifndef BIND_BIND_JSON_H
#define BIND_BIND_JSON_H
#include <stdbool.h>
#include <lua.h>
#include "base/err.h"
#include "base/str.h"

enum { BIND_JSON_DEPTH = 32 };
/* Appends the value at idx. sorted: keys in byte order (canonical text, for hashes). -1:
 * ERR_INVALID (a function, NaN, depth > 64, mixed keys that collide); out then holds a partial
 * text. The stack is unchanged. */
int bind_json_encode(lua_State *L, int idx, bool sorted, struct buf *out, struct err *e);
/* Pushes one value, or pushes nothing and returns -1 with ERR_BAD_REQUEST. Strict RFC 8259, UTF-8
 * checked, depth <= 32. null members of objects are absent; null in an array becomes
 * ppv.json.null, so positions stay. Integers beyond 2^53 become strings of their digits. A null
 * document pushes ppv.json.null. */
int bind_json_decode(lua_State *L, struct str text, struct err *e);
/* The same, but only integers written as plain digits become numbers; others (1e3, 1.0) arrive as
 * their text. For amounts. */
int bind_json_decode_exact(lua_State *L, struct str text, struct err *e);
/* Gives the table at the top of the stack the array mark: it encodes as [] even when empty. */
void bind_json_mark_array(lua_State *L);
/* Module opener. */
int bind_json_open(lua_State *L);
#endif
