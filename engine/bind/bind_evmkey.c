/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_evm.h"

#include <string.h>
#include "crypto/digest.h"
#include "crypto/ethtx.h"
#include "crypto/secp.h"
#include "domain/evmkey.h"
#include "lua/lx.h"

static struct str name_at(lua_State *L, int i)
{
    return lx_str(L, i, 1, EVMKEY_NAME_MAX);
}

static int push_address(lua_State *L, struct str name)
{
    struct err e = {0};
    uint8_t address[20];
    char out[SECP_ADDRESS_TEXT];
    if (evmkey_address(name, address, &e) < 0)
        return lx_fail(L, &e);
    secp_address_print(address, out);
    lua_pushstring(L, out);
    return 1;
}

/* ppv.evm.key_new(name: string, replace?: boolean) -> string | nil, err
 * Makes a key, sealed below var_dir, and answers its address. replace: the old one is kept aside. Not for plugins. Phases: any.
 * Errors: request.conflict input.invalid io.failed. Since 1.0 */
static int l_key_new(lua_State *L)
{
    struct err e = {0};
    struct str name = name_at(L, 1);
    if (evmkey_new(name, lx_opt_bool(L, 2, false), &e) < 0)
        return lx_fail(L, &e);
    return push_address(L, name);
}

/* ppv.evm.key_import(name: string, path: string, replace?: boolean) -> string | nil, err
 * The same with the key that a file holds as 64 digits; only its owner may read the file. Not for plugins. Phases: any.
 * Errors: request.conflict request.not_found input.invalid config.invalid io.failed. Since 1.0 */
static int l_key_import(lua_State *L)
{
    struct err e = {0};
    struct str name = name_at(L, 1);
    lx_str(L, 2, 1, 1000);
    if (evmkey_import(name, lua_tostring(L, 2), lx_opt_bool(L, 3, false), &e) < 0)
        return lx_fail(L, &e);
    return push_address(L, name);
}

/* ppv.evm.key_address(name: string) -> string | nil, err
 * Not for plugins. Phases: any. Errors: request.not_found auth.required. Since 1.0 */
static int l_key_address(lua_State *L)
{
    return push_address(L, name_at(L, 1));
}

static void list_one(void *arg, const char *name, const char *kid)
{
    lua_State *L = arg;
    lua_createtable(L, 0, 2);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, kid);
    lua_setfield(L, -2, "sealed_by");
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

/* ppv.evm.key_list() -> {name, sealed_by}[] | nil, err
 * All keys, replaced ones as NAME.ADDRESS, with the master key that sealed them. Not for plugins. Phases: any. Errors:
 * io.failed. Since 1.0 */
static int l_key_list(lua_State *L)
{
    struct err e = {0};
    lua_newtable(L);
    return evmkey_list(list_one, L, &e) < 0 ? lx_fail(L, &e) : 1;
}

/* ppv.evm.key_reseal() -> integer, integer | nil, err
 * Seals all keys with the newest master key: how many, and how many no key opens. Not for plugins. Phases: any. Errors:
 * io.failed. Since 1.0 */
static int l_key_reseal(lua_State *L)
{
    struct err e = {0};
    int done, bad;
    if (evmkey_reseal(&done, &bad, &e) < 0)
        return lx_fail(L, &e);
    lua_pushinteger(L, done);
    lua_pushinteger(L, bad);
    return 2;
}

/* ppv.evm.sign(name: string, digest: string) -> string | nil, err
 * 65 bytes r, s, v with v 27 or 28, over 32 bytes. The key "invoice_signer" signs at most invoice_rate times a minute. Not for
 * plugins. Phases: any. Errors: request.not_found request.rate auth.required. Since 1.0 */
static int l_sign(lua_State *L)
{
    struct err e = {0};
    uint8_t sig[SECP_SIG];
    struct str name = name_at(L, 1), digest = lx_str(L, 2, 32, 32);
    if (evmkey_sign(name, (const uint8_t *)digest.p, sig, &e) < 0)
        return lx_fail(L, &e);
    lua_pushlstring(L, (char *)sig, sizeof sig);
    return 1;
}

static struct u256 amount(lua_State *L, const char *name)
{
    struct err e = {0};
    struct u256 v;
    lua_getfield(L, 1, name);
    if (bind_evmval_u256(L, -1, &v, &e) < 0)
        luaL_error(L, "the field %s: %s", name, e.msg);
    lua_pop(L, 1);
    return v;
}

/* ppv.evm.raw_transaction(tx: table, key: string) -> raw: string, hash: string | nil, err
 * tx: {chain_id, nonce, tip, fee_cap, gas, value, to, data}. A transaction with a fee cap (EIP-1559), signed with the
 * named key: hexadecimal text for eth_sendRawTransaction, and its hash. Numbers are decimal texts or below 2^53, tip
 * and fee_cap in wei per gas; data is hexadecimal text. Not for plugins.
 * Phases: any. Errors: request.not_found input.invalid auth.required. Since 1.0 */
static int l_raw_transaction(lua_State *L)
{
    struct err e = {0};
    struct ethtx t = {0};
    uint8_t md[32], sig[SECP_SIG];
    luaL_checktype(L, 1, LUA_TTABLE);
    struct str key = name_at(L, 2), data = lx_field_str(L, 1, "data", 1 << 20, true);
    t.chain_id = amount(L, "chain_id");
    t.nonce = amount(L, "nonce");
    t.tip = amount(L, "tip");
    t.fee_cap = amount(L, "fee_cap");
    t.gas = amount(L, "gas");
    t.value = amount(L, "value");
    if (secp_address_parse(lx_field_str(L, 1, "to", 64, true), t.to, &e) < 0)
        return lx_fail(L, &e);
    char *bytes = lua_newuserdata(L, data.n / 2 + 1);
    long n = str_starts(data, "0x")
                 ? str_unhex((struct str){data.p + 2, data.n - 2}, bytes, data.n / 2)
                 : -1;
    if (n < 0)
        return lx_failf(L, ERR_INVALID, "data is not 0x and hexadecimal digits");
    t.data = (struct str){bytes, (size_t)n};
    ethtx_digest(&t, md);
    if (evmkey_sign(key, md, sig, &e) < 0)
        return lx_fail(L, &e);
    struct buf raw = {0};
    ethtx_put(&t, sig, &raw);
    digest_keccak256(raw.p, raw.n, md);
    struct buf *out = bind_evmval_scratch();
    buf_puts(out, "0x");
    buf_put_hex(out, raw.p, raw.n);
    buf_fini(&raw);
    lua_pushlstring(L, out->p, out->n);
    bind_evmval_push_hex(L, md, sizeof md);
    return 2;
}

void bind_evmkey_add(lua_State *L)
{
    static const luaL_Reg reg[] = {{"key_new", l_key_new},
                                   {"key_import", l_key_import},
                                   {"key_address", l_key_address},
                                   {"key_list", l_key_list},
                                   {"key_reseal", l_key_reseal},
                                   {"sign", l_sign},
                                   {"raw_transaction", l_raw_transaction},
                                   {NULL, NULL}};
    for (const luaL_Reg *r = reg; r->name; r++) {
        lua_pushcfunction(L, r->func);
        lua_setfield(L, -2, r->name);
    }
}
