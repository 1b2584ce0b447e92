/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_evm.h"

#include <stdio.h>
#include <string.h>
#include "crypto/digest.h"
#include "crypto/secp.h"
#include "crypto/u256.h"
#include "lua/lx.h"

enum { DATA_MAX = 16 << 20, TYPE_MAX = 512, DEFS_MAX = 16 };

/* ---- bytes and addresses ---- */

/* ppv.evm.keccak256(s: string) -> string
 * Ethereum's hash, 32 bytes (not SHA3-256). Phases: any. Since 1.0 */
static int l_keccak256(lua_State *L)
{
    uint8_t md[32];
    struct str s = lx_str(L, 1, 0, DATA_MAX);
    digest_keccak256(s.p, s.n, md);
    lua_pushlstring(L, (char *)md, sizeof md);
    return 1;
}

/* ppv.evm.hex(s: string) -> string
 * "0x" and lower-case digits. Phases: any. Since 1.0 */
static int l_hex(lua_State *L)
{
    struct str s = lx_str(L, 1, 0, DATA_MAX);
    return bind_evmval_push_hex(L, s.p, s.n);
}

/* ppv.evm.unhex(text: string) -> string | nil, err
 * The bytes of "0x" and an even number of digits. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_unhex(lua_State *L)
{
    struct str s = lx_str(L, 1, 0, DATA_MAX);
    char *out = lua_newuserdata(L, s.n / 2 + 1);
    long n = str_starts(s, "0x") ? str_unhex((struct str){s.p + 2, s.n - 2}, out, s.n / 2) : -1;
    if (n < 0)
        return lx_failf(L, ERR_INVALID, "not 0x and hexadecimal digits");
    lua_pushlstring(L, out, (size_t)n);
    return 1;
}

/* ppv.evm.address(text: string) -> string | nil, err
 * The address with its checksum (EIP-55); of mixed case only when the checksum is right. Phases: any. Errors: input.invalid.
 * Since 1.0 */
static int l_address(lua_State *L)
{
    struct err e = {0};
    uint8_t address[20];
    char out[SECP_ADDRESS_TEXT];
    if (secp_address_parse(lx_str(L, 1, 0, 200), address, &e) < 0)
        return lx_fail(L, &e);
    secp_address_print(address, out);
    lua_pushstring(L, out);
    return 1;
}

/* ppv.evm.personal_hash(message: string) -> string
 * What a wallet signs for a text (EIP-191), 32 bytes. Phases: any. Since 1.0 */
static int l_personal_hash(lua_State *L)
{
    uint8_t md[32];
    struct str s = lx_str(L, 1, 0, 1 << 20);
    struct buf *b = bind_evmval_scratch();
    buf_printf(b,
               "\x19"
               "Ethereum Signed Message:\n%zu",
               s.n);
    buf_put(b, s.p, s.n);
    digest_keccak256(b->p, b->n, md);
    lua_pushlstring(L, (char *)md, sizeof md);
    return 1;
}

/* ppv.evm.recover(digest: string, signature: string) -> string | nil, err
 * The address that signed the 32 bytes. 65 bytes r, s, v; v is 27, 28, 0 or 1. A high s (the twin of a genuine signature) and
 * r or s out of range are refused. Always compare the address: any signature fits some. Phases: any. Errors: input.invalid.
 * Since 1.0 */
static int l_recover(lua_State *L)
{
    struct err e = {0};
    uint8_t address[20];
    char out[SECP_ADDRESS_TEXT];
    struct str digest = lx_str(L, 1, 32, 32), sig = lx_str(L, 2, 0, 4096);
    if (secp_recover((const uint8_t *)digest.p, sig, address, &e) < 0)
        return lx_fail(L, &e);
    secp_address_print(address, out);
    lua_pushstring(L, out);
    return 1;
}

/* ---- the ABI ---- */

/* The tuple of the list of types at i. */
static struct abi_type *types_at(lua_State *L, int i, struct arena *a, struct err *e)
{
    luaL_checktype(L, i, LUA_TTABLE);
    size_t n = lua_objlen(L, i);
    luaL_argcheck(L, n <= ABI_FIELDS, i, "too many types");
    struct abi_type **f = arena_alloc(a, n * sizeof *f + 1);
    for (size_t k = 0; k < n; k++) {
        lua_rawgeti(L, i, (int)k + 1);
        f[k] = abi_type(a, lx_str(L, -1, 1, TYPE_MAX), NULL, 0, e);
        lua_pop(L, 1);
        if (!f[k])
            return NULL;
    }
    return abi_tuple(a, f, n);
}

/* ppv.evm.encode(types: string[], values: any[]) -> string | nil, err
 * abi.encode. Whole numbers are decimal texts or numbers below 2^53, addresses texts, bytes and bytesN strings of bytes, tuples
 * and arrays tables. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_encode(lua_State *L)
{
    struct err e = {0};
    struct abi_value v;
    struct arena *a = bind_evmval_arena();
    luaL_checktype(L, 2, LUA_TTABLE);
    struct abi_type *t = types_at(L, 1, a, &e);
    if (!t || bind_evmval_get(L, 2, a, t, &v, &e) < 0)
        return lx_fail(L, &e);
    struct buf *out = bind_evmval_scratch();
    abi_encode(t, &v, out);
    lua_pushlstring(L, out->p ? out->p : "", out->n);
    return 1;
}

/* ppv.evm.decode(types: string[], data: string) -> any[] | nil, err
 * The values: whole numbers as decimal texts, addresses with their checksum. Anything but the one canonical encoding is refused.
 * Phases: any. Errors: input.invalid. Since 1.0 */
static int l_decode(lua_State *L)
{
    struct err e = {0};
    struct abi_value v = {0};
    struct arena *a = bind_evmval_arena();
    struct str data = lx_str(L, 2, 0, DATA_MAX);
    struct abi_type *t = types_at(L, 1, a, &e);
    if (!t || abi_decode(a, t, data, &v, &e) < 0)
        return lx_fail(L, &e);
    bind_evmval_push(L, t, &v);
    return 1;
}

/* The digest of the signature in argument 1; false with e set when it is none. */
static bool signature_digest(lua_State *L, uint8_t md[32], struct err *e)
{
    struct str sig = lx_str(L, 1, 1, TYPE_MAX);
    if (!abi_signature(bind_evmval_arena(), sig, e))
        return false;
    digest_keccak256(sig.p, sig.n, md);
    return true;
}

/* ppv.evm.selector(signature: string) -> string | nil, err
 * The 4 bytes that choose a function: "transfer(address,uint256)". Phases: any. Errors: input.invalid. Since 1.0 */
static int l_selector(lua_State *L)
{
    struct err e = {0};
    uint8_t md[32];
    if (!signature_digest(L, md, &e))
        return lx_fail(L, &e);
    lua_pushlstring(L, (char *)md, 4);
    return 1;
}

/* ppv.evm.topic(signature: string) -> string | nil, err
 * The first topic of an event as hexadecimal text: "Transfer(address,address,uint256)". Phases: any. Errors: input.invalid.
 * Since 1.0 */
static int l_topic(lua_State *L)
{
    struct err e = {0};
    uint8_t md[32];
    if (!signature_digest(L, md, &e))
        return lx_fail(L, &e);
    return bind_evmval_push_hex(L, md, sizeof md);
}

/* ppv.evm.call(signature: string, ...: any) -> string | nil, err
 * Selector and arguments as hexadecimal text, for eth_call and transactions. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_call(lua_State *L)
{
    struct err e = {0};
    struct abi_value v;
    uint8_t md[32];
    struct arena *a = bind_evmval_arena();
    struct str sig = lx_str(L, 1, 1, TYPE_MAX);
    struct abi_type *t = abi_signature(a, sig, &e);
    int n = lua_gettop(L) - 1;
    lua_createtable(L, n, 0);
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(L, i + 1);
        lua_rawseti(L, -2, i);
    }
    if (!t || bind_evmval_get(L, lua_gettop(L), a, t, &v, &e) < 0)
        return lx_fail(L, &e);
    struct buf data = {0};
    digest_keccak256(sig.p, sig.n, md);
    buf_put(&data, md, 4);
    abi_encode(t, &v, &data);
    struct buf *out = bind_evmval_scratch();
    buf_puts(out, "0x");
    buf_put_hex(out, data.p, data.n);
    buf_fini(&data);
    lua_pushlstring(L, out->p, out->n);
    return 1;
}

/* ---- typed data ---- */

/* Pushes t[name]; the table keeps what views point into. */
static struct str field_text(lua_State *L, int i, const char *name)
{
    lua_getfield(L, i, name);
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "the field %s of typed data must be a string", name);
    struct str s = lx_str(L, -1, 1, TYPE_MAX);
    lua_pop(L, 1);
    return s;
}

static void read_fields(lua_State *L, struct arena *a, struct abi_def *def)
{
    int list = lua_gettop(L);
    luaL_checktype(L, list, LUA_TTABLE);
    def->nfields = lua_objlen(L, list);
    if (def->nfields > ABI_FIELDS)
        luaL_error(L, "a struct of typed data has at most %d fields", ABI_FIELDS);
    def->fields = arena_alloc(a, def->nfields * sizeof *def->fields + 1);
    for (size_t k = 0; k < def->nfields; k++) {
        lua_rawgeti(L, list, (int)k + 1);
        luaL_checktype(L, -1, LUA_TTABLE);
        int one = lua_gettop(L);
        def->fields[k].name = field_text(L, one, "name");
        def->fields[k].type = field_text(L, one, "type");
        lua_pop(L, 1);
    }
}

/* The struct `primary` of the typed data at 1, with the message's values. */
static int read_message(lua_State *L, struct arena *a, struct abi_type **t, struct abi_value *v,
                        struct err *e)
{
    struct abi_def *defs = arena_alloc(a, DEFS_MAX * sizeof *defs);
    size_t n = 0;
    struct str primary = field_text(L, 1, "primary");
    bool known = false;
    lua_getfield(L, 1, "types");
    luaL_checktype(L, -1, LUA_TTABLE);
    int types = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, types); lua_pop(L, 1)) {
        if (n == DEFS_MAX || lua_type(L, -2) != LUA_TSTRING)
            return ERR(e, ERR_INVALID, "typed data names at most %d structs", DEFS_MAX);
        defs[n].name.p = lua_tolstring(L, -2, &defs[n].name.n);
        known |= str_eq(defs[n].name, primary);
        read_fields(L, a, &defs[n++]);
    }
    if (!known)
        return ERR(e, ERR_INVALID, "typed data does not define %.*s", (int)primary.n, primary.p);
    *t = abi_type(a, primary, defs, n, e);
    lua_getfield(L, 1, "message");
    return *t ? bind_evmval_get(L, lua_gettop(L), a, *t, v, e) : -1;
}

static int struct_hash(lua_State *L, struct arena *a, uint8_t out[32], struct err *e)
{
    struct abi_type *t;
    struct abi_value v;
    if (read_message(L, a, &t, &v, e) < 0)
        return -1;
    abi_struct_hash(t, &v, out);
    return 0;
}

/* EIP712Domain has the fields that are given, in this order. */
static int domain_hash(lua_State *L, struct arena *a, uint8_t out[32], struct err *e)
{
    static const char *const all[][2] = {{"name", "string"},
                                         {"version", "string"},
                                         {"chainId", "uint256"},
                                         {"verifyingContract", "address"},
                                         {"salt", "bytes32"}};
    struct abi_field f[5];
    struct abi_def def = {STR_LIT("EIP712Domain"), f, 0};
    struct abi_value v;
    lua_getfield(L, 1, "domain");
    luaL_checktype(L, -1, LUA_TTABLE);
    int domain = lua_gettop(L);
    for (int i = 0; i < 5; i++) {
        lua_getfield(L, domain, all[i][0]);
        if (!lua_isnil(L, -1))
            f[def.nfields++] = (struct abi_field){str_from(all[i][0]), str_from(all[i][1])};
        lua_pop(L, 1);
    }
    struct abi_type *t = abi_type(a, def.name, &def, 1, e);
    if (!t || bind_evmval_get(L, domain, a, t, &v, e) < 0)
        return -1;
    abi_struct_hash(t, &v, out);
    return 0;
}

static int push_hash(lua_State *L, int rc, const uint8_t md[32], const struct err *e)
{
    if (rc < 0)
        return lx_fail(L, e);
    lua_pushlstring(L, (const char *)md, 32);
    return 1;
}

/* ppv.evm.domain_hash(t: table) -> string | nil, err
 * The domain separator of EIP-712; t as for typed_hash. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_domain_hash(lua_State *L)
{
    struct err e = {0};
    uint8_t md[32];
    luaL_checktype(L, 1, LUA_TTABLE);
    return push_hash(L, domain_hash(L, bind_evmval_arena(), md, &e), md, &e);
}

/* ppv.evm.struct_hash(t: table) -> string | nil, err
 * hashStruct of the message; t as for typed_hash. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_struct_hash(lua_State *L)
{
    struct err e = {0};
    uint8_t md[32];
    luaL_checktype(L, 1, LUA_TTABLE);
    return push_hash(L, struct_hash(L, bind_evmval_arena(), md, &e), md, &e);
}

/* ppv.evm.typed_hash(t: {domain, types, primary, message}) -> string | nil, err
 * What a wallet signs for typed data (EIP-712), 32 bytes. domain: {name, version, chainId, verifyingContract, salt}, what is
 * absent is left out; types: {Name = {{name=, type=}, ...}}; values as for encode, structs by their fields' names. Phases: any.
 * Errors: input.invalid. Since 1.0 */
static int l_typed_hash(lua_State *L)
{
    struct err e = {0};
    uint8_t all[66] = {0x19, 0x01}, md[32];
    struct arena *a = bind_evmval_arena();
    luaL_checktype(L, 1, LUA_TTABLE);
    int rc = domain_hash(L, a, all + 2, &e);
    rc = rc < 0 ? rc : struct_hash(L, a, all + 34, &e);
    digest_keccak256(all, sizeof all, md);
    return push_hash(L, rc, md, &e);
}

/* ---- numbers of 256 bits ---- */

static void two(lua_State *L, struct u256 *a, struct u256 *b)
{
    struct err e = {0};
    if (bind_evmval_u256(L, 1, a, &e) < 0)
        luaL_argerror(L, 1, e.msg);
    if (bind_evmval_u256(L, 2, b, &e) < 0)
        luaL_argerror(L, 2, e.msg);
}

static int push_u256(lua_State *L, int rc, const struct u256 *v, const struct err *e)
{
    char text[U256_TEXT];
    if (rc < 0)
        return lx_fail(L, e);
    u256_print(v, text);
    lua_pushstring(L, text);
    return 1;
}

/* ppv.evm.add(a: string, b: string) -> string | nil, err
 * Exact, in 256 bits; decimal texts or numbers below 2^53. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_add(lua_State *L)
{
    struct err e = {0};
    struct u256 a, b, v;
    two(L, &a, &b);
    return push_u256(L, u256_add(&a, &b, &v, &e), &v, &e);
}

/* ppv.evm.sub(a: string, b: string) -> string | nil, err
 * Exact; a negative result is an error. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_sub(lua_State *L)
{
    struct err e = {0};
    struct u256 a, b, v;
    two(L, &a, &b);
    return push_u256(L, u256_sub(&a, &b, &v, &e), &v, &e);
}

/* ppv.evm.cmp(a: string, b: string) -> integer
 * -1, 0 or 1. Phases: any. Since 1.0 */
static int l_cmp(lua_State *L)
{
    struct u256 a, b;
    two(L, &a, &b);
    lua_pushinteger(L, u256_cmp(&a, &b));
    return 1;
}

/* ppv.evm.muldiv(a: string, b: string, c: string, round: string) -> string | nil, err
 * a * b / c without overflow in between; round: "down" or "up". Phases: any. Errors: input.invalid. Since 1.0 */
static int l_muldiv(lua_State *L)
{
    static const char *const ways[] = {"down", "up", NULL};
    struct err e = {0};
    struct u256 a, b, c, v;
    two(L, &a, &b);
    if (bind_evmval_u256(L, 3, &c, &e) < 0)
        luaL_argerror(L, 3, e.msg);
    bool up = luaL_checkoption(L, 4, NULL, ways);
    return push_u256(L, u256_muldiv(&a, &b, &c, up, &v, &e), &v, &e);
}

int bind_evm_open(lua_State *L)
{
    static const luaL_Reg reg[] = {{"keccak256", l_keccak256},
                                   {"hex", l_hex},
                                   {"unhex", l_unhex},
                                   {"address", l_address},
                                   {"personal_hash", l_personal_hash},
                                   {"recover", l_recover},
                                   {"encode", l_encode},
                                   {"decode", l_decode},
                                   {"selector", l_selector},
                                   {"topic", l_topic},
                                   {"call", l_call},
                                   {"domain_hash", l_domain_hash},
                                   {"struct_hash", l_struct_hash},
                                   {"typed_hash", l_typed_hash},
                                   {"add", l_add},
                                   {"sub", l_sub},
                                   {"cmp", l_cmp},
                                   {"muldiv", l_muldiv},
                                   {NULL, NULL}};
    lx_module(L, reg);
    bind_evmkey_add(L);
    return 1;
}
