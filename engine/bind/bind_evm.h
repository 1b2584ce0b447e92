/* SPDX-License-Identifier: Apache-2.0
 * ppv.evm. Module opener. */
#ifndef BIND_BIND_EVM_H
#define BIND_BIND_EVM_H
#include <lua.h>
#include "base/arena.h"
#include "crypto/abi.h"
#include "crypto/u256.h"
int bind_evm_open(lua_State *L);
/* bind_evmkey.c: adds keys and transactions to the table at the top. */
void bind_evmkey_add(lua_State *L);

/* bind_evmval.c: values of Lua and of the ABI. The value at i as one of type t, in the arena (texts stay Lua's);
 * -1 with e filled (ERR_INVALID) when it is none. */
int bind_evmval_get(lua_State *L, int i, struct arena *a, const struct abi_type *t,
                    struct abi_value *out, struct err *e);
void bind_evmval_push(lua_State *L, const struct abi_type *t, const struct abi_value *v);
/* A whole number: decimal text, or a number below 2^53. -1 with e filled. */
int bind_evmval_u256(lua_State *L, int i, struct u256 *out, struct err *e);
/* Memory of one call. Kept until the next one: pushing may run out of memory and jump. */
struct arena *bind_evmval_arena(void);
struct buf *bind_evmval_scratch(void);
/* Pushes "0x" and the digits. */
int bind_evmval_push_hex(lua_State *L, const void *p, size_t n);
#endif
