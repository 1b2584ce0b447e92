/* SPDX-License-Identifier: Apache-2.0
 * ppv.crypto. Module opener. */
#ifndef BIND_BIND_CRYPTO_H
#define BIND_BIND_CRYPTO_H
#include <lua.h>
int bind_crypto_open(lua_State *L);
/* Text encodings, added to the table at the top (bind_encode.c). */
void bind_encode_add(lua_State *L);
/* Pushes n bytes as asked for by the optional argument at i: nil = raw, "hex", "b64u", "b64". */
int bind_encode_push(lua_State *L, int i, const void *p, size_t n);
#endif
